/** Ranges of head records as a pinned generation saw them. */
import {
  headOfVersions,
  historyKey,
  inVolume,
  type KeyRange,
  keyAfter,
  versionsOf,
  volumeIn,
  volumeKey,
} from './keys.ts';
import type { RecordType } from './record-type.ts';
import { type HeadRecord, HISTORY, VERSIONS, VOLUME } from './records.ts';
import { wantRange } from './shadows.ts';
import type { StateSource } from './state.ts';
import { deathSeenBy, takenOver } from './versions.ts';

/** Entries that are taken from each of the two tables at a time. */
const PAGE_ENTRIES = 1024;

type Entry = [Uint8Array, Uint8Array];

/**
 * The records of [from, to), keys of one volume and kind, that a pinned generation saw (or the
 * present one does: any number above it), in the order of their keys. A clone's own records are
 * merged with those of the snapshot that it was made of. `pageEntries`: what is looked at at a time, for
 * who wants but a few.
 */
export async function* recordsAt<T extends HeadRecord>(
  state: StateSource,
  type: RecordType<T>,
  range: KeyRange,
  generation: number,
  pageEntries: number = PAGE_ENTRIES,
): AsyncGenerator<[Uint8Array, T]> {
  const volume = volumeIn(range.from);
  const bytes = state.get(volumeKey(volume));
  const record = bytes === undefined ? undefined : VOLUME.decode(bytes);
  if (record?.isShadow === true) wantRange(state, range);
  if (record === undefined || record.baseVolume === 0) {
    yield* ownRecordsAt(state, type, range, { generation, pageEntries });
    return;
  }
  const { baseVolume, baseGeneration } = record;
  const lent = {
    from: inVolume(range.from, baseVolume),
    to: inVolume(range.to, baseVolume),
  };
  const own = ownRecordsAt(state, type, range, { generation, pageEntries });
  const base = recordsAt(state, type, lent, baseGeneration, pageEntries);
  let a = await own.next();
  let b = await base.next();
  while (a.done !== true || b.done !== true) {
    const key = b.done === true ? undefined : inVolume(b.value[0], volume);
    const order = orderOf(a.done === true ? undefined : a.value[0], key);
    if (order > 0 && key !== undefined) {
      const taken = takenOver(state, type, key, { volume: record, generation });
      if (taken !== undefined) yield [key, taken];
    }
    if (order <= 0 && a.done !== true) yield a.value;
    if (order >= 0) b = await base.next();
    if (order <= 0) a = await own.next();
  }
}

/** Which of two keys comes first; undefined: behind all others. */
function orderOf(a: Uint8Array | undefined, b: Uint8Array | undefined): number {
  if (a === undefined) return 1;
  return b === undefined ? -1 : Buffer.compare(a, b);
}

/**
 * What a volume has of its own, in the order of the keys. The heads of a page are read before its older versions: a
 * record that moves in between is found in both places, never in none.
 */
async function* ownRecordsAt<T extends HeadRecord>(
  state: StateSource,
  type: RecordType<T>,
  { from, to }: KeyRange,
  { generation, pageEntries }: { readonly generation: number; readonly pageEntries: number },
): AsyncGenerator<[Uint8Array, T]> {
  for (let next = from; Buffer.compare(next, to) < 0; ) {
    const heads = await page(state, { from: next, to }, pageEntries);
    const older = (await page(state, versionsOf({ from: next, to }), pageEntries)).map(
      ([key, bytes]): Entry => [headOfVersions(key), bytes],
    );
    const ends = [heads, older].map((entries) => endOfPage(entries, pageEntries));
    const end = firstOf(to, ...ends);
    const found: [Uint8Array, T][] = [];
    for (const [key, bytes] of heads) {
      const record = type.decode(bytes);
      if (record.birth <= generation) found.push([key, record]);
    }
    for (const [key, bytes] of older) {
      const death = deathSeenBy(VERSIONS.decode(bytes).lives, generation);
      const version = death === undefined ? undefined : state.get(historyKey(key, death));
      if (version !== undefined) found.push([key, type.decode(HISTORY.decode(version).record)]);
    }
    yield* inOrder(found, end);
    next = end;
  }
}

async function page(
  state: StateSource,
  { from, to }: KeyRange,
  pageEntries: number,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of state.scan(from, to, pageEntries)) entries.push(entry);
  return entries;
}

/** What a full page does not tell begins here. */
function endOfPage(entries: readonly Entry[], pageEntries: number): Uint8Array | undefined {
  return entries.length < pageEntries ? undefined : keyAfter((entries.at(-1) as Entry)[0]);
}

function firstOf(to: Uint8Array, ...ends: (Uint8Array | undefined)[]): Uint8Array {
  return ends.reduce<Uint8Array>(
    (first, end) => (end !== undefined && Buffer.compare(end, first) < 0 ? end : first),
    to,
  );
}

/** Entries below `end`, sorted; one that moved while it was looked for was found twice. */
function inOrder<T>(found: readonly [Uint8Array, T][], end: Uint8Array): [Uint8Array, T][] {
  const sorted = found
    .filter(([key]) => Buffer.compare(key, end) < 0)
    .sort(([a], [b]) => Buffer.compare(a, b));
  return sorted.filter(([key], index) => {
    const before = sorted[index - 1];
    return before === undefined || Buffer.compare(before[0], key) !== 0;
  });
}
