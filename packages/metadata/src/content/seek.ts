import { HoldfastError, type View } from '@holdfast/protocol';
import { type Context, volumeOf } from '../context.ts';
import { fileOf } from '../inodes.ts';
import { contentRange, parseKey, regionKey } from '../keys.ts';
import { recordsAt } from '../past-scan.ts';
import { REGION } from '../records.ts';
import type { StateSource } from '../state.ts';
import { REGION_BYTES } from './content-editor.ts';
import { alivePieces } from './content-reader.ts';
import type { Piece } from './pieces.ts';

type Seek = Extract<View, { view: 'seek' }>;

/**
 * lseek(2) with SEEK_DATA and SEEK_HOLE. Allocated zeros are a hole: they were never written. Goes
 * from region to region that exists; the state may change between two of them.
 */
export async function seek(
  state: StateSource,
  context: Context,
  { ino, offset, whence }: Seek,
): Promise<{ offset: number }> {
  const { size } = fileOf(context, ino).record;
  if (offset >= size) throw new HoldfastError('ENXIO');
  let at = offset;
  while (at < size) {
    const now = { ...context, transaction: context.transaction.fresh() };
    const { record } = fileOf(now, ino);
    const index = Math.floor(at / REGION_BYTES);
    const pieces = alivePieces(now.transaction, now.volume, record, index);
    const base = index * REGION_BYTES;
    const found = whence === 'data' ? dataFrom(pieces, at - base) : holeFrom(pieces, at - base);
    if (found < REGION_BYTES) return endedAt(base + found, size, whence);
    const next = base + REGION_BYTES;
    at = whence === 'data' ? await nextRegionAt(state, context, record.content, index + 1) : next;
  }
  return endedAt(size, size, whence);
}

/** An offset found; at the end of file there is a hole, but no data. */
function endedAt(offset: number, size: number, whence: Seek['whence']): { offset: number } {
  if (offset < size) return { offset };
  if (whence === 'data') throw new HoldfastError('ENXIO');
  return { offset: size };
}

/** First byte of data at or after `at`; the end of the region when there is none. */
function dataFrom(pieces: readonly Piece[], at: number): number {
  for (const piece of pieces) {
    if (piece.source.kind !== 'zero' && piece.at + piece.length > at) return Math.max(piece.at, at);
  }
  return REGION_BYTES;
}

function holeFrom(pieces: readonly Piece[], at: number): number {
  let hole = at;
  for (const piece of pieces) {
    if (piece.at + piece.length <= hole) continue;
    if (piece.at > hole || piece.source.kind === 'zero') return hole;
    hole = piece.at + piece.length;
  }
  return hole;
}

/** Offset of the first region from `index` on that has a record; Infinity when none has. */
async function nextRegionAt(
  state: StateSource,
  context: Context,
  content: number,
  index: number,
): Promise<number> {
  const { volume, at } = context;
  const range = { ...contentRange(volume, content), from: regionKey(volume, content, index) };
  const isPlain = at === undefined && volumeOf(context).baseVolume === 0;
  const regions = isPlain
    ? state.scan(range.from, range.to, 1)
    : recordsAt(state, REGION, range, at ?? Number.MAX_SAFE_INTEGER);
  for await (const [key] of regions) {
    return parseKey(key).number * REGION_BYTES;
  }
  return Number.POSITIVE_INFINITY;
}
