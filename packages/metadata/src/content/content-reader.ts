import {
  type Extent,
  type ExtentSource,
  HoldfastError,
  type VolumeNumber,
} from '@holdfast/protocol';
import { blobKey, regionKey } from '../keys.ts';
import { BLOB, type InodeRecord, REGION } from '../records.ts';
import type { Transaction } from '../transaction.ts';
import { shownChunk } from './chunks.ts';
import { REGION_BYTES, regionParts } from './content-editor.ts';
import { isCutOff } from './cuts.ts';
import { type Piece, within } from './pieces.ts';

/** The alive pieces of a region, none when there are none. */
export function alivePieces(
  transaction: Transaction,
  volume: VolumeNumber,
  inode: InodeRecord,
  index: number,
): readonly Piece[] {
  if (index >= inode.regionEnd) return [];
  const region = transaction.read(REGION, regionKey(volume, inode.content, index));
  if (region === undefined || isCutOff(inode.cuts, index, region)) return [];
  return region.pieces;
}

/** Reads extents of one file. */
class ExtentReader {
  readonly #transaction: Transaction;
  readonly #volume: VolumeNumber;
  readonly #inode: InodeRecord;
  readonly #extents: Extent[] = [];

  constructor(transaction: Transaction, volume: VolumeNumber, inode: InodeRecord) {
    this.#transaction = transaction;
    this.#volume = volume;
    this.#inode = inode;
  }

  read(from: number, to: number): Extent[] {
    for (const { index, at, length } of regionParts(from, to - from)) {
      const base = index * REGION_BYTES;
      const pieces = alivePieces(this.#transaction, this.#volume, this.#inode, index);
      let next = at;
      for (const piece of within(pieces, at, at + length)) {
        this.#addHole(base + next, base + piece.at);
        const source = this.#sourceOf(index, piece);
        this.#add({ offset: base + piece.at, length: piece.length, source });
        next = piece.at + piece.length;
      }
      this.#addHole(base + next, base + at + length);
    }
    return this.#extents;
  }

  #addHole(from: number, to: number): void {
    if (to <= from) return;
    this.#add({ offset: from, length: to - from, source: { kind: 'zero', allocated: false } });
  }

  /** Adds an extent; joins it to the last one where it goes on in the same source. */
  #add(extent: Extent): void {
    const last = this.#extents.at(-1);
    if (last !== undefined && goesOn(last, extent)) {
      this.#extents[this.#extents.length - 1] = { ...last, length: last.length + extent.length };
    } else {
      this.#extents.push(extent);
    }
  }

  #sourceOf(index: number, { source, length }: Piece): ExtentSource {
    if (source.kind === 'zero') return { kind: 'zero', allocated: true };
    if (source.kind === 'chunk') {
      const { chunk, offset } = source;
      const known = shownChunk(this.#transaction, { volume: this.#volume, chunk });
      if (known === undefined) throw new HoldfastError('CORRUPT', 'an extent of an unknown chunk');
      return { kind: 'chunk', chunk, chunkOffset: offset, chunkLength: known.length };
    }
    const key = blobKey(this.#volume, this.#inode.content, index, source.blob);
    const blob = this.#transaction.read(BLOB, key);
    if (blob === undefined) throw new HoldfastError('CORRUPT', 'an extent without its bytes');
    return { kind: 'inline', bytes: blob.bytes.subarray(source.offset, source.offset + length) };
  }
}

function goesOn(last: Extent, next: Extent): boolean {
  const a = last.source;
  const b = next.source;
  if (a.kind === 'zero') return b.kind === 'zero' && a.allocated === b.allocated;
  if (a.kind !== 'chunk' || b.kind !== 'chunk') return false;
  return a.chunk === b.chunk && a.chunkOffset + last.length === b.chunkOffset;
}

/** Extents that cover [from, to) of a file without gaps; reads as many regions as that touches. */
export function extentsBetween(
  transaction: Transaction,
  { volume, inode }: { readonly volume: VolumeNumber; readonly inode: InodeRecord },
  range: { readonly from: number; readonly to: number },
): Extent[] {
  return new ExtentReader(transaction, volume, inode).read(range.from, range.to);
}
