import {
  type ChunkId,
  type Extent,
  type ExtentWrite,
  type InodeNumber,
  LIMITS,
  type Operation,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { InlineLimits } from './limits.ts';

/** The command that refers to a chunk instead of inline bytes. */
export type MoveInline = Extract<Operation, { op: 'move-inline' }>;

/** Bytes of a file, as one look saw them. */
export interface SeenBytes {
  readonly ino: InodeNumber;
  readonly contentVersion: number;
  /** In the file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** What there is beside inline bytes among them: taken over where it is still so. */
  readonly beside?: readonly Extent[];
}

interface Range {
  readonly offset: number;
  length: number;
  /** In the chunk. */
  readonly at: number;
}

interface Part {
  readonly ino: InodeNumber;
  readonly contentVersion: number;
  readonly ranges: Range[];
  readonly beside: Extent[] | undefined;
}

type PackLimits = Pick<InlineLimits, 'filesPerChunk' | 'partsPerChunk' | 'rangesPerPart'>;

/** Bytes of one volume's files on their way into one chunk. */
export class Pack {
  readonly volume: VolumeNumber;
  readonly #limits: PackLimits;
  readonly #bytes: Uint8Array[] = [];
  readonly #parts: Part[] = [];
  readonly #files = new Set<InodeNumber>();
  #length = 0;

  constructor(volume: VolumeNumber, limits: PackLimits) {
    this.volume = volume;
    this.#limits = limits;
  }

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** Commands that the chunk will take. */
  get partCount(): number {
    return this.#parts.length;
  }

  /** Adds bytes, best in the order of the file; false when there is no room, and nothing was added. */
  add(seen: SeenBytes): boolean {
    const { offset, bytes } = seen;
    if (this.#length + bytes.length > LIMITS.chunkBytesMax) return false;
    const part = this.#partFor(seen);
    if (part === undefined) return false;
    const last = part.ranges.at(-1);
    if (last !== undefined && goesOn(last, offset, this.#length)) last.length += bytes.length;
    else part.ranges.push({ offset, length: bytes.length, at: this.#length });
    this.#bytes.push(bytes);
    this.#length += bytes.length;
    return true;
  }

  #partFor({ ino, contentVersion, beside }: SeenBytes): Part | undefined {
    const { filesPerChunk, partsPerChunk, rangesPerPart } = this.#limits;
    const last = this.#parts.at(-1);
    const isSame = last?.ino === ino && last.contentVersion === contentVersion;
    if (isSame && hasRoom(last, beside, rangesPerPart)) {
      if (beside !== undefined) last.beside?.push(...beside);
      return last;
    }
    if (this.#parts.length >= partsPerChunk) return undefined;
    const isMoreFiles = !this.#files.has(ino) && this.#files.size >= filesPerChunk;
    if (isMoreFiles) return undefined;
    this.#files.add(ino);
    const part: Part = { ino, contentVersion, ranges: [], beside: beside && [...beside] };
    this.#parts.push(part);
    return part;
  }

  /** The bytes of the chunk. */
  body(): Uint8Array {
    return Buffer.concat(this.#bytes, this.#length);
  }

  /** The commands that put the chunk in the place of what was seen, one a part. */
  operations(chunk: ChunkId): MoveInline[] {
    const chunkLength = this.#length;
    return this.#parts.map(({ ino, contentVersion, ranges, beside }) => ({
      op: 'move-inline',
      ino,
      contentVersion,
      extents: ranges.map(({ offset, length, at }): ExtentWrite => {
        const source = { kind: 'chunk', chunk, chunkOffset: at, chunkLength } as const;
        return { offset, length, source };
      }),
      ...(beside !== undefined && { seen: beside }),
    }));
  }
}

/** Whether a part takes one more range and what is beside it; either all ranges of a part have that or none. */
function hasRoom(part: Part, beside: readonly Extent[] | undefined, max: number): boolean {
  if (part.ranges.length >= max || (part.beside === undefined) !== (beside === undefined))
    return false;
  return (part.beside?.length ?? 0) + (beside?.length ?? 0) <= max;
}

function goesOn(last: Range, offset: number, at: number): boolean {
  return last.offset + last.length === offset && last.at + last.length === at;
}
