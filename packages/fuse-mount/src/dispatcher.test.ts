import { closeSync, readSync, writeSync } from 'node:fs';
import type { FileSystem, RequestContext } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import koffi from 'koffi';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PollReadiness, watch } from './device/readiness.ts';
import { OPCODE } from './kernel/abi.ts';
import { MOUNT_LIMITS } from './limits.ts';
import { MountServer } from './mount-server.ts';

const libc = koffi.load(null);
const socketpair = libc.func('int socketpair(int domain, int type, int protocol, void *pair)');
const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;

/** Bodies that each operation decodes from; 64 zero bytes do for those of fixed layout. */
const ZEROS = Buffer.alloc(64);
const INIT_FLAGS = 0x73ff_fffb;

function request(opcode: number, unique: bigint, body: Buffer): Buffer {
  const bytes = Buffer.alloc(40 + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(opcode, 4);
  bytes.writeBigUInt64LE(unique, 8);
  bytes.writeBigUInt64LE((1n << 40n) | 1n, 16);
  body.copy(bytes, 40);
  return bytes;
}

function initBody(): Buffer {
  const body = Buffer.alloc(64);
  [7, 45, 131_072, INIT_FLAGS, 0x5fd].forEach((value, index) => {
    body.writeUInt32LE(value, index * 4);
  });
  return body;
}

const TIMES = { atimeNs: 0n, mtimeNs: 0n, ctimeNs: 0n, birthNs: 0n };
const SIZES = { nlink: 1, size: 0, allocatedBytes: 0, rdev: 0 };
const ATTRIBUTES = { ino: 2, kind: 'file', mode: 0o644, uid: 0, gid: 0, ...SIZES, ...TIMES };

/** Methods that are told something and do nothing. */
const NOTICES: ReadonlySet<string> = new Set(['onInvalidate', 'isBelieved', 'answered', 'resumed']);

/** A file system whose every method does the same. */
function everyMethod(run: (context: RequestContext | undefined) => unknown): FileSystem {
  const isContext = (arg: unknown): arg is RequestContext =>
    typeof arg === 'object' && arg !== null && 'requestId' in arg;
  return new Proxy({} as FileSystem, {
    get: (_target, method) =>
      NOTICES.has(String(method)) ? () => {} : (...args: unknown[]) => run(args.find(isContext)),
  });
}

/** The kernel's end of a connection: a socket that keeps messages apart, as /dev/fuse does. */
class Kernel {
  readonly #pair = Buffer.alloc(8);
  readonly #buffer = Buffer.alloc(65_536);
  readonly answers: { unique: bigint; errno: number; bytes: Buffer }[] = [];

  constructor() {
    const result = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, this.#pair);
    if (result !== 0) throw new HoldfastError('INTERNAL', 'no socket pair');
  }

  get daemonEnd(): number {
    return this.#pair.readInt32LE(4);
  }

  get ownEnd(): number {
    return this.#pair.readInt32LE(0);
  }

  send(bytes: Buffer): boolean {
    try {
      writeSync(this.ownEnd, bytes);
      return true;
    } catch {
      return false; // the queue is full, as the kernel's never is
    }
  }

  /** Takes all replies that have come. */
  receive(): this['answers'] {
    for (;;) {
      let length: number;
      try {
        length = readSync(this.ownEnd, this.#buffer);
      } catch {
        return this.answers;
      }
      const bytes = Buffer.from(this.#buffer.subarray(0, length));
      const unique = bytes.readBigUInt64LE(8);
      this.answers.push({ unique, errno: 0 - bytes.readInt32LE(4), bytes });
    }
  }

  close(): void {
    closeSync(this.ownEnd);
    closeSync(this.daemonEnd);
  }
}

describe.each([
  ['the event loop', watch],
  ['poll(2)', (descriptor: number) => new PollReadiness(descriptor)],
])('requests of a device watched by %s', (_way, readiness) => {
  let kernel: Kernel;
  let server: MountServer;
  let problems: string[];

  beforeEach(() => {
    kernel = new Kernel();
    problems = [];
  });
  afterEach(async () => {
    await server.stop();
    kernel.close();
  });

  async function serve(fileSystem: FileSystem): Promise<void> {
    server = MountServer.start({
      descriptor: kernel.daemonEnd,
      fileSystem,
      wishes: { clusterLocks: true },
      observer: { onProblem: (event) => problems.push(event) },
      readiness,
    });
    kernel.send(request(OPCODE.init, 2n, initBody()));
    await expect.poll(() => kernel.receive().length).toBe(1);
    expect(kernel.answers.splice(0)).toMatchObject([{ unique: 2n, errno: 0 }]);
  }

  const silent: readonly number[] = [OPCODE.forget, OPCODE.batchForget, OPCODE.interrupt];
  const answered = [...Object.values(OPCODE), 47, 53, 99].filter(
    (opcode) => opcode !== OPCODE.init && !silent.includes(opcode),
  );

  it.each([
    ['refuses with ENOENT', 2, () => Promise.reject(new HoldfastError('ENOENT'))],
    ['rejects with what is no HoldfastError', 5, () => Promise.reject(new TypeError('bug'))],
    [
      'throws',
      5,
      () => {
        throw new RangeError('bug');
      },
    ],
    ['answers nonsense', 5, () => Promise.resolve(undefined)],
  ])('are answered exactly once when the file system %s', async (_title, errno, run) => {
    await serve(everyMethod(run));
    for (const opcode of [...answered, ...silent]) {
      kernel.send(request(opcode, BigInt(opcode) * 2n + 1000n, ZEROS));
    }
    await expect.poll(() => kernel.receive().length).toBe(answered.length);
    const uniques = kernel.answers.map(({ unique }) => (unique - 1000n) / 2n);
    expect(uniques.map(Number).sort((a, b) => a - b)).toEqual([...answered].sort((a, b) => a - b));
    const lookup = kernel.answers.find(({ unique }) => unique === 1002n);
    expect(lookup?.errno).toBe(errno);
  });

  it('are refused, not lost, when their bytes are wrong', async () => {
    await serve(everyMethod(() => Promise.reject(new HoldfastError('ENOENT'))));
    const short = request(OPCODE.open, 4n, Buffer.alloc(3));
    const lying = request(OPCODE.open, 6n, ZEROS);
    lying.writeUInt32LE(4000, 0);
    kernel.send(request(OPCODE.open, 8n, ZEROS).subarray(0, 20));
    // These want no answer, not even when they are wrong.
    for (const opcode of silent) kernel.send(request(opcode, 10n, Buffer.alloc(3)));
    kernel.send(short);
    kernel.send(lying);
    await expect.poll(() => kernel.receive().length).toBe(2);
    expect(kernel.answers.map(({ unique, errno }) => [unique, errno])).toEqual([
      [4n, 22],
      [6n, 22],
    ]);
    expect(problems).toEqual(['request.unreadable', ...Array(5).fill('request.refused')]);
  });

  it('keep their newer id when they are sent again while under way', async () => {
    const release = Promise.withResolvers<void>();
    let calls = 0;
    await serve(
      everyMethod(() => {
        calls += 1;
        return release.promise.then(() => Promise.reject(new HoldfastError('ENOENT')));
      }),
    );
    kernel.send(request(OPCODE.readlink, 4n, ZEROS));
    kernel.send(request(OPCODE.readlink, 2n ** 63n + 4n, ZEROS));
    kernel.send(request(OPCODE.access, 6n, ZEROS));
    await expect.poll(() => kernel.receive().length).toBe(1);
    release.resolve();
    await expect.poll(() => kernel.receive().length).toBe(2);
    expect(kernel.answers.map(({ unique }) => unique)).toEqual([6n, 2n ** 63n + 4n]);
    expect(calls).toBe(1);
  });

  it('are remembered until their answers have left, with each step', async () => {
    const opened = Promise.withResolvers<void>();
    const forgotten: [id: number, answers: number][] = [];
    const node = { volume: 1, ino: 2 };
    const methods: Partial<Record<keyof FileSystem, (...args: never[]) => unknown>> = {
      onInvalidate: () => {},
      create: async () => ({ node, attributes: ATTRIBUTES, validMs: 0, created: true }),
      open: () => opened.promise,
      answered: (id: number) => forgotten.push([id, kernel.receive().length]),
    };
    await serve(methods as unknown as FileSystem);
    const body = Buffer.concat([Buffer.alloc(16), Buffer.from('name\0')]);
    kernel.send(request(OPCODE.create, 4n, body));
    kernel.send(request(OPCODE.readlink, 6n, ZEROS));
    await expect.poll(() => forgotten).toEqual([[6, 1]]);
    opened.resolve();
    await expect.poll(() => forgotten.length).toBe(3);
    expect(forgotten.slice(1)).toEqual([
      [4, 2],
      [5, 2],
    ]);
    expect(kernel.answers.map(({ unique, errno }) => [unique, errno])).toEqual([
      [6n, 5],
      [4n, 0],
    ]);
  });

  it('wait in the kernel when too many are under way, and are all answered in the end', async () => {
    const waiting: (() => void)[] = [];
    let running = 0;
    let runningMax = 0;
    await serve(
      everyMethod(async () => {
        running += 1;
        runningMax = Math.max(running, runningMax);
        await new Promise<void>((resolve) => waiting.push(resolve));
        running -= 1;
        throw new HoldfastError('ENOENT');
      }),
    );
    const limit = MOUNT_LIMITS.runningPerVolumeMax + MOUNT_LIMITS.queuedMax;
    const turn = () => new Promise((resolve) => setTimeout(resolve, 2));
    let sent = 0;
    // What the daemon does not read fills the socket, whose room is far less than the excess sent.
    for (let fullTurns = 0; sent < limit + 3000 && fullTurns < 50; ) {
      if (kernel.send(request(OPCODE.readlink, BigInt(sent * 2 + 4), ZEROS))) {
        sent += 1;
        fullTurns = 0;
      } else {
        fullTurns += 1;
        await turn();
      }
    }
    expect(sent).toBeGreaterThanOrEqual(limit);
    expect(sent).toBeLessThan(limit + 3000);
    expect(runningMax).toBe(MOUNT_LIMITS.runningPerVolumeMax);
    // A few at a time, since the socket has room for few replies.
    while (kernel.receive().length < sent) {
      for (const resolve of waiting.splice(0, 32)) resolve();
      await turn();
    }
    expect(new Set(kernel.answers.map(({ unique }) => unique)).size).toBe(sent);
    expect(runningMax).toBe(MOUNT_LIMITS.runningPerVolumeMax);
  });

  it('wait for locks without holding up the others, and end by an interrupt', async () => {
    await serve(
      everyMethod((context) => {
        if (context === undefined || context.requestId >= 100_000) {
          return Promise.reject(new HoldfastError('ENOENT'));
        }
        return new Promise((_resolve, reject) => {
          context.signal?.addEventListener('abort', () => reject(new HoldfastError('EINTR')));
        });
      }),
    );
    const waits = MOUNT_LIMITS.runningPerVolumeMax + 50;
    for (let index = 0; index < waits; index += 1) {
      kernel.send(request(OPCODE.setlkw, BigInt(index * 2 + 4), ZEROS));
    }
    kernel.send(request(OPCODE.readlink, 100_000n, ZEROS));
    await expect.poll(() => kernel.receive().length).toBe(1);
    expect(kernel.answers.splice(0)).toMatchObject([{ unique: 100_000n, errno: 2 }]);
    for (let index = 0; index < waits; index += 1) {
      const body = Buffer.alloc(8);
      body.writeBigUInt64LE(BigInt(index * 2 + 4));
      kernel.send(request(OPCODE.interrupt, BigInt(index * 2 + 5), body));
    }
    await expect.poll(() => kernel.receive().length).toBe(waits);
    expect(kernel.answers.every(({ errno }) => errno === 4)).toBe(true);
  });
});
