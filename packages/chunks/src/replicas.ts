import {
  type ChunkId,
  type ClusterMap,
  type NodeNumber,
  partitionOf,
  placementOf,
} from '@holdfast/protocol';

/** Calls in flight to each node, so that readers spread over the less busy replicas. */
export class NodeLoad {
  readonly #inFlight = new Map<NodeNumber, number>();

  of(node: NodeNumber): number {
    return this.#inFlight.get(node) ?? 0;
  }

  /** Counts a call for as long as it runs. */
  async during<T>(node: NodeNumber, call: () => Promise<T>): Promise<T> {
    this.#inFlight.set(node, this.of(node) + 1);
    try {
      return await call();
    } finally {
      this.#inFlight.set(node, this.of(node) - 1);
    }
  }
}

/**
 * The nodes that may hold a chunk, best first: this host's own peer, then peers that are up, the
 * least busy first, then those of the table before (they hold what the new ones have not fetched
 * yet), last the ones that are down.
 */
export function readOrder(
  map: ClusterMap,
  chunk: ChunkId,
  own: NodeNumber | undefined,
  load: NodeLoad,
): NodeNumber[] {
  const placement = placementOf(map, partitionOf(chunk));
  const isUp = (node: NodeNumber): boolean => {
    const state = map.nodes.find((record) => record.number === node)?.state;
    return state === 'up' || state === 'draining';
  };
  const rank = (node: NodeNumber): number => {
    if (!isUp(node)) return 3;
    if (node === own) return 0;
    return placement.replicas.includes(node) ? 1 : 2;
  };
  const candidates = [...new Set([...placement.replicas, ...(placement.previous ?? [])])];
  return candidates.sort((a, b) => rank(a) - rank(b) || load.of(a) - load.of(b));
}
