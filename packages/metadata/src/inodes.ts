import { type Attributes, HoldfastError, type InodeNumber, LIMITS } from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from './context.ts';
import { putHead } from './history.ts';
import { contentCutKey, inodeKey, volumeKey } from './keys.ts';
import { INODE, type InodeRecord, VOLUME } from './records.ts';
import { MARK } from './shard-records.ts';

/** An inode with its number. */
export interface Inode {
  readonly ino: InodeNumber;
  readonly record: InodeRecord;
}

/** The inode. ESTALE when it does not exist (any more). */
export function inodeOf(context: Context, ino: InodeNumber): Inode {
  const record = context.transaction.read(INODE, inodeKey(context.volume, ino));
  // Who had an orphan open at a snapshot is gone from what the snapshot shows.
  const isHidden = context.at !== undefined && record?.nlink === 0;
  if (record === undefined || isHidden) {
    throw new HoldfastError('ESTALE', undefined, { detail: { ino } });
  }
  return { ino, record };
}

/** The directory; it may have lost its name. ESTALE, ENOTDIR. */
export function directoryOf(context: Context, ino: InodeNumber): Inode {
  const inode = inodeOf(context, ino);
  if (inode.record.kind !== 'directory') throw new HoldfastError('ENOTDIR');
  return inode;
}

/** A directory into which names can be put: ENOENT when it was removed. */
export function namedDirectoryOf(context: Context, ino: InodeNumber): Inode {
  const directory = directoryOf(context, ino);
  if (directory.record.nlink === 0) {
    throw new HoldfastError('ENOENT', 'the directory was removed', { detail: { ino } });
  }
  return directory;
}

/** The regular file. ESTALE; EISDIR for a directory, EINVAL for other kinds. */
export function fileOf(context: Context, ino: InodeNumber): Inode {
  const inode = inodeOf(context, ino);
  if (inode.record.kind === 'directory') throw new HoldfastError('EISDIR');
  if (inode.record.kind !== 'file') throw new HoldfastError('EINVAL', 'not a regular file');
  return inode;
}

/** Changes fields of an inode; gives it as it is now. Reads it again: an operation may change it twice. */
export function changeInode(
  context: Context,
  ino: InodeNumber,
  change: Partial<Omit<InodeRecord, 'birth'>>,
): Inode {
  putInode(context, ino, { ...inodeOf(context, ino).record, ...change });
  return inodeOf(context, ino);
}

/** Puts an inode. */
export function putInode(
  context: Context,
  ino: InodeNumber,
  record: Omit<InodeRecord, 'birth'>,
): void {
  const key = inodeKey(context.volume, ino);
  const present = context.transaction.read(INODE, key);
  markCuts(context, ino, record);
  const head = { volume: context.volume, key, ...outOfSight(present) };
  putHead(context.transaction, INODE, head, record);
}

/** A clone takes over cuts of a file, but no marks of them: the file's first change there makes them. */
function markCuts(
  { transaction, volume, nowNs }: Context,
  ino: InodeNumber,
  { cuts }: Pick<InodeRecord, 'cuts'>,
): void {
  if (cuts.length === 0) return;
  if (transaction.read(VOLUME, volumeKey(volume))?.baseVolume === 0) return;
  for (const { epoch } of cuts) {
    transaction.write(MARK, contentCutKey(volume, ino, epoch), { timeNs: nowNs });
  }
}

/** When what belongs to an inode came out of every snapshot's sight: for orphans, with the last name. */
export function outOfSight(inode: InodeRecord | undefined): { readonly death?: number } {
  return inode === undefined || inode.unlinked === 0 ? {} : { death: inode.unlinked };
}

/** A new number for an inode or a content. ENOSPC when the volume has used them all. */
export function takeNumber(context: Context): number {
  const { nextInode } = volumeOf(context);
  if (nextInode > LIMITS.inodesMax) {
    throw new HoldfastError('ENOSPC', 'the volume has used all its inode numbers');
  }
  changeVolume(context, { nextInode: nextInode + 1 });
  return nextInode;
}

/** What stat(2) tells. */
export function attributesOf({ ino, record }: Inode): Attributes {
  return {
    ino,
    kind: record.kind,
    mode: record.mode,
    uid: record.uid,
    gid: record.gid,
    nlink: record.nlink,
    size: record.size,
    allocatedBytes: record.allocatedBytes,
    rdev: record.rdev,
    atimeNs: record.atimeNs,
    mtimeNs: record.mtimeNs,
    ctimeNs: record.ctimeNs,
    birthNs: record.birthNs,
    ...(record.acls === 0 ? {} : { acls: record.acls }),
  };
}

const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;
const GROUP_EXECUTE = 0o010;

/**
 * The mode after a write, truncation or chown of a file: without set-user-id, and without
 * set-group-id where the group may execute (else it marks mandatory locking); Linux
 * setattr_should_drop_suidgid.
 */
export function withoutPrivileges({ kind, mode }: InodeRecord): number {
  if (kind === 'directory') return mode;
  const dropsGroup = (mode & GROUP_EXECUTE) !== 0;
  return mode & ~(SET_USER_ID | (dropsGroup ? SET_GROUP_ID : 0));
}

/** Where an inode is, when that is known. */
export function parentOf({ parent }: InodeRecord): { readonly parent?: InodeNumber } {
  return parent === 0 ? {} : { parent };
}
