/** How a new partition table replaces the present one without losing sight of where bytes still are. */
import { type Epoch, type NodeNumber, PARTITION_COUNT, type PartitionId } from '@holdfast/protocol';
import type { ClusterRecords, StoredPartition } from './cluster-records.ts';

/**
 * Puts `wanted` in place of the present table; a partition whose replicas stay as they are is not
 * touched. `isKnown` tells peers that still exist: others can be asked for nothing and leave
 * `previous`. Returns whether anything moved.
 */
export function moveTo(
  records: ClusterRecords,
  wanted: readonly (readonly NodeNumber[])[],
  epoch: Epoch,
  isKnown: (node: NodeNumber) => boolean,
): boolean {
  let moved = false;
  for (let index = 0; index < PARTITION_COUNT; index++) {
    const present = records.partitions[index];
    const replicas = wanted[index] ?? [];
    if (present !== undefined && sameNodes(present.replicas, replicas)) {
      const kept = withoutGone(present, isKnown);
      if (kept === present) continue;
      records.putPartition(index, kept);
    } else {
      records.putPartition(index, placed(present, replicas, epoch, isKnown));
    }
    moved = true;
  }
  return moved;
}

function placed(
  present: StoredPartition | undefined,
  replicas: readonly NodeNumber[],
  epoch: Epoch,
  isKnown: (node: NodeNumber) => boolean,
): StoredPartition {
  if (present === undefined) return { replicas, movedAt: epoch };
  // Not yet settled: what the older table held may not have reached the replicas that are replaced now.
  const holders = [...new Set([...(present.previous ?? []), ...present.replicas])].filter(isKnown);
  if (holders.length === 0) return { replicas, movedAt: epoch };
  return { replicas, previous: holders, movedAt: epoch, synced: [] };
}

function withoutGone(
  present: StoredPartition,
  isKnown: (node: NodeNumber) => boolean,
): StoredPartition {
  if (present.previous === undefined || present.previous.every(isKnown)) return present;
  return { ...present, previous: present.previous.filter(isKnown) };
}

/**
 * Notes that a node holds all of a partition as of `epoch`; when every replica does, `previous` is
 * forgotten. Returns whether the placement that peers see changed.
 */
export function markSynced(
  records: ClusterRecords,
  node: NodeNumber,
  epoch: Epoch,
  index: PartitionId,
): boolean {
  const present = records.partitions[index];
  if (present?.previous === undefined || present.movedAt > epoch) return false;
  if (!present.replicas.includes(node) || present.synced?.includes(node) === true) return false;
  const synced = [...(present.synced ?? []), node];
  const { replicas, movedAt } = present;
  if (replicas.every((replica) => synced.includes(replica))) {
    records.putPartition(index, { replicas, movedAt });
    return true;
  }
  records.putPartition(index, { ...present, synced });
  return false;
}

function sameNodes(a: readonly NodeNumber[], b: readonly NodeNumber[]): boolean {
  return a.length === b.length && a.every((node, index) => node === b[index]);
}
