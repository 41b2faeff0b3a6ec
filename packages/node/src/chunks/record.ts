/*
 * A record of a segment file; records begin at multiples of 512 bytes.
 *
 * | offset | bytes | what                                                        |
 * | 0      | 4     | magic "HFCK"                                                |
 * | 4      | 1     | version, 1                                                  |
 * | 5      | 1     | kind: 1 chunk, 2 tombstone, 3 departure, 4 gap              |
 * | 6      | 2     | number of 64 KiB blocks, 0 … 64 (little endian, as all)     |
 * | 8      | 16    | chunk id                                                    |
 * | 24     | 4     | length of the chunk in bytes                                |
 * | 28     | 1     | copies that the chunk is to have, 0: one on every replica   |
 * | 29     | 1     | 1: the first record of a flush, 0: another                  |
 * | 30     | 2     | zero                                                        |
 * | 32     | 4 n   | CRC-32 (IEEE) of each block                                 |
 * | 508    | 4     | CRC-32 of bytes 0 … 507                                     |
 * | 512    |       | the bytes, then zeros up to the next multiple of 512        |
 *
 * Kind 4 has no id, checksums or bytes: it says that the bytes up to 512 + length hold nothing (any
 * more), not even where they look like records.
 *
 * A tombstone says that the chunk was freed and must never come back; a departure, that other peers
 * keep it now. Both undo the records of the chunk that lie before them.
 */
import { crc32 } from 'node:zlib';
import { type ChunkId, LIMITS } from '@holdfast/protocol';

/** Bytes of a record's head, and what records are aligned to. */
export const RECORD_ALIGNMENT = 512;
const MAGIC = 0x4b434648;
const VERSION = 1;
const CRC_OFFSET = 508;
const BLOCKS_OFFSET = 32;
const GAP = 4;
const KINDS = ['chunk', 'tombstone', 'departure'] as const;

export type RecordKind = (typeof KINDS)[number];

/** What a record's head says. */
export interface RecordHead {
  readonly kind: RecordKind;
  readonly chunk: ChunkId;
  readonly length: number;
  /** Copies that the chunk is to have, 1 … 255; 0: one on every replica of its partition. */
  readonly copies: number;
  /** CRC-32 of each 64 KiB block. */
  readonly blocks: readonly number[];
}

/** CRC-32 of each 64 KiB block of some bytes. */
export function blockChecksums(bytes: Uint8Array): number[] {
  const blocks: number[] = [];
  for (let at = 0; at < bytes.length; at += LIMITS.checksumBlockBytes) {
    blocks.push(crc32(bytes.subarray(at, at + LIMITS.checksumBlockBytes)));
  }
  return blocks;
}

/** A head as it is found. */
export interface StoredHead extends RecordHead {
  /** Whether the record began a flush: all in front of it had been flushed. */
  readonly isFirst: boolean;
}

/** The head of a record. `isFirst`: it begins a flush. */
export function encodeHead(head: RecordHead, isFirst: boolean): Buffer {
  const bytes = Buffer.alloc(RECORD_ALIGNMENT);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt8(VERSION, 4);
  bytes.writeUInt8(KINDS.indexOf(head.kind) + 1, 5);
  bytes.writeUInt16LE(head.blocks.length, 6);
  bytes.write(head.chunk, 8, 'hex');
  bytes.writeUInt32LE(head.length, 24);
  bytes.writeUInt8(head.copies, 28);
  bytes.writeUInt8(isFirst ? 1 : 0, 29);
  head.blocks.forEach((crc, index) => {
    bytes.writeUInt32LE(crc, BLOCKS_OFFSET + 4 * index);
  });
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_OFFSET)), CRC_OFFSET);
  return bytes;
}

/** The head in RECORD_ALIGNMENT bytes; undefined when it is not one (empty space, damage, another version). */
export function decodeHead(bytes: Buffer): StoredHead | undefined {
  if (bytes.length < RECORD_ALIGNMENT || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  if (bytes.readUInt32LE(CRC_OFFSET) !== crc32(bytes.subarray(0, CRC_OFFSET))) return undefined;
  const kind = KINDS[bytes.readUInt8(5) - 1];
  const count = bytes.readUInt16LE(6);
  const length = bytes.readUInt32LE(24);
  const fits =
    count === Math.ceil(length / LIMITS.checksumBlockBytes) && length <= LIMITS.chunkBytesMax;
  if (bytes.readUInt8(4) !== VERSION || kind === undefined || !fits) return undefined;
  const blocks = Array.from({ length: count }, (_, index) =>
    bytes.readUInt32LE(BLOCKS_OFFSET + 4 * index),
  );
  const chunk = bytes.toString('hex', 8, 24) as ChunkId;
  const isFirst = bytes.readUInt8(29) === 1;
  return { kind, chunk, length, copies: bytes.readUInt8(28), blocks, isFirst };
}

/** What makes so many bytes (a multiple of 512) count as empty, written at their beginning. */
export function encodeGap(gapBytes: number): Buffer {
  const bytes = Buffer.alloc(RECORD_ALIGNMENT);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt8(VERSION, 4);
  bytes.writeUInt8(GAP, 5);
  bytes.writeUInt32LE(gapBytes - RECORD_ALIGNMENT, 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_OFFSET)), CRC_OFFSET);
  return bytes;
}

/** Bytes that count as empty from here on; undefined when it is something else. */
export function decodeGap(bytes: Buffer): number | undefined {
  if (bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt8(5) !== GAP) return undefined;
  if (bytes.readUInt32LE(CRC_OFFSET) !== crc32(bytes.subarray(0, CRC_OFFSET))) return undefined;
  return bytes.readUInt8(4) === VERSION ? RECORD_ALIGNMENT + bytes.readUInt32LE(24) : undefined;
}

/** Bytes that a record takes in its segment. */
export function recordBytes(length: number): number {
  return RECORD_ALIGNMENT + Math.ceil(length / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
}

/** Whether the bytes are what the head says. `firstBlock`: index of the block at which they begin. */
export function matches(bytes: Uint8Array, blocks: readonly number[], firstBlock = 0): boolean {
  return blockChecksums(bytes).every((crc, index) => crc === blocks[firstBlock + index]);
}
