import {
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  type TimeStamp,
} from '@holdfast/protocol';
import { ContentEditor } from '../content/content-editor.ts';
import type { Context } from '../context.ts';
import {
  attributesOf,
  changeInode,
  fileOf,
  type Inode,
  inodeOf,
  withoutPrivileges,
} from '../inodes.ts';
import type { InodeRecord } from '../records.ts';
import { changeAclMode } from './acls.ts';

type SetAttributes = Extract<Operation, { op: 'set-attributes' }>;
type Change = Partial<Omit<InodeRecord, 'birth'>>;

/**
 * chmod(2), chown(2), truncate(2), utimensat(2) in one. A mode changes the access ACL too. ctime changes always, mtime with the size.
 * A new owner or group of anything but a directory costs its set-id bits unless a mode is given too.
 */
export function setAttributes(context: Context, operation: SetAttributes): OperationAnswer {
  const { ino, mode, uid, gid, size, atime, mtime, killPrivileges } = operation;
  const { record } = inodeOf(context, ino);
  if (mode !== undefined) changeAclMode(context, { ino, record }, mode);
  const stamp = (time: TimeStamp): bigint => (time === 'now' ? context.nowNs : time);
  const isGiven = uid !== undefined || gid !== undefined;
  const drops = killPrivileges === true || (isGiven && mode === undefined);
  const present = mode === undefined ? record : { ...record, mode };
  const change: Change = {
    ...(size === undefined ? {} : resized(context, ino, size)),
    mode: drops ? withoutPrivileges(present) : present.mode,
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(atime === undefined ? {} : { atimeNs: stamp(atime) }),
    ...(mtime === undefined ? {} : { mtimeNs: stamp(mtime) }),
    ctimeNs: context.nowNs,
  };
  return { attributes: attributesOf(changeInode(context, ino, change)) };
}

function resized(context: Context, ino: Inode['ino'], size: number): Change {
  const { record } = fileOf(context, ino);
  if (size > LIMITS.fileBytesMax) throw new HoldfastError('EFBIG');
  if (size === record.size) return {};
  const editor = new ContentEditor(context, ino, record);
  // Goes beyond the old end: space allocated there (fallocate with keepSize) is given up too.
  if (size < record.size) editor.clear(size, Number.MAX_SAFE_INTEGER);
  return {
    ...editor.finish(),
    size,
    contentVersion: editor.version,
    mtimeNs: context.nowNs,
  };
}
