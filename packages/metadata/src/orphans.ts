/**
 * Unlink while open: an inode without names lives on as an orphan while a session that was open at
 * that moment may still have it open, and dies when the last of them has let go or ended.
 */
import type { InodeNumber } from '@holdfast/protocol';
import { dropContent } from './content/dead-content.ts';
import { type Context, changeVolume, volumeOf } from './context.ts';
import { removeHead } from './history.ts';
import { type Inode, inodeOf, outOfSight } from './inodes.ts';
import { inodeKey, liveSessionsKey, ordinalKey, perInodeKey, xattrsKey } from './keys.ts';
import { INODE, XATTRS } from './records.ts';
import { LIVE_SESSIONS, LOCKS, MARK, ORPHAN, SESSION_ID } from './shard-records.ts';

/** Whether the session of this ordinal is open. */
export function isOpen({ transaction }: Context, ordinal: number): boolean {
  return transaction.read(SESSION_ID, ordinalKey(ordinal)) !== undefined;
}

/** Keeps an inode that lost its last name, or lets it die at once when nobody can have it open; tells which. */
export function makeOrphan(context: Context, ino: InodeNumber): { readonly livesOn: boolean } {
  const { transaction, volume } = context;
  const holders = transaction.read(LIVE_SESSIONS, liveSessionsKey())?.ordinals ?? [];
  if (holders.length === 0) {
    bury(context, inodeOf(context, ino));
    return { livesOn: false };
  }
  transaction.write(ORPHAN, perInodeKey('orphan', volume, ino), { holders });
  countOrphan(context, inodeOf(context, ino), 1);
  return { livesOn: true };
}

/** Drops holders of an orphan; it dies with the last one. Without effect on anything but an orphan. */
export function dropHolders(
  context: Context,
  ino: InodeNumber,
  isDropped: (ordinal: number) => boolean,
): void {
  const key = perInodeKey('orphan', context.volume, ino);
  const orphan = context.transaction.read(ORPHAN, key);
  if (orphan === undefined) return;
  const holders = orphan.holders.filter((ordinal) => !isDropped(ordinal));
  if (holders.length === orphan.holders.length) return;
  if (holders.length > 0) {
    context.transaction.write(ORPHAN, key, { holders });
    return;
  }
  const inode = inodeOf(context, ino);
  countOrphan(context, inode, -1);
  bury(context, inode);
}

/** Orphans made before there were snapshots (`unlinked` 0) were never counted. */
function countOrphan(context: Context, { record }: Inode, by: 1 | -1): void {
  if (record.unlinked === 0) return;
  const { orphanBytes, orphanInodes } = volumeOf(context);
  changeVolume(context, {
    orphanBytes: orphanBytes + by * record.allocatedBytes,
    orphanInodes: orphanInodes + by,
  });
}

/** Deletes an inode and all that belongs to it; a big content is deleted in slices. */
function bury(context: Context, { ino, record }: Inode): void {
  const { transaction, volume } = context;
  const death = outOfSight(record);
  removeHead(transaction, INODE, { volume, key: inodeKey(volume, ino), ...death });
  removeHead(transaction, XATTRS, { volume, key: xattrsKey(volume, ino), ...death });
  transaction.remove(ORPHAN, perInodeKey('orphan', volume, ino));
  transaction.remove(LOCKS, perInodeKey('locks', volume, ino));
  if (record.inlineBytes > 0) transaction.remove(MARK, perInodeKey('inlineFile', volume, ino));
  dropContent(context, record);
  const { usedBytes, usedInodes } = volumeOf(context);
  changeVolume(context, {
    usedBytes: usedBytes - record.allocatedBytes,
    usedInodes: usedInodes - 1,
  });
}
