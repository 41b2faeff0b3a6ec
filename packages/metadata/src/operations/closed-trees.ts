/**
 * Deleting what a rollback left behind and no snapshot shows: heads of the closed tree that are younger
 * than its newest pin. No pin is ever set in a closed tree, so they stay garbage.
 */
import { releasePieces } from '../content/chunks.ts';
import { type Context, volumeOf } from '../context.ts';
import { headType } from '../head-types.ts';
import { closedTreeKey, KIND, parseKey, reachedIn } from '../keys.ts';
import { REGION } from '../records.ts';
import { CLOSED_TREE } from '../shard-records.ts';

/** Deletes a head of a closed tree, with its claim on chunks, when no snapshot shows it; tells whether. */
export function reclaimHead(context: Context, key: Uint8Array): boolean {
  const { transaction } = context;
  const { isClosed, newestPin } = volumeOf(context);
  if (!isClosed) return false;
  const { kind } = parseKey(key);
  const type = headType(kind);
  // What is taken over from below is of the first generation, which each pin sees.
  const head = transaction.read(type, key);
  if (head === undefined || head.birth <= newestPin) return false;
  if (kind === KIND.region) {
    const region = transaction.read(REGION, key);
    if (region !== undefined) releasePieces(context, region.pieces);
  }
  transaction.remove(type, key);
  return true;
}

/**
 * Notes how far the look through a closed tree has come; at its end the mark goes. Once another pin is
 * the newest one, the look has begun anew, and what came of the one before counts no more.
 */
export function advanceClosed(context: Context, key: Uint8Array): void {
  const { transaction, volume } = context;
  const mark = closedTreeKey(volume);
  if (parseKey(key).ino !== volumeOf(context).newestPin) return;
  const record = transaction.read(CLOSED_TREE, mark);
  if (record === undefined) return;
  const after = reachedIn(key);
  if (after.length === 0) transaction.remove(CLOSED_TREE, mark);
  else transaction.write(CLOSED_TREE, mark, { ...record, after: Uint8Array.from(after) });
}
