import type { ExtentWrite } from '@holdfast/protocol';
import type { PieceSource } from './pieces.ts';

/** A half-open range of a file. */
type Range = readonly [from: number, to: number];

/** What somebody saw of a file, to be compared with what it shows now. */
export class SeenExtents {
  /** Ascending, none over another. */
  readonly #extents: readonly ExtentWrite[];

  constructor(extents: readonly ExtentWrite[]) {
    this.#extents = extents.toSorted((a, b) => a.offset - b.offset);
  }

  /**
   * The parts of [from, to) that were seen to show what they show now: `source` from `from` on, or
   * nothing (undefined). Zeros are zeros, allocated or not; of inline bytes nothing is concluded.
   */
  unchanged(from: number, to: number, source: PieceSource | undefined): Range[] {
    const found: Range[] = [];
    for (let index = this.#indexAt(from); index < this.#extents.length; index++) {
      const seen = this.#extents[index] as ExtentWrite;
      if (seen.offset >= to) break;
      if (!isSame(seen, from, source)) continue;
      found.push([Math.max(from, seen.offset), Math.min(to, seen.offset + seen.length)]);
    }
    return found;
  }

  /** The first extent that ends behind `at`. */
  #indexAt(at: number): number {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { offset, length } = this.#extents[middle] as ExtentWrite;
      if (offset + length <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether what was seen is what `source` shows from file offset `at` on. */
function isSame(seen: ExtentWrite, at: number, source: PieceSource | undefined): boolean {
  if (seen.source.kind === 'zero') return source === undefined || source.kind === 'zero';
  if (seen.source.kind !== 'chunk' || source?.kind !== 'chunk') return false;
  // The same chunk, laid on the file at the same place.
  const isAligned = seen.source.chunkOffset - seen.offset === source.offset - at;
  return seen.source.chunk === source.chunk && isAligned;
}
