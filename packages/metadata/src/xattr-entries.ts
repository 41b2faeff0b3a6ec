import { aclBitOf, HoldfastError, type InodeNumber, LIMITS } from '@holdfast/protocol';
import type { Context } from './context.ts';
import { putHead, removeHead } from './history.ts';
import { type Inode, outOfSight } from './inodes.ts';
import { xattrsKey } from './keys.ts';
import { type InodeRecord, XATTRS, type XattrsRecord } from './records.ts';

/** Extended attributes of one inode, in the order in which they were made. */
export type Xattrs = XattrsRecord['entries'];

/** All that are stored; those that are shown: {@link shownXattrs}. */
export function xattrsOf({ transaction, volume }: Context, ino: InodeNumber): Xattrs {
  return transaction.read(XATTRS, xattrsKey(volume, ino))?.entries ?? [];
}

/** Those that mean something: not what bears the name of an ACL and was stored before there were any. */
export function shownXattrs(entries: Xattrs, { acls }: Pick<InodeRecord, 'acls'>): Xattrs {
  return entries.filter(([name]) => {
    const bit = aclBitOf(name);
    return bit === 0 || (acls & bit) !== 0;
  });
}

/** With a value in its place, or at the end. */
export function withXattr(entries: Xattrs, name: string, value: Uint8Array): Xattrs {
  const exists = entries.some(([other]) => other === name);
  if (!exists) return [...entries, [name, value]];
  return entries.map((entry) => (entry[0] === name ? [name, value] : entry));
}

/** Without one. */
export function withoutXattr(entries: Xattrs, name: string): Xattrs {
  return entries.filter(([other]) => other !== name);
}

/** Puts all of an inode. ENOSPC when together they would be too large. */
export function putXattrs(
  { transaction, volume }: Context,
  { ino, record }: { readonly ino: Inode['ino']; readonly record: InodeRecord | undefined },
  entries: Xattrs,
): void {
  const head = { volume, key: xattrsKey(volume, ino), ...outOfSight(record) };
  if (entries.length === 0) {
    removeHead(transaction, XATTRS, head);
    return;
  }
  const bytes = entries.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (bytes > LIMITS.xattrTotalBytesMax) {
    throw new HoldfastError('ENOSPC', 'extended attributes of one inode take at most 128 KiB');
  }
  putHead(transaction, XATTRS, head, { entries });
}
