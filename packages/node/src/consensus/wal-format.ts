/**
 * Bytes of the write-ahead log. All numbers are little-endian; u53 is a safe integer in 8 bytes.
 *
 * Segment file `<number as 16 hex digits>.wal`, preallocated with zeros:
 *
 *     0  u32  magic 'HFWS'          16  u53  number of the segment
 *     4  u32  CRC-32 of [8, 64)     24  u53  number of the first batch in it
 *     8  u32  version, 1            32  u53  length of the file in bytes
 *    12  u32  salt, at random       40  zeros up to 64
 *
 * Then batches, one after the other. A batch is what one write and one flush made durable; a batch
 * is written only after the one before it is durable, so that a bad batch that others follow is
 * damage, and a bad last batch is a write that a crash cut off:
 *
 *     0  u32  magic 'HFWB'          16  u53  its offset in the file
 *     4  u32  CRC-32 of [8, 32)     24  u32  bytes of its records
 *     8  u53  number of the batch   28  u32  count of its records
 *
 * Then its records, each padded with zeros to a multiple of 8 bytes:
 *
 *     0  u32  CRC-32 of [4, 32 + length)
 *     4  u32  length of the payload       12  u32  group
 *     8  u8   type (RECORD)               16  u53  term
 *     9  u8   kind (of entries)           24  u53  index
 *    10  u16  zero                        32  payload
 *
 * Every CRC below the segment's header starts from the segment's salt: bytes of another segment,
 * copied here by chance or inside a payload, never pass for a batch of this one.
 */
import { crc32 } from 'node:zlib';

/** Bytes before a segment's first batch. */
export const SEGMENT_HEADER_BYTES = 64;
/** Bytes before a batch's first record. */
export const BATCH_HEADER_BYTES = 32;
const RECORD_HEADER_BYTES = 32;
const SEGMENT_MAGIC = 0x53574648;
/** First bytes of a batch, read as u32. */
export const BATCH_MAGIC = 0x42574648;
const FORMAT_VERSION = 1;

/** Types of records. */
export const RECORD = {
  /** One entry; entries at and after its index that came before it are void. */
  entry: 1,
  /** term; index: commit; payload: vote (u53, 0 none). */
  hardState: 2,
  /** Entries up to index (of term) are part of the state; payload: membership at index. */
  mark: 3,
  /** The group's records so far are void. */
  reset: 4,
  /** Last record of an orderly stop; of no group. */
  closed: 5,
} as const;

/** What a segment says of itself. */
export interface SegmentHeader {
  readonly number: number;
  readonly firstBatch: number;
  readonly length: number;
  readonly salt: number;
}

/** What a batch says of itself. */
export interface BatchHeader {
  readonly number: number;
  readonly bytes: number;
  readonly count: number;
}

/** One record; what its fields mean depends on its type, see RECORD. */
export interface WalRecord {
  readonly type: number;
  readonly kind: number;
  readonly group: number;
  readonly term: number;
  readonly index: number;
  readonly payload: Uint8Array;
}

/** A view of `bytes` as a Buffer, sharing memory. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Writes a safe integer as 8 bytes. */
export function putU53(target: Buffer, value: number, offset: number): void {
  target.writeUInt32LE(value % 2 ** 32, offset);
  target.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4);
}

/** Reads 8 bytes as a number; beyond 2^53 the value is not exact, but never passes for a smaller one. */
export function getU53(source: Buffer, offset: number): number {
  return source.readUInt32LE(offset) + source.readUInt32LE(offset + 4) * 2 ** 32;
}

/** The first SEGMENT_HEADER_BYTES of a segment. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.writeUInt32LE(SEGMENT_MAGIC, 0);
  bytes.writeUInt32LE(FORMAT_VERSION, 8);
  bytes.writeUInt32LE(header.salt, 12);
  putU53(bytes, header.number, 16);
  putU53(bytes, header.firstBatch, 24);
  putU53(bytes, header.length, 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(8)), 4);
  return bytes;
}

/** The header; 'newer' when a later version wrote it; undefined when it is not valid. */
export function decodeSegmentHeader(source: Uint8Array): SegmentHeader | 'newer' | undefined {
  const bytes = bufferOf(source).subarray(0, SEGMENT_HEADER_BYTES);
  if (bytes.length < SEGMENT_HEADER_BYTES || bytes.readUInt32LE(0) !== SEGMENT_MAGIC) {
    return undefined;
  }
  if (bytes.readUInt32LE(4) !== crc32(bytes.subarray(8))) return undefined;
  if (bytes.readUInt32LE(8) !== FORMAT_VERSION) return 'newer';
  return {
    salt: bytes.readUInt32LE(12),
    number: getU53(bytes, 16),
    firstBatch: getU53(bytes, 24),
    length: getU53(bytes, 32),
  };
}

/** Header of a batch that is to lie at `offset` of a segment with that salt. */
export function encodeBatchHeader(header: BatchHeader, offset: number, salt: number): Uint8Array {
  const bytes = Buffer.alloc(BATCH_HEADER_BYTES);
  bytes.writeUInt32LE(BATCH_MAGIC, 0);
  putU53(bytes, header.number, 8);
  putU53(bytes, offset, 16);
  bytes.writeUInt32LE(header.bytes, 24);
  bytes.writeUInt32LE(header.count, 28);
  bytes.writeUInt32LE(crc32(bytes.subarray(8), salt), 4);
  return bytes;
}

/** The batch header at `offset` of a segment, or undefined when there is no valid one. */
export function decodeBatchHeader(
  segment: Buffer,
  offset: number,
  salt: number,
): BatchHeader | undefined {
  if (offset + BATCH_HEADER_BYTES > segment.length) return undefined;
  if (segment.readUInt32LE(offset) !== BATCH_MAGIC) return undefined;
  const covered = segment.subarray(offset + 8, offset + BATCH_HEADER_BYTES);
  if (segment.readUInt32LE(offset + 4) !== crc32(covered, salt)) return undefined;
  if (getU53(segment, offset + 16) !== offset) return undefined;
  return {
    number: getU53(segment, offset + 8),
    bytes: segment.readUInt32LE(offset + 24),
    count: segment.readUInt32LE(offset + 28),
  };
}

/** Bytes that a record takes with its padding. */
export function recordBytes(payloadBytes: number): number {
  return RECORD_HEADER_BYTES + payloadBytes + padding(payloadBytes);
}

function padding(payloadBytes: number): number {
  return (8 - (payloadBytes % 8)) % 8;
}

const PADDING = new Uint8Array(8);

/** Header, payload (not copied) and padding of a record. */
export function encodeRecord(record: WalRecord, salt: number): Uint8Array[] {
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  header.writeUInt32LE(record.payload.length, 4);
  header.writeUInt8(record.type, 8);
  header.writeUInt8(record.kind, 9);
  header.writeUInt32LE(record.group, 12);
  putU53(header, record.term, 16);
  putU53(header, record.index, 24);
  header.writeUInt32LE(crc32(record.payload, crc32(header.subarray(4), salt)), 0);
  return [header, record.payload, PADDING.subarray(0, padding(record.payload.length))];
}

/** The record at `offset`, its payload a view of `source`; undefined when it is not valid or not whole. */
export function decodeRecord(source: Buffer, offset: number, salt: number): WalRecord | undefined {
  if (offset + RECORD_HEADER_BYTES > source.length) return undefined;
  const length = source.readUInt32LE(offset + 4);
  const end = offset + RECORD_HEADER_BYTES + length;
  if (end + padding(length) > source.length) return undefined;
  if (source.readUInt32LE(offset) !== crc32(source.subarray(offset + 4, end), salt)) {
    return undefined;
  }
  for (let at = end; at < end + padding(length); at += 1) if (source[at] !== 0) return undefined;
  return {
    type: source.readUInt8(offset + 8),
    kind: source.readUInt8(offset + 9),
    group: source.readUInt32LE(offset + 12),
    term: getU53(source, offset + 16),
    index: getU53(source, offset + 24),
    payload: source.subarray(offset + RECORD_HEADER_BYTES, end),
  };
}
