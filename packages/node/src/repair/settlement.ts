/** When a moved partition is complete here, so that the table before can be forgotten. */
import type { NodeNumber, PartitionId } from '@holdfast/protocol';
import type { Holding, Holdings } from './holdings.ts';

/** Partitions that this peer holds wholly as they stood in the map of an epoch. */
export interface Settled {
  readonly epoch: number;
  readonly partitions: readonly PartitionId[];
}

interface Proofs {
  readonly signature: string;
  /** By peer: the newest epoch of which nothing of it is missing here. */
  readonly by: Map<NodeNumber, number>;
  reportedAt: number;
}

/** Milliseconds after which a report is repeated while the map still shows the move. */
const REPORT_AGAIN_MS = 30_000;

/**
 * Gathers comparisons that found nothing missing. One counts for the epoch of both maps at the time:
 * from then on the other peer admits no write under an older one, so that nothing can come after.
 */
export class Settlement {
  readonly #proofs = new Map<PartitionId, Proofs>();

  /** Nothing that `peer` holds of the partition is missing here, as of an epoch. */
  complete(holding: Holding, peer: NodeNumber, epoch: number): void {
    const { partition, move } = holding;
    if (move === undefined) return;
    const proofs = this.#of(partition, move.signature);
    proofs.by.set(peer, Math.max(epoch, proofs.by.get(peer) ?? 0));
  }

  /** Whether a moving partition still lacks a comparison. */
  isOpen(holding: Holding): boolean {
    const { partition, move } = holding;
    if (move === undefined) return false;
    const proofs = this.#proofs.get(partition);
    if (proofs?.signature !== move.signature) return move.from.length > 0;
    return move.from.some((peer) => !proofs.by.has(peer));
  }

  /** What is to be reported now (milliseconds), by epoch; forgets what moves no more. */
  due(holdings: Holdings, nowMs: number): Settled[] {
    for (const partition of this.#proofs.keys()) {
      if (holdings.held.get(partition)?.move === undefined) this.#proofs.delete(partition);
    }
    const byEpoch = new Map<number, PartitionId[]>();
    for (const { partition, move } of holdings.held.values()) {
      if (move === undefined) continue;
      const proofs = this.#of(partition, move.signature);
      if (nowMs - proofs.reportedAt < REPORT_AGAIN_MS) continue;
      const epochs = move.from.map((peer) => proofs.by.get(peer));
      if (epochs.includes(undefined)) continue;
      const epoch = Math.min(holdings.map.epoch, ...(epochs as number[]));
      const partitions = byEpoch.get(epoch);
      if (partitions === undefined) byEpoch.set(epoch, [partition]);
      else partitions.push(partition);
    }
    return [...byEpoch].map(([epoch, partitions]) => ({ epoch, partitions }));
  }

  /** The cluster was told. */
  reported({ partitions }: Settled, nowMs: number): void {
    for (const partition of partitions) {
      const proofs = this.#proofs.get(partition);
      if (proofs !== undefined) proofs.reportedAt = nowMs;
    }
  }

  #of(partition: PartitionId, signature: string): Proofs {
    const known = this.#proofs.get(partition);
    if (known?.signature === signature) return known;
    const proofs = { signature, by: new Map(), reportedAt: Number.NEGATIVE_INFINITY };
    this.#proofs.set(partition, proofs);
    return proofs;
  }
}
