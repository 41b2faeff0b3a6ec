import { HoldfastError } from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { removeHead } from '../history.ts';
import { blobKey, deadContentKey, regionKey } from '../keys.ts';
import { BLOB, type InodeRecord, REGION } from '../records.ts';
import { MARK } from '../shard-records.ts';
import { countChunk, freeUnused } from './chunks.ts';
import { tallyOf } from './pieces.ts';

/** Regions that the command which drops a content deletes by itself; more are deleted in slices. */
const RELEASED_REGIONS_MAX = 8;

/** Deletes a region of a content that no inode shows any more; without effect when it is absent. */
export function releaseRegion(context: Context, content: number, index: number): void {
  const { transaction, volume, nowNs } = context;
  const key = regionKey(volume, content, index);
  const region = transaction.read(REGION, key);
  if (region === undefined) return;
  removeHead(transaction, REGION, { volume, key });
  const { blobs, chunks } = tallyOf(region.pieces);
  for (const blob of blobs) {
    removeHead(transaction, BLOB, { volume, key: blobKey(volume, content, index, blob) });
  }
  for (const [chunk, bytes] of chunks) {
    countChunk(transaction, { volume, chunk }, -bytes);
    freeUnused(transaction, { volume, chunk }, nowNs);
  }
}

/** Gives up the content of a file that dies. */
export function dropContent(context: Context, inode: InodeRecord): void {
  if (inode.kind !== 'file' || (inode.regionEnd === 0 && inode.cuts.length === 0)) return;
  if (inode.regionEnd > RELEASED_REGIONS_MAX || inode.cuts.length > 0) {
    const key = deadContentKey(context.volume, inode.content);
    context.transaction.write(MARK, key, { timeNs: context.nowNs });
    return;
  }
  for (let index = 0; index < inode.regionEnd; index++) {
    releaseRegion(context, inode.content, index);
  }
}

/** Whether a content is marked for deletion. */
export function isDeadContent(context: Context, content: number): boolean {
  if (content === 0) throw new HoldfastError('INTERNAL', 'content 0 is nobody’s');
  const key = deadContentKey(context.volume, content);
  return context.transaction.read(MARK, key) !== undefined;
}
