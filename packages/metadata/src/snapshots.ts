/** Snapshots as records; how they come and go: operations/snapshots.ts. */
import { HoldfastError, type Snapshot, type VolumeNumber } from '@holdfast/protocol';
import { keyAfter, snapshotIn, snapshotKey, snapshotsRange } from './keys.ts';
import { SNAPSHOT, type SnapshotRecord } from './records.ts';
import type { StateSource } from './state.ts';
import type { Transaction } from './transaction.ts';

/** Snapshots of one answer. */
const LISTED_MAX = 1024;

/** The record of the snapshot that pins a generation. ESTALE when there is none (any more). */
export function snapshotRecordOf(
  transaction: Transaction,
  volume: VolumeNumber,
  generation: number,
): SnapshotRecord {
  const record = transaction.read(SNAPSHOT, snapshotKey(volume, generation));
  if (record !== undefined) return record;
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
  const { name, timeNs, usedBytes, usedInodes } = record;
  return { name, generation, timeNs, usedBytes, usedInodes };
}

/** Snapshots after a generation, oldest first. Scans settled state. */
export async function listSnapshots(
  state: StateSource,
  volume: VolumeNumber,
  { after, count }: { readonly after: number; readonly count: number },
): Promise<{ snapshots: Snapshot[]; end: boolean }> {
  const wanted = Math.min(count, LISTED_MAX);
  const snapshots: Snapshot[] = [];
  const from = keyAfter(snapshotKey(volume, after));
  for await (const [key, bytes] of state.scan(from, snapshotsRange(volume).to, wanted + 1)) {
    if (snapshots.length === wanted) return { snapshots, end: false };
    snapshots.push(shown(snapshotIn(key), SNAPSHOT.decode(bytes)));
  }
  return { snapshots, end: true };
}
