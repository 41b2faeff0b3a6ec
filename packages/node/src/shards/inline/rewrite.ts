import type { ChunkId, Extent } from '@holdfast/protocol';

/** Part of a file in many pieces that is to become one. */
export interface Rewrite {
  /** In the file. */
  readonly offset: number;
  readonly length: number;
  /** What it shows, without gaps. */
  readonly extents: readonly Extent[];
}

/** Bytes of one chunk that are read at once. */
export interface ChunkRange {
  readonly chunk: ChunkId;
  readonly from: number;
  to: number;
}

/** Bytes of a hole that are kept as such; shorter ones become zeros, as in a block of a disk. */
const HOLE_BYTES = 4_096;
/** Bytes between two parts of a chunk that are read with them: a checksum is over as many anyway. */
const GAP_BYTES = 64 * 1024;

/** How {@link rewritesOf} cuts. */
export interface RewriteRules {
  /** Extents of one part. */
  readonly extentsMax: number;
  /** Also parts that are in one piece of a chunk already: to let go of the chunk. */
  readonly isEvery?: boolean;
}

/** Cuts what a region shows into parts without long holes. */
export function rewritesOf(
  extents: readonly Extent[],
  { extentsMax, isEvery = false }: RewriteRules,
): Rewrite[] {
  const found: Rewrite[] = [];
  let run: Extent[] = [];
  const end = (): void => {
    while (run.at(-1)?.source.kind === 'zero') run.pop();
    const [first] = run;
    const length = run.reduce((sum, extent) => sum + extent.length, 0);
    const isWorth = isEvery || run.length > 1 || first?.source.kind === 'inline';
    if (first !== undefined && isWorth) found.push({ offset: first.offset, length, extents: run });
    run = [];
  };
  for (const extent of extents) {
    const isZero = extent.source.kind === 'zero';
    if (isZero && run.length === 0) continue;
    if ((isZero && extent.length >= HOLE_BYTES) || run.length >= extentsMax) end();
    if (!isZero || run.length > 0) run.push(extent);
  }
  end();
  return found;
}

/** What has to be read of chunks for a part, parts that lie near each other together. */
export function chunkRangesOf(extents: readonly Extent[]): ChunkRange[] {
  const wanted = extents
    .flatMap(({ source, length }) =>
      source.kind === 'chunk'
        ? [{ chunk: source.chunk, from: source.chunkOffset, to: source.chunkOffset + length }]
        : [],
    )
    .sort((a, b) => (a.chunk < b.chunk ? -1 : a.chunk > b.chunk ? 1 : a.from - b.from));
  const ranges: ChunkRange[] = [];
  for (const range of wanted) {
    const last = ranges.at(-1);
    if (last?.chunk === range.chunk && range.from <= last.to + GAP_BYTES) {
      last.to = Math.max(last.to, range.to);
    } else {
      ranges.push({ ...range });
    }
  }
  return ranges;
}

/** The bytes of a part, from what was read; `readOf` finds the bytes of a chunk from an offset on. */
export function assembled(
  { offset, length, extents }: Rewrite,
  readOf: (chunk: ChunkId, chunkOffset: number, length: number) => Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(length);
  for (const extent of extents) {
    const { source } = extent;
    if (source.kind === 'inline') bytes.set(source.bytes, extent.offset - offset);
    if (source.kind !== 'chunk') continue;
    const part = readOf(source.chunk, source.chunkOffset, extent.length);
    bytes.set(part, extent.offset - offset);
  }
  return bytes;
}
