/** The system shard on this peer: the registry's state machine over its own LevelDB. */
import {
  ClusterState,
  type RecordChange,
  type RegistryCommand,
  type RegistryResult,
} from '@holdfast/placement';
import { decode, encode, HoldfastError } from '@holdfast/protocol';
import { Level } from 'level';
import { packFrames, unpackFrames } from './frames.ts';

const APPLIED_KEY = 'applied';
const RECORD_PREFIX = 'r/';

type Store = Level<string, Uint8Array>;
type Write =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: string };

/** Called after entries were applied that changed what it looks at. */
export type StateListener = (state: ClusterState) => void;

/**
 * Applies in memory at once and writes behind: the records changed and the applied index go to disk
 * in one batch, so that after a crash the log is replayed from exactly there.
 */
export class SystemShard {
  readonly #store: Store;
  #state: ClusterState;
  #applied: number;
  #writing: Promise<void> = Promise.resolve();
  readonly #listeners = new Set<StateListener>();

  private constructor(store: Store, state: ClusterState, applied: number) {
    this.#store = store;
    this.#state = state;
    this.#applied = applied;
  }

  /** Opens or makes the state at `path`. Throws CORRUPT when it cannot be read. */
  static async open(path: string): Promise<SystemShard> {
    const store: Store = new Level(path, { valueEncoding: 'view' });
    try {
      await store.open();
      const state = new ClusterState();
      let applied = 0;
      for await (const [key, value] of store.iterator()) {
        if (key === APPLIED_KEY) applied = decode<number>(value);
        else state.load(key.slice(RECORD_PREFIX.length), value);
      }
      return new SystemShard(store, state, applied);
    } catch (cause) {
      const message = `the state of the system shard in ${path} cannot be read; move the data directory away and join the cluster again`;
      throw new HoldfastError('CORRUPT', message, { cause });
    }
  }

  /** What the commands applied so far made; a new object after a snapshot was installed. */
  get state(): ClusterState {
    return this.#state;
  }

  /** Index of the last entry that was applied. */
  get applied(): number {
    return this.#applied;
  }

  /** Listens for applied entries; the answer ends it. */
  onApplied(listener: StateListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Applies entries in order; result i belongs to entry i. */
  apply(
    entries: readonly { readonly index: number; readonly data: Uint8Array }[],
  ): readonly RegistryResult[] {
    const results = entries.map(({ data }) => this.#applyOne(data));
    this.#applied = entries.at(-1)?.index ?? this.#applied;
    this.#stage(this.#state.takeChanges(), this.#applied);
    for (const listener of this.#listeners) listener(this.#state);
    return results;
  }

  #applyOne(data: Uint8Array): RegistryResult {
    let command: RegistryCommand;
    try {
      command = decode<RegistryCommand>(data);
    } catch {
      return { ok: false, code: 'BAD_REQUEST', message: 'the registry command is malformed' };
    }
    return this.#state.apply(command);
  }

  #stage(changes: readonly RecordChange[], applied: number): void {
    const batch: Write[] = changes.map(({ key, value }) => {
      const stored = RECORD_PREFIX + key;
      return value === undefined
        ? { type: 'del', key: stored }
        : { type: 'put', key: stored, value };
    });
    batch.push({ type: 'put', key: APPLIED_KEY, value: encode(applied) });
    this.#writing = this.#writing.then(() => this.#store.batch(batch));
    // Reported by settled(); a rejection must not be taken for unhandled before that is called.
    this.#writing.catch(() => undefined);
  }

  /** Resolves when everything applied is written, though not flushed. Throws DISK_FAILED. */
  async settled(): Promise<void> {
    try {
      await this.#writing;
    } catch (cause) {
      throw new HoldfastError('DISK_FAILED', 'the state of the system shard cannot be written', {
        cause,
      });
    }
  }

  /** Flushes; the log up to the answer is no longer needed. */
  async flushed(): Promise<number> {
    await this.settled();
    const applied = this.#applied;
    await this.#store.batch([{ type: 'put', key: APPLIED_KEY, value: encode(applied) }], {
      sync: true,
    });
    return applied;
  }

  /** The whole state as of this call, in pieces. */
  snapshot(): AsyncIterable<Uint8Array> {
    const records = this.#state.all();
    return packFrames(records.map(({ key, value }) => encode([key, value])));
  }

  /** Puts a snapshot in place of the state; durable when it resolves. Throws CORRUPT and changes nothing. */
  async install(
    meta: { readonly index: number },
    stream: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const state = new ClusterState();
    const batch: Write[] = [];
    try {
      for await (const frame of unpackFrames(stream)) {
        const [key, value] = decode<[string, Uint8Array]>(frame);
        const copy = Uint8Array.from(value);
        state.load(key, copy);
        batch.push({ type: 'put', key: RECORD_PREFIX + key, value: copy });
      }
    } catch (cause) {
      throw new HoldfastError('CORRUPT', 'the snapshot of the system shard is malformed', {
        cause,
      });
    }
    await this.settled();
    const kept = new Set(batch.map(({ key }) => key));
    for await (const key of this.#store.keys())
      if (!kept.has(key)) batch.push({ type: 'del', key });
    batch.push({ type: 'put', key: APPLIED_KEY, value: encode(meta.index) });
    await this.#store.batch(batch, { sync: true });
    this.#state = state;
    this.#applied = meta.index;
    for (const listener of this.#listeners) listener(state);
  }

  async close(): Promise<void> {
    await this.settled();
    await this.#store.close();
  }
}
