import type { FileHandle } from 'node:fs/promises';
import { decodeHead, matches, RECORD_ALIGNMENT, type RecordHead, recordBytes } from './record.ts';

/** A record found in a segment. */
export interface Found {
  readonly head: RecordHead;
  readonly offset: number;
  /** Whether the bytes are what the head says. */
  readonly isWhole: boolean;
}

/** Bytes read at once while looking for the next record after a damaged one. */
const SEARCH_BYTES = 1 << 20;

/**
 * Reads the records of a segment from an offset to its end. Damaged space in front of a whole record
 * is passed over and told; behind the last record it is the torn tail of a crash, and `end` is
 * where writing may go on.
 */
export async function scanSegment(
  file: FileHandle,
  from: number,
  onDamage: (offset: number, bytes: number) => void,
): Promise<{ records: Found[]; end: number }> {
  const { size } = await file.stat();
  const records: Found[] = [];
  let offset = from;
  while (offset < size) {
    const found = await recordAt(file, offset, size);
    if (found?.isWhole === true) {
      records.push(found);
      offset += recordBytes(found.head.length);
      continue;
    }
    // Behind a head that is sound its bytes are passed over: they may look like records themselves.
    const skipped = found === undefined ? RECORD_ALIGNMENT : recordBytes(found.head.length);
    const next = await nextRecord(file, offset + skipped, size);
    if (next === undefined) return { records, end: offset };
    onDamage(offset, next - offset);
    if (found !== undefined) records.push(found); // its chunk is known to be bad here
    offset = next;
  }
  return { records, end: Math.min(offset, Math.max(size, from)) };
}

async function recordAt(
  file: FileHandle,
  offset: number,
  size: number,
): Promise<Found | undefined> {
  const bytes = Buffer.alloc(RECORD_ALIGNMENT);
  await file.read(bytes, 0, RECORD_ALIGNMENT, offset);
  const head = decodeHead(bytes);
  if (head === undefined) return undefined;
  if (head.kind === 'tombstone') return { head, offset, isWhole: true };
  if (offset + RECORD_ALIGNMENT + head.length > size) return { head, offset, isWhole: false };
  const payload = Buffer.alloc(head.length);
  const { bytesRead } = await file.read(payload, 0, head.length, offset + RECORD_ALIGNMENT);
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
    const { bytesRead } = await file.read(buffer, 0, SEARCH_BYTES, base);
    for (let at = 0; at + RECORD_ALIGNMENT <= bytesRead; at += RECORD_ALIGNMENT) {
      if (decodeHead(buffer.subarray(at, at + RECORD_ALIGNMENT)) !== undefined) return base + at;
    }
    if (bytesRead < SEARCH_BYTES) return undefined;
  }
  return undefined;
}
