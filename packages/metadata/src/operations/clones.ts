/**
 * Clones: volumes that begin as a snapshot of another one. A clone keeps what it changes under its
 * own number and reads the rest through its snapshot, which it holds as long as it exists.
 */
import { HoldfastError, LIMITS, type Operation, type OperationAnswer } from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { deadVolumeKey, snapshotKey, volumeKey } from '../keys.ts';
import { SNAPSHOT, VOLUME, type VolumeRecord } from '../records.ts';
import { DEAD_VOLUME } from '../shard-records.ts';
import { snapshotRecordOf } from '../snapshots.ts';
import { generationOf, unpinUnused } from './snapshots.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** Makes a volume of a snapshot, whatever its size; one that exists is left as it is. */
export function cloneVolume(context: Context, operation: Of<'clone-volume'>): OperationAnswer {
  const { transaction, volume } = context;
  const { name, from, snapshot, quotaBytes, quotaInodes } = operation;
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(volume)) !== undefined) {
    throw new HoldfastError('CONFLICT', 'a volume of this number was destroyed');
  }
  if (transaction.read(VOLUME, volumeKey(volume)) !== undefined) return { created: false };
  const parent = { ...context, volume: from };
  const { depth, cloneCount } = volumeOf(parent);
  if (depth >= LIMITS.cloneDepthMax) {
    throw new HoldfastError('EINVAL', `clones of clones go ${LIMITS.cloneDepthMax} deep`);
  }
  const generation = generationOf(context, from, { ...operation, name: snapshot });
  const base = snapshotRecordOf(transaction, from, generation);
  if (base.clones.length >= LIMITS.clonesMax) {
    throw new HoldfastError('ENOSPC', `a snapshot has at most ${LIMITS.clonesMax} clones`);
  }
  const { usedBytes, usedInodes, nextInode } = base;
  transaction.write(SNAPSHOT, snapshotKey(from, generation), {
    ...base,
    clones: [...base.clones, volume],
  });
  changeVolume(parent, { cloneCount: cloneCount + 1 });
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
    baseVolume: from,
    baseGeneration: generation,
    depth: depth + 1,
    cloneCount: 0,
  });
  return { created: true };
}

/** A clone that is destroyed lets go of its snapshot. */
export function letGoOfBase(context: Context, clone: VolumeRecord): void {
  const { baseVolume, baseGeneration } = clone;
  if (baseVolume === 0) return;
  const { transaction, volume } = context;
  const key = snapshotKey(baseVolume, baseGeneration);
  const base = transaction.read(SNAPSHOT, key);
  if (base === undefined) throw new HoldfastError('INTERNAL', 'a clone without its snapshot');
  const clones = base.clones.filter((other) => other !== volume);
  transaction.write(SNAPSHOT, key, { ...base, clones });
  const parent = { ...context, volume: baseVolume };
  changeVolume(parent, { cloneCount: volumeOf(parent).cloneCount - 1 });
  unpinUnused(parent, baseGeneration);
}
