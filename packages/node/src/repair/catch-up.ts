import { type ChunkId, HoldfastError, type NodeNumber, type PartitionId } from '@holdfast/protocol';
import type { ChunkStore, ListedChunk } from '../chunks/store.ts';
import type { Log } from '../telemetry/log.ts';
import { forEachOf } from './budget.ts';
import type { Comparison, Difference } from './comparison.ts';
import { type Holding, type Holdings, isFor } from './holdings.ts';
import { REPAIR_LIMITS } from './limits.ts';
import { type ListingPage, listing, missingFrom } from './listings.ts';
import type { PeerDigests } from './peer-digests.ts';
import type { PeerCall } from './peers.ts';
import { codeOf, type Transfer } from './transfer.ts';

/** What {@link CatchUp} works with. */
export interface CatchUpParts {
  readonly store: ChunkStore;
  readonly call: PeerCall;
  readonly peers: PeerDigests;
  readonly comparison: Comparison;
  readonly transfer: Transfer;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Fetches what other holders of a partition have and this peer lacks. */
export class CatchUp {
  readonly #parts: CatchUpParts;
  /** By partition: chunks that are missing, estimated until they are listed. */
  readonly #missing = new Map<PartitionId, number>();

  constructor(parts: CatchUpParts) {
    this.#parts = parts;
  }

  /** Partitions that lack chunks. */
  get behind(): Iterable<PartitionId> {
    return this.#missing.keys();
  }

  get missingChunks(): number {
    let sum = 0;
    for (const count of this.#missing.values()) sum += count;
    return sum;
  }

  /** Takes over what a comparison found; of what it could not compare, the last word stays. */
  expect(differences: ReadonlyMap<PartitionId, Difference>, holdings: Holdings): void {
    for (const partition of this.#missing.keys()) {
      const peers = holdings.held.get(partition)?.others ?? [];
      const isKnown = peers.every((peer) => this.#parts.peers.hasAnswered(peer));
      if (isKnown && !differences.has(partition)) this.#missing.delete(partition);
    }
    for (const [partition, { estimate }] of differences) this.#note(partition, estimate);
  }

  /** Makes one partition whole, as far as its holders can be reached. Throws what the own store says. */
  async run(
    { holding, peers }: Difference,
    holdings: Holdings,
    isOver: () => boolean,
  ): Promise<void> {
    const { partition } = holding;
    const { comparison, log, peers: digests } = this.#parts;
    let left = 0;
    let isUnknown = false;
    for (const peer of peers) {
      if (isOver()) return;
      try {
        const outcome = await this.#drain(holding, peer, isOver);
        left += outcome.failed;
        if (outcome.isWhole && outcome.failed === 0)
          comparison.exhausted(holding, peer, holdings, digests);
      } catch (error) {
        if (!isOfPeer(error)) throw error;
        digests.failed(peer);
        isUnknown = true;
        log.debug({ event: 'repair.unreachable', node: peer, partition, error });
      }
    }
    if (!isOver() && !isUnknown) this.#note(partition, left);
  }

  /** Fetches all that a peer lists and this one lacks. */
  async #drain(
    { partition, place, others }: Holding,
    peer: NodeNumber,
    isOver: () => boolean,
  ): Promise<{ failed: number; isWhole: boolean }> {
    const { store, transfer } = this.#parts;
    const holders = [peer, ...others.filter((other) => other !== peer)];
    const own = listing((after) => store.list(partition, after, REPAIR_LIMITS.pageCount));
    const theirs = listing((after) => this.#page(peer, partition, after));
    let failed = 0;
    let batch: ListedChunk[] = [];
    const freed: ChunkId[] = [];
    const fetchBatch = async (): Promise<void> => {
      const chunks = batch;
      batch = [];
      await forEachOf(
        chunks,
        chunks.length,
        async (listed) => {
          const outcome = await transfer.fetch(listed, holders, 'missing');
          if (outcome === 'failed') failed += 1;
          else this.#less(partition);
        },
        isOver,
      );
    };
    for await (const listed of missingFrom(own, theirs)) {
      const { chunk, copies } = listed;
      if (store.isFreed(chunk)) freed.push(chunk);
      if (store.isFreed(chunk) || !isFor(place, copies) || store.length(chunk) !== undefined)
        continue;
      batch.push(listed);
      if (batch.length >= REPAIR_LIMITS.batchCount) await fetchBatch();
      if (isOver()) return { failed, isWhole: false };
    }
    await fetchBatch();
    if (freed.length > 0) await this.#tellFreed(peer, freed);
    return { failed, isWhole: !isOver() };
  }

  /** The peer was away when the cluster gave these chunks up. */
  async #tellFreed(peer: NodeNumber, freed: readonly ChunkId[]): Promise<void> {
    const { call, log, signal } = this.#parts;
    for (let at = 0; at < freed.length; at += REPAIR_LIMITS.pageCount) {
      const chunks = freed.slice(at, at + REPAIR_LIMITS.pageCount);
      const options = { signal, deadlineMs: REPAIR_LIMITS.answerMsMax };
      try {
        await call(peer, 'chunk.delete', { chunks }, options);
      } catch (cause) {
        throw new PeerFailure(cause);
      }
    }
    log.info({ event: 'repair.freed', node: peer, chunks: freed.length });
  }

  async #page(peer: NodeNumber, partition: PartitionId, after: string): Promise<ListingPage> {
    const header = { partition, after, count: REPAIR_LIMITS.pageCount };
    const options = { signal: this.#parts.signal, deadlineMs: REPAIR_LIMITS.answerMsMax };
    try {
      return (await this.#parts.call<ListingPage>(peer, 'chunk.list', header, options)).header;
    } catch (cause) {
      throw new PeerFailure(cause);
    }
  }

  #less(partition: PartitionId): void {
    const count = this.#missing.get(partition);
    // The entry stays until the partition is known to be whole.
    if (count !== undefined) this.#missing.set(partition, Math.max(1, count - 1));
  }

  #note(partition: PartitionId, count: number): void {
    if (count > 0) this.#missing.set(partition, count);
    else this.#missing.delete(partition);
  }
}

/** A listing that a peer did not give: not a failure of our own store. */
class PeerFailure extends HoldfastError {
  constructor(cause: unknown) {
    super('UNREACHABLE', 'the peer gave no listing', { cause });
  }
}

function isOfPeer(error: unknown): boolean {
  return error instanceof PeerFailure && codeOf(error.cause) !== 'SHUTTING_DOWN';
}
