import {
  aclBitOf,
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
} from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { attributesOf, changeInode, inodeOf } from '../inodes.ts';
import { putXattrs, withoutXattr, withXattr, xattrsOf } from '../xattr-entries.ts';
import { removeAcl, setAcl } from './acls.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

function checkSize(name: string, value: Uint8Array): void {
  if (name === '' || name.length > LIMITS.xattrNameBytesMax) {
    throw new HoldfastError('ERANGE', 'the name of an extended attribute has 1 to 255 bytes');
  }
  if (name.includes('\0')) throw new HoldfastError('EINVAL', 'a name has no NUL');
  if (value.length > LIMITS.xattrValueBytesMax) throw new HoldfastError('E2BIG');
}

/** setxattr(2). ENOSPC when all of the inode's attributes together would be too large. */
export function setXattr(context: Context, operation: Of<'set-xattr'>): OperationAnswer {
  const { ino, name, mode } = operation;
  if (aclBitOf(name) !== 0) return setAcl(context, operation);
  const inode = inodeOf(context, ino);
  const value = Uint8Array.from(operation.value);
  checkSize(name, value);
  const present = xattrsOf(context, ino);
  const exists = present.some(([other]) => other === name);
  if (mode === 'create' && exists) throw new HoldfastError('EEXIST');
  if (mode === 'replace' && !exists) throw new HoldfastError('ENODATA');
  putXattrs(context, inode, withXattr(present, name, value));
  return { attributes: attributesOf(changeInode(context, ino, { ctimeNs: context.nowNs })) };
}

/** removexattr(2). */
export function removeXattr(context: Context, operation: Of<'remove-xattr'>): OperationAnswer {
  const { ino, name } = operation;
  if (aclBitOf(name) !== 0) return removeAcl(context, operation);
  const inode = inodeOf(context, ino);
  const present = xattrsOf(context, ino);
  const entries = withoutXattr(present, name);
  if (entries.length === present.length) throw new HoldfastError('ENODATA');
  putXattrs(context, inode, entries);
  return { attributes: attributesOf(changeInode(context, ino, { ctimeNs: context.nowNs })) };
}
