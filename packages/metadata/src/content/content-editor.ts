import {
  type ChunkId,
  type ExtentSource,
  type ExtentWrite,
  HoldfastError,
  type InodeNumber,
} from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { putHead, removeHead } from '../history.ts';
import { outOfSight, takeNumber } from '../inodes.ts';
import { blobKey, contentCutKey, perInodeKey, regionKey } from '../keys.ts';
import { BLOB, type ContentCut, type InodeRecord, REGION } from '../records.ts';
import { MARK } from '../shard-records.ts';
import { countChunk, freeUnused, registerChunk } from './chunks.ts';
import { cutOffIn } from './cuts.ts';
import { markDead } from './dead-content.ts';
import {
  holes,
  type Piece,
  type PieceSource,
  pieceEndingAt,
  placed,
  tallyOf,
  within,
  without,
} from './pieces.ts';
import type { SeenExtents } from './seen-extents.ts';

/** Bytes of a file that one region record describes. */
export const REGION_BYTES = 1024 * 1024;
/** Regions that one command clears by itself; more are cut off and deleted in slices. */
const CLEARED_REGIONS_MAX = 64;
/** Cuts of one file that wait to be cleaned up. */
const CUTS_MAX = 64;
/** Pieces of one region; more must wait until inline bytes and fragments have moved into a chunk. */
const REGION_PIECES_MAX = 8192;
/** Inline bytes that go on where the last ones end join them up to this length: appends to a log. */
const BLOB_JOIN_BYTES_MAX = 4096;

interface OpenRegion {
  readonly index: number;
  /** As stored, dead pieces included: what allocated bytes and live bytes count. */
  readonly stored: readonly Piece[];
  readonly isStored: boolean;
  readonly newBlobs: Map<number, Uint8Array>;
  /** When what is stored came out of sight of later snapshots; none: with this change. */
  readonly death: { readonly death?: number };
  pieces: Piece[];
  nextBlob: number;
  modified: number;
  isChanged: boolean;
}

/** Part of a file range inside one region. */
interface RegionPart {
  readonly index: number;
  readonly at: number;
  readonly length: number;
  /** Bytes of the range before this part. */
  readonly skipped: number;
}

/** Cuts [offset, offset + length) at the borders of regions. */
export function regionParts(offset: number, length: number): RegionPart[] {
  const parts: RegionPart[] = [];
  for (let skipped = 0; skipped < length; ) {
    const index = Math.floor((offset + skipped) / REGION_BYTES);
    const at = offset + skipped - index * REGION_BYTES;
    const partLength = Math.min(length - skipped, REGION_BYTES - at);
    parts.push({ index, at, length: partLength, skipped });
    skipped += partLength;
  }
  return parts;
}

/** Fields of an inode that change with its content. */
export type ContentFields = Pick<
  InodeRecord,
  'content' | 'regionEnd' | 'allocatedBytes' | 'inlineBytes' | 'epoch' | 'cuts'
>;

/**
 * Changes the content of one file in one command: opens the regions it touches, works on their
 * pieces in memory, and `finish` stages what has changed with all that is counted: allocated bytes,
 * quota, live bytes of chunks, blobs.
 */
export class ContentEditor {
  readonly #context: Context;
  readonly #ino: InodeNumber;
  readonly #inode: InodeRecord;
  readonly #regions = new Map<number, OpenRegion>();
  readonly #namedChunks = new Set<ChunkId>();
  #content: number;
  #regionEnd: number;
  #epoch: number;
  #cuts: readonly ContentCut[];
  #allocatedBytes: number;
  #inlineBytes: number;

  /** The content version that this change makes. */
  readonly version: number;

  constructor(context: Context, ino: InodeNumber, inode: InodeRecord) {
    this.#context = context;
    this.#ino = ino;
    this.#inode = inode;
    this.#content = inode.content;
    this.#regionEnd = inode.regionEnd;
    this.#epoch = inode.epoch;
    this.#cuts = inode.cuts;
    this.#allocatedBytes = inode.allocatedBytes;
    this.#inlineBytes = inode.inlineBytes;
    this.version = inode.contentVersion + 1;
  }

  /** Puts a range in the place of what it covers. CHUNK_FREED, EINVAL for a chunk that cannot be named. */
  place({ offset, length, source }: ExtentWrite): void {
    if (source.kind === 'zero' && !source.allocated) {
      this.clear(offset, offset + length);
      return;
    }
    if (source.kind === 'chunk') this.#name(source);
    for (const part of regionParts(offset, length)) {
      const region = this.#open(part.index);
      if (source.kind === 'inline') {
        const bytes = source.bytes.subarray(part.skipped, part.skipped + part.length);
        this.#placeInline(region, part.at, bytes);
      } else {
        const from: PieceSource =
          source.kind === 'zero'
            ? { kind: 'zero' }
            : { kind: 'chunk', chunk: source.chunk, offset: source.chunkOffset + part.skipped };
        const piece: Piece = { at: part.at, length: part.length, source: from };
        this.#change(region, placed(region.pieces, piece));
      }
    }
  }

  /** Gives the holes of a range allocated zeros. */
  allocate(offset: number, length: number): void {
    for (const { index, at, length: bytes } of regionParts(offset, length)) {
      const region = this.#open(index);
      for (const [from, to] of holes(region.pieces, at, at + bytes)) {
        const piece: Piece = { at: from, length: to - from, source: { kind: 'zero' } };
        this.#change(region, placed(region.pieces, piece));
      }
    }
  }

  /** Makes [from, to) a hole, whatever its length. */
  clear(from: number, to: number): void {
    const end = Math.min(to, this.#regionEnd * REGION_BYTES);
    if (from >= end) return;
    const first = Math.ceil(from / REGION_BYTES);
    const last = Math.floor(end / REGION_BYTES);
    if (first > last) {
      this.#clearPart(last, from - last * REGION_BYTES, end - last * REGION_BYTES);
      return;
    }
    const base = (first - 1) * REGION_BYTES;
    if (from < first * REGION_BYTES) this.#clearPart(first - 1, from - base, REGION_BYTES);
    if (end > last * REGION_BYTES) this.#clearPart(last, 0, end - last * REGION_BYTES);
    this.#clearWhole(first, last);
    if (last >= this.#regionEnd) this.#regionEnd = first;
  }

  /**
   * Refers to a chunk instead of what a range shows now, where that is known to be the same bytes:
   * inline bytes not newer than `contentVersion`, all but zeros of regions unchanged since, and what
   * is as it was seen.
   */
  move(
    { offset, length, source }: ExtentWrite,
    { contentVersion, seen }: { readonly contentVersion: number; readonly seen: SeenExtents },
  ): void {
    if (source.kind !== 'chunk') throw new HoldfastError('EINVAL', 'only chunks take bytes over');
    this.#name(source);
    for (const part of regionParts(offset, length)) {
      const region = this.#open(part.index);
      const isSame = region.modified <= contentVersion;
      const base = part.index * REGION_BYTES;
      const to = part.at + part.length;
      const known: (readonly [number, number])[] = [];
      for (const { at, length: bytes, source: old } of within(region.pieces, part.at, to)) {
        const isInline = old.kind === 'blob' && old.version <= contentVersion;
        if (old.kind !== 'zero' && (isInline || isSame)) known.push([base + at, base + at + bytes]);
        else known.push(...seen.unchanged(base + at, base + at + bytes, old));
      }
      for (const [from, end] of holes(region.pieces, part.at, to)) {
        known.push(...seen.unchanged(base + from, base + end, undefined));
      }
      for (const [from, end] of known) {
        const chunkOffset = source.chunkOffset + from - offset;
        const target: PieceSource = { kind: 'chunk', chunk: source.chunk, offset: chunkOffset };
        const piece: Piece = { at: from - base, length: end - from, source: target };
        this.#change(region, placed(region.pieces, piece));
      }
    }
  }

  /** Deletes a region's record when it is dead by a cut. */
  purge(index: number): void {
    this.#open(index);
  }

  /** Stages all changes. EDQUOT; OVERLOADED when a region is in too many pieces. */
  finish({ isBeyondQuota = false }: { readonly isBeyondQuota?: boolean } = {}): ContentFields {
    const counts = new Map<ChunkId, number>();
    for (const region of this.#regions.values()) {
      if (region.isChanged) this.#finishRegion(region, counts);
    }
    this.#finishChunks(counts);
    this.#finishUse(isBeyondQuota);
    return {
      content: this.#content,
      regionEnd: this.#regionEnd,
      allocatedBytes: this.#allocatedBytes,
      inlineBytes: this.#inlineBytes,
      epoch: this.#epoch,
      cuts: this.#cuts,
    };
  }

  #open(index: number): OpenRegion {
    const open = this.#regions.get(index);
    if (open !== undefined) return open;
    const { transaction, volume } = this.#context;
    const record = transaction.read(REGION, regionKey(volume, this.#content, index));
    const cutIn = record === undefined ? Infinity : cutOffIn(this.#cuts, index, record);
    const isDead = cutIn < Infinity;
    const { death = Infinity } = outOfSight(this.#inode);
    const firstDeath = Math.min(death, cutIn);
    const region: OpenRegion = {
      index,
      stored: record?.pieces ?? [],
      isStored: record !== undefined,
      newBlobs: new Map(),
      death: firstDeath < Infinity ? { death: firstDeath } : {},
      pieces: isDead ? [] : [...(record?.pieces ?? [])],
      nextBlob: record?.nextBlob ?? 0,
      modified: record?.modified ?? 0,
      isChanged: isDead,
    };
    this.#regions.set(index, region);
    return region;
  }

  #change(region: OpenRegion, pieces: Piece[]): void {
    region.pieces = pieces;
    region.modified = this.version;
    region.isChanged = true;
    if (pieces.length > 0) this.#regionEnd = Math.max(this.#regionEnd, region.index + 1);
  }

  #name({ chunk, chunkLength }: ExtentSource & { kind: 'chunk' }): void {
    const { transaction, volume } = this.#context;
    if (!this.#namedChunks.has(chunk)) registerChunk(transaction, { volume, chunk }, chunkLength);
    this.#namedChunks.add(chunk);
  }

  #placeInline(region: OpenRegion, at: number, bytes: Uint8Array): void {
    const before = pieceEndingAt(region.pieces, at);
    let from = at;
    let joined = bytes;
    const isShort = before !== undefined && before.length + bytes.length <= BLOB_JOIN_BYTES_MAX;
    if (isShort && before.source.kind === 'blob') {
      from = before.at;
      joined = Buffer.concat([this.#blobBytes(region, before), bytes]);
    }
    const blob = region.nextBlob++;
    region.newBlobs.set(blob, joined);
    const source: PieceSource = { kind: 'blob', blob, offset: 0, version: this.version };
    this.#change(region, placed(region.pieces, { at: from, length: joined.length, source }));
  }

  #blobBytes(region: OpenRegion, { source, length }: Piece): Uint8Array {
    const { transaction, volume } = this.#context;
    if (source.kind !== 'blob') throw new HoldfastError('INTERNAL', 'not an inline piece');
    const key = blobKey(volume, this.#content, region.index, source.blob);
    const bytes = region.newBlobs.get(source.blob) ?? transaction.read(BLOB, key)?.bytes;
    if (bytes === undefined) throw new HoldfastError('INTERNAL', 'inline bytes are missing');
    return bytes.subarray(source.offset, source.offset + length);
  }

  #clearPart(index: number, from: number, to: number): void {
    const region = this.#open(index);
    if (within(region.pieces, from, to).length === 0) return;
    this.#change(region, without(region.pieces, from, to));
  }

  /** Clears regions [from, to): one by one, or by a new content, or by a cut. */
  #clearWhole(from: number, to: number): void {
    if (to - from <= CLEARED_REGIONS_MAX) {
      for (let index = from; index < to; index++) this.#clearPart(index, 0, REGION_BYTES);
      return;
    }
    if (from === 0 && to >= this.#regionEnd && this.#regions.size === 0) {
      this.#dropContent();
      return;
    }
    for (const region of this.#regions.values()) {
      if (region.index >= from && region.index < to) this.#change(region, []);
    }
    // An older generation's cut stays: it tells since when no snapshot sees what it cut off.
    const { generation } = volumeOf(this.#context);
    const rest = this.#cuts.filter(
      (cut) => cut.from < from || cut.to > to || cut.generation < generation,
    );
    if (rest.length >= CUTS_MAX) {
      throw new HoldfastError('OVERLOADED', 'too many cut-off parts of the file wait for deletion');
    }
    this.#epoch++;
    this.#cuts = [...rest, { from, to, epoch: this.#epoch, generation }];
    const { transaction, volume, nowNs } = this.#context;
    const key = contentCutKey(volume, this.#ino, this.#epoch);
    transaction.write(MARK, key, { timeNs: nowNs });
  }

  #dropContent(): void {
    const { death = volumeOf(this.#context).generation } = outOfSight(this.#inode);
    markDead(this.#context, this.#content, { generation: death, cuts: this.#cuts });
    this.#content = takeNumber(this.#context);
    this.#cuts = [];
    this.#allocatedBytes = 0;
    this.#inlineBytes = 0;
    this.#regionEnd = 0;
  }

  #finishRegion(region: OpenRegion, counts: Map<ChunkId, number>): void {
    const { index, stored, pieces, isStored } = region;
    if (pieces.length > REGION_PIECES_MAX) {
      throw new HoldfastError('OVERLOADED', 'a part of the file is in too many pieces');
    }
    const before = tallyOf(stored);
    const after = tallyOf(pieces);
    this.#allocatedBytes += after.bytes - before.bytes;
    this.#inlineBytes += after.inlineBytes - before.inlineBytes;
    for (const [chunk, bytes] of before.chunks) {
      counts.set(chunk, (counts.get(chunk) ?? 0) - bytes);
    }
    for (const [chunk, bytes] of after.chunks) {
      counts.set(chunk, (counts.get(chunk) ?? 0) + bytes);
    }
    this.#finishBlobs(region, before.blobs, after.blobs);
    const { transaction, volume } = this.#context;
    const head = { volume, key: regionKey(volume, this.#content, index), ...region.death };
    if (pieces.length === 0) {
      if (isStored) removeHead(transaction, REGION, head);
      return;
    }
    const owner = this.#content === this.#ino ? (0 as InodeNumber) : this.#ino;
    const { modified, nextBlob } = region;
    putHead(transaction, REGION, head, { owner, epoch: this.#epoch, modified, nextBlob, pieces });
  }

  #finishBlobs(
    { index, newBlobs, death }: OpenRegion,
    before: ReadonlySet<number>,
    shown: ReadonlySet<number>,
  ): void {
    const { transaction, volume } = this.#context;
    for (const blob of before) {
      if (shown.has(blob)) continue;
      const key = blobKey(volume, this.#content, index, blob);
      removeHead(transaction, BLOB, { volume, key, ...death });
    }
    for (const [blob, bytes] of newBlobs) {
      if (!shown.has(blob)) continue;
      const head = { volume, key: blobKey(volume, this.#content, index, blob) };
      putHead(transaction, BLOB, head, { bytes });
    }
  }

  #finishChunks(counts: ReadonlyMap<ChunkId, number>): void {
    const { transaction, volume, nowNs } = this.#context;
    for (const [chunk, delta] of counts) countChunk(transaction, { volume, chunk }, delta);
    for (const chunk of new Set([...counts.keys(), ...this.#namedChunks])) {
      freeUnused(transaction, { volume, chunk }, nowNs);
    }
  }

  #finishUse(isBeyondQuota: boolean): void {
    const { transaction, volume, nowNs } = this.#context;
    const delta = this.#allocatedBytes - this.#inode.allocatedBytes;
    const { usedBytes, quotaBytes } = volumeOf(this.#context);
    const isTooMuch = delta > 0 && quotaBytes > 0 && usedBytes + delta > quotaBytes;
    if (isTooMuch && !isBeyondQuota) {
      throw new HoldfastError('EDQUOT', undefined, { detail: { usedBytes, quotaBytes } });
    }
    if (delta !== 0) {
      const { orphanBytes } = volumeOf(this.#context);
      const ofOrphan = this.#inode.unlinked === 0 ? 0 : delta;
      const change = { usedBytes: usedBytes + delta, orphanBytes: orphanBytes + ofOrphan };
      changeVolume(this.#context, change);
    }
    const mark = perInodeKey('inlineFile', volume, this.#ino);
    const { baseVolume } = volumeOf(this.#context);
    // A clone takes over inline bytes, but no marks of them.
    if (this.#inlineBytes > 0 && (this.#inode.inlineBytes === 0 || baseVolume !== 0)) {
      transaction.write(MARK, mark, { timeNs: nowNs });
    }
    if (this.#inlineBytes === 0 && this.#inode.inlineBytes > 0) transaction.remove(MARK, mark);
  }
}
