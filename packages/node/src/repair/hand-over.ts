import type { ChunkId, ClusterMap, NodeNumber, PartitionId } from '@holdfast/protocol';
import type { ChunkStore, ListedChunk } from '../chunks/store.ts';
import type { Log } from '../telemetry/log.ts';
import { forEachOf } from './budget.ts';
import { type Holdings, isFor, isKept, isNamed } from './holdings.ts';
import { REPAIR_LIMITS } from './limits.ts';
import { type ListingPage, listing, missingFrom } from './listings.ts';
import type { RepairMetrics } from './metrics.ts';
import type { PeerDigests } from './peer-digests.ts';
import type { PeerCall } from './peers.ts';
import type { Transfer } from './transfer.ts';

/** Chunks of one page of our listing, which began after an id. */
interface Own {
  readonly after: ChunkId | '';
  readonly chunks: readonly ListedChunk[];
}

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
 * Drops what others are to hold: all of a partition that the map does not name this peer for any more,
 * and after a move chunks of few copies for which its place is too far back now. A chunk goes only
 * when every replica that it is for lists it; one that lacks it (written by a client with an old map,
 * or while this peer was away) is given it first.
 */
export class HandOver {
  readonly #parts: HandOverParts;
  /** Partitions of ours that have moved, and were not looked through since. */
  readonly #moved = new Set<PartitionId>();

  constructor(parts: HandOverParts) {
    this.#parts = parts;
  }

  /** Partitions that may have chunks here which only others are to hold. */
  strays({ map, held }: Holdings): PartitionId[] {
    const { store, self } = this.#parts;
    for (const { partition, move } of held.values())
      if (move !== undefined) this.#moved.add(partition);
    return [...store.digests.nonEmpty()].filter(
      (partition) =>
        !isNamed(map, partition, self) ||
        (this.#moved.has(partition) && held.get(partition)?.move === undefined),
    );
  }

  /** Drops them from one partition, as far as its replicas can be reached. Throws what the own store says. */
  async run(partition: PartitionId, map: ClusterMap, isOver: () => boolean): Promise<void> {
    const { store, peers, log, self } = this.#parts;
    const replicas = map.partitions[partition]?.replicas ?? [];
    const canCompare = replicas.every(
      (replica) =>
        replica === self || (peers.hasAnswered(replica) && peers.epochOf(replica) >= map.epoch),
    );
    if (replicas.length === 0 || !canCompare) return;
    let dropped = 0;
    let after: ChunkId | '' = '';
    for (let end = false; !end && !isOver(); ) {
      const page: ListingPage = await store.list(partition, after, REPAIR_LIMITS.pageCount);
      const chunks = page.chunks.filter(({ copies }) => !isKept(map, partition, self, copies));
      if (chunks.length > 0)
        dropped += await this.#handOver(partition, map, { after, chunks }, isOver);
      after = page.chunks.at(-1)?.chunk ?? '';
      end = page.end || after === '';
    }
    if (!isOver()) this.#moved.delete(partition);
    if (dropped > 0) log.debug({ event: 'repair.dropped', partition, chunks: dropped });
  }

  async #handOver(
    partition: PartitionId,
    map: ClusterMap,
    own: Own,
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
    const present = this.#parts.map() ?? map;
    const drop = own.chunks
      .filter(({ chunk, copies }) => !kept.has(chunk) && !isKept(present, partition, self, copies))
      .map(({ chunk }) => chunk);
    await store.release(drop);
    metrics.droppedChunks.inc(drop.length);
    return drop.length;
  }

  /** Chunks of a page of ours that a replica does not list; undefined when it cannot be asked. */
  async #lackedBy(
    replica: NodeNumber,
    partition: PartitionId,
    { after, chunks, place }: Own & { readonly place: number },
  ): Promise<ListedChunk[] | undefined> {
    const { call, peers } = this.#parts;
    const options = { signal: this.#parts.signal, deadlineMs: REPAIR_LIMITS.answerMsMax };
    const theirs = listing(async (from) => {
      const header = { partition, after: from, count: REPAIR_LIMITS.pageCount };
      return (await call<ListingPage>(replica, 'chunk.list', header, options)).header;
    }, after);
    const its = chunks.filter(({ copies }) => isFor(place, copies));
    const ours = listing(async () => ({ chunks: its, end: true }));
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
