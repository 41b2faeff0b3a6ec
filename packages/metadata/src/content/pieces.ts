/** Lists of a region's pieces: cutting, inserting, merging. Pure arithmetic on sorted lists. */
import type { ChunkId } from '@holdfast/protocol';

/** Where a piece's bytes are. */
export type PieceSource =
  /** Allocated, reads as zeros. */
  | { readonly kind: 'zero' }
  | { readonly kind: 'chunk'; readonly chunk: ChunkId; readonly offset: number }
  /** Inline bytes; `version` is the inode's content version when they were written. */
  | {
      readonly kind: 'blob';
      readonly blob: number;
      readonly offset: number;
      readonly version: number;
    };

/** Bytes [at, at + length) of a region. */
export interface Piece {
  readonly at: number;
  readonly length: number;
  readonly source: PieceSource;
}

function endOf(piece: Piece): number {
  return piece.at + piece.length;
}

/** The source of what begins `by` bytes later. */
export function advanced(source: PieceSource, by: number): PieceSource {
  return source.kind === 'zero' ? source : { ...source, offset: source.offset + by };
}

/** The part of a piece inside [from, to); the two must overlap. */
function clipped(piece: Piece, from: number, to: number): Piece {
  const at = Math.max(piece.at, from);
  const end = Math.min(endOf(piece), to);
  if (at === piece.at && end === endOf(piece)) return piece;
  return { at, length: end - at, source: advanced(piece.source, at - piece.at) };
}

/** The pieces, cut to [from, to). */
export function within(pieces: readonly Piece[], from: number, to: number): Piece[] {
  return pieces
    .filter((piece) => piece.at < to && endOf(piece) > from)
    .map((piece) => clipped(piece, from, to));
}

/** The pieces without [from, to). */
export function without(pieces: readonly Piece[], from: number, to: number): Piece[] {
  const kept: Piece[] = [];
  for (const piece of pieces) {
    if (piece.at >= to || endOf(piece) <= from) {
      kept.push(piece);
      continue;
    }
    if (piece.at < from) kept.push(clipped(piece, piece.at, from));
    if (endOf(piece) > to) kept.push(clipped(piece, to, endOf(piece)));
  }
  return kept;
}

/** Whether the second piece goes on where the first one ends, in the file and in its source. */
function continues(first: Piece, second: Piece): boolean {
  if (endOf(first) !== second.at) return false;
  const a = first.source;
  const b = second.source;
  if (a.kind === 'zero' || b.kind === 'zero') return a.kind === b.kind;
  if (a.offset + first.length !== b.offset) return false;
  if (a.kind === 'chunk') return b.kind === 'chunk' && a.chunk === b.chunk;
  return b.kind === 'blob' && a.blob === b.blob && a.version === b.version;
}

/** The pieces with `piece` in place of what it covers; neighbours that continue each other are one. */
export function placed(pieces: readonly Piece[], piece: Piece): Piece[] {
  const rest = without(pieces, piece.at, endOf(piece));
  const index = rest.findIndex((other) => other.at > piece.at);
  const at = index === -1 ? rest.length : index;
  let middle = piece;
  let from = at;
  let to = at;
  const before = rest[at - 1];
  if (before !== undefined && continues(before, middle)) {
    middle = { ...before, length: before.length + middle.length };
    from--;
  }
  const after = rest[at];
  if (after !== undefined && continues(middle, after)) {
    middle = { ...middle, length: middle.length + after.length };
    to++;
  }
  rest.splice(from, to - from, middle);
  return rest;
}

/** The holes between pieces in [from, to), as half-open ranges. */
export function holes(pieces: readonly Piece[], from: number, to: number): [number, number][] {
  const found: [number, number][] = [];
  let at = from;
  for (const piece of within(pieces, from, to)) {
    if (piece.at > at) found.push([at, piece.at]);
    at = endOf(piece);
  }
  if (at < to) found.push([at, to]);
  return found;
}

/** Bytes that the pieces cover; only those of `kind` when given. */
export function bytesOf(pieces: readonly Piece[], kind?: PieceSource['kind']): number {
  let bytes = 0;
  for (const piece of pieces) {
    if (kind === undefined || piece.source.kind === kind) bytes += piece.length;
  }
  return bytes;
}

/** Bytes by chunk. */
export function bytesByChunk(pieces: readonly Piece[]): Map<ChunkId, number> {
  const bytes = new Map<ChunkId, number>();
  for (const { source, length } of pieces) {
    if (source.kind !== 'chunk') continue;
    bytes.set(source.chunk, (bytes.get(source.chunk) ?? 0) + length);
  }
  return bytes;
}

/** Numbers of the blobs that the pieces show, each once. */
export function blobsOf(pieces: readonly Piece[]): Set<number> {
  const blobs = new Set<number>();
  for (const { source } of pieces) if (source.kind === 'blob') blobs.add(source.blob);
  return blobs;
}
