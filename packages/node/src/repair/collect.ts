import {
  type ChunkId,
  type ClusterMap,
  type NodeNumber,
  partitionOf,
  placementOf,
} from '@holdfast/protocol';
import type { ChunkStore } from '../chunks/store.ts';
import { REPAIR_LIMITS } from './limits.ts';
import type { PeerCall } from './peers.ts';

/** What {@link chunkCollector} works with. */
export interface CollectorParts {
  readonly self: NodeNumber;
  readonly map: () => ClusterMap | undefined;
  readonly store: Pick<ChunkStore, 'delete'>;
  readonly call: PeerCall;
}

/**
 * Makes the function that deletes chunks which the cluster has given up on all peers that may hold
 * them. It answers those that are gone from every one; the others are to be tried again later, so
 * that a peer that is away cannot bring them back.
 */
export function chunkCollector(
  parts: CollectorParts,
): (chunks: readonly ChunkId[]) => Promise<readonly ChunkId[]> {
  return async (chunks) => {
    const map = parts.map();
    if (map === undefined) return [];
    const known = new Set(map.nodes.map((node) => node.number));
    const byNode = new Map<NodeNumber, ChunkId[]>();
    for (const chunk of chunks) {
      const { replicas, previous } = placementOf(map, partitionOf(chunk));
      for (const node of new Set([...replicas, ...(previous ?? [])])) {
        if (!known.has(node)) continue;
        const its = byNode.get(node);
        if (its === undefined) byNode.set(node, [chunk]);
        else its.push(chunk);
      }
    }
    const left = new Set<ChunkId>();
    await Promise.all(
      [...byNode].map(([node, its]) =>
        deleteOn(parts, node, its).catch(() => {
          for (const chunk of its) left.add(chunk);
        }),
      ),
    );
    return chunks.filter((chunk) => !left.has(chunk));
  };
}

async function deleteOn(
  { self, store, call }: CollectorParts,
  node: NodeNumber,
  chunks: readonly ChunkId[],
): Promise<void> {
  if (node === self) await store.delete(chunks);
  else await call(node, 'chunk.delete', { chunks }, { deadlineMs: REPAIR_LIMITS.answerMsMax });
}
