import {
  apply,
  check,
  filesWithInline,
  freedChunks,
  inlineRegion,
  MemoryState,
  view,
} from '@holdfast/metadata';
import {
  type ChunkId,
  type Command,
  type CommandResult,
  HoldfastError,
  INTERNAL_SESSION,
  type InodeNumber,
  makeChunkId,
  type Operation,
  type PartitionId,
  ROOT_INODE,
  type SessionId,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { InlineMover } from './inline-mover.ts';
import type { InlineLimits } from './limits.ts';
import { InlineMetrics } from './metrics.ts';

const SHARD = 1 as ShardId;
const ONE = 1 as VolumeNumber;
const TWO = 2 as VolumeNumber;
const SESSION = 'a'.repeat(16) as SessionId;
const POLICY = { replicas: 3, minReplicas: 2 };
const OWNER = { uid: 0, gid: 0 };

/** A shard in memory, two volumes, a place for chunks, and a mover whose clock stands still. */
class World {
  readonly state = new MemoryState();
  readonly chunks = new Map<ChunkId, Uint8Array>();
  readonly deleted: ChunkId[] = [];
  readonly moves: Operation[] = [];
  nowMs = 1_000_000;
  /** Called between a chunk's write and the commands that refer to it. */
  onWritten: () => void | Promise<void> = () => {};
  onPropose: (command: Command) => Promise<CommandResult> = (command) =>
    Promise.resolve(this.apply(command));
  readonly mover: InlineMover;
  #sequence = 0;
  #counter = 0;

  constructor(limits: Partial<InlineLimits> = {}) {
    for (const volume of [ONE, TWO]) {
      const quotas = { quotaBytes: 0, quotaInodes: 0 };
      this.do({ op: 'init-volume', name: `v${volume}`, mode: 0o755, ...OWNER, ...quotas }, volume);
    }
    this.do({ op: 'open-session', host: 'h' }, 0 as VolumeNumber);
    this.mover = new InlineMover({
      shard: SHARD,
      state: this.state,
      propose: (operation, volume) => {
        this.moves.push(operation);
        return this.onPropose(this.command(operation, volume, INTERNAL_SESSION));
      },
      chunks: {
        write: (bytes) => this.#write(bytes),
        read: (chunk, offset, length) => this.#read(chunk, offset, length),
      },
      policyOf: () => Promise.resolve(POLICY),
      deleteChunks: (chunks) => Promise.resolve(this.deleted.push(...chunks)),
      now: () => this.nowMs,
      nowNs: () => BigInt(this.nowMs) * 1_000_000n,
      metrics: new InlineMetrics(new Registry()),
      limits: { settleMs: 1000, intervalMs: 0, failedMs: 0, ...limits },
    });
  }

  async #write(bytes: Uint8Array): Promise<{ chunk: ChunkId; chunkLength: number }> {
    const chunk = this.#store(bytes);
    await this.onWritten();
    return { chunk, chunkLength: bytes.length };
  }

  #store(bytes: Uint8Array): ChunkId {
    const chunk = makeChunkId(0 as PartitionId, 'f'.repeat(12), this.#counter++);
    this.chunks.set(chunk, Uint8Array.from(bytes));
    return chunk;
  }

  #read(chunk: ChunkId, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.chunks.get(chunk);
    if (bytes === undefined) return Promise.reject(new HoldfastError('CHUNK_MISSING'));
    return Promise.resolve(bytes.subarray(offset, offset + length));
  }

  command(operation: Operation, volume: VolumeNumber, session = SESSION): Command {
    const sequence = ++this.#sequence;
    const timeNs = BigInt(this.nowMs) * 1_000_000n;
    return { v: 1, session, sequence, answeredBelow: sequence, timeNs, volume, operation };
  }

  apply(command: Command): CommandResult {
    const result = apply(this.state, command);
    this.mover?.applied(command, result);
    return result;
  }

  do(operation: Operation, volume = ONE): CommandResult {
    const isInit = operation.op === 'init-volume' || operation.op === 'destroy-volume';
    const command = this.command(operation, volume, isInit ? INTERNAL_SESSION : SESSION);
    const result = this.apply(command);
    if (!result.ok) throw new HoldfastError('INTERNAL', `${operation.op}: ${result.code}`);
    return result;
  }

  file(name: string, volume = ONE): InodeNumber {
    const place = { parent: ROOT_INODE, name, kind: 'file', target: '', exclusive: true } as const;
    const result = this.do({ op: 'create', ...place, ...OWNER, mode: 0o644, rdev: 0 }, volume);
    return (result as { answer: { attributes: { ino: InodeNumber } } }).answer.attributes.ino;
  }

  write(ino: InodeNumber, offset: number, text: string, volume = ONE): void {
    const bytes = Buffer.from(text);
    const extent = { offset, length: bytes.length, source: { kind: 'inline', bytes } } as const;
    const how = { append: false, killPrivileges: false };
    this.do({ op: 'write-extents', ino, extents: [extent], ...how }, volume);
  }

  /** Writes as a client does what is too long to be inline. */
  writeChunk(ino: InodeNumber, offset: number, bytes: Uint8Array): ChunkId {
    const { length } = bytes;
    const chunk = this.#store(bytes);
    const source = { kind: 'chunk', chunk, chunkOffset: 0, chunkLength: length } as const;
    const extents = [{ offset, length, source }];
    this.do({ op: 'write-extents', ino, extents, append: false, killPrivileges: false });
    return chunk;
  }

  /** Pieces of a file's first region. */
  pieces(ino: InodeNumber): number {
    return inlineRegion(this.state, { volume: ONE, ino }, 0)!.pieceCount;
  }

  /** What a reader sees, and how many bytes of it are inline. */
  async read(
    ino: InodeNumber,
    o: { volume?: VolumeNumber; offset?: number } = {},
  ): Promise<{ text: string; inline: number }> {
    const { extents } = await view(this.state, {
      session: SESSION,
      volume: o.volume ?? ONE,
      view: { view: 'extents', ino, offset: o.offset ?? 0, length: 4 * 2 ** 20 },
    });
    let inline = 0;
    const parts = extents.map(({ length, source }) => {
      if (source.kind === 'zero') return Buffer.alloc(length, '.');
      if (source.kind === 'inline') {
        inline += length;
        return source.bytes;
      }
      const bytes = this.chunks.get(source.chunk)!;
      if (bytes.length !== source.chunkLength) throw new RangeError('wrong length of a chunk');
      return bytes.subarray(source.chunkOffset, source.chunkOffset + length);
    });
    return { text: Buffer.concat(parts).toString(), inline };
  }

  /** Time passes. */
  pass(ms: number): void {
    this.nowMs += ms;
  }

  /** Runs the mover until something holds. */
  async until(holds: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await holds())) await new Promise(setImmediate);
  }

  async isMoved(): Promise<boolean> {
    return (await filesWithInline(this.state, undefined, 1)).length === 0;
  }
}

/** Whole numbers below a bound, the same for a seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const MODEL_BYTES = 12_000;

/** A file, and the bytes that it has to show. */
class ModelFile {
  readonly #world: World;
  readonly #ino: InodeNumber;
  readonly #random: (below: number) => number;
  #bytes = Buffer.alloc(0);

  constructor(on: World, ino: InodeNumber, random: (below: number) => number) {
    this.#world = on;
    this.#ino = ino;
    this.#random = random;
  }

  change(): void {
    const offset = this.#random(MODEL_BYTES);
    const length = 1 + this.#random(this.#random(8) === 0 ? 3000 : 60);
    const text = String.fromCharCode(97 + this.#random(26)).repeat(length);
    const kind = this.#random(20);
    const ino = this.#ino;
    if (kind === 0) {
      this.#grow(offset);
      this.#bytes = this.#bytes.subarray(0, offset);
      this.#world.do({ op: 'set-attributes', ino, size: offset });
    } else if (kind === 1) {
      this.#bytes.subarray(offset, offset + length).fill(0);
      this.#world.do({ op: 'fallocate', ino, mode: 'punch', keepSize: true, offset, length });
    } else {
      this.#grow(offset + length);
      this.#bytes.write(text, offset);
      if (kind === 2) this.#world.writeChunk(ino, offset, Buffer.from(text));
      else this.#world.write(ino, offset, text);
    }
  }

  #grow(size: number): void {
    const more = Buffer.alloc(Math.max(0, size - this.#bytes.length));
    this.#bytes = Buffer.concat([this.#bytes, more]);
  }

  async compare(): Promise<void> {
    const { text } = await this.#world.read(this.#ino);
    if (text.replaceAll('.', '\0') !== this.#bytes.toString()) throw new Error('other bytes');
  }
}

let world: World;
afterEach(async () => {
  await world.mover.stop();
  const wrong = await check(world.state);
  if (wrong.length > 0) throw new Error(wrong.join('; '));
});

describe('inline mover', () => {
  it('packs settled bytes of a volume into one chunk, and reads are as before', async () => {
    world = new World();
    const a = world.file('a');
    const b = world.file('b');
    const c = world.file('c', TWO);
    world.write(a, 0, 'hello ');
    world.write(a, 100, 'world');
    world.write(b, 5, 'b');
    world.write(c, 0, 'other volume', TWO);
    world.pass(1000);
    const before = await world.read(a);
    world.mover.start();
    await world.until(() => world.isMoved());
    expect(await world.read(a)).toEqual({ text: before.text, inline: 0 });
    expect(await world.read(b)).toEqual({ text: '.....b', inline: 0 });
    expect(await world.read(c, { volume: TWO })).toEqual({ text: 'other volume', inline: 0 });
    const bodies = [...world.chunks.values()].map((bytes) => Buffer.from(bytes).toString());
    expect(bodies).toEqual(['hello worldb', 'other volume']);
  });

  it('leaves alone what was written just now', async () => {
    world = new World();
    const a = world.file('a');
    const hot = world.file('hot');
    world.write(a, 0, 'cold');
    world.pass(999);
    world.write(hot, 0, 'hot');
    world.pass(1);
    world.mover.start();
    await world.until(() => world.moves.length > 0);
    await world.mover.stop();
    expect(world.moves).toMatchObject([{ ino: a }]);
    expect(await world.read(hot)).toEqual({ text: 'hot', inline: 3 });
  });

  it('moves what has settled of a file that is written all the time, and never a hot page', async () => {
    world = new World();
    const ino = world.file('database');
    world.write(ino, 5000, 'cold');
    world.mover.start();
    await world.until(async () => {
      world.pass(300);
      world.write(ino, 0, 'hot!');
      return (await world.read(ino, { offset: 5000 })).inline === 0;
    });
    expect(await world.read(ino, { offset: 5000 })).toEqual({ text: 'cold', inline: 0 });
    await world.until(() => {
      world.pass(300);
      world.write(ino, 0, 'hot!');
      return world.nowMs > 1_100_000;
    });
    const bodies = [...world.chunks.values()].map((bytes) => Buffer.from(bytes).toString());
    expect(bodies).toEqual(['cold']);
  });

  it('never undoes what is written, cut or unlinked while the chunk is on its way', async () => {
    world = new World();
    const a = world.file('a');
    const b = world.file('b');
    const c = world.file('c');
    world.write(a, 0, 'aaaaaaaaaa');
    world.write(b, 0, 'bbbbbbbbbb');
    world.write(c, 0, 'cccccccccc');
    world.pass(1000);
    world.onWritten = () => {
      world.onWritten = () => {};
      world.write(a, 3, 'NEW');
      world.do({ op: 'set-attributes', ino: b, size: 4 });
      world.do({ op: 'set-attributes', ino: b, size: 8 });
      world.do({ op: 'unlink', parent: ROOT_INODE, name: 'c' });
    };
    world.mover.start();
    await world.until(() => world.moves.length === 3);
    await world.mover.stop();
    expect(await world.read(a)).toEqual({ text: 'aaaNEWaaaa', inline: 3 });
    expect(await world.read(b)).toEqual({ text: 'bbbb....', inline: 0 });
    expect(world.deleted).toEqual([]);
  });

  it('deletes a chunk that nothing can name, and leaves one alone that may be named', async () => {
    world = new World();
    const ino = world.file('a');
    world.write(ino, 0, 'bytes');
    world.pass(1000);
    const codes = ['UNKNOWN_OUTCOME', 'NO_QUORUM', 'NOT_LEADER', 'OVERLOADED'] as const;
    let tries = 0;
    world.onPropose = (command) => {
      const code = codes[tries++];
      if (code === undefined) return Promise.resolve(world.apply(command));
      return Promise.reject(new HoldfastError(code));
    };
    world.mover.start();
    await world.until(() => world.isMoved());
    const [, , third, fourth] = world.chunks.keys();
    expect(world.deleted).toEqual([third, fourth]);
    expect(await world.read(ino)).toEqual({ text: 'bytes', inline: 0 });
  });

  it('deletes the chunk when the volume has gone meanwhile', async () => {
    world = new World();
    world.write(world.file('a'), 0, 'bytes');
    world.pass(1000);
    world.onWritten = () => {
      world.do({ op: 'destroy-volume', force: true });
    };
    world.mover.start();
    await world.until(() => world.deleted.length > 0);
    expect(world.deleted).toEqual([...world.chunks.keys()]);
  });

  it('stops at once when leadership is lost: nothing is proposed, a late chunk is deleted', async () => {
    world = new World();
    const ino = world.file('a');
    world.write(ino, 0, 'bytes');
    world.pass(1000);
    const { promise: written, resolve: isWritten } = Promise.withResolvers<void>();
    const { promise: goOn, resolve } = Promise.withResolvers<void>();
    world.onWritten = () => {
      isWritten();
      return goOn;
    };
    world.mover.start();
    await written;
    // Does not wait for the write, which never ends.
    await world.mover.stop();
    expect(world.moves).toEqual([]);
    world.onWritten = () => {};
    world.mover.start();
    await world.until(() => world.isMoved());
    resolve();
    await world.until(() => world.deleted.length > 0);
    expect(world.deleted).toEqual([...world.chunks.keys()].slice(0, 1));
    expect(await world.read(ino)).toEqual({ text: 'bytes', inline: 0 });
  });

  it('moves under a delegation without its holder noticing', async () => {
    world = new World();
    const ino = world.file('a');
    world.do({ op: 'acquire-delegation' });
    world.write(ino, 0, 'bytes');
    world.pass(1000);
    world.mover.start();
    await world.until(() => world.isMoved());
    expect(await world.read(ino)).toEqual({ text: 'bytes', inline: 0 });
    expect(await freedChunks(world.state, 0, 10)).toEqual([]);
  });

  it('cuts what is more than a chunk', async () => {
    world = new World();
    const ino = world.file('a');
    const block = 32 * 1024;
    for (let i = 0; i < 140; i++) world.write(ino, i * block, String(i % 10).repeat(block));
    world.pass(1000);
    world.mover.start();
    await world.until(() => world.isMoved());
    expect([...world.chunks.values()].map(({ length }) => length)).toEqual([
      4 * 2 ** 20,
      12 * block,
    ]);
    const { text } = await world.read(ino);
    for (let i = 0; i < 128; i++) expect(text[i * block + 17]).toBe(String(i % 10));
  });

  it('does not wait with a region that is crowded', async () => {
    world = new World({ crowdedPieces: 8, crowdingWrites: 4, intervalMs: 1_000_000 });
    const ino = world.file('a');
    world.mover.start();
    await new Promise(setImmediate);
    for (let i = 0; i < 16; i++) world.write(ino, i * 10, 'x');
    await world.until(() => world.isMoved());
    expect((await world.read(ino)).text).toBe(`${'x.........'.repeat(15)}x`.replaceAll('.', '\0'));
  });

  it('makes one piece of a crowded region, parts of chunks and new writes included', async () => {
    world = new World({ crowdedPieces: 8, crowdingWrites: 6, settleMs: 1e9 });
    const ino = world.file('a');
    world.write(ino, 0, '-'.repeat(1000));
    world.mover.start();
    world.writeChunk(ino, 0, Buffer.alloc(1000, '-'));
    world.onWritten = () => {
      world.onWritten = () => {};
      world.write(ino, 55, 'NEW');
    };
    for (let i = 0; i < 6; i++) world.write(ino, i * 100, 'x');
    await world.until(() => world.moves.length > 0);
    await world.mover.stop();
    const expected = Buffer.alloc(1000, '-');
    for (let i = 0; i < 6; i++) expected.write('x', i * 100);
    expected.write('NEW', 55);
    expect(await world.read(ino)).toEqual({ text: expected.toString(), inline: 3 });
    expect(world.pieces(ino)).toBe(3);
  });

  it('lets go of the many chunks that a region came to show', async () => {
    world = new World({ scatteredChunks: 4 });
    const ino = world.file('a');
    world.mover.start();
    for (let i = 0; i < 4; i++) {
      world.write(ino, i * 5000, `page ${i}`);
      world.pass(1000);
      await world.until(() => world.isMoved());
    }
    expect(await freedChunks(world.state, 0, 10)).toEqual([]);
    world.write(ino, 20_000, 'page 4');
    world.pass(1000);
    await world.until(() => world.isMoved());
    const freed = await freedChunks(world.state, 0, 10);
    expect(freed.map(({ chunk }) => chunk)).toEqual([...world.chunks.keys()].slice(0, 4));
    expect((await world.read(ino)).text.replaceAll(/[.\0]/g, '')).toBe(
      'page 0page 1page 2page 3page 4',
    );
  });

  it.each([1, 2, 3, 4, 5, 6])(
    'never changes what is read, whatever happens meanwhile (seed %i)',
    async (seed) => {
      const tight = { crowdedPieces: 24, scatteredChunks: 4, crowdingWrites: 6, rangesPerPart: 7 };
      world = new World({ ...tight, settleMs: 1000, filesPerChunk: 2, partsPerChunk: 5 });
      const random = randomFrom(seed);
      const files = ['a', 'b', 'c'].map((name) => new ModelFile(world, world.file(name), random));
      const step = (): void => {
        world.pass(random(400));
        files[random(files.length)]!.change();
      };
      // Half of the changes come between a chunk and the commands that refer to it.
      world.onWritten = () => {
        for (let i = random(3); i > 0; i--) step();
      };
      world.mover.start();
      for (let i = 0; i < 400; i++) {
        step();
        if (i % 4 === 0) await new Promise(setImmediate);
        if (i % 16 === 0) for (const file of files) await file.compare();
      }
      world.onWritten = () => {};
      await world.until(() => {
        world.pass(100);
        return world.isMoved();
      });
      for (const file of files) await file.compare();
      expect(world.moves.some((move) => move.op === 'move-inline' && move.seen !== undefined)).toBe(
        true,
      );
    },
  );

  it('moves at least the inline bytes of a crowded region whose chunks cannot be read', async () => {
    world = new World({ crowdedPieces: 8, crowdingWrites: 6, settleMs: 1e9 });
    const ino = world.file('a');
    const chunk = world.writeChunk(ino, 0, Buffer.alloc(1000, '-'));
    const bytes = world.chunks.get(chunk)!;
    world.chunks.delete(chunk);
    world.mover.start();
    await new Promise(setImmediate);
    for (let i = 0; i < 6; i++) world.write(ino, i * 100, 'x');
    await world.until(() => world.isMoved());
    await world.mover.stop();
    world.chunks.set(chunk, bytes);
    expect((await world.read(ino)).text).toBe(`x${'-'.repeat(99)}`.repeat(6) + '-'.repeat(400));
  });
});
