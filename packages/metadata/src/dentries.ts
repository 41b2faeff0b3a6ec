/** Names in directories: a dentry by name for lookups, and its place in the listing by cookie. */
import { HoldfastError, type InodeNumber, LIMITS } from '@holdfast/protocol';
import type { Context } from './context.ts';
import { putHead, removeHead } from './history.ts';
import { changeInode, type Inode } from './inodes.ts';
import { dentryKey, listingKey } from './keys.ts';
import { DENTRY, type DentryRecord, LISTING } from './records.ts';

/** A name in a directory. */
export interface Place {
  readonly parent: InodeNumber;
  readonly name: string;
}

/** Refuses what cannot be a name: EINVAL for '', '.', '..', '/' and NUL, ENAMETOOLONG. */
export function checkName(name: string): void {
  if (name.length > LIMITS.nameBytesMax) throw new HoldfastError('ENAMETOOLONG');
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
    throw new HoldfastError('EINVAL', "a name is not empty, '.' or '..' and has no '/' or NUL");
  }
}

/** The dentry of a name, if it exists. */
export function findEntry(context: Context, { parent, name }: Place): DentryRecord | undefined {
  return context.transaction.read(DENTRY, dentryKey(context.volume, parent, name));
}

/** The dentry of a name. ENOENT. */
export function entryOf(context: Context, place: Place): DentryRecord {
  const entry = findEntry(context, place);
  if (entry === undefined) throw new HoldfastError('ENOENT');
  return entry;
}

function putEntry(context: Context, { parent, name }: Place, ino: InodeNumber, cookie: number) {
  const { transaction, volume } = context;
  const listing = { volume, key: listingKey(volume, parent, cookie) };
  putHead(transaction, LISTING, listing, { name, ino });
  putHead(
    transaction,
    DENTRY,
    { volume, key: dentryKey(volume, parent, name) },
    {
      ino,
      cookie,
    },
  );
}

/** Whether an entry's inode counts as a link of its directory: the '..' of a directory does. */
function linksOf({ record }: Inode): number {
  return record.kind === 'directory' ? 1 : 0;
}

/** Adds a name that does not exist, last in the listing; the directory's times change. */
export function addEntry(context: Context, directory: Inode, name: string, target: Inode): void {
  const { ino: parent, record } = directory;
  putEntry(context, { parent, name }, target.ino, record.nextCookie);
  changeInode(context, parent, {
    children: record.children + 1,
    nextCookie: record.nextCookie + 1,
    nlink: record.nlink + linksOf(target),
    mtimeNs: context.nowNs,
    ctimeNs: context.nowNs,
  });
}

/** Removes a name; the directory's times change. */
export function removeEntry(context: Context, directory: Inode, name: string, target: Inode): void {
  const { transaction, volume } = context;
  const { ino: parent, record } = directory;
  const { cookie } = entryOf(context, { parent, name });
  removeHead(transaction, LISTING, { volume, key: listingKey(volume, parent, cookie) });
  removeHead(transaction, DENTRY, { volume, key: dentryKey(volume, parent, name) });
  changeInode(context, parent, {
    children: record.children - 1,
    nlink: record.nlink - linksOf(target),
    mtimeNs: context.nowNs,
    ctimeNs: context.nowNs,
  });
}

/** Makes a name that exists name another inode, in its old place of the listing. */
export function replaceEntry(
  context: Context,
  directory: Inode,
  name: string,
  change: { readonly from: Inode; readonly to: Inode },
): void {
  const { ino: parent, record } = directory;
  const { cookie } = entryOf(context, { parent, name });
  putEntry(context, { parent, name }, change.to.ino, cookie);
  changeInode(context, parent, {
    nlink: record.nlink + linksOf(change.to) - linksOf(change.from),
    mtimeNs: context.nowNs,
    ctimeNs: context.nowNs,
  });
}
