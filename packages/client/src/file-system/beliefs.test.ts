// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in a class
import { apply, MemoryState, view } from '@holdfast/metadata';
import {
  type Attributes,
  type Command,
  type ErrorCode,
  HoldfastError,
  INTERNAL_SESSION,
  type InodeNumber,
  type Operation,
  type OperationAnswer,
  ROOT_INODE,
  type SessionId,
  type VolumeNumber,
} from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Beliefs } from './beliefs.ts';
import type { Name } from './touched.ts';

const VOLUME = 1 as VolumeNumber;
const SESSION = '00000000000000aa' as SessionId;
const NAMES = ['a', 'b', 'c'];
/** Set HOLDFAST_RUNS for more. */
const RUNS = Number(process.env['HOLDFAST_RUNS'] ?? 200);

/** The real state machine, which is told of each call before or after its caller is. */
class Shard {
  readonly state = new MemoryState();
  readonly #waiting: (() => void)[] = [];
  #sequence = 1;
  #nowNs = 1n;

  constructor() {
    const policy = { mode: 0o755, uid: 0, gid: 0, quotaBytes: 0, quotaInodes: 0 };
    this.#apply(INTERNAL_SESSION, { op: 'init-volume', name: 'v', ...policy });
    this.#apply(SESSION, { op: 'open-session', host: 'h' });
  }

  #apply(session: SessionId, operation: Operation): OperationAnswer {
    const sequence = this.#sequence++;
    this.#nowNs += 5n;
    const command: Command = {
      v: 1,
      session,
      sequence,
      answeredBelow: sequence,
      timeNs: this.#nowNs,
      volume: operation.op === 'open-session' ? (0 as VolumeNumber) : VOLUME,
      operation,
    };
    const result = apply(this.state, command);
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code as ErrorCode);
  }

  /** Waits for its turn, is done, and waits again before the caller hears of it. */
  async execute(operation: Operation): Promise<OperationAnswer> {
    await this.#turn();
    const done = Promise.resolve().then(() => this.#apply(SESSION, operation));
    await Promise.allSettled([done]);
    await this.#turn();
    return done;
  }

  async lookUp({ parent, name }: Name): Promise<Attributes | undefined> {
    await this.#turn();
    const found = await this.truth(parent, name);
    await this.#turn();
    return found;
  }

  async lookAt(ino: InodeNumber): Promise<Attributes> {
    await this.#turn();
    const found = Promise.resolve(this.attributes(ino));
    await Promise.allSettled([found]);
    await this.#turn();
    return found;
  }

  async truth(parent: InodeNumber, name: string): Promise<Attributes | undefined> {
    try {
      const request = { session: SESSION, volume: VOLUME };
      return (await view(this.state, { ...request, view: { view: 'lookup', parent, name } }))
        .attributes;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async attributes(ino: InodeNumber): Promise<Attributes> {
    const request = { session: SESSION, volume: VOLUME };
    return (await view(this.state, { ...request, view: { view: 'attributes', ino } })).attributes;
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Lets one of those that wait go on. */
  async letOneGoOn(which: number): Promise<void> {
    const [resolve] = this.#waiting.splice(which % Math.max(1, this.#waiting.length), 1);
    resolve?.();
    // Everything that follows from it, up to the next wait, is a few microtasks.
    await new Promise((settled) => setImmediate(settled));
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0;
  }
}

const LATER = fc.nat(20);
const PLACE = fc.record({ directory: fc.nat(3), name: fc.constantFrom(...NAMES) });
const STEP = fc.oneof(
  { weight: 12, arbitrary: fc.record({ step: fc.constant('goOn'), which: LATER }) },
  fc.record({ step: fc.constant('file'), at: PLACE }),
  fc.record({ step: fc.constant('directory'), at: PLACE }),
  fc.record({ step: fc.constant('unlink'), at: PLACE }),
  fc.record({ step: fc.constant('rmdir'), at: PLACE }),
  fc.record({ step: fc.constant('rename'), at: PLACE, to: PLACE, exchange: fc.boolean() }),
  fc.record({ step: fc.constant('link'), at: PLACE, to: PLACE }),
  fc.record({ step: fc.constant('chmod'), at: PLACE, mode: fc.nat(0o777) }),
  fc.record({ step: fc.constant('lookUp'), at: PLACE }),
  fc.record({ step: fc.constant('lookAt'), at: PLACE }),
  fc.record({ step: fc.constant('forget') }),
);
type Step = typeof STEP extends fc.Arbitrary<infer T> ? T : never;

/** Runs steps, several calls at once, and looks after each whether what is believed is true. */
class Run {
  readonly shard = new Shard();
  readonly beliefs = new Beliefs();
  readonly #calls = new Set<Promise<unknown>>();
  readonly #inos = new Set<InodeNumber>([ROOT_INODE]);
  believed = 0;

  async directories(): Promise<InodeNumber[]> {
    const found = await Promise.all(NAMES.map((name) => this.shard.truth(ROOT_INODE, name)));
    const inos = found.map((one) => (one?.kind === 'directory' ? one.ino : ROOT_INODE));
    return [ROOT_INODE, ...inos];
  }

  async step(step: Step): Promise<void> {
    if ('which' in step) await this.shard.letOneGoOn(step.which);
    else if (step.step === 'forget') this.beliefs.forget();
    else if ('at' in step) this.#follow(await this.#call(step));
    await this.#check();
  }

  async #call(step: Extract<Step, { at: unknown }>): Promise<() => Promise<unknown>> {
    const directories = await this.directories();
    const nameOf = ({ directory, name }: { directory: number; name: string }): Name => ({
      parent: directories[directory] ?? ROOT_INODE,
      name,
    });
    const at = nameOf(step.at);
    const ino = (await this.shard.truth(at.parent, at.name))?.ino ?? ROOT_INODE;
    if (step.step === 'lookUp') {
      return () =>
        this.beliefs.lookUp(
          at,
          () => this.shard.lookUp(at),
          () => true,
        );
    }
    if (step.step === 'lookAt') {
      return () =>
        this.beliefs.lookAt(
          ino,
          () => this.shard.lookAt(ino),
          () => true,
        );
    }
    const operation = operationOf(step, { at, to: 'to' in step ? nameOf(step.to) : at, ino });
    return () =>
      this.beliefs.change(
        operation,
        () => this.shard.execute(operation),
        () => true,
      );
  }

  #follow(call: () => Promise<unknown>): void {
    const running = call().then(
      (answer) => {
        const attributes = (answer as OperationAnswer | undefined)?.attributes;
        if (attributes !== undefined) this.#inos.add(attributes.ino);
      },
      (error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error;
      },
    );
    this.#calls.add(running);
    void running.finally(() => this.#calls.delete(running));
  }

  async #check(): Promise<void> {
    for (const ino of this.#inos) {
      const believed = this.beliefs.attributes(ino);
      if (believed === undefined) continue;
      this.believed += 1;
      expect(believed).toEqual(await this.shard.attributes(ino));
    }
    for (const parent of await this.directories()) {
      for (const name of NAMES) {
        const believed = this.beliefs.inodeAt({ parent, name });
        if (believed === undefined) continue;
        this.believed += 1;
        expect(believed).toBe((await this.shard.truth(parent, name))?.ino ?? 0);
      }
    }
  }

  async end(): Promise<void> {
    while (!this.shard.isIdle) await this.step({ step: 'goOn', which: 0 });
    await Promise.all(this.#calls);
  }
}

function operationOf(
  step: Extract<Step, { at: unknown }>,
  { at, to, ino }: { at: Name; to: Name; ino: InodeNumber },
): Operation {
  const isDirectory = step.step === 'directory';
  switch (step.step) {
    case 'unlink':
    case 'rmdir':
      return { op: step.step, ...at };
    case 'link':
      return { op: 'link', ino, ...to };
    case 'chmod':
      return { op: 'set-attributes', ino, mode: 'mode' in step ? step.mode : 0 };
    case 'rename': {
      const flag = 'exchange' in step && step.exchange ? 'exchange' : 'replace';
      return { op: 'rename', ...at, newParent: to.parent, newName: to.name, flag };
    }
    default: {
      const kind = isDirectory ? 'directory' : 'file';
      const options = { mode: 0o755, uid: 0, gid: 0, rdev: 0, target: '', exclusive: false };
      return { op: 'create', ...at, kind, ...options };
    }
  }
}

describe('Beliefs', () => {
  it('are true at every moment, whatever is under way and in whatever order it is heard of', async () => {
    let believed = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(STEP, { minLength: 40, maxLength: 160 }), async (steps) => {
        const run = new Run();
        for (const step of steps) await run.step(step);
        await run.end();
        believed += run.believed;
      }),
      { numRuns: RUNS },
    );
    expect(believed).toBeGreaterThan(5 * RUNS); // or there would be nothing to compare
  });

  it('know every name of a directory that was made here', async () => {
    const run = new Run();
    const make = async (operation: Operation): Promise<OperationAnswer> => {
      const made = run.beliefs.change(
        operation,
        () => run.shard.execute(operation),
        () => true,
      );
      await run.end();
      return made;
    };
    const at = { parent: ROOT_INODE, name: 'a' };
    const step = { step: 'directory', at: { directory: 0, name: 'a' } } as const;
    const { attributes } = await make(operationOf(step, { at, to: at, ino: ROOT_INODE }));
    const parent = attributes?.ino as InodeNumber;
    expect(run.beliefs.inodeAt({ parent, name: 'b' })).toBe(0);
    expect(run.beliefs.inodeAt({ parent, name: 'b'.repeat(256) })).toBeUndefined();
    await make({ op: 'rmdir', ...at });
    expect(run.beliefs.inodeAt({ parent, name: 'b' })).toBeUndefined();
    expect(run.beliefs.inodeAt(at)).toBe(0);
  });
});
