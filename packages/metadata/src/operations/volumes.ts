import {
  BACKUP_SNAPSHOTS,
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  ROOT_INODE,
  type SessionId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { attributesOf, inodeOf, putInode } from '../inodes.ts';
import { deadVolumeKey, ordinalKey, snapshotKey, treesKey, volumeKey } from '../keys.ts';
import { isOpen } from '../orphans.ts';
import { pinsOf } from '../pins.ts';
import { SNAPSHOT, VOLUME, type VolumeRecord } from '../records.ts';
import { DEAD_VOLUME, SESSION_ID, TREES } from '../shard-records.ts';
import { allTrees } from '../trees.ts';
import { bury, letGoOfBase } from './letting-go.ts';
import { freshInode } from './names.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** Makes an empty volume; one that exists is left as it is. CONFLICT for the number of a destroyed one. */
export function initVolume(context: Context, operation: Of<'init-volume'>): OperationAnswer {
  const { transaction, volume, nowNs } = context;
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(volume)) !== undefined) {
    throw new HoldfastError('CONFLICT', 'a volume of this number was destroyed');
  }
  if (transaction.read(VOLUME, volumeKey(volume)) !== undefined) {
    return { attributes: attributesOf(inodeOf(context, ROOT_INODE)), created: false };
  }
  const { name, mode, uid, gid, quotaBytes, quotaInodes } = operation;
  transaction.write(VOLUME, volumeKey(volume), {
    name,
    generation: 1,
    newestPin: 0,
    nextInode: ROOT_INODE + 1,
    usedBytes: 0,
    usedInodes: 1,
    orphanBytes: 0,
    orphanInodes: 0,
    quotaBytes,
    quotaInodes,
    holders: [],
    baseVolume: 0 as VolumeNumber,
    baseGeneration: 0,
    depth: 0,
    cloneCount: 0,
    home: 0 as VolumeNumber,
    isClosed: false,
    isShadow: false,
  });
  const root = { ...freshInode(nowNs), kind: 'directory', mode, uid, gid, nlink: 2 } as const;
  putInode(context, ROOT_INODE, { ...root, parent: ROOT_INODE });
  return { attributes: attributesOf(inodeOf(context, ROOT_INODE)), created: true };
}

/** Changes the bounds; use above a new bound stays, but does not grow. */
export function setQuota(context: Context, operation: Of<'set-quota'>): OperationAnswer {
  const { quotaBytes, quotaInodes } = operation;
  changeVolume(context, { quotaBytes, quotaInodes });
  return {};
}

/** Makes a volume unreachable at once; its records are deleted in slices. Again: success, no change. DELEGATED. */
export function destroyVolume(context: Context, { force }: Of<'destroy-volume'>): OperationAnswer {
  const { transaction, volume, home } = context;
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(volume)) !== undefined) return {};
  const trees = allTrees(transaction, home).map((tree) => ({ ...context, volume: tree }));
  const isOwn = ({ baseVolume }: VolumeRecord): boolean =>
    trees.some((tree) => tree.volume === baseVolume);
  const records = trees.map((tree) => volumeOf(tree));
  const clones = records.reduce((sum, { cloneCount }) => sum + cloneCount, 0);
  if (clones > records.filter(isOwn).length) {
    throw new HoldfastError('EBUSY', 'the volume has clones');
  }
  // Whoever holds a delegation believes that it is there, until it has been given back.
  checkDelegation(context);
  if (!force && trees.some(hasSnapshotsOfUsers))
    throw new HoldfastError(
      'ENOTEMPTY',
      'the volume has snapshots; remove them first, or force it (--force)',
    );
  if (!force && inodeOf(context, ROOT_INODE).record.children > 0) {
    throw new HoldfastError(
      'ENOTEMPTY',
      'the volume is not empty; empty it first, or force it (--force)',
    );
  }
  for (const tree of trees) {
    const record = volumeOf(tree);
    bury(tree);
    if (!isOwn(record)) letGoOfBase(tree, record);
  }
  if (trees.length > 1 || volume !== home) transaction.remove(TREES, treesKey(home));
  return {};
}

/** What backups keep for themselves stands in nobody's way. */
function hasSnapshotsOfUsers({ transaction, volume }: Context): boolean {
  return pinsOf(transaction, volume).some((generation) => {
    const record = transaction.read(SNAPSHOT, snapshotKey(volume, generation));
    return record?.removed === false && !record.name.startsWith(BACKUP_SNAPSHOTS);
  });
}

/** Refuses with DELEGATED while another session may believe what it learned of the volume. */
export function checkDelegation(context: Context): void {
  // A delegation ends with its session. For who is alone, as most are, no session is looked up.
  const others = volumeOf(context).holders.filter(
    (ordinal) => ordinal !== context.ordinal && isOpen(context, ordinal),
  );
  if (others.length === 0) return;
  const sessions = others.map((ordinal) => sessionOf(context, ordinal));
  throw new HoldfastError('DELEGATED', undefined, { detail: { sessions } });
}

function sessionOf({ transaction }: Context, ordinal: number): SessionId {
  const open = transaction.read(SESSION_ID, ordinalKey(ordinal));
  if (open === undefined) throw new HoldfastError('INTERNAL', 'an open session without an id');
  return open.session;
}

/** Takes a delegation of the volume, beside those that others hold. */
export function acquireDelegation(context: Context): OperationAnswer {
  const { ordinal } = context;
  if (ordinal === 0) throw new HoldfastError('FORBIDDEN', 'only a session holds a delegation');
  const held = volumeOf(context).holders;
  if (held.includes(ordinal)) return { delegation: { granted: true } };
  const holders = held.filter((other) => isOpen(context, other));
  if (holders.length >= LIMITS.delegationHoldersMax) return { delegation: { granted: false } };
  changeVolume(context, { holders: [...holders, ordinal] });
  return { delegation: { granted: true } };
}

/** Gives the session's delegation back; without effect when it holds none. */
export function returnDelegation(context: Context): OperationAnswer {
  const { holders } = volumeOf(context);
  if (holders.includes(context.ordinal))
    changeVolume(context, { holders: holders.filter((ordinal) => ordinal !== context.ordinal) });
  return {};
}
