/** Finds chunks on this peer's disk that no shard knows and none ever will, and frees them everywhere. */
import { type ChunkId, LIMITS, madeAtOf, type ShardId, type ViewAnswers } from '@holdfast/protocol';
import type { Registry } from 'prom-client';
import type { ChunkStore, ListedChunk } from '../chunks/store.ts';
import type { Log } from '../telemetry/log.ts';
import { pause } from '../waiting.ts';
import { REPAIR_LIMITS } from './limits.ts';
import { listing } from './listings.ts';
import { OrphanMetrics } from './metrics.ts';

/** What {@link OrphanSearch} works with. */
export interface OrphanSearchParts {
  readonly store: Pick<ChunkStore, 'digests' | 'list' | 'delete'>;
  /** All shards with volumes; none while they are not known. */
  readonly shards: () => readonly ShardId[];
  /** A linearizable look at a shard: see 'known-chunks'. */
  readonly look: (
    shard: ShardId,
    chunks: readonly ChunkId[],
  ) => Promise<ViewAnswers['known-chunks']>;
  /** Has a shard apply 'bar-chunks'. */
  readonly bar: (shard: ShardId, before: number) => Promise<unknown>;
  /** Deletes chunks on all peers that may hold them, as far as these can be reached. */
  readonly deleteChunks: (chunks: readonly ChunkId[]) => Promise<unknown>;
  /** Milliseconds since the epoch; decides only which chunks are worth a look. */
  readonly nowMs: () => number;
  /** Milliseconds after which a chunk is looked for. */
  readonly ageMs: number;
  readonly onFreed: (chunks: readonly ListedChunk[]) => void;
  readonly signal: AbortSignal;
}

/** One search after the other. See README.md for why what it deletes is needed by nobody. */
export class OrphanSearch {
  readonly #parts: OrphanSearchParts;

  constructor(parts: OrphanSearchParts) {
    this.#parts = parts;
  }

  /** Goes once through all chunks here that are old enough. Rejects in an outage: nothing is freed in doubt. */
  async run(): Promise<void> {
    const { nowMs, ageMs, signal } = this.#parts;
    const before = Math.floor((nowMs() - ageMs) / 1000);
    let batch: ListedChunk[] = [];
    for await (const listed of this.#all()) {
      if (signal.aborted) return;
      if (madeAtOf(listed.chunk) < before) batch.push(listed);
      if (batch.length < LIMITS.knownChunksMax) continue;
      await this.#judge(batch, before);
      batch = [];
      await pause(REPAIR_LIMITS.orphanBatchMs, signal);
    }
    await this.#judge(batch, before);
  }

  async *#all(): AsyncGenerator<ListedChunk> {
    const { store } = this.#parts;
    for (const partition of store.digests.nonEmpty())
      yield* listing((after) => store.list(partition, after, REPAIR_LIMITS.pageCount));
  }

  async #judge(chunks: readonly ListedChunk[], before: number): Promise<void> {
    const { shards, bar, deleteChunks, store, onFreed } = this.#parts;
    const { unknown } = await this.#lookFor(chunks);
    // Where nothing is left over, nobody need be barred.
    if (unknown.length === 0) return;
    await Promise.all(shards().map((shard) => bar(shard, before)));
    // What a command has named meanwhile is known by now; from here on none can.
    const { unknown: left, barredBefore } = await this.#lookFor(unknown);
    const orphans = left.filter(({ chunk }) => madeAtOf(chunk) < barredBefore);
    if (orphans.length === 0) return;
    const ids = orphans.map(({ chunk }) => chunk);
    // Here too, when the map places them elsewhere.
    await store.delete(ids);
    onFreed(orphans);
    await deleteChunks(ids);
  }

  /** Those that no shard knows; of these, those made before `barredBefore` none ever will. */
  async #lookFor(
    chunks: readonly ListedChunk[],
  ): Promise<{ unknown: readonly ListedChunk[]; barredBefore: number }> {
    const { shards, look } = this.#parts;
    const all = shards();
    let unknown = all.length === 0 ? [] : chunks;
    let barredBefore = Number.POSITIVE_INFINITY;
    for (const shard of all) {
      if (unknown.length === 0) break;
      const ids = unknown.map(({ chunk }) => chunk);
      const answer = await look(shard, ids);
      const known = new Set(answer.known);
      unknown = unknown.filter(({ chunk }) => !known.has(chunk));
      barredBefore = Math.min(barredBefore, answer.barredBefore);
    }
    return { unknown, barredBefore };
  }
}

/** Options of {@link Orphans}. */
export interface OrphansOptions extends Omit<OrphanSearchParts, 'onFreed' | 'signal'> {
  readonly registry: Registry;
  readonly log: Log;
}

/** Searches, until closed. */
export class Orphans {
  readonly #options: OrphansOptions;
  readonly #stop = new AbortController();
  readonly #search: OrphanSearch;
  readonly #metrics: OrphanMetrics;
  #running: Promise<void> = Promise.resolve();

  constructor(options: OrphansOptions) {
    this.#options = options;
    this.#metrics = new OrphanMetrics(options.registry);
    this.#search = new OrphanSearch({
      ...options,
      onFreed: (chunks) => this.#note(chunks),
      signal: this.#stop.signal,
    });
  }

  /** Begins, a while from now. */
  start(): void {
    this.#running = this.#run();
  }

  /** Ends after what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { orphanIntervalMsMin, orphanIntervalMsMax, orphanRetryMs } = REPAIR_LIMITS;
    const often = Math.max(orphanIntervalMsMin, this.#options.ageMs / 4);
    const intervalMs = Math.min(often, orphanIntervalMsMax);
    const retryMs = Math.min(intervalMs, orphanRetryMs);
    for (let restMs = retryMs; !signal.aborted; ) {
      await pause(restMs, signal);
      restMs = (await this.#isDone()) ? intervalMs : retryMs;
    }
  }

  async #isDone(): Promise<boolean> {
    if (this.#stop.signal.aborted) return true;
    try {
      await this.#search.run();
      this.#metrics.searches.inc({ result: 'done' });
      return true;
    } catch (error) {
      if (this.#stop.signal.aborted) return true;
      this.#metrics.searches.inc({ result: 'failed' });
      this.#options.log.debug({ event: 'orphans.search.failed', error });
      return false;
    }
  }

  #note(chunks: readonly ListedChunk[]): void {
    const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
    this.#metrics.freedChunks.inc(chunks.length);
    this.#metrics.freedBytes.inc(bytes);
    this.#options.log.info({ event: 'orphans.freed', chunks: chunks.length, bytes });
  }
}
