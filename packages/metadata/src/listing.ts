import { type Attributes, LIMITS, type View, type ViewAnswers } from '@holdfast/protocol';
import { type Context, volumeOf } from './context.ts';
import { attributesOf, directoryOf } from './inodes.ts';
import { inodeKey, type KeyRange, listingKey, listingRange, parseKey } from './keys.ts';
import { recordsAt } from './past-scan.ts';
import { INODE, LISTING, type ListingRecord } from './records.ts';
import type { StateSource } from './state.ts';

type ReadDirectory = Extract<View, { view: 'read-directory' }>;
type Listing = ViewAnswers['read-directory'];

/**
 * Entries of a directory in the order in which they were made. The scan may be older or newer than
 * the point reads beside it: an entry whose place is no longer there is passed over, as a concurrent
 * change may show or not (readdir(3)). At a snapshot nothing changes.
 */
export async function listEntries(
  state: StateSource,
  context: Context,
  { ino, after, count }: ReadDirectory,
): Promise<Listing> {
  const { volume, transaction } = context;
  const { nextCookie } = directoryOf(context, ino).record;
  const wanted = Math.min(count, LIMITS.directoryEntriesMax);
  const from = listingKey(volume, ino, after + 1);
  // What was entered after a snapshot lies behind its last cookie.
  const to =
    context.at === undefined ? listingRange(volume, ino).to : listingKey(volume, ino, nextCookie);
  const entries: { name: string; cookie: number; attributes: Attributes }[] = [];
  let found = 0;
  for await (const [key, { name, ino: entryIno }] of placesIn(
    state,
    context,
    { from, to },
    wanted,
  )) {
    if (++found > wanted) return { entries, end: false };
    const now = transaction.fresh();
    const inode = now.read(INODE, inodeKey(volume, entryIno));
    const isThere = context.at !== undefined || now.read(LISTING, key) !== undefined;
    if (inode === undefined || !isThere) continue;
    const attributes = attributesOf({ ino: entryIno, record: inode });
    entries.push({ name, cookie: parseKey(key).number, attributes });
  }
  return { entries, end: true };
}

async function* placesIn(
  state: StateSource,
  context: Context,
  range: KeyRange,
  wanted: number,
): AsyncGenerator<[Uint8Array, ListingRecord]> {
  const { at } = context;
  const isClone = volumeOf(context).baseVolume !== 0;
  if (at !== undefined || isClone) {
    yield* recordsAt(state, LISTING, range, at ?? Number.MAX_SAFE_INTEGER, wanted + 1);
    return;
  }
  for await (const [key, bytes] of state.scan(range.from, range.to, wanted + 1)) {
    yield [key, LISTING.decode(bytes)];
  }
}
