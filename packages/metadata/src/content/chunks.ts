/**
 * Liveness of chunks. A chunk's live bytes are the sum over all pieces that refer to it; at zero it
 * goes on the list of freed chunks and is never taken back: the leader may be deleting it already.
 */
import { type ChunkId, HoldfastError, madeAtOf, type VolumeNumber } from '@holdfast/protocol';
import { changeCounters, countersOf } from '../counters.ts';
import { chunkKey, freedChunkKey, lentKey, volumeKey } from '../keys.ts';
import { CHUNK, type ChunkRecord, FREED_CHUNK, LENT, VOLUME } from '../records.ts';
import type { Transaction } from '../transaction.ts';
import { allTrees } from '../trees.ts';
import { type Piece, tallyOf } from './pieces.ts';

/** A chunk of one volume. */
export interface ChunkOfVolume {
  readonly volume: VolumeNumber;
  readonly chunk: ChunkId;
}

/**
 * Makes a chunk known before pieces refer to it. CHUNK_FREED when it was given up or is barred, EINVAL
 * when it is known with another length.
 */
export function registerChunk(
  transaction: Transaction,
  { volume, chunk }: ChunkOfVolume,
  length: number,
): void {
  const key = chunkKey(volume, chunk);
  const known = transaction.read(CHUNK, key);
  if (known === undefined) {
    // Its snapshot may not show it, and then nothing would keep it for the clone.
    const elsewhere =
      lentChunk(transaction, { volume, chunk }) ?? leftChunk(transaction, { volume, chunk });
    if (elsewhere !== undefined) {
      throw new HoldfastError('CHUNK_FREED', 'the chunk belongs to the volume of the snapshot', {
        detail: { chunk },
      });
    }
    checkBar(transaction, chunk);
    transaction.write(CHUNK, key, { length, liveBytes: 0, freed: 0 });
    return;
  }
  if (known.freed !== 0) throw new HoldfastError('CHUNK_FREED', undefined, { detail: { chunk } });
  if (known.length !== length) {
    const detail = { chunk, length: known.length };
    throw new HoldfastError('EINVAL', 'the chunk is known with another length', { detail });
  }
}

/** Peers may be deleting it already: see packages/node/src/repair/README.md. */
function checkBar(transaction: Transaction, chunk: ChunkId): void {
  const { barredBefore } = countersOf(transaction);
  if (madeAtOf(chunk) >= barredBefore) return;
  throw new HoldfastError('CHUNK_FREED', 'the chunk was made too long ago to be named only now', {
    detail: { chunk, barredBefore },
  });
}

/** A chunk of the volumes that a clone comes from, the nearest first. */
function lentChunk(
  transaction: Transaction,
  { volume, chunk }: ChunkOfVolume,
): ChunkRecord | undefined {
  for (let at = volume; ; ) {
    const base = transaction.read(VOLUME, volumeKey(at))?.baseVolume ?? 0;
    if (base === 0) return undefined;
    at = base as VolumeNumber;
    const known = transaction.read(CHUNK, chunkKey(at, chunk)) ?? shadowed(transaction, at, chunk);
    if (known !== undefined) return known;
  }
}

/** A chunk that records of a shadow show: of another shard, which keeps it as long as the shadow is there. */
function shadowed(
  transaction: Transaction,
  volume: VolumeNumber,
  chunk: ChunkId,
): ChunkRecord | undefined {
  if (transaction.read(VOLUME, volumeKey(volume))?.isShadow !== true) return undefined;
  const lent = transaction.read(LENT, lentKey(volume, chunk));
  return lent && { length: lent.length, liveBytes: 0, freed: 0 };
}

/** A chunk that the volume had before it was rolled back. */
function leftChunk(
  transaction: Transaction,
  { volume, chunk }: ChunkOfVolume,
): ChunkRecord | undefined {
  const home = transaction.read(VOLUME, volumeKey(volume))?.home ?? 0;
  if (home === 0) return undefined;
  for (const tree of allTrees(transaction, home as VolumeNumber)) {
    const known = transaction.read(CHUNK, chunkKey(tree, chunk));
    if (known !== undefined) return known;
  }
  return undefined;
}

/** A chunk that pieces of a volume may show: its own, or one that a clone took over. */
export function shownChunk(transaction: Transaction, of: ChunkOfVolume): ChunkRecord | undefined {
  return transaction.read(CHUNK, chunkKey(of.volume, of.chunk)) ?? lentChunk(transaction, of);
}

/** Counts live bytes; the chunk must be registered. */
export function countChunk(
  transaction: Transaction,
  { volume, chunk }: ChunkOfVolume,
  delta: number,
): void {
  if (delta === 0) return;
  const key = chunkKey(volume, chunk);
  const known = transaction.read(CHUNK, key);
  // The pin that holds a clone's snapshot keeps what the clone takes over: nothing to count.
  if (known === undefined && lentChunk(transaction, { volume, chunk }) !== undefined) return;
  const liveBytes = (known?.liveBytes ?? 0) + delta;
  if (known === undefined || known.freed !== 0 || liveBytes < 0) {
    throw new HoldfastError('INTERNAL', 'live bytes of a chunk do not add up', {
      detail: { volume, chunk, delta, known: known?.liveBytes, freed: known?.freed },
    });
  }
  transaction.write(CHUNK, key, { ...known, liveBytes });
}

/** Counts the chunks of pieces once more. */
export function retainChunks(
  transaction: Transaction,
  volume: VolumeNumber,
  pieces: readonly Piece[],
): void {
  for (const [chunk, bytes] of tallyOf(pieces).chunks) {
    countChunk(transaction, { volume, chunk }, bytes);
  }
}

/** Gives up what pieces of a record that is deleted show. */
export function releasePieces(
  {
    transaction,
    volume,
    nowNs,
  }: { readonly transaction: Transaction; readonly volume: VolumeNumber; readonly nowNs: bigint },
  pieces: readonly Piece[],
): void {
  for (const [chunk, bytes] of tallyOf(pieces).chunks) {
    countChunk(transaction, { volume, chunk }, -bytes);
    freeUnused(transaction, { volume, chunk }, nowNs);
  }
}

/** Puts a chunk on the list of freed chunks when nothing refers to it and it is not there yet. */
export function freeUnused(
  transaction: Transaction,
  { volume, chunk }: ChunkOfVolume,
  nowNs: bigint,
): void {
  const key = chunkKey(volume, chunk);
  const known = transaction.read(CHUNK, key);
  if (known === undefined || known.liveBytes > 0 || known.freed !== 0) return;
  const place = listFreed(transaction, { volume, chunk }, known.length, nowNs);
  transaction.write(CHUNK, key, { ...known, freed: place });
}

/** Adds to the list of freed chunks; gives the place in it. */
export function listFreed(
  transaction: Transaction,
  { volume, chunk }: ChunkOfVolume,
  length: number,
  nowNs: bigint,
): number {
  const place = countersOf(transaction).nextFreed;
  changeCounters(transaction, { nextFreed: place + 1 });
  transaction.write(FREED_CHUNK, freedChunkKey(place), { chunk, volume, length, timeNs: nowNs });
  return place;
}
