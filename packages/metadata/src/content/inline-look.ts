/**
 * What the leader of a shard sees of the inline bytes that it may move into chunks. Only looks; the
 * change is a 'move-inline', which judges again what is still as it was seen here.
 */
import {
  type ChunkId,
  HoldfastError,
  type InodeNumber,
  type VolumeNumber,
} from '@holdfast/protocol';
import { blobKey, inodeKey, numberIn, rangeOf } from '../keys.ts';
import { BLOB, INODE, type InodeRecord } from '../records.ts';
import { restsOnPart } from '../shadows.ts';
import type { StateReader, StateSource } from '../state.ts';
import { Transaction } from '../transaction.ts';
import { REGION_BYTES } from './content-editor.ts';
import { alivePieces } from './content-reader.ts';

interface FileOfShard {
  readonly volume: VolumeNumber;
  readonly ino: InodeNumber;
}

/** Where the key of inline bytes has the region: behind volume, kind and content; and its width. */
const REGION_AT = 9;
const REGION_WIDTH = 5;

/** A file that may have inline bytes. */
export interface InlineFile {
  /** Its contents now: pieces that are there have this version or an older one. */
  readonly contentVersion: number;
  /** Time of the command that changed it last. */
  readonly ctimeNs: bigint;
  /** Inline bytes, those included that are cut off and not yet deleted. */
  readonly inlineBytes: number;
}

/** Bytes of a file that are inline. */
export interface InlinePiece {
  /** In the file. */
  readonly offset: number;
  readonly length: number;
  /** Content version at which they were written. */
  readonly version: number;
}

/** One region of 1 MiB as it is at one moment. */
export interface InlineRegion {
  readonly contentVersion: number;
  /** All pieces of the region, inline or not. */
  readonly pieceCount: number;
  /** Chunks of which the region shows something. */
  readonly chunkCount: number;
  /** The inline ones, ascending. */
  readonly inline: readonly InlinePiece[];
  /** Bytes of an inline piece; only in the turn in which the region was looked at. */
  read(piece: InlinePiece): Uint8Array;
}

function inodeOf(state: StateReader, { volume, ino }: FileOfShard): InodeRecord | undefined {
  const bytes = state.get(inodeKey(volume, ino));
  const inode = bytes === undefined ? undefined : INODE.decode(bytes);
  return inode?.kind === 'file' ? inode : undefined;
}

/** A file as it is now; undefined when it is gone or no regular file. */
export function inlineFile(state: StateReader, file: FileOfShard): InlineFile | undefined {
  const inode = inodeOf(state, file);
  if (inode === undefined) return undefined;
  const { contentVersion, ctimeNs, inlineBytes } = inode;
  return { contentVersion, ctimeNs, inlineBytes };
}

/** First region at or after `from` with inline bytes, in settled state; costs the same for any file. */
export async function nextInlineRegion(
  state: StateSource,
  file: FileOfShard,
  from: number,
): Promise<number | undefined> {
  const inode = inodeOf(state, file);
  if (inode === undefined || from >= inode.regionEnd) return undefined;
  const first = blobKey(file.volume, inode.content, from, 0);
  const { to } = rangeOf(first.subarray(0, REGION_AT));
  for await (const [key] of state.scan(first, to, 1)) return numberIn(key, REGION_AT, REGION_WIDTH);
  return undefined;
}

/**
 * Looks at one region of a file; undefined when the file is gone, or in a clone that has not yet copied
 * it from another shard. All in one turn.
 */
export function inlineRegion(
  state: StateReader,
  file: FileOfShard,
  region: number,
): InlineRegion | undefined {
  try {
    return lookAt(state, file, region);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'BASE_MISSING') return undefined;
    throw error;
  }
}

function lookAt(state: StateReader, file: FileOfShard, region: number): InlineRegion | undefined {
  const inode = inodeOf(state, file);
  if (inode === undefined) return undefined;
  const transaction = new Transaction(state);
  const pieces = alivePieces(transaction, file.volume, inode, region);
  const isPart = restsOnPart(state, file.volume);
  const base = region * REGION_BYTES;
  const places = new Map<InlinePiece, { blob: number; from: number }>();
  const chunks = new Set<ChunkId>();
  for (const { at, length, source } of pieces) {
    if (source.kind === 'chunk') chunks.add(source.chunk);
    if (source.kind !== 'blob') continue;
    const piece: InlinePiece = { offset: base + at, length, version: source.version };
    places.set(piece, { blob: source.blob, from: source.offset });
    // Else it is missed when it is read.
    if (isPart) transaction.read(BLOB, blobKey(file.volume, inode.content, region, source.blob));
  }
  return {
    contentVersion: inode.contentVersion,
    pieceCount: pieces.length,
    chunkCount: chunks.size,
    inline: [...places.keys()],
    read(piece) {
      const place = places.get(piece);
      if (place === undefined) throw new RangeError('a piece of another look');
      const key = blobKey(file.volume, inode.content, region, place.blob);
      // A clone may show bytes that are its snapshot's.
      const blob = transaction.fresh().read(BLOB, key);
      if (blob === undefined) throw new RangeError('the turn of the look is over');
      return blob.bytes.subarray(place.from, place.from + piece.length);
    },
  };
}
