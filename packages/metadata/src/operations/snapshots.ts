import { HoldfastError, LIMITS, type Operation, type OperationAnswer } from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { pinsKey, snapshotKey, snapshotNameKey } from '../keys.ts';
import { pinsOf } from '../pins.ts';
import { PINS, SNAPSHOT, SNAPSHOT_NAME } from '../records.ts';
import { snapshotOf, snapshotRecordOf } from '../snapshots.ts';
import { treeAt } from '../trees.ts';
import { unpinUnused } from './letting-go.ts';

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
export function createSnapshot(
  context: Context,
  { name, origin = '' }: Of<'create-snapshot'>,
): OperationAnswer {
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
    origin,
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
  const { transaction, volume, home } = context;
  const { name } = operation;
  const generation = generationOf(context, operation);
  const tree = treeAt(transaction, home, generation);
  const snapshot = snapshotOf(transaction, tree, generation);
  const record = snapshotRecordOf(transaction, tree, generation);
  transaction.remove(SNAPSHOT_NAME, snapshotNameKey(volume, name));
  const key = snapshotKey(tree, generation);
  transaction.write(SNAPSHOT, key, { ...record, removed: true });
  unpinUnused({ ...context, volume: tree }, generation);
  return { snapshot };
}

/** The generation of a snapshot by its name, and no other than the one that was meant. ENOENT. */
export function generationOf(
  { transaction, volume }: Context,
  meant: { readonly name: string; readonly generation?: number },
): number {
  const named = transaction.read(SNAPSHOT_NAME, snapshotNameKey(volume, meant.name));
  if (named !== undefined && named.generation === (meant.generation ?? named.generation))
    return named.generation;
  throw new HoldfastError('ENOENT', 'the volume has no such snapshot');
}
