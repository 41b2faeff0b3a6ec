import type { ChunkId } from '@holdfast/protocol';
import type { ChunkIndex, ChunkPlace, Grave, IndexChange } from './chunk-index.ts';
import type { PartitionDigests } from './digests.ts';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { encodeGap, RECORD_ALIGNMENT, recordBytes } from './record.ts';
import { type Found, hasRemains, type Scan, scanSegment } from './scan.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { SegmentSpace } from './segment-space.ts';

/** What {@link recover} works with; all but the files is brought up to date by it. */
export interface RecoveryParts {
  readonly files: SegmentFiles;
  readonly index: ChunkIndex;
  readonly space: SegmentSpace;
  readonly digests: PartitionDigests;
  readonly damaged: Set<ChunkId>;
  readonly segmentBytes: number;
  readonly onDamage: (fields: Readonly<Record<string, unknown>>) => void;
}

/** Chunks of one batch of the index while it is rebuilt. */
const BATCH_RECORDS = 10_000;

/**
 * Brings the index up to what the segments hold (all of it when it was lost) and answers where
 * writing goes on. Segments are read in order, so that a later record of a chunk wins.
 */
export async function recover(parts: RecoveryParts): Promise<{ segment: number; offset: number }> {
  const { files, index } = parts;
  let segments = await files.list();
  if (segments.length === 0) {
    await files.create(1, parts.segmentBytes);
    segments = [1];
  }
  await forgetMissing(index, new Set(segments));
  const last = segments.at(-1) ?? 1;
  let end = 0;
  const lost: Lost[] = [];
  for (const segment of segments) {
    const from = index.scannedUpTo(segment);
    if (segment !== last && from === Number.MAX_SAFE_INTEGER) continue;
    const known = from === Number.MAX_SAFE_INTEGER ? 0 : from;
    const isGrowing = segment === last;
    const scan = await read(parts, { segment, from: known, isGrowing }, lost);
    if (isGrowing) {
      end = scan.end;
      await tidy(parts, segment, scan);
    }
    await replay(parts, segment, scan.records);
  }
  await account(parts, segments, last, end);
  await note(parts, lost);
  return { segment: last, offset: end };
}

/** A place where records are missing that had been there. */
interface Lost {
  readonly segment: number;
  readonly offset: number;
  readonly bytes: number;
}

async function read(
  { files, index, onDamage }: RecoveryParts,
  { segment, from, isGrowing }: { segment: number; from: number; isGrowing: boolean },
  lost: Lost[],
): Promise<Scan> {
  const flushedUpTo = index.flushedUpTo(segment);
  const tell = (offset: number, bytes: number): void => {
    onDamage({ segment, offset, bytes });
    lost.push({ segment, offset, bytes });
  };
  return files.use(segment, (file) => scanSegment(file, from, tell, { isGrowing, flushedUpTo }));
}

/**
 * Makes what was found the truth before anybody relies on it: records that had been written and not
 * flushed are, gaps of the last flush count as empty from now on, and its tail is cut off, in which a
 * later scan might see records.
 */
async function tidy(
  { files, segmentBytes }: RecoveryParts,
  segment: number,
  { torn, end }: Scan,
): Promise<void> {
  for (const { offset, bytes } of torn)
    await files.use(segment, (file) => file.write(encodeGap(bytes), 0, RECORD_ALIGNMENT, offset));
  if (await files.use(segment, (file) => hasRemains(file, end)))
    await files.cut(segment, end, segmentBytes);
  await files.use(segment, (file) => file.datasync());
}

/** Applies the records of a segment to the index. */
async function replay(
  { index, damaged }: RecoveryParts,
  segment: number,
  records: readonly Found[],
): Promise<void> {
  let changes = new Map<ChunkId, IndexChange>();
  for (const record of records) {
    const { chunk } = record.head;
    const present = changes.get(chunk) ?? {
      chunk,
      ...known('place', index.get(chunk)),
      ...known('grave', index.grave(chunk)),
    };
    // A damaged record must not hide a sound one of before; alone, it says which chunk is bad here.
    if (record.isWhole || present.place === undefined) {
      changes.set(chunk, stateAfter(record, segment, present));
      if (record.isWhole) damaged.delete(chunk);
      else if (damaged.size < CHUNK_STORE_LIMITS.damagedMax) damaged.add(chunk);
    }
    if (changes.size < BATCH_RECORDS) continue;
    await index.write([...changes.values()]);
    changes = new Map();
  }
  await index.write([...changes.values()]);
}

/** Remembers the chunks that the index knows in places that were lost: repair gets them from others. */
async function note({ index, damaged }: RecoveryParts, lost: readonly Lost[]): Promise<void> {
  if (lost.length === 0) return;
  for await (const [chunk, place] of index.all()) {
    if (damaged.size >= CHUNK_STORE_LIMITS.damagedMax) return;
    const isLost = lost.some(
      ({ segment, offset, bytes }) =>
        segment === place.segment && place.offset >= offset && place.offset < offset + bytes,
    );
    if (isLost) damaged.add(chunk);
  }
}

function known<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };
}

/** What a record makes of a chunk. */
function stateAfter({ head, offset }: Found, segment: number, before: IndexChange): IndexChange {
  const { kind, chunk, length, copies, blocks } = head;
  if (kind === 'chunk') return { chunk, place: { segment, offset, length, copies, blocks } };
  return { chunk, grave: graveOf(kind, segment, before.place, before.grave) };
}

/** The grave that a tombstone or departure digs. */
export function graveOf(
  kind: Grave['kind'],
  segment: number,
  place: ChunkPlace | undefined,
  grave: Grave | undefined,
): Grave {
  return { kind, segment, victim: place?.segment ?? grave?.victim ?? 0 };
}

/** An index from before a compaction may name segments that are gone. */
async function forgetMissing(index: ChunkIndex, present: ReadonlySet<number>): Promise<void> {
  const lost: IndexChange[] = [];
  for await (const [chunk, place] of index.all()) {
    if (!present.has(place.segment)) lost.push({ chunk });
  }
  for await (const [chunk, grave] of index.graves()) {
    if (!present.has(grave.segment)) lost.push({ chunk });
  }
  await index.write(lost);
}

/** Counts live and dead bytes of each segment, and takes the digests. */
async function account(
  { files, index, space, digests }: RecoveryParts,
  segments: readonly number[],
  last: number,
  end: number,
): Promise<void> {
  for (const segment of segments) space.dead(segment, 0);
  for await (const [chunk, place] of index.all()) {
    space.lived(place.segment, recordBytes(place.length));
    digests.added(chunk);
  }
  for await (const [, grave] of index.graves()) {
    // One whose chunk's record is gone is needed no more: dead, as the rest of the segment.
    if (space.has(grave.victim)) space.lived(grave.segment, recordBytes(0));
  }
  for (const segment of segments) {
    const used = segment === last ? end : await usedBytes(files, segment);
    space.dead(segment, Math.max(0, used - space.of(segment).live));
  }
}

/** Bytes of a closed segment that may hold records; what was set aside and never used counts as dead. */
async function usedBytes(files: SegmentFiles, segment: number): Promise<number> {
  return files.use(segment, async (file) => (await file.stat()).size);
}
