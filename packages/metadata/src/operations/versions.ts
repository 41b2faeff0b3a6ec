/**
 * Deleting what only removed snapshots saw. A version in history is garbage exactly when no pinned
 * generation lies in its [birth, death); a pin is never set on an old generation again, so garbage
 * stays garbage, and a late or repeated command does no harm.
 */
import type { VolumeNumber } from '@holdfast/protocol';
import { releasePieces } from '../content/chunks.ts';
import type { Context } from '../context.ts';
import { deathKey, headOfHistory, KIND, reachedIn, unpinnedKey, versionsKey } from '../keys.ts';
import { hasPin, pinsOf } from '../pins.ts';
import { DEATH, HISTORY, REGION, UNPINNED, VERSIONS } from '../records.ts';

const KIND_AT = 3;

/** Deletes a version that no pinned generation sees, with its claim on chunks. */
export function reclaimVersion(context: Context, key: Uint8Array): void {
  const { transaction, volume } = context;
  const version = transaction.read(HISTORY, key);
  if (version === undefined) return;
  const { birth, death, record } = version;
  if (hasPin(pinsOf(transaction, volume), birth, death)) return;
  const { head } = headOfHistory(key);
  const lives = transaction.read(VERSIONS, versionsKey(head))?.lives ?? [];
  const rest = lives.filter(([, other]) => other !== death);
  transaction.remove(HISTORY, key);
  transaction.remove(DEATH, deathKey(head, death));
  if (rest.length === 0) transaction.remove(VERSIONS, versionsKey(head));
  else transaction.write(VERSIONS, versionsKey(head), { lives: rest });
  if (head[KIND_AT] === KIND.region) releasePieces(context, REGION.decode(record).pieces);
}

/** Notes how far the look for a removed snapshot's garbage has come; at its end the mark goes. */
export function advanceUnpinned(
  { transaction, volume }: Context,
  key: Uint8Array,
  generation: number,
): void {
  const mark = unpinnedKey(volume as VolumeNumber, generation);
  const record = transaction.read(UNPINNED, mark);
  if (record === undefined) return;
  const after = reachedIn(key);
  if (after.length === 0) transaction.remove(UNPINNED, mark);
  else transaction.write(UNPINNED, mark, { ...record, after: Uint8Array.from(after) });
}
