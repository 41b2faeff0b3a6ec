/**
 * State of the volume shards of a process, in one LevelDB: one write and one flush serve all of them,
 * and hundreds of shards need no more files, threads and caches than one does.
 *
 * Keys: `m`, shard (u16) → its head record; `s`, shard (u16), incarnation (u32), key → value.
 * Installing a snapshot fills a new incarnation beside the present one and then changes the head: a
 * crash leaves the one or the other whole.
 *
 * What entries change is staged in memory and written behind, the changes of many entries of all
 * shards with their applied indices in one batch with a flush. LevelDB is never written without one:
 * it starts a new log file without flushing the old, so that after a power cut later batches may be
 * there and earlier ones not. After a crash the Raft log is applied again from the index found.
 */
import { decode, encode, HoldfastError, type ShardId } from '@holdfast/protocol';
import type { Level } from 'level';
import { failureText, openDurableLevel } from '../durable-level.ts';
import { DiskRoom, hadNoRoom } from './disk-room.ts';
import { bytesOf, type Head, headKey, prefixOf, textOf } from './level-keys.ts';
import { StagedChanges } from './staged-changes.ts';
import { type Pair, unpackPairs } from './state-stream.ts';

/** Options of {@link LevelStore.open}. */
export interface LevelStoreOptions {
  /** Milliseconds that a change waits for others before it is written. 500. */
  readonly writeBehindMs?: number;
  /** Bytes of staged changes that are written at once. 4 MiB. */
  readonly batchBytes?: number;
  /** Bytes of staged changes above which applying waits. 16 MiB. */
  readonly stagedBytesMax?: number;
  /** The disk failed: what is staged cannot be written. Called once. */
  readonly onFatal?: (error: HoldfastError) => void;
}

const DEFAULTS = {
  writeBehindMs: 500,
  batchBytes: 4 * 1024 * 1024,
  stagedBytesMax: 16 * 1024 * 1024,
  onFatal: () => {},
};
/** Entries that an iterator fetches at a time. */
const FETCH_ENTRIES = 256;
type Database = Level<Uint8Array, Uint8Array>;
type BatchChange =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

/** The database, and what is staged for it. */
export class LevelStore {
  readonly #database: Database;
  readonly #options: Required<LevelStoreOptions>;
  readonly #room: DiskRoom;
  readonly #open = new Set<ShardId>();
  #staged = new StagedChanges();
  /** Being written; older than `#staged`. */
  #writing: StagedChanges | undefined;
  #written: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #failure: HoldfastError | undefined;

  private constructor(path: string, database: Database, options: LevelStoreOptions) {
    this.#room = new DiskRoom(path);
    this.#database = database;
    this.#options = { ...DEFAULTS, ...options };
  }

  /** Opens or makes the database at `path`. Throws CORRUPT when it cannot be read. */
  static async open(path: string, options: LevelStoreOptions = {}): Promise<LevelStore> {
    try {
      const database: Database = await openDurableLevel(path, {
        keyEncoding: 'view',
        valueEncoding: 'view',
        writeBufferSize: 16 * 1024 * 1024,
        cacheSize: 32 * 1024 * 1024,
      });
      return new LevelStore(path, database, options);
    } catch (cause) {
      throw new HoldfastError(
        'CORRUPT',
        `the metadata in ${path} cannot be opened (${failureText(cause)}). If a majority of the peers is healthy, move this ` +
          `peer's data directory away and run 'holdfast join' with a new token: it is rebuilt from them`,
        { cause },
      );
    }
  }

  /** What is here of a shard; the applied index of one that never was is 0. See LevelState.open. */
  async openShard(shard: ShardId): Promise<Head> {
    if (this.#open.has(shard)) {
      throw new HoldfastError('INTERNAL', `the state of shard ${shard} is open already`);
    }
    const bytes = this.read(headKey(shard));
    const head = bytes === undefined ? undefined : decode<Head>(bytes);
    if (head !== undefined && head.v !== 1) {
      throw new HoldfastError('NEWER_FORMAT', `a newer version wrote the state of shard ${shard}`);
    }
    const incarnation = head?.incarnation ?? 1;
    // A crash while a snapshot came in, or before what it replaced was gone.
    await this.clearBefore(shard, incarnation);
    await this.#clear(prefixOf(shard, incarnation + 1), prefixOf((shard + 1) as ShardId, 0));
    this.#open.add(shard);
    return { v: 1, incarnation, applied: head?.applied ?? 0 };
  }

  /** The shard may be opened again. What it staged is written; on a full disk it stays staged. */
  async closeShard(shard: ShardId): Promise<void> {
    if (await this.#room.isThere()) await this.flush();
    this.#open.delete(shard);
  }

  /** Deletes a closed shard's state. */
  async removeShard(shard: ShardId): Promise<void> {
    await this.flush();
    await this.#database.batch([{ type: 'del', key: bytesOf(headKey(shard)) }], { sync: true });
    await this.#clear(prefixOf(shard, 0), prefixOf((shard + 1) as ShardId, 0));
  }

  async #clear(from: string, to: string): Promise<void> {
    if (from < to) await this.#database.clear({ gte: bytesOf(from), lt: bytesOf(to) });
  }

  /** The newest value, staged or written. */
  read(key: string): Uint8Array | undefined {
    if (this.#staged.has(key)) return this.#staged.get(key);
    if (this.#writing?.has(key) === true) return this.#writing.get(key);
    return this.#database.getSync(bytesOf(key));
  }

  /** Stages a change; undefined deletes. */
  stage(key: string, value: Uint8Array | undefined): void {
    if (this.#failure) throw this.#failure;
    this.#staged.set(key, value);
  }

  /** Stages a shard's head and sees to it that what is staged gets written. */
  stageHead(shard: ShardId, head: Head): void {
    this.stage(headKey(shard), encode(head));
    const { batchBytes, writeBehindMs } = this.#options;
    if (this.#writing !== undefined) return;
    if (this.#staged.bytes >= batchBytes) this.#write();
    else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#write(), writeBehindMs);
      this.#timer.unref();
    }
  }

  /**
   * Writes all that is staged now as one batch, flushed, when the disk has room; changes staged
   * meanwhile wait for the next.
   */
  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#writing !== undefined || this.#staged.size === 0 || this.#isClosed) return;
    const writing = this.#staged;
    this.#writing = writing;
    this.#staged = new StagedChanges();
    const batch: BatchChange[] = [];
    for (const [key, value] of writing.all()) {
      batch.push(
        value === undefined
          ? { type: 'del', key: bytesOf(key) }
          : { type: 'put', key: bytesOf(key), value },
      );
    }
    const written = this.#room.wait().then(() => this.#database.batch(batch, { sync: true }));
    this.#written = written.then(
      () => {
        this.#writing = undefined;
        if (this.#staged.bytes >= this.#options.batchBytes) this.#write();
        else if (this.#staged.size > 0) {
          this.#timer ??= setTimeout(() => this.#write(), this.#options.writeBehindMs).unref();
        }
      },
      (cause: unknown) => this.#fail(cause),
    );
  }

  #fail(cause: unknown): void {
    if (hadNoRoom(cause)) {
      this.#failure = cause; // closing: it comes again from the Raft log
      return;
    }
    const message = 'the metadata cannot be written: is the disk full or broken?';
    this.#failure = new HoldfastError('DISK_FAILED', message, { cause });
    if (!this.#isClosed) this.#options.onFatal(this.#failure);
  }

  /** Resolves when more may be staged. Throws SHUTTING_DOWN when nothing is written any more. */
  async settled(): Promise<void> {
    if (this.#failure) throw this.#failure;
    while (this.#staged.bytes > this.#options.stagedBytesMax) {
      if (this.#isClosed) throw new HoldfastError('SHUTTING_DOWN');
      this.#write();
      await this.#written;
      if (this.#failure) throw this.#failure;
    }
  }

  /** Resolves when all that was staged before the call is durable; waits while the disk is full. */
  async flush(): Promise<void> {
    // Once for what is being written, once for what is staged behind it.
    for (let round = 0; round < 2; round += 1) {
      await this.#written;
      this.#write();
      await this.#written;
      if (this.#failure) throw this.#failure;
    }
  }

  /**
   * Entries of [from, to) as of this call, in order, at most `limit`: the written ones with the staged
   * ones over them.
   */
  scan(from: string, to: string, limit: number): AsyncGenerator<Pair> {
    const staged = new Map<string, Uint8Array | undefined>();
    let puts = 0;
    let deletions = 0;
    const layers = [this.#writing, this.#staged].filter((layer) => layer !== undefined);
    for (const layer of layers) {
      for (const [key, value] of layer.between(from, to)) {
        staged.set(key, value);
        if (value === undefined) deletions += 1;
        else puts += 1;
        if (layers.length === 1 && puts >= limit) break;
      }
    }
    const sorted = [...staged].sort(([a], [b]) => (a < b ? -1 : 1));
    // The iterator sees the database as it is now, whatever is written while it is read.
    const iterator = this.#database.iterator({
      gte: bytesOf(from),
      lt: bytesOf(to),
      ...(limit < Number.MAX_SAFE_INTEGER && { limit: limit + deletions }),
    });
    return merge(sorted, iterator, limit);
  }

  /** Fills a new incarnation from a snapshot's stream and makes it the present one; durable when it resolves. */
  async replace(
    shard: ShardId,
    present: Head,
    o: { readonly applied: number; readonly stream: AsyncIterable<Uint8Array> },
  ): Promise<Head> {
    await this.flush();
    const incarnation = present.incarnation + 1;
    const prefix = prefixOf(shard, incarnation);
    await this.#clear(prefix, prefixOf((shard + 1) as ShardId, 0));
    const prefixBytes = bytesOf(prefix);
    let batch: BatchChange[] = [];
    let bytes = 0;
    for await (const pairs of unpackPairs(o.stream)) {
      for (const [key, value] of pairs) {
        batch.push({ type: 'put', key: Buffer.concat([prefixBytes, key]), value });
        bytes += key.length + value.length;
      }
      if (bytes < this.#options.batchBytes) continue;
      await this.#database.batch(batch, { sync: true });
      batch = [];
      bytes = 0;
    }
    await this.#database.batch(batch, { sync: true });
    const head: Head = { v: 1, incarnation, applied: o.applied };
    const put = { type: 'put' as const, key: bytesOf(headKey(shard)), value: encode(head) };
    await this.#database.batch([put], { sync: true });
    return head;
  }

  /** Deletes what a snapshot has replaced. */
  async clearBefore(shard: ShardId, incarnation: number): Promise<void> {
    await this.#clear(prefixOf(shard, 0), prefixOf(shard, incarnation));
  }

  /** Writes what is staged, unless the disk is full: then it comes again from the Raft log. Closes. */
  async close(): Promise<void> {
    this.#room.close();
    try {
      if (!this.#failure) await this.flush();
    } catch (error) {
      if (!hadNoRoom(error)) throw error;
    }
    await this.abandon();
  }

  /** Closes as a killed process would: what is staged is lost, and comes again from the Raft log. */
  async abandon(): Promise<void> {
    this.#isClosed = true;
    this.#room.close();
    clearTimeout(this.#timer);
    await this.#written;
    await this.#database.close();
  }
}

interface PairIterator {
  nextv(size: number): Promise<[Uint8Array, Uint8Array][]>;
  close(): Promise<void>;
}

/** Two ordered sources as one; of the same key the staged change counts. */
async function* merge(
  staged: readonly (readonly [string, Uint8Array | undefined])[],
  iterator: PairIterator,
  limit: number,
): AsyncGenerator<Pair> {
  let left = limit;
  let at = 0;
  try {
    let page = await iterator.nextv(FETCH_ENTRIES);
    let inPage = 0;
    while (left > 0) {
      if (inPage === page.length && page.length > 0) {
        page = await iterator.nextv(FETCH_ENTRIES);
        inPage = 0;
      }
      const written = page[inPage];
      const change = staged[at];
      if (written === undefined && change === undefined) return;
      const writtenKey = written === undefined ? undefined : textOf(written[0]);
      if (change === undefined || (writtenKey !== undefined && writtenKey < change[0])) {
        inPage += 1;
        left -= 1;
        yield written!;
        continue;
      }
      if (writtenKey === change[0]) inPage += 1;
      at += 1;
      if (change[1] === undefined) continue;
      left -= 1;
      yield [bytesOf(change[0]), change[1]];
    }
  } finally {
    await iterator.close();
  }
}
