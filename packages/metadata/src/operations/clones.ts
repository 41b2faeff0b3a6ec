/**
 * Clones: volumes that begin as a snapshot of another one. A clone keeps what it changes under its
 * own number and reads the rest through its snapshot, which it holds as long as it exists.
 */
import {
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  type VolumeNumber,
} from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { deadVolumeKey, snapshotKey, volumeKey } from '../keys.ts';
import { SNAPSHOT, type SnapshotRecord, VOLUME } from '../records.ts';
import { DEAD_VOLUME } from '../shard-records.ts';
import { snapshotRecordOf } from '../snapshots.ts';
import { presentTree, treeAt } from '../trees.ts';
import { generationOf } from './snapshots.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** Makes a volume of a snapshot, whatever its size; one that exists is left as it is. */
export function cloneVolume(context: Context, operation: Of<'clone-volume'>): OperationAnswer {
  const { transaction, volume } = context;
  const { name, from, snapshot, quotaBytes, quotaInodes } = operation;
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(volume)) !== undefined) {
    throw new HoldfastError('CONFLICT', 'a volume of this number was destroyed');
  }
  if (transaction.read(VOLUME, volumeKey(volume)) !== undefined) return { created: false };
  const shown = { ...context, volume: presentTree(transaction, from) };
  const generation = generationOf(shown, { ...operation, name: snapshot });
  const base = treeAt(transaction, from, generation);
  const held = holdSnapshot(shown, { base, generation, by: volume });
  const { usedBytes, usedInodes, nextInode, depth } = held;
  transaction.write(VOLUME, volumeKey(volume), {
    name,
    generation: 1,
    newestPin: 0,
    nextInode,
    usedBytes,
    usedInodes,
    orphanBytes: 0,
    orphanInodes: 0,
    quotaBytes,
    quotaInodes,
    holders: [],
    baseVolume: base,
    baseGeneration: generation,
    depth: depth + 1,
    cloneCount: 0,
    home: 0 as VolumeNumber,
    isClosed: false,
    isShadow: false,
  });
  return { created: true };
}

/**
 * Notes that a clone, or a tree, is made of a snapshot; gives the snapshot, and the depth of what it was
 * taken of. ESTALE, EINVAL too deep, ENOSPC.
 */
export function holdSnapshot(
  context: Context,
  {
    base,
    generation,
    by,
  }: { readonly base: VolumeNumber; readonly generation: number; readonly by: VolumeNumber },
): SnapshotRecord & { readonly depth: number } {
  const { transaction } = context;
  const parent = { ...context, volume: base };
  const { depth, cloneCount } = volumeOf(parent);
  if (depth >= LIMITS.cloneDepthMax) {
    throw new HoldfastError(
      'EINVAL',
      `clones of clones, and rollbacks upon rollbacks, go ${LIMITS.cloneDepthMax} deep; choose an older snapshot, or copy the data into a new volume`,
    );
  }
  const record = snapshotRecordOf(transaction, base, generation);
  if (record.clones.length >= LIMITS.clonesMax) {
    throw new HoldfastError('ENOSPC', `a snapshot has at most ${LIMITS.clonesMax} clones`);
  }
  const clones = [...record.clones, by];
  transaction.write(SNAPSHOT, snapshotKey(base, generation), { ...record, clones });
  changeVolume(parent, { cloneCount: cloneCount + 1 });
  return { ...record, depth };
}
