/** Snapshots as records; how they come and go: operations/snapshots.ts. */
import { HoldfastError, LIMITS, type Snapshot, type VolumeNumber } from '@holdfast/protocol';
import { keyAfter, snapshotIn, snapshotKey, snapshotsRange } from './keys.ts';
import { SNAPSHOT, type SnapshotRecord } from './records.ts';
import { FIRST_TREE } from './shard-records.ts';
import type { StateSource } from './state.ts';
import { Transaction } from './transaction.ts';
import { allTrees } from './trees.ts';

/** Snapshots of one answer. */
const LISTED_MAX = 1024;
/** All of a volume: those that only clones hold are passed over. */
const LISTED_AT_ONCE = LIMITS.snapshotsMax + 1;

/** The record of the snapshot that pins a generation. ESTALE when there is none (any more). */
export function snapshotRecordOf(
  transaction: Transaction,
  volume: VolumeNumber,
  generation: number,
): SnapshotRecord {
  const record = transaction.read(SNAPSHOT, snapshotKey(volume, generation));
  if (record !== undefined && !record.removed) return record;
  throw new HoldfastError('ESTALE', 'the snapshot was removed', { detail: { volume, generation } });
}

/** The snapshot that pins a generation. ESTALE. */
export function snapshotOf(
  transaction: Transaction,
  volume: VolumeNumber,
  generation: number,
): Snapshot {
  return shown(generation, snapshotRecordOf(transaction, volume, generation));
}

function shown(generation: number, record: SnapshotRecord): Snapshot {
  const { name, timeNs, usedBytes, usedInodes, clones, origin } = record;
  // The volume itself, rolled back to it, is no clone.
  const volumes = clones.filter((clone) => clone < FIRST_TREE).length;
  const shownOrigin = origin === '' ? {} : { origin };
  return { name, generation, timeNs, usedBytes, usedInodes, clones: volumes, ...shownOrigin };
}

/** Snapshots of a volume after a generation, oldest first. Scans settled state. */
export async function listSnapshots(
  state: StateSource,
  volume: VolumeNumber,
  { after, count }: { readonly after: number; readonly count: number },
): Promise<{ snapshots: Snapshot[]; end: boolean }> {
  const wanted = Math.min(count, LISTED_MAX);
  const snapshots: Snapshot[] = [];
  for (const tree of allTrees(new Transaction(state), volume)) {
    const from = keyAfter(snapshotKey(tree, after));
    for await (const [key, bytes] of state.scan(from, snapshotsRange(tree).to, LISTED_AT_ONCE)) {
      if (snapshots.length === wanted) return { snapshots, end: false };
      const record = SNAPSHOT.decode(bytes);
      if (!record.removed) snapshots.push(shown(snapshotIn(key), record));
    }
  }
  return { snapshots, end: true };
}
