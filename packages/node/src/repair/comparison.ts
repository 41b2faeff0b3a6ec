import type { NodeNumber, PartitionId } from '@holdfast/protocol';
import type { Digest } from '../chunks/digests.ts';
import type { Holding, Holdings } from './holdings.ts';
import type { Settlement } from './settlement.ts';

/** What peers said of their partitions; see PeerDigests. */
export interface DigestSource {
  hasAnswered(peer: NodeNumber): boolean;
  epochOf(peer: NodeNumber): number;
  of(peer: NodeNumber, partition: PartitionId): Digest;
}

/** A partition of which some peers may have more than this one. */
export interface Difference {
  readonly holding: Holding;
  readonly peers: readonly NodeNumber[];
  /** Chunks that are missing here, by the counts alone. */
  readonly estimate: number;
}

/**
 * Compares digests. A difference that was listed and held nothing for this peer (the other one is
 * behind, or keeps what was given up) is remembered until either digest changes.
 */
export class Comparison {
  readonly #own: (partition: PartitionId) => Digest;
  readonly #settlement: Settlement;
  /** By partition and peer: the two digests of a listing that found nothing missing. */
  readonly #fruitless = new Map<PartitionId, Map<NodeNumber, string>>();

  constructor(own: (partition: PartitionId) => Digest, settlement: Settlement) {
    this.#own = own;
    this.#settlement = settlement;
  }

  /** Compares all that is shared with peers that have answered; what agrees counts for settlement. */
  differences(holdings: Holdings, source: DigestSource): Map<PartitionId, Difference> {
    this.#prune(holdings);
    const found = new Map<PartitionId, Difference>();
    for (const [peer, partitions] of holdings.shared) {
      if (!source.hasAnswered(peer)) continue;
      for (const partition of partitions) {
        const holding = holdings.held.get(partition);
        if (holding === undefined) continue;
        const own = this.#own(partition);
        const theirs = source.of(peer, partition);
        if (this.#agree(partition, peer, own, theirs)) {
          this.#complete(holding, peer, holdings, source);
          continue;
        }
        const known = found.get(partition);
        found.set(partition, {
          holding,
          peers: [...(known?.peers ?? []), peer],
          estimate: Math.max(known?.estimate ?? 0, theirs.count - own.count),
        });
      }
    }
    return found;
  }

  /** A listing, asked for after `theirs` was the digest, had nothing (more) that is missing here. */
  exhausted(holding: Holding, peer: NodeNumber, holdings: Holdings, source: DigestSource): void {
    const { partition } = holding;
    const marks = this.#fruitless.get(partition) ?? new Map<NodeNumber, string>();
    marks.set(peer, mark(this.#own(partition), source.of(peer, partition)));
    this.#fruitless.set(partition, marks);
    this.#complete(holding, peer, holdings, source);
  }

  #complete(holding: Holding, peer: NodeNumber, { map }: Holdings, source: DigestSource): void {
    // A peer with an older map may still admit writes that belong to it no more.
    if (source.epochOf(peer) >= map.epoch) this.#settlement.complete(holding, peer, map.epoch);
  }

  #agree(partition: PartitionId, peer: NodeNumber, own: Digest, theirs: Digest): boolean {
    if (theirs.count === 0 || isSame(own, theirs)) {
      this.#fruitless.get(partition)?.delete(peer);
      return true;
    }
    return this.#fruitless.get(partition)?.get(peer) === mark(own, theirs);
  }

  #prune({ held }: Holdings): void {
    for (const [partition, marks] of this.#fruitless) {
      if (marks.size === 0 || !held.has(partition)) this.#fruitless.delete(partition);
    }
  }
}

function isSame(a: Digest, b: Digest): boolean {
  return a.count === b.count && a.high === b.high && a.low === b.low;
}

function mark(own: Digest, theirs: Digest): string {
  return [own.count, own.high, own.low, theirs.count, theirs.high, theirs.low].join();
}
