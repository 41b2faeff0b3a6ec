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
function advanced(source: PieceSource, by: number): PieceSource {
  return source.kind === 'zero' ? source : { ...source, offset: source.offset + by };
}

/** The part of a piece inside [from, to); the two must overlap. */
function clipped(piece: Piece, from: number, to: number): Piece {
  const at = Math.max(piece.at, from);
  const end = Math.min(endOf(piece), to);
  if (at === piece.at && end === endOf(piece)) return piece;
  return { at, length: end - at, source: advanced(piece.source, at - piece.at) };
}

/** Index of the first piece that ends behind `at`: the one that covers it, or the next one. */
function indexAt(pieces: readonly Piece[], at: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (endOf(pieces[middle] as Piece) <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Indexes [first, last) of the pieces that overlap [from, to). */
function overlap(pieces: readonly Piece[], from: number, to: number): [number, number] {
  const first = indexAt(pieces, from);
  let last = first;
  while (last < pieces.length && (pieces[last] as Piece).at < to) last++;
  return [first, last];
}

/** The piece that ends exactly at `at`, if there is one. */
export function pieceEndingAt(pieces: readonly Piece[], at: number): Piece | undefined {
  const before = pieces[indexAt(pieces, at) - 1];
  return before !== undefined && endOf(before) === at ? before : undefined;
}

/** The pieces, cut to [from, to). */
export function within(pieces: readonly Piece[], from: number, to: number): Piece[] {
  const [first, last] = overlap(pieces, from, to);
  return pieces.slice(first, last).map((piece) => clipped(piece, from, to));
}

/** What stays of pieces that overlap [from, to): at most a part at either side. */
function remains(pieces: readonly Piece[], from: number, to: number): Piece[] {
  const [first, last] = overlap(pieces, from, to);
  const kept: Piece[] = [];
  for (const piece of pieces.slice(first, last)) {
    if (piece.at < from) kept.push(clipped(piece, piece.at, from));
    if (endOf(piece) > to) kept.push(clipped(piece, to, endOf(piece)));
  }
  return kept;
}

/** The pieces without [from, to). */
export function without(pieces: readonly Piece[], from: number, to: number): Piece[] {
  const [first, last] = overlap(pieces, from, to);
  return pieces.toSpliced(first, last - first, ...remains(pieces, from, to));
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
  const at = indexAt(rest, piece.at);
  const before = rest[at - 1];
  const after = rest[at];
  const joinsBefore = before !== undefined && continues(before, piece);
  const middle = joinsBefore ? { ...before, length: before.length + piece.length } : piece;
  const joinsAfter = after !== undefined && continues(middle, after);
  const whole = joinsAfter ? { ...middle, length: middle.length + after.length } : middle;
  const first = joinsBefore ? at - 1 : at;
  rest.splice(first, at - first + (joinsAfter ? 1 : 0), whole);
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

/** Whether two pieces show the same bytes at the same places. */
function showsSame(a: Piece, b: Piece): boolean {
  return a.at === b.at && a.length === b.length && isSameSource(a.source, b.source);
}

function isSameSource(a: PieceSource, b: PieceSource): boolean {
  if (a.kind === 'zero' || b.kind === 'zero') return a.kind === b.kind;
  if (a.offset !== b.offset) return false;
  if (a.kind === 'chunk') return b.kind === 'chunk' && a.chunk === b.chunk;
  return b.kind === 'blob' && a.blob === b.blob && a.version === b.version;
}

/**
 * Half-open ranges of which two lists may show different bytes; neighbours are one. Holes and zeros
 * are the same bytes.
 */
export function differing(old: readonly Piece[], young: readonly Piece[]): [number, number][] {
  const isData = ({ source }: Piece): boolean => source.kind !== 'zero';
  const before = old.filter(isData);
  const after = young.filter(isData);
  const borders = new Set([...before, ...after].flatMap((piece) => [piece.at, endOf(piece)]));
  const sorted = [...borders].sort((a, b) => a - b);
  const found: [number, number][] = [];
  for (let index = 0; index + 1 < sorted.length; index++) {
    const from = sorted[index] as number;
    const to = sorted[index + 1] as number;
    const a = within(before, from, to)[0];
    const b = within(after, from, to)[0];
    if (a === b || (a !== undefined && b !== undefined && showsSame(a, b))) continue;
    const last = found.at(-1);
    if (last !== undefined && last[1] === from) last[1] = to;
    else found.push([from, to]);
  }
  return found;
}

/** What pieces show, counted. */
export interface Tally {
  /** Bytes that they cover. */
  readonly bytes: number;
  /** Inline bytes among them. */
  readonly inlineBytes: number;
  /** Bytes by chunk. */
  readonly chunks: ReadonlyMap<ChunkId, number>;
  /** Numbers of blobs. */
  readonly blobs: ReadonlySet<number>;
}

/** Counts what pieces show. */
export function tallyOf(pieces: readonly Piece[]): Tally {
  const chunks = new Map<ChunkId, number>();
  const blobs = new Set<number>();
  let bytes = 0;
  let inlineBytes = 0;
  for (const { source, length } of pieces) {
    bytes += length;
    if (source.kind === 'chunk') {
      chunks.set(source.chunk, (chunks.get(source.chunk) ?? 0) + length);
    } else if (source.kind === 'blob') {
      inlineBytes += length;
      blobs.add(source.blob);
    }
  }
  return { bytes, inlineBytes, chunks, blobs };
}
