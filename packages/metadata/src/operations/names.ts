import {
  type FileKind,
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type Operation,
  type OperationAnswer,
} from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { addEntry, checkName, entryOf, findEntry, removeEntry } from '../dentries.ts';
import {
  attributesOf,
  changeInode,
  type Inode,
  inodeOf,
  namedDirectoryOf,
  putInode,
  takeNumber,
} from '../inodes.ts';
import { makeOrphan } from '../orphans.ts';
import type { InodeRecord } from '../records.ts';
import { putXattrs } from '../xattr-entries.ts';
import { type Inheritance, inheritAcls } from './acls.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

const SET_GROUP_ID = 0o2000;

/** open(2) with O_CREAT, mkdir(2), mknod(2), symlink(2). */
export function create(context: Context, operation: Of<'create'>): OperationAnswer {
  const { parent, name, kind } = operation;
  const directory = namedDirectoryOf(context, parent);
  checkName(name);
  const existing = findEntry(context, { parent, name });
  if (existing !== undefined) {
    const inode = inodeOf(context, existing.ino);
    const isOpened = !operation.exclusive && kind === 'file' && inode.record.kind === 'file';
    if (!isOpened) throw new HoldfastError('EEXIST');
    return { attributes: attributesOf(inode), created: false };
  }
  checkTarget(operation);
  takeInode(context);
  const ino = takeNumber(context) as InodeNumber;
  const inheritance = inheritAcls(context, directory, operation);
  putInode(context, ino, newInode(context, ino, { operation, inheritance, directory }));
  const inode = inodeOf(context, ino);
  if (inheritance.xattrs.length > 0) putXattrs(context, inode, inheritance.xattrs);
  addEntry(context, directory, name, inode);
  return { attributes: attributesOf(inode), created: true };
}

function checkTarget({ kind, target }: Of<'create'>): void {
  if (kind !== 'symlink') return;
  if (target === '') throw new HoldfastError('ENOENT', 'a symbolic link has a target');
  if (target.includes('\0')) throw new HoldfastError('EINVAL', 'a target has no NUL');
  if (target.length > LIMITS.symlinkBytesMax) {
    throw new HoldfastError('ENAMETOOLONG', 'a target has at most 4095 bytes');
  }
}

function takeInode(context: Context): void {
  const { usedInodes, quotaInodes } = volumeOf(context);
  if (quotaInodes > 0 && usedInodes >= quotaInodes) {
    throw new HoldfastError('EDQUOT', undefined, { detail: { usedInodes, quotaInodes } });
  }
  changeVolume(context, { usedInodes: usedInodes + 1 });
}

const IS_DEVICE: ReadonlySet<FileKind> = new Set(['char', 'block']);

function newInode(
  { nowNs }: Context,
  ino: InodeNumber,
  of: {
    readonly operation: Of<'create'>;
    readonly inheritance: Inheritance;
    readonly directory: Inode;
  },
): Omit<InodeRecord, 'birth'> {
  const { kind, uid, gid, rdev, target, parent } = of.operation;
  const { mode, acls } = of.inheritance;
  const { record: directory } = of.directory;
  const inherits = (directory.mode & SET_GROUP_ID) !== 0;
  const isDirectory = kind === 'directory';
  return {
    ...freshInode(nowNs),
    kind,
    mode: inherits && isDirectory ? mode | SET_GROUP_ID : mode,
    uid,
    gid: inherits ? directory.gid : gid,
    nlink: isDirectory ? 2 : 1,
    size: kind === 'symlink' ? target.length : 0,
    rdev: IS_DEVICE.has(kind) ? rdev : 0,
    acls,
    target: kind === 'symlink' ? target : '',
    parent,
    content: kind === 'file' ? ino : 0,
  };
}

/** What all inodes begin with. */
export function freshInode(nowNs: bigint): Omit<InodeRecord, 'birth' | 'kind' | 'mode' | 'nlink'> {
  return {
    uid: 0,
    gid: 0,
    size: 0,
    atimeNs: nowNs,
    mtimeNs: nowNs,
    ctimeNs: nowNs,
    birthNs: nowNs,
    rdev: 0,
    acls: 0,
    target: '',
    parent: 0 as InodeNumber,
    children: 0,
    nextCookie: 1,
    contentVersion: 0,
    moves: 0,
    content: 0,
    regionEnd: 0,
    allocatedBytes: 0,
    inlineBytes: 0,
    epoch: 0,
    cuts: [],
    unlinked: 0,
  };
}

/** link(2). ENOENT for an inode that has no name any more. */
export function link(context: Context, { ino, parent, name }: Of<'link'>): OperationAnswer {
  const directory = namedDirectoryOf(context, parent);
  checkName(name);
  const { record } = inodeOf(context, ino);
  if (findEntry(context, { parent, name }) !== undefined) throw new HoldfastError('EEXIST');
  if (record.kind === 'directory') throw new HoldfastError('EPERM', 'directories have one name');
  if (record.nlink === 0) throw new HoldfastError('ENOENT', 'the file was removed');
  if (record.nlink >= LIMITS.linksMax) throw new HoldfastError('EMLINK');
  const inode = changeInode(context, ino, {
    nlink: record.nlink + 1,
    ctimeNs: context.nowNs,
    parent: 0 as InodeNumber,
  });
  addEntry(context, directory, name, inode);
  return { attributes: attributesOf(inode) };
}

/** unlink(2). */
export function unlink(context: Context, { parent, name }: Of<'unlink'>): OperationAnswer {
  const directory = namedDirectoryOf(context, parent);
  checkName(name);
  const target = inodeOf(context, entryOf(context, { parent, name }).ino);
  if (target.record.kind === 'directory') throw new HoldfastError('EISDIR');
  removeEntry(context, directory, name, target);
  return dropLink(context, target);
}

/** rmdir(2). The root has no name and cannot be removed. */
export function removeDirectory(context: Context, { parent, name }: Of<'rmdir'>): OperationAnswer {
  const directory = namedDirectoryOf(context, parent);
  checkName(name);
  const target = inodeOf(context, entryOf(context, { parent, name }).ino);
  if (target.record.kind !== 'directory') throw new HoldfastError('ENOTDIR');
  if (target.record.children > 0) throw new HoldfastError('ENOTEMPTY');
  removeEntry(context, directory, name, target);
  return dropLink(context, target);
}

/** Takes a link away from an inode whose name is gone (all links of a directory); at zero it is an orphan. */
export function dropLink(context: Context, { ino, record }: Inode): OperationAnswer {
  const nlink = record.kind === 'directory' ? 0 : record.nlink - 1;
  const unlinked = nlink === 0 ? volumeOf(context).generation : 0;
  const change = { nlink, unlinked, ctimeNs: context.nowNs };
  const attributes = attributesOf(changeInode(context, ino, change));
  if (nlink > 0 || !makeOrphan(context, ino).livesOn) return { attributes };
  return { attributes, orphan: ino };
}
