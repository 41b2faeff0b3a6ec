import type { FileHandle } from 'node:fs/promises';
import {
  decodeGap,
  decodeHead,
  matches,
  RECORD_ALIGNMENT,
  recordBytes,
  type StoredHead,
} from './record.ts';

/** A record found in a segment. */
export interface Found {
  readonly head: StoredHead;
  readonly offset: number;
  /** Whether the bytes are what the head says. */
  readonly isWhole: boolean;
}

/** Bytes read at once while looking for the next record after a damaged one. */
const SEARCH_BYTES = 1 << 20;
/** Bytes of a disk's sector: what one bad place makes unreadable. */
const SECTOR_BYTES = 4096;

/** Space that holds no whole record, in front of one that does. */
export interface Gap {
  readonly offset: number;
  readonly bytes: number;
  /** Index of the record behind it. */
  readonly next: number;
}

/** What {@link scanSegment} finds. */
export interface Scan {
  readonly records: Found[];
  /** Where writing may go on. */
  readonly end: number;
  /** What the last flush has not written any more, in front of what it has. */
  readonly torn: readonly Gap[];
}

/** What is known of a segment before it is read. */
export interface ScanOptions {
  /** Whether it was growing: then its last flush may be torn. */
  readonly isGrowing?: boolean;
  /** Up to where it had been flushed for certain: what is missing there has rotted. */
  readonly flushedUpTo?: number;
}

/**
 * Reads the records of a segment from an offset to its end. Damaged space in front of a whole record
 * is passed over and told; behind the last record it is the torn tail of a crash, unless it had been
 * flushed. In a segment that was growing, the last flush may be torn in the middle too: nobody was
 * told that it was durable, so that is no damage.
 */
export async function scanSegment(
  file: FileHandle,
  from: number,
  onDamage: (offset: number, bytes: number) => void,
  { isGrowing = false, flushedUpTo = 0 }: ScanOptions = {},
): Promise<Scan> {
  const { size } = await file.stat();
  const records: Found[] = [];
  const gaps: Gap[] = [];
  let offset = from;
  while (offset < size) {
    const found = await recordAt(file, offset, size);
    if (typeof found === 'number') {
      offset += found;
      continue;
    }
    if (found?.isWhole === true) {
      records.push(found);
      offset += recordBytes(found.head.length);
      continue;
    }
    // Behind a head that is sound its bytes are passed over: they may look like records themselves.
    const skipped = found === undefined ? RECORD_ALIGNMENT : recordBytes(found.head.length);
    const next = await nextRecord(file, offset + skipped, size);
    if (next === undefined) break;
    if (found !== undefined) records.push(found); // its chunk is known to be bad here
    gaps.push({ offset, bytes: next - offset, next: records.length });
    offset = next;
  }
  const torn = isGrowing ? tornGaps(records, gaps).filter((gap) => gap.offset >= flushedUpTo) : [];
  for (const gap of gaps) if (!torn.includes(gap)) onDamage(gap.offset, gap.bytes);
  const end = Math.min(offset, Math.max(size, from));
  if (end < flushedUpTo) onDamage(end, flushedUpTo - end);
  const tornOffsets = new Set(torn.map((gap) => gap.offset));
  return {
    records: records.filter((found) => found.isWhole || !tornOffsets.has(found.offset)),
    end: Math.max(end, flushedUpTo),
    torn,
  };
}

/** Gaps in the last flush: none of the records behind them begins another. */
function tornGaps(records: readonly Found[], gaps: readonly Gap[]): Gap[] {
  const lastFirst = records.findLastIndex(({ head }) => head.isFirst);
  return gaps.filter(({ next }) => next > lastFirst);
}

/** The record at an offset; a number: of bytes that hold none. */
async function recordAt(
  file: FileHandle,
  offset: number,
  size: number,
): Promise<Found | number | undefined> {
  const bytes = Buffer.alloc(RECORD_ALIGNMENT);
  await readSome(file, bytes, offset);
  const head = decodeHead(bytes);
  if (head === undefined) return decodeGap(bytes);
  if (head.kind === 'tombstone') return { head, offset, isWhole: true };
  if (offset + RECORD_ALIGNMENT + head.length > size) return { head, offset, isWhole: false };
  const payload = Buffer.alloc(head.length);
  const bytesRead = await readSome(file, payload, offset + RECORD_ALIGNMENT);
  return { head, offset, isWhole: bytesRead === head.length && matches(payload, head.blocks) };
}

/** Offset of the next head that is sound, if any. */
async function nextRecord(
  file: FileHandle,
  from: number,
  size: number,
): Promise<number | undefined> {
  const buffer = Buffer.alloc(SEARCH_BYTES);
  for (let base = from; base < size; base += SEARCH_BYTES) {
    const bytesRead = await readSome(file, buffer, base);
    for (let at = 0; at + RECORD_ALIGNMENT <= bytesRead; at += RECORD_ALIGNMENT) {
      if (decodeHead(buffer.subarray(at, at + RECORD_ALIGNMENT)) !== undefined) return base + at;
    }
    if (bytesRead < SEARCH_BYTES) return undefined;
  }
  return undefined;
}

/** Whether anything but zeros lies behind an offset. */
export async function hasRemains(file: FileHandle, from: number): Promise<boolean> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(SEARCH_BYTES);
  const zeros = Buffer.alloc(SEARCH_BYTES);
  for (let at = from; at < size; at += SEARCH_BYTES) {
    const bytesRead = await readSome(file, buffer, at);
    if (!buffer.subarray(0, bytesRead).equals(zeros.subarray(0, bytesRead))) return true;
  }
  return false;
}

/**
 * Fills a buffer from a file; answers the bytes before its end. Sectors that the disk cannot read are
 * zeros: damage like any other, which must not keep the rest from being found.
 */
async function readSome(file: FileHandle, into: Buffer, at: number): Promise<number> {
  try {
    return (await file.read(into, 0, into.length, at)).bytesRead;
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
  const { size } = await file.stat();
  for (let from = 0; from < into.length; ) {
    const to = Math.min(into.length, from + SECTOR_BYTES - ((at + from) % SECTOR_BYTES));
    try {
      await file.read(into, from, to - from, at + from);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      into.fill(0, from, to);
    }
    from = to;
  }
  return Math.max(0, Math.min(into.length, size - at));
}

function isUnreadable(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EIO';
}
