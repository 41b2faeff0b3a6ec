import {
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  type VolumeNumber,
} from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { pinsKey, snapshotKey, snapshotNameKey, unpinnedKey } from '../keys.ts';
import { pinsOf } from '../pins.ts';
import { PINS, SNAPSHOT, SNAPSHOT_NAME, UNPINNED } from '../records.ts';
import { snapshotOf, snapshotRecordOf } from '../snapshots.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

const SNAPSHOT_NAME_FORM = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

function checkSnapshotName(name: string): void {
  if (name.length > LIMITS.volumeNameBytesMax) throw new HoldfastError('ENAMETOOLONG');
  if (SNAPSHOT_NAME_FORM.test(name)) return;
  throw new HoldfastError(
    'EINVAL',
    "a snapshot's name begins with a letter or digit and goes on with letters, digits, '_', '.' and '-'",
  );
}

/** Pins the present generation and begins a new one: no record of the volume's content is touched. */
export function createSnapshot(context: Context, { name }: Of<'create-snapshot'>): OperationAnswer {
  const { transaction, volume, nowNs } = context;
  checkSnapshotName(name);
  if (transaction.read(SNAPSHOT_NAME, snapshotNameKey(volume, name)) !== undefined) {
    throw new HoldfastError('EEXIST', 'the volume has a snapshot of this name');
  }
  const pins = pinsOf(transaction, volume);
  if (pins.length >= LIMITS.snapshotsMax) {
    throw new HoldfastError('ENOSPC', `a volume has at most ${LIMITS.snapshotsMax} snapshots`);
  }
  const record = volumeOf(context);
  const { generation } = record;
  transaction.write(SNAPSHOT, snapshotKey(volume, generation), {
    name,
    timeNs: nowNs,
    usedBytes: record.usedBytes - record.orphanBytes,
    usedInodes: record.usedInodes - record.orphanInodes,
    nextInode: record.nextInode,
    clones: [],
    removed: false,
  });
  transaction.write(SNAPSHOT_NAME, snapshotNameKey(volume, name), { generation });
  transaction.write(PINS, pinsKey(volume), { generations: [...pins, generation] });
  changeVolume(context, { generation: generation + 1, newestPin: generation });
  return { snapshot: snapshotOf(transaction, volume, generation) };
}

/**
 * Gives a snapshot up. Its generation is unpinned, and the versions that only it saw are deleted in
 * slices; while clones hold it, that is put off until the last of them is destroyed.
 */
export function removeSnapshot(
  context: Context,
  operation: Of<'remove-snapshot'>,
): OperationAnswer {
  const { transaction, volume } = context;
  const { name } = operation;
  const generation = generationOf(context, volume, operation);
  const snapshot = snapshotOf(transaction, volume, generation);
  const record = snapshotRecordOf(transaction, volume, generation);
  transaction.remove(SNAPSHOT_NAME, snapshotNameKey(volume, name));
  const key = snapshotKey(volume, generation);
  transaction.write(SNAPSHOT, key, { ...record, removed: true });
  unpinUnused(context, generation);
  return { snapshot };
}

/** The generation of a snapshot by its name, and no other than the one that was meant. ENOENT. */
export function generationOf(
  { transaction }: Context,
  volume: VolumeNumber,
  meant: { readonly name: string; readonly generation?: number },
): number {
  const named = transaction.read(SNAPSHOT_NAME, snapshotNameKey(volume, meant.name));
  if (named !== undefined && named.generation === (meant.generation ?? named.generation))
    return named.generation;
  throw new HoldfastError('ENOENT', 'the volume has no such snapshot');
}

/** Unpins the generation of a snapshot that was removed and that no clone holds. */
export function unpinUnused(context: Context, generation: number): void {
  const { transaction, volume, nowNs } = context;
  const key = snapshotKey(volume, generation);
  const record = transaction.read(SNAPSHOT, key);
  if (record === undefined || !record.removed || record.clones.length > 0) return;
  transaction.remove(SNAPSHOT, key);
  const pins = pinsOf(transaction, volume).filter((pin) => pin !== generation);
  if (pins.length === 0) transaction.remove(PINS, pinsKey(volume));
  else transaction.write(PINS, pinsKey(volume), { generations: pins });
  changeVolume(context, { newestPin: pins.at(-1) ?? 0 });
  const mark = { timeNs: nowNs, after: new Uint8Array() };
  transaction.write(UNPINNED, unpinnedKey(volume, generation), mark);
}
