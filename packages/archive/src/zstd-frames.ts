/**
 * Where the frames of a zstd stream end (RFC 8878, section 3.1). Node's decompressor stops silently
 * after the first one, but `zstd` may write several (pzstd, a file appended to another) and skippable
 * ones between them.
 */
import { HoldfastError } from '@holdfast/protocol';
import type { ByteReader } from './byte-reader.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const WHAT = 'its zstd data';

/** The bytes of one frame that follow its magic number. */
async function* frameBytes(bytes: ByteReader, magic: Buffer): AsyncGenerator<Uint8Array> {
  const descriptor = await bytes.exactly(1, WHAT);
  const flags = descriptor[0]!;
  const isSingle = (flags & 0x20) !== 0;
  const sizeFlag = flags >> 6;
  const sizeBytes = sizeFlag === 0 && isSingle ? 1 : CONTENT_SIZE_BYTES[sizeFlag]!;
  const rest = (isSingle ? 0 : 1) + DICTIONARY_ID_BYTES[flags & 3]! + sizeBytes;
  yield Buffer.concat([magic, descriptor, await bytes.exactly(rest, WHAT)]);
  for (let isLast = false; !isLast; ) {
    const header = await bytes.exactly(3, WHAT);
    const block = header.readUIntLE(0, 3);
    isLast = (block & 1) === 1;
    const isRepeated = ((block >> 1) & 3) === 1; // one byte stands for the whole block
    const content = await bytes.exactly(isRepeated ? 1 : block >> 3, WHAT);
    yield Buffer.concat([header, content]);
  }
  if ((flags & 4) !== 0) yield await bytes.exactly(4, WHAT);
}

/** Every frame in turn; each must be read before the next. CORRUPT when the stream is cut off. */
export async function* zstdFrames(bytes: ByteReader): AsyncGenerator<AsyncIterable<Uint8Array>> {
  for (;;) {
    const magic = await bytes.upTo(4);
    if (magic.length === 0) return;
    const number = magic.length === 4 ? magic.readUInt32LE(0) : 0;
    if (number === MAGIC) yield frameBytes(bytes, magic);
    else if ((number & 0xffff_fff0) >>> 0 === SKIPPABLE_MAGIC) {
      const length = (await bytes.exactly(4, WHAT)).readUInt32LE(0);
      await bytes.skip(length, WHAT);
    } else
      throw new HoldfastError('CORRUPT', 'the archive is damaged: something follows its zstd data');
  }
}
