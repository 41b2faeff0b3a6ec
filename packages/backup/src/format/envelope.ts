/**
 * What the encrypted objects outside packs hold (config, indexes, snapshots, locks): JSON as it is,
 * or in version 2 the byte 2 and JSON compressed with zstd. The config is never compressed.
 */
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { HoldfastError } from '@holdfast/protocol';
import { fromJson, toJson } from './json.ts';

const compressAsync = promisify(zstdCompress);
const decompressAsync = promisify(zstdDecompress);

const ENCODING_ZSTD = 2;

/** Levels of zstd: 1 is the fastest, 19 the smallest. */
const ZSTD_LEVEL = 3;

/** Bytes that one unpacked object may decompress to: an index of a few million blobs. */
const UNPACKED_BYTES_MAX = 1024 * 1024 * 1024;

/** zstd in the thread pool; the frame carries its content size. */
export function compress(bytes: Uint8Array, level: number = ZSTD_LEVEL): Promise<Uint8Array> {
  return compressAsync(bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: bytes.length,
  });
}

/** The reverse; CORRUPT when it is no zstd or more than `bytesMax` bytes would come out. */
export async function decompress(bytes: Uint8Array, bytesMax: number): Promise<Uint8Array> {
  try {
    // At least one byte: an empty limit would be refused as an option.
    return await decompressAsync(bytes, { maxOutputLength: Math.max(1, bytesMax) });
  } catch (cause) {
    throw new HoldfastError('CORRUPT', 'compressed bytes do not decompress', { cause });
  }
}

/** A document as plaintext of an object. */
export async function encodeDocument(value: unknown, version: 1 | 2): Promise<Uint8Array> {
  const text = Buffer.from(toJson(value));
  if (version === 1) return text;
  return Buffer.concat([Buffer.from([ENCODING_ZSTD]), await compress(text)]);
}

/** The reverse of {@link encodeDocument}; CORRUPT, or NEWER_FORMAT for an encoding of the future. */
export async function decodeDocument(plaintext: Uint8Array, what: string): Promise<unknown> {
  const encoding = plaintext[0];
  if (encoding === 0x5b || encoding === 0x7b) return fromJson(plaintext, what);
  if (encoding !== ENCODING_ZSTD)
    throw new HoldfastError('NEWER_FORMAT', `${what} has an unknown encoding`, {
      detail: { encoding },
    });
  return fromJson(await decompress(plaintext.subarray(1), UNPACKED_BYTES_MAX), what);
}
