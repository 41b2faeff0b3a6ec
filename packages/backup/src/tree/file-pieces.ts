/** A file as pieces: cut bytes, pieces of zeros for holes, and pieces that the parent has already. */
import { HoldfastError } from '@holdfast/protocol';
import type { ByteRange, SourceFile } from '@holdfast/tree';
import type { Chunker } from '../format/chunker.ts';
import type { StorageId } from '../format/ids.ts';
import { BACKUP_LIMITS } from '../limits.ts';

/** Piece of a file, in order. `bytes` stays valid; nothing writes to it afterwards. */
export type Piece =
  | { readonly what: 'bytes'; readonly bytes: Uint8Array }
  | { readonly what: 'zeros'; readonly length: number }
  | { readonly what: 'known'; readonly id: StorageId; readonly length: number };

/** A blob of the parent's file. */
export interface KnownBlob {
  readonly id: StorageId;
  readonly length: number;
}

type Stretch = ByteRange & { readonly what: 'data' | 'hole' };

/** Holes of at least the limit's length inside a region; all else is data. */
function stretches(region: ByteRange, data: readonly ByteRange[] | undefined): Stretch[] {
  if (data === undefined) return [{ ...region, what: 'data' }];
  const end = region.offset + region.length;
  const result: Stretch[] = [];
  let from = region.offset;
  const close = (dataEnd: number, next: number): void => {
    if (dataEnd > from) result.push({ what: 'data', offset: from, length: dataEnd - from });
    if (next > dataEnd) result.push({ what: 'hole', offset: dataEnd, length: next - dataEnd });
    from = next;
  };
  let dataEnd = from;
  for (const range of data) {
    const start = Math.max(range.offset, region.offset);
    const stop = Math.min(range.offset + range.length, end);
    if (stop <= start) continue;
    if (start - dataEnd >= BACKUP_LIMITS.holeBytesMin) close(dataEnd, start);
    dataEnd = stop;
  }
  if (end - dataEnd >= BACKUP_LIMITS.holeBytesMin) close(dataEnd, end);
  else close(end, end);
  return result;
}

async function* cutStretch(
  file: SourceFile,
  { offset, length }: ByteRange,
  chunker: Chunker,
): AsyncGenerator<Piece> {
  const end = offset + length;
  const { arenaBytes, chunkBytesMax, readBytes } = BACKUP_LIMITS;
  let arena = Buffer.allocUnsafe(Math.min(arenaBytes, length));
  let from = 0;
  let filled = 0;
  let at = offset;
  for (let isAtEnd = false; ; ) {
    while (!isAtEnd && filled - from < chunkBytesMax) {
      if (filled === arena.length) {
        const rest = arena.subarray(from, filled);
        arena = Buffer.allocUnsafe(Math.min(arenaBytes, rest.length + end - at));
        rest.copy(arena);
        filled = rest.length;
        from = 0;
      }
      const room = arena.subarray(
        filled,
        Math.min(arena.length, filled + readBytes, filled + end - at),
      );
      const count = room.length === 0 ? 0 : await file.read(room, at);
      filled += count;
      at += count;
      isAtEnd = count === 0 || at >= end;
    }
    if (from === filled) return;
    const size = chunker.cut(arena.subarray(0, filled), from);
    yield { what: 'bytes', bytes: arena.subarray(from, from + size) };
    from += size;
  }
}

/**
 * The parts of the file that must be read, between runs of the parent's blobs that did not change. The
 * blob at the old end was cut there by the end alone: when the file has grown it is cut anew, so that a
 * file that is appended to again and again is not left in crumbs.
 */
function* plan(
  size: number,
  known: readonly KnownBlob[],
  changed: readonly ByteRange[],
): Generator<{ read: ByteRange } | { keep: KnownBlob }> {
  let readFrom = 0;
  let at = 0;
  let next = 0;
  for (const [index, blob] of known.entries()) {
    const end = at + blob.length;
    const wasLast = index === known.length - 1;
    while (next < changed.length && changed[next]!.offset + changed[next]!.length <= at) next++;
    const isGrown = wasLast && end < size;
    const isTouched =
      isGrown || end > size || (changed[next]?.offset ?? Number.POSITIVE_INFINITY) < end;
    if (!isTouched) {
      if (at > readFrom) yield { read: { offset: readFrom, length: at - readFrom } };
      yield { keep: blob };
      readFrom = end;
    }
    at = end;
  }
  if (size > readFrom) yield { read: { offset: readFrom, length: size - readFrom } };
}

/**
 * The pieces of an open file. With `known`, the blobs of the parent's file, and a source that names
 * what changed since, only blobs that a change touches are read and cut anew.
 */
export async function* filePieces(
  file: SourceFile,
  chunker: Chunker,
  known?: readonly KnownBlob[],
): AsyncGenerator<Piece> {
  const changed = known === undefined ? undefined : await file.changedRanges();
  const data = await file.dataRanges();
  const whole = [{ read: { offset: 0, length: file.size } }];
  const steps =
    changed === undefined || known === undefined ? whole : plan(file.size, known, changed);
  for (const step of steps) {
    if ('keep' in step) {
      yield { what: 'known', ...step.keep };
      continue;
    }
    for (const stretch of stretches(step.read, data)) {
      if (stretch.what === 'data') yield* cutStretch(file, stretch, chunker);
      else yield* zeros(stretch.length);
    }
  }
}

function* zeros(length: number): Generator<Piece> {
  if (length < 0) throw new HoldfastError('INTERNAL', 'a hole has no negative length');
  for (let left = length; left > 0; left -= BACKUP_LIMITS.chunkBytesMax)
    yield { what: 'zeros', length: Math.min(left, BACKUP_LIMITS.chunkBytesMax) };
}
