import { HoldfastError, LIMITS, type Operation, type OperationAnswer } from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { putHead, removeHead } from '../history.ts';
import { attributesOf, changeInode, inodeOf, outOfSight } from '../inodes.ts';
import { xattrsKey } from '../keys.ts';
import { XATTRS, type XattrsRecord } from '../records.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;
type Entries = XattrsRecord['entries'];

function bytesOf(entries: Entries): number {
  return entries.reduce((bytes, [name, value]) => bytes + name.length + value.length, 0);
}

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
  const { record } = inodeOf(context, ino);
  const value = Uint8Array.from(operation.value);
  checkSize(name, value);
  const { transaction, volume } = context;
  const head = { volume, key: xattrsKey(volume, ino), ...outOfSight(record) };
  const present: Entries = transaction.read(XATTRS, head.key)?.entries ?? [];
  const exists = present.some(([other]) => other === name);
  if (mode === 'create' && exists) throw new HoldfastError('EEXIST');
  if (mode === 'replace' && !exists) throw new HoldfastError('ENODATA');
  const entries: Entries = exists
    ? present.map((entry) => (entry[0] === name ? [name, value] : entry))
    : [...present, [name, value]];
  if (bytesOf(entries) > LIMITS.xattrTotalBytesMax) {
    throw new HoldfastError('ENOSPC', 'extended attributes of one inode take at most 128 KiB');
  }
  putHead(transaction, XATTRS, head, { entries });
  return { attributes: attributesOf(changeInode(context, ino, { ctimeNs: context.nowNs })) };
}

/** removexattr(2). */
export function removeXattr(context: Context, { ino, name }: Of<'remove-xattr'>): OperationAnswer {
  const { record } = inodeOf(context, ino);
  const { transaction, volume } = context;
  const head = { volume, key: xattrsKey(volume, ino), ...outOfSight(record) };
  const present: Entries = transaction.read(XATTRS, head.key)?.entries ?? [];
  const entries = present.filter(([other]) => other !== name);
  if (entries.length === present.length) throw new HoldfastError('ENODATA');
  if (entries.length === 0) removeHead(transaction, XATTRS, head);
  else putHead(transaction, XATTRS, head, { entries });
  return { attributes: attributesOf(changeInode(context, ino, { ctimeNs: context.nowNs })) };
}
