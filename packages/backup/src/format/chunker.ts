/**
 * Content-defined cutting with a gear hash (Xia et al., FastCDC, USENIX ATC 2016, with normalised
 * chunking): an insertion moves cuts only near it. restic cuts with Rabin fingerprints; the format
 * prescribes no cutter, so files cut by one and the other only share blobs below the smallest cut.
 */
import { createHash } from 'node:crypto';

/** Bytes of a piece: none smaller but the last, none larger. */
export interface ChunkSizes {
  readonly min: number;
  readonly average: number;
  readonly max: number;
}

/** Bits that must be zero before and behind the average: fewer cuts before, more behind. */
const NORMALISATION_BITS = 2;

/**
 * 256 numbers that the cutter mixes. They follow from the repository's secret polynomial, so that
 * sizes of blobs tell nothing of known files (watermarks).
 */
export function gearTable(secret: string): Uint32Array {
  const bytes = Buffer.concat(
    Array.from({ length: 32 }, (_, i) =>
      createHash('sha256').update(`holdfast gear ${i} ${secret}`).digest(),
    ),
  );
  return Uint32Array.from({ length: 256 }, (_, i) => bytes.readUInt32LE(i * 4));
}

/** Cuts bytes into pieces; the same bytes always at the same places. */
export class Chunker {
  readonly #gear: Uint32Array;
  readonly #sizes: ChunkSizes;
  readonly #shiftBefore: number;
  readonly #shiftBehind: number;

  constructor(gear: Uint32Array, sizes: ChunkSizes) {
    this.#gear = gear;
    this.#sizes = sizes;
    const bits = Math.round(Math.log2(sizes.average));
    this.#shiftBefore = 32 - (bits + NORMALISATION_BITS);
    this.#shiftBehind = 32 - (bits - NORMALISATION_BITS);
  }

  /**
   * The length of the first piece of `bytes` from `start`. The caller gives at least `sizes.max`
   * bytes, or all that there are: then the last piece may be shorter than the minimum.
   */
  cut(bytes: Uint8Array, start: number): number {
    const { min, average, max } = this.#sizes;
    const end = Math.min(bytes.length, start + max);
    const turn = Math.min(end, start + average);
    let at = start + min;
    if (at >= end) return end - start;
    const gear = this.#gear;
    let hash = 0;
    for (; at < turn; at++) {
      hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
      if (hash >>> this.#shiftBefore === 0) return at + 1 - start;
    }
    for (; at < end; at++) {
      hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
      if (hash >>> this.#shiftBehind === 0) return at + 1 - start;
    }
    return end - start;
  }
}
