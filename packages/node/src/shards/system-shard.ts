/** The system shard on this peer: the registry's state machine over its own LevelDB. */
import {
  ClusterState,
  type RecordChange,
  type RegistryCommand,
  type RegistryResult,
} from '@holdfast/placement';
import { decode, encode, HoldfastError } from '@holdfast/protocol';
import type { Level } from 'level';
import { failureText, openDurableLevel } from '../durable-level.ts';
import { DiskRoom, hadNoRoom } from './disk-room.ts';
import { packFrames, unpackFrames } from './frames.ts';

const APPLIED_KEY = 'applied';
const RECORD_PREFIX = 'r/';
/** Milliseconds that a change waits for others before it is written. */
const WRITE_BEHIND_MS = 200;
/** Records that may wait to be written; the whole state of a large cluster is a few times that. */
const STAGED_RECORDS_MAX = 10_000;

type Store = Level<string, Uint8Array>;
type Write =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: string };

/** Called after entries were applied that changed what it looks at. */
export type StateListener = (state: ClusterState) => void;

/**
 * Applies in memory at once and writes behind: the records changed by many entries and the applied
 * index go to disk in one flushed batch, so that after a crash the log is replayed from exactly
 * there. Batches are never written unflushed: LevelDB starts new log files without flushing old ones,
 * so that a power cut could keep a later batch and lose an earlier one.
 */
export class SystemShard {
  readonly #store: Store;
  readonly #room: DiskRoom;
  #state: ClusterState;
  #applied: number;
  /** By key; undefined: to be deleted. */
  #staged = new Map<string, Uint8Array | undefined>();
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: HoldfastError | undefined;
  readonly #listeners = new Set<StateListener>();

  private constructor(
    path: string,
    store: Store,
    { state, applied }: { readonly state: ClusterState; readonly applied: number },
  ) {
    this.#room = new DiskRoom(path);
    this.#store = store;
    this.#state = state;
    this.#applied = applied;
  }

  /** Opens or makes the state at `path`. Throws CORRUPT when it cannot be read. */
  static async open(path: string): Promise<SystemShard> {
    try {
      const store: Store = await openDurableLevel(path, { valueEncoding: 'view' });
      const state = new ClusterState();
      let applied = 0;
      for await (const [key, value] of store.iterator()) {
        if (key === APPLIED_KEY) applied = decode<number>(value);
        else state.load(key.slice(RECORD_PREFIX.length), value);
      }
      return new SystemShard(path, store, { state, applied });
    } catch (cause) {
      const message = `the state of the system shard in ${path} cannot be read (${failureText(cause)}); move the data directory away and join the cluster again`;
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
    this.#stage(this.#state.takeChanges());
    for (const listener of this.#listeners) listener(this.#state);
    return results;
  }

  #applyOne(data: Uint8Array): RegistryResult {
    // An entry that cannot be understood is refused alike by every replica: none may stop on it.
    try {
      return this.#state.apply(decode<RegistryCommand>(data));
    } catch {
      return { ok: false, code: 'BAD_REQUEST', message: 'the registry command is malformed' };
    }
  }

  #stage(changes: readonly RecordChange[]): void {
    for (const { key, value } of changes) this.#staged.set(RECORD_PREFIX + key, value);
    this.#timer ??= setTimeout(() => void this.#write(), WRITE_BEHIND_MS);
  }

  /** Writes all that is staged when the disk has room; while one write runs the next gathers. */
  async #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
    const [staged, applied] = [this.#staged, this.#applied];
    this.#staged = new Map();
    const batch: Write[] = [...staged].map(([key, value]) =>
      value === undefined ? { type: 'del', key } : { type: 'put', key, value },
    );
    batch.push({ type: 'put', key: APPLIED_KEY, value: encode(applied) });
    const written = this.#room.wait().then(() => this.#store.batch(batch, { sync: true }));
    this.#writing = written.catch((cause: unknown) => {
      const message = 'the state of the system shard cannot be written';
      this.#failure = hadNoRoom(cause)
        ? cause // closing: it comes again from the log
        : new HoldfastError('DISK_FAILED', message, { cause });
    });
    await this.#writing;
  }

  /** Resolves when more can be applied. Throws DISK_FAILED. */
  async settled(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#staged.size > STAGED_RECORDS_MAX) await this.#writing;
  }

  /** Writes and flushes; the log up to the answer is no longer needed. Throws DISK_FAILED. */
  async flushed(): Promise<number> {
    const applied = this.#applied;
    await this.#write();
    await this.settled();
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
    await this.flushed();
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
    this.#room.close();
    try {
      await this.flushed();
    } catch (error) {
      if (!hadNoRoom(error)) throw error;
    }
    await this.#store.close();
  }
}
