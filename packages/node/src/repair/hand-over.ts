import type { ChunkId, ClusterMap, NodeNumber, PartitionId } from '@holdfast/protocol';
import type { ChunkStore, ListedChunk } from '../chunks/store.ts';
import type { Log } from '../telemetry/log.ts';
import { forEachOf } from './budget.ts';
import { isFor, isNamed } from './holdings.ts';
import { REPAIR_LIMITS } from './limits.ts';
import { type ListingPage, listing, missingFrom } from './listings.ts';
import type { RepairMetrics } from './metrics.ts';
import type { PeerDigests } from './peer-digests.ts';
import type { PeerCall } from './peers.ts';
import type { Transfer } from './transfer.ts';

/** What {@link HandOver} works with. */
export interface HandOverParts {
  readonly self: NodeNumber;
  /** The newest map, which may say that a partition is ours again. */
  readonly map: () => ClusterMap | undefined;
  readonly store: ChunkStore;
  readonly call: PeerCall;
  readonly peers: PeerDigests;
  readonly transfer: Transfer;
  readonly metrics: RepairMetrics;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Empties partitions that the map does not name this peer for any more. A chunk goes only when every
 * replica lists it; one that a replica lacks (written by a client with an old map, or while this
 * peer was away) is given to it first.
 */
export class HandOver {
  readonly #parts: HandOverParts;

  constructor(parts: HandOverParts) {
    this.#parts = parts;
  }

  /** Partitions with chunks here that others are to hold. */
  strays(map: ClusterMap): PartitionId[] {
    const { store, self } = this.#parts;
    return [...store.digests.nonEmpty()].filter((partition) => !isNamed(map, partition, self));
  }

  /** Empties one of them, as far as its replicas can be reached. Throws what the own store says. */
  async run(partition: PartitionId, map: ClusterMap, isOver: () => boolean): Promise<void> {
    const { store, peers, log } = this.#parts;
    const replicas = map.partitions[partition]?.replicas ?? [];
    const canCompare = replicas.every(
      (replica) => peers.hasAnswered(replica) && peers.epochOf(replica) >= map.epoch,
    );
    if (replicas.length === 0 || !canCompare) return;
    let dropped = 0;
    let after: ChunkId | '' = '';
    for (let end = false; !end && !isOver(); ) {
      const page: ListingPage = await store.list(partition, after, REPAIR_LIMITS.pageCount);
      dropped += await this.#handOver(partition, map, { after, page }, isOver);
      after = page.chunks.at(-1)?.chunk ?? '';
      end = page.end || after === '';
    }
    if (dropped > 0) log.debug({ event: 'repair.dropped', partition, chunks: dropped });
  }

  async #handOver(
    partition: PartitionId,
    map: ClusterMap,
    own: { readonly after: ChunkId | ''; readonly page: ListingPage },
    isOver: () => boolean,
  ): Promise<number> {
    const { store, self, metrics } = this.#parts;
    const kept = new Set<ChunkId>();
    for (const [place, replica] of (map.partitions[partition]?.replicas ?? []).entries()) {
      const lacking = await this.#lackedBy(replica, partition, { ...own, place });
      if (lacking === undefined) return 0;
      await forEachOf(
        lacking,
        lacking.length,
        async (listed) => {
          kept.add(listed.chunk);
          const outcome = await this.#parts.transfer.push(listed, replica, map.epoch);
          if (outcome !== 'failed') kept.delete(listed.chunk);
        },
        isOver,
      );
      if (isOver()) return 0;
    }
    const drop = own.page.chunks.map(({ chunk }) => chunk).filter((chunk) => !kept.has(chunk));
    const present = this.#parts.map();
    if (present === undefined || isNamed(present, partition, self)) return 0;
    await store.release(drop);
    metrics.droppedChunks.inc(drop.length);
    return drop.length;
  }

  /** Chunks of a page of ours that a replica does not list; undefined when it cannot be asked. */
  async #lackedBy(
    replica: NodeNumber,
    partition: PartitionId,
    o: { readonly after: ChunkId | ''; readonly page: ListingPage; readonly place: number },
  ): Promise<ListedChunk[] | undefined> {
    const { call, peers } = this.#parts;
    const options = { signal: this.#parts.signal, deadlineMs: REPAIR_LIMITS.answerMsMax };
    const theirs = listing(async (from) => {
      const header = { partition, after: from, count: REPAIR_LIMITS.pageCount };
      return (await call<ListingPage>(replica, 'chunk.list', header, options)).header;
    }, o.after);
    const chunks = o.page.chunks.filter(({ copies }) => isFor(o.place, copies));
    const ours = listing(async () => ({ chunks, end: true }));
    try {
      const lacking: ListedChunk[] = [];
      for await (const listed of missingFrom(theirs, ours)) lacking.push(listed);
      return lacking;
    } catch {
      peers.failed(replica);
      return undefined;
    }
  }
}
