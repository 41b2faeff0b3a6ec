import { HoldfastError } from '@holdfast/protocol';
import { type Context, volumeOf } from '../context.ts';
import { removeHead } from '../history.ts';
import { blobKey, deadContentKey, regionKey } from '../keys.ts';
import {
  BLOB,
  DEAD_CONTENT,
  type DeadContentRecord,
  type InodeRecord,
  REGION,
} from '../records.ts';
import { countChunk, freeUnused } from './chunks.ts';
import { cutOffIn } from './cuts.ts';
import { tallyOf } from './pieces.ts';

/** Regions that the command which drops a content deletes by itself; more are deleted in slices. */
const RELEASED_REGIONS_MAX = 8;

/** When a content died, and what had been cut off before. */
type Drop = Omit<DeadContentRecord, 'timeNs'>;

/** Deletes a region of a content that no inode shows any more; without effect when it is absent. */
export function releaseRegion(context: Context, content: number, index: number, drop: Drop): void {
  const { transaction, volume, nowNs } = context;
  const key = regionKey(volume, content, index);
  const region = transaction.read(REGION, key);
  if (region === undefined) return;
  const death = Math.min(drop.generation, cutOffIn(drop.cuts, index, region));
  removeHead(transaction, REGION, { volume, key, death });
  const { blobs, chunks } = tallyOf(region.pieces);
  for (const blob of blobs) {
    removeHead(transaction, BLOB, { volume, key: blobKey(volume, content, index, blob), death });
  }
  for (const [chunk, bytes] of chunks) {
    countChunk(transaction, { volume, chunk }, -bytes);
    freeUnused(transaction, { volume, chunk }, nowNs);
  }
}

/** Gives up the content of a file that dies. */
export function dropContent(context: Context, inode: InodeRecord): void {
  if (inode.kind !== 'file' || (inode.regionEnd === 0 && inode.cuts.length === 0)) return;
  const { cuts, unlinked } = inode;
  const generation = unlinked === 0 ? volumeOf(context).generation : unlinked;
  if (inode.regionEnd > RELEASED_REGIONS_MAX || cuts.length > 0) {
    markDead(context, inode.content, { generation, cuts });
    return;
  }
  for (let index = 0; index < inode.regionEnd; index++) {
    releaseRegion(context, inode.content, index, { generation, cuts });
  }
}

/** Marks a content for deletion in slices. */
export function markDead(
  { transaction, volume, nowNs }: Context,
  content: number,
  drop: Drop,
): void {
  transaction.write(DEAD_CONTENT, deadContentKey(volume, content), { timeNs: nowNs, ...drop });
}

/** The mark of a content that is to be deleted, if it is. */
export function deadContentOf(context: Context, content: number): DeadContentRecord | undefined {
  if (content === 0) throw new HoldfastError('INTERNAL', 'content 0 is nobody’s');
  return context.transaction.read(DEAD_CONTENT, deadContentKey(context.volume, content));
}
