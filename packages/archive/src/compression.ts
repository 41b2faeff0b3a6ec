/** How a tar archive is packed, and how to tell. */

import { pipeline, Readable, type Transform } from 'node:stream';
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { HoldfastError } from '@holdfast/protocol';
import { ByteReader } from './byte-reader.ts';
import { zstdFrames } from './zstd-frames.ts';

/** Around a tar archive. */
export type Compression = 'none' | 'gzip' | 'zstd';

const COMPRESS: Readonly<Record<Exclude<Compression, 'none'>, () => Transform>> = {
  gzip: () => createGzip(),
  zstd: () => createZstdCompress(),
};

/** The bytes packed. */
export function compressed(
  bytes: AsyncIterable<Uint8Array>,
  compression: Compression,
): AsyncIterable<Uint8Array> {
  if (compression === 'none') return bytes;
  return through(bytes, COMPRESS[compression]());
}

/** The bytes unpacked. CORRUPT when they are damaged or cut off. */
export async function* decompressed(
  bytes: AsyncIterable<Uint8Array>,
  compression: Compression,
): AsyncGenerator<Uint8Array> {
  if (compression === 'none') {
    yield* bytes;
    return;
  }
  try {
    if (compression === 'gzip') yield* through(bytes, createGunzip());
    else {
      for await (const frame of zstdFrames(new ByteReader(bytes)))
        yield* through(frame, createZstdDecompress());
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (error instanceof HoldfastError || !/^(Z_|ZSTD_|ERR_ZSTD|ERR_ZLIB|ERR__ERROR)/.test(code))
      throw error;
    throw new HoldfastError(
      'CORRUPT',
      `the archive is damaged: its ${compression} data cannot be unpacked (${String((error as Error).message)})`,
      { cause: error },
    );
  }
}

function through(
  bytes: AsyncIterable<Uint8Array>,
  transform: Transform,
): AsyncIterable<Uint8Array> {
  // Errors of the source reach the reader of the transform, which is the only one that looks.
  return pipeline(Readable.from(bytes, { objectMode: false }), transform, () => {});
}
