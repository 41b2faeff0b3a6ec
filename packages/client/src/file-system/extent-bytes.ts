import { type ChunkId, type Extent, HoldfastError } from '@holdfast/protocol';

/** Reads verified bytes of a chunk, from memory or from whichever replica has them. */
export interface ChunkSource {
  /** The bytes in pieces, one behind the other; they may be shared: do not change them. */
  read(
    chunk: ChunkId,
    chunkLength: number,
    offset: number,
    length: number,
  ): Promise<readonly Uint8Array[]>;
  /** Has bytes brought into memory that will probably be read soon; never fails. */
  ahead(chunk: ChunkId, chunkLength: number, offset: number, length: number): void;
}

/** Zeros, as a hole shows them. Shared: not to be changed. */
const ZEROS = new Uint8Array(1024 * 1024);

/** Bytes [from, to) of a file, in pieces, of the extents that cover them. Throws CORRUPT when they do not. */
export async function bytesBetween(
  source: ChunkSource,
  extents: readonly Extent[],
  from: number,
  to: number,
): Promise<readonly Uint8Array[]> {
  const parts: Promise<readonly Uint8Array[]>[] = [];
  let at = from;
  for (const extent of extents) {
    const part = cut(extent, at, to);
    if (part === undefined) continue;
    if (part.offset > at) break;
    parts.push(bytesOf(source, part));
    at += part.length;
  }
  const pieces = (await Promise.all(parts)).flat();
  if (at < to) throw new HoldfastError('CORRUPT', `no extent covers byte ${at} of the file`);
  return pieces;
}

/** Has what is in chunks of [from, to) of a file brought into memory. */
export function bringAhead(
  source: ChunkSource,
  extents: readonly Extent[],
  from: number,
  to: number,
): void {
  for (const extent of extents) {
    const part = cut(extent, from, to);
    if (part?.source.kind !== 'chunk') continue;
    const { chunk, chunkLength, chunkOffset } = part.source;
    source.ahead(chunk, chunkLength, chunkOffset, part.length);
  }
}

async function bytesOf(
  source: ChunkSource,
  { source: where, length }: Extent,
): Promise<readonly Uint8Array[]> {
  if (where.kind === 'zero') return zeros(length);
  if (where.kind === 'inline') return [where.bytes];
  const { chunk, chunkLength, chunkOffset } = where;
  const pieces = await source.read(chunk, chunkLength, chunkOffset, length);
  if (pieces.reduce((sum, piece) => sum + piece.length, 0) !== length)
    throw new HoldfastError('CORRUPT', `chunk ${chunk} is shorter than its extent`);
  return pieces;
}

function zeros(length: number): readonly Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let left = length; left > 0; left -= ZEROS.length) pieces.push(ZEROS.subarray(0, left));
  return pieces;
}

/** The part of an extent that lies in [from, to); undefined when none does. */
function cut(extent: Extent, from: number, to: number): Extent | undefined {
  const start = Math.max(from, extent.offset);
  const end = Math.min(to, extent.offset + extent.length);
  if (start >= end) return undefined;
  const skipped = start - extent.offset;
  if (skipped === 0 && end - start === extent.length) return extent;
  const { source } = extent;
  const range = { offset: start, length: end - start };
  if (source.kind === 'zero') return { ...range, source };
  if (source.kind === 'inline') {
    return {
      ...range,
      source: { kind: 'inline', bytes: source.bytes.subarray(skipped, skipped + end - start) },
    };
  }
  return { ...range, source: { ...source, chunkOffset: source.chunkOffset + skipped } };
}
