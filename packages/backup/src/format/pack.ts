/**
 * Pack files, `data/<2 digits>/<id>`: sealed blobs one after the other, then the sealed header and
 * the header's length as u32. Numbers are little-endian.
 *
 * | header entry | bytes | fields |
 * |---|---|---|
 * | plain | 37 | u8 type (0 data, 1 tree), u32 sealed length, SHA-256 of the plaintext |
 * | compressed | 41 | u8 type (2 data, 3 tree), u32 sealed length, u32 length of the plaintext, SHA-256 of it |
 */
import { HoldfastError } from '@holdfast/protocol';
import { type CipherKey, SEAL_OVERHEAD_BYTES, seal, unseal } from './cipher.ts';
import { ID_BYTES, type StorageId } from './ids.ts';

/** What a blob holds: a piece of a file, or a directory. */
export type BlobType = 'data' | 'tree';

/** A blob's place inside its pack. */
export interface PackedBlob {
  readonly id: StorageId;
  readonly type: BlobType;
  /** Bytes from the start of the pack. */
  readonly offset: number;
  /** Bytes it takes there, sealed. */
  readonly length: number;
  /** Bytes of the plaintext where it is compressed; 0 where it is not. */
  readonly uncompressedLength: number;
}

const PLAIN_ENTRY_BYTES = 5 + ID_BYTES;
const COMPRESSED_ENTRY_BYTES = 9 + ID_BYTES;
/** Bytes of the length behind the header. */
export const HEADER_LENGTH_BYTES = 4;
/** Bytes of a header: what 400,000 blobs take. Guards a reader of foreign bytes. */
const HEADER_BYTES_MAX = 16 * 1024 * 1024;

/** Bytes that a blob adds to its pack's header. */
function headerEntryBytes(blob: PackedBlob): number {
  return blob.uncompressedLength > 0 ? COMPRESSED_ENTRY_BYTES : PLAIN_ENTRY_BYTES;
}

/** Bytes of a whole pack that holds these blobs and nothing else. */
export function packBytes(blobs: readonly PackedBlob[]): number {
  let bytes = SEAL_OVERHEAD_BYTES + HEADER_LENGTH_BYTES;
  for (const blob of blobs) bytes += blob.length + headerEntryBytes(blob);
  return bytes;
}

/** Bytes of a blob's plaintext. */
export function plainLength(blob: Pick<PackedBlob, 'length' | 'uncompressedLength'>): number {
  return blob.uncompressedLength || blob.length - SEAL_OVERHEAD_BYTES;
}

/** The end of a pack: sealed header and its length. */
export function encodePackEnd(
  blobs: readonly PackedBlob[],
  key: CipherKey,
  iv: Uint8Array,
): Uint8Array {
  const header = Buffer.concat(
    blobs.map((blob) => {
      const entry = Buffer.alloc(headerEntryBytes(blob));
      const isCompressed = blob.uncompressedLength > 0;
      entry[0] = (blob.type === 'tree' ? 1 : 0) + (isCompressed ? 2 : 0);
      entry.writeUInt32LE(blob.length, 1);
      if (isCompressed) entry.writeUInt32LE(blob.uncompressedLength, 5);
      entry.write(blob.id, entry.length - ID_BYTES, 'hex');
      return entry;
    }),
  );
  const sealed = seal(key, header, iv);
  const length = Buffer.alloc(HEADER_LENGTH_BYTES);
  length.writeUInt32LE(sealed.length, 0);
  return Buffer.concat([sealed, length]);
}

/** Bytes of the sealed header, from a pack's last {@link HEADER_LENGTH_BYTES}; CORRUPT if absurd. */
export function headerLength(lastBytes: Uint8Array, packLength: number): number {
  const length = Buffer.from(lastBytes).readUInt32LE(0);
  const isPossible =
    length >= SEAL_OVERHEAD_BYTES + PLAIN_ENTRY_BYTES &&
    length <= Math.min(HEADER_BYTES_MAX, packLength - HEADER_LENGTH_BYTES);
  if (!isPossible) throw new HoldfastError('CORRUPT', 'a pack does not end in a header');
  return length;
}

/** A sealed header's blobs in the order of the pack. CORRUPT when damaged. */
export function decodePackHeader(sealed: Uint8Array, key: CipherKey): PackedBlob[] {
  const header = Buffer.from(unseal(key, sealed));
  const blobs: PackedBlob[] = [];
  let offset = 0;
  for (let at = 0; at < header.length; ) {
    const type = header[at] ?? 255;
    const size = type >= 2 ? COMPRESSED_ENTRY_BYTES : PLAIN_ENTRY_BYTES;
    if (type > 3 || at + size > header.length)
      throw new HoldfastError('CORRUPT', 'a pack header has an impossible entry');
    const length = header.readUInt32LE(at + 1);
    blobs.push({
      id: header.toString('hex', at + size - ID_BYTES, at + size),
      type: type % 2 === 1 ? 'tree' : 'data',
      offset,
      length,
      uncompressedLength: type >= 2 ? header.readUInt32LE(at + 5) : 0,
    });
    offset += length;
    at += size;
  }
  return blobs;
}
