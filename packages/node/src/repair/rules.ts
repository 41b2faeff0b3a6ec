import {
  type ClusterMap,
  HoldfastError,
  isChunkId,
  type NodeNumber,
  partitionOf,
} from '@holdfast/protocol';
import type { ChunkRules } from '../chunks/service.ts';

/**
 * What the chunk service must refuse so that repair's comparisons can be trusted. A writer with an
 * older map than ours that still takes this peer for a replica is told so: what it wrote here, the
 * new replicas might never learn of.
 */
export function chunkRules(self: NodeNumber, map: () => ClusterMap | undefined): ChunkRules {
  return {
    epoch: () => map()?.epoch ?? 0,
    admit: ({ chunk, epoch }) => {
      const present = map();
      // A writer that knows a newer map knows better.
      if (present === undefined || !(epoch <= present.epoch) || !isChunkId(chunk)) return;
      const replicas = present.partitions[partitionOf(chunk)]?.replicas;
      if (replicas === undefined || replicas.includes(self)) return;
      throw new HoldfastError(
        'STALE_MAP',
        `peer ${self} holds partition ${partitionOf(chunk)} no more`,
        { detail: { epoch: present.epoch } },
      );
    },
    givenUp: () => {},
  };
}
