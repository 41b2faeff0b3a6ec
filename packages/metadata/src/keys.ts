/**
 * Keys: ordered binary, big-endian, so that ascending keys are ascending volumes, kinds, inodes and
 * offsets, and one range scan lists a directory or a file.
 *
 * | bytes | what                                                                       |
 * |-------|----------------------------------------------------------------------------|
 * | 3     | volume; 0: of the whole shard                                              |
 * | 1     | kind, of KIND in a volume or of SHARD_KIND where the volume is 0           |
 * | rest  | see the function that makes the key: ids of fixed width, a name comes last |
 */
import type { ChunkId, InodeNumber, SessionId, VolumeNumber } from '@holdfast/protocol';

/** Kinds of keys below a volume. */
export const KIND = {
  volume: 0x01,
  inode: 0x10,
  dentry: 0x11,
  listing: 0x12,
  xattrs: 0x13,
  region: 0x14,
  blob: 0x15,
  chunk: 0x20,
  lent: 0x21,
  history: 0x30,
  versions: 0x31,
  death: 0x32,
  pins: 0x40,
  snapshot: 0x41,
  snapshotName: 0x42,
  whiteout: 0x43,
} as const;

/** Kinds of keys of the whole shard. */
export const SHARD_KIND = {
  counters: 0x01,
  liveSessions: 0x02,
  session: 0x03,
  answer: 0x04,
  ordinal: 0x05,
  endedRing: 0x06,
  endedSession: 0x07,
  locks: 0x10,
  orphan: 0x11,
  inlineFile: 0x12,
  deadContent: 0x13,
  contentCut: 0x14,
  deadVolume: 0x15,
  freedChunk: 0x16,
  unpinned: 0x17,
  trees: 0x18,
  closedTree: 0x19,
  shadow: 0x1a,
} as const;

const SHARD = 0 as VolumeNumber;

/** Widths in bytes of the numbers in keys. */
const WIDTH = { volume: 3, inode: 5, region: 5, blob: 6, number: 7 } as const;

function putNumber(key: Uint8Array, at: number, width: number, value: number): void {
  let rest = value;
  for (let index = at + width - 1; index >= at; index--) {
    key[index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** The number that `width` bytes from `at` hold. */
export function numberIn(key: Uint8Array, at: number, width: number): number {
  let value = 0;
  for (let index = at; index < at + width; index++) value = value * 256 + (key[index] ?? 0);
  return value;
}

/** Parts of a key: [width, value] of numbers, or bytes. */
type Part = readonly [number, number] | Uint8Array;

function keyOf(volume: VolumeNumber, kind: number, ...parts: readonly Part[]): Uint8Array {
  let length = WIDTH.volume + 1;
  for (const part of parts) length += part instanceof Uint8Array ? part.length : part[0];
  const key = Buffer.allocUnsafe(length);
  putNumber(key, 0, WIDTH.volume, volume);
  key[WIDTH.volume] = kind;
  let at = WIDTH.volume + 1;
  for (const part of parts) {
    if (part instanceof Uint8Array) {
      key.set(part, at);
      at += part.length;
    } else {
      putNumber(key, at, part[0], part[1]);
      at += part[0];
    }
  }
  return key;
}

const inode = (ino: number): Part => [WIDTH.inode, ino];
const number = (value: number): Part => [WIDTH.number, value];

/** The volume's own record. */
export function volumeKey(volume: VolumeNumber): Uint8Array {
  return keyOf(volume, KIND.volume);
}

/** An inode. */
export function inodeKey(volume: VolumeNumber, ino: InodeNumber): Uint8Array {
  return keyOf(volume, KIND.inode, inode(ino));
}

/** A name in a directory; the name is latin1 text, a byte a character. */
export function dentryKey(volume: VolumeNumber, parent: InodeNumber, name: string): Uint8Array {
  return keyOf(volume, KIND.dentry, inode(parent), Buffer.from(name, 'latin1'));
}

/** A directory's entries in the order in which they were made. */
export function listingKey(volume: VolumeNumber, parent: InodeNumber, cookie: number): Uint8Array {
  return keyOf(volume, KIND.listing, inode(parent), number(cookie));
}

/** All extended attributes of an inode. */
export function xattrsKey(volume: VolumeNumber, ino: InodeNumber): Uint8Array {
  return keyOf(volume, KIND.xattrs, inode(ino));
}

/** Extents of 1 MiB of a file's content; a content has a number of its own, see InodeRecord. */
export function regionKey(volume: VolumeNumber, content: number, region: number): Uint8Array {
  return keyOf(volume, KIND.region, inode(content), [WIDTH.region, region]);
}

/** Inline bytes that extents of a region show. */
export function blobKey(
  volume: VolumeNumber,
  content: number,
  region: number,
  blob: number,
): Uint8Array {
  return keyOf(volume, KIND.blob, inode(content), [WIDTH.region, region], [WIDTH.blob, blob]);
}

/** Liveness of a chunk. */
export function chunkKey(volume: VolumeNumber, chunk: ChunkId): Uint8Array {
  return keyOf(volume, KIND.chunk, Buffer.from(chunk, 'hex'));
}

/** The chunk in a key of chunkKey. */
export function chunkIn(key: Uint8Array): ChunkId {
  return Buffer.from(key.subarray(WIDTH.volume + 1)).toString('hex') as ChunkId;
}

/** In a shadow: a chunk of the volume that its records come from, in another shard. */
export function lentKey(shadow: VolumeNumber, chunk: ChunkId): Uint8Array {
  return keyOf(shadow, KIND.lent, Buffer.from(chunk, 'hex'));
}

const NUL = new Uint8Array(1);

/**
 * An older version of a head record: the head's key without the volume, NUL, generation of its
 * death. The NUL keeps the versions of 'a' and of 'ab' apart: no name holds one, all else is of
 * fixed width.
 */
export function historyKey(head: Uint8Array, death: number): Uint8Array {
  return keyOf(volumeIn(head), KIND.history, head.subarray(WIDTH.volume), NUL, [WIDTH.blob, death]);
}

/** The list of a head record's versions in history. */
export function versionsKey(head: Uint8Array): Uint8Array {
  return keyOf(volumeIn(head), KIND.versions, head.subarray(WIDTH.volume));
}

/** A version in history, by its death: what died between two snapshots is one range. */
export function deathKey(head: Uint8Array, death: number): Uint8Array {
  return keyOf(volumeIn(head), KIND.death, [WIDTH.blob, death], head.subarray(WIDTH.volume));
}

/** Versions of a kind (0: of any) that died in `death`, and what is ordered behind them. */
export function deathsFrom(volume: VolumeNumber, death: number, kind = 0): Uint8Array {
  return keyOf(volume, KIND.death, [WIDTH.blob, death], Uint8Array.of(kind));
}

/** A key of the table of deaths taken apart: the head that died, and when. */
export function headOfDeath(key: Uint8Array): { readonly head: Uint8Array; death: number } {
  const at = WIDTH.volume + 1;
  const head = Buffer.concat([key.subarray(0, WIDTH.volume), key.subarray(at + WIDTH.blob)]);
  return { head, death: numberIn(key, at, WIDTH.blob) };
}

/** A key of history taken apart. */
export function headOfHistory(key: Uint8Array): { readonly head: Uint8Array; death: number } {
  const end = key.length - WIDTH.blob;
  const rest = key.subarray(WIDTH.volume + 1, end - NUL.length);
  return {
    head: Buffer.concat([key.subarray(0, WIDTH.volume), rest]),
    death: numberIn(key, end, WIDTH.blob),
  };
}

/** Whether a key is that of a head record, of which snapshots see older versions. */
export function isHeadKey(key: Uint8Array): boolean {
  const kind = key[WIDTH.volume] ?? 0;
  return kind >= KIND.inode && kind <= KIND.blob && volumeIn(key) !== SHARD;
}

/** The volume of a key; 0: of the whole shard. */
export function volumeIn(key: Uint8Array): VolumeNumber {
  return numberIn(key, 0, WIDTH.volume) as VolumeNumber;
}

/** In a clone: a head record of its snapshot that was deleted in the clone. */
export function whiteoutKey(head: Uint8Array): Uint8Array {
  return keyOf(volumeIn(head), KIND.whiteout, head.subarray(WIDTH.volume));
}

/** The same key of another volume. */
export function inVolume(key: Uint8Array, volume: VolumeNumber): Uint8Array {
  const moved = Buffer.from(key);
  putNumber(moved, 0, WIDTH.volume, volume);
  return moved;
}

/** The pinned generations of a volume. */
export function pinsKey(volume: VolumeNumber): Uint8Array {
  return keyOf(volume, KIND.pins);
}

/** A snapshot by the generation that it pins. */
export function snapshotKey(volume: VolumeNumber, generation: number): Uint8Array {
  return keyOf(volume, KIND.snapshot, number(generation));
}

/** A snapshot by its name. */
export function snapshotNameKey(volume: VolumeNumber, name: string): Uint8Array {
  return keyOf(volume, KIND.snapshotName, Buffer.from(name, 'latin1'));
}

/** A generation that was unpinned; with `reached` behind it, the progress of the look for its garbage. */
export function unpinnedKey(
  volume: VolumeNumber,
  generation: number,
  reached: Uint8Array = new Uint8Array(),
): Uint8Array {
  const parts: Part[] = [[WIDTH.volume, volume], inode(generation), reached];
  return keyOf(SHARD, SHARD_KIND.unpinned, ...parts);
}

/** What follows a key of unpinnedKey or closedTreeReachedKey: how far the look has come. */
export function reachedIn(key: Uint8Array): Uint8Array {
  return key.subarray(WIDTH.volume + 1 + WIDTH.volume + WIDTH.inode);
}

/** Counters of the shard. */
export function countersKey(): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.counters);
}

/** The list of open sessions. */
export function liveSessionsKey(): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.liveSessions);
}

/** A session, open or ended. */
export function sessionKey(session: SessionId): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.session, Buffer.from(session, 'hex'));
}

/** The answer kept for a retry of a session's request. */
export function answerKey(session: SessionId, sequence: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.answer, Buffer.from(session, 'hex'), number(sequence));
}

/** An open session by its ordinal. */
export function ordinalKey(ordinal: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.ordinal, number(ordinal));
}

/** Place in the ring of remembered ended sessions. */
export function endedRingKey(slot: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.endedRing, number(slot));
}

/** A session that ended and whose locks and orphans are not cleaned up yet, by its ordinal. */
export function endedSessionKey(ordinal: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.endedSession, number(ordinal));
}

type PerInode = 'locks' | 'orphan' | 'inlineFile';

/** A shard-wide table of inodes: those with locks, orphans, files with inline bytes. */
export function perInodeKey(kind: PerInode, volume: VolumeNumber, ino: InodeNumber): Uint8Array {
  return keyOf(SHARD, SHARD_KIND[kind], [WIDTH.volume, volume], inode(ino));
}

/** A content whose regions are to be deleted. */
export function deadContentKey(volume: VolumeNumber, content: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.deadContent, [WIDTH.volume, volume], inode(content));
}

/** A cut (see InodeRecord) whose dead regions are to be deleted. */
export function contentCutKey(volume: VolumeNumber, ino: InodeNumber, epoch: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.contentCut, [WIDTH.volume, volume], inode(ino), number(epoch));
}

/** A destroyed volume; stays, so that its number is never used again. */
export function deadVolumeKey(volume: VolumeNumber): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.deadVolume, [WIDTH.volume, volume]);
}

/** Which trees a volume that was rolled back consists of; none for other volumes. */
export function treesKey(volume: VolumeNumber): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.trees, [WIDTH.volume, volume]);
}

/** A tree that changes no more, not cleaned up yet. */
export function closedTreeKey(tree: VolumeNumber): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.closedTree, [WIDTH.volume, tree]);
}

/** The progress of the look through a closed tree, done when this was its newest pin; empty: at the end. */
export function closedTreeReachedKey(
  tree: VolumeNumber,
  newestPin: number,
  reached: Uint8Array = new Uint8Array(),
): Uint8Array {
  const parts: Part[] = [[WIDTH.volume, tree], inode(newestPin), reached];
  return keyOf(SHARD, SHARD_KIND.closedTree, ...parts);
}

/** What a shadow is a copy of, and how far it has come. */
export function shadowKey(shadow: VolumeNumber): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.shadow, [WIDTH.volume, shadow]);
}

/** A key without its volume. */
export function bareKey(key: Uint8Array): Uint8Array {
  return key.subarray(WIDTH.volume);
}

/** A key of {@link bareKey} in a volume. */
export function keyIn(volume: VolumeNumber, bare: Uint8Array): Uint8Array {
  return keyOf(volume, bare[0] ?? 0, bare.subarray(1));
}

/** All head records of a volume. */
export function headsRange(volume: VolumeNumber): KeyRange {
  return { from: keyOf(volume, KIND.inode), to: keyOf(volume, KIND.blob + 1) };
}

/** A chunk up for collection, in the order in which chunks were given up. */
export function freedChunkKey(place: number): Uint8Array {
  return keyOf(SHARD, SHARD_KIND.freedChunk, number(place));
}

/** A half-open range of keys. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** The range of all keys that begin with `prefix`. */
export function rangeOf(prefix: Uint8Array): KeyRange {
  const to = Buffer.from(prefix);
  for (let index = to.length - 1; index >= 0; index--) {
    if (to[index] === 0xff) continue;
    to[index] = (to[index] as number) + 1;
    return { from: prefix, to: to.subarray(0, index + 1) };
  }
  throw new RangeError('no key is above this prefix');
}

/** The least key above `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  return Buffer.concat([key, NUL]);
}

/** All keys of a shard-wide kind; of one volume where the kind is by volume and one is given. */
export function shardKindRange(kind: keyof typeof SHARD_KIND, volume?: VolumeNumber): KeyRange {
  const parts: Part[] = volume === undefined ? [] : [[WIDTH.volume, volume]];
  return rangeOf(keyOf(SHARD, SHARD_KIND[kind], ...parts));
}

/** All keys below a volume. */
export function volumeRange(volume: VolumeNumber): KeyRange {
  return rangeOf(keyOf(volume, 0).subarray(0, WIDTH.volume));
}

/** Above all keys below a volume, and below those of the next one. */
export function afterVolume(volume: VolumeNumber): Uint8Array {
  return keyOf(volume, 0xff);
}

/** All regions of a content. */
export function contentRange(volume: VolumeNumber, content: number): KeyRange {
  return rangeOf(keyOf(volume, KIND.region, inode(content)));
}

/** All of a directory's listing. */
export function listingRange(volume: VolumeNumber, parent: InodeNumber): KeyRange {
  return rangeOf(keyOf(volume, KIND.listing, inode(parent)));
}

/** The lists of versions of all head keys of [from, to). */
export function versionsOf({ from, to }: KeyRange): KeyRange {
  return { from: versionsKey(from), to: versionsKey(to) };
}

/** The head in a key of versionsKey. */
export function headOfVersions(key: Uint8Array): Uint8Array {
  return Buffer.concat([key.subarray(0, WIDTH.volume), key.subarray(WIDTH.volume + 1)]);
}

/** All snapshots of a volume, in the order in which they were made. */
export function snapshotsRange(volume: VolumeNumber): KeyRange {
  return rangeOf(keyOf(volume, KIND.snapshot));
}

/** Versions that died in [from, to] of a volume. */
export function deathsRange(volume: VolumeNumber, from: number, to: number): KeyRange {
  return { from: deathsFrom(volume, from), to: deathsFrom(volume, to + 1) };
}

/** A key taken apart; fields that its kind does not have are 0. */
export interface ParsedKey {
  readonly volume: VolumeNumber;
  readonly kind: number;
  /** Of shard-wide kinds by volume: that volume. */
  readonly subject: VolumeNumber;
  /** Inode, parent, content, or generation that was unpinned or is the newest pin. */
  readonly ino: InodeNumber;
  /** What follows: region, cookie, epoch, ordinal, place. */
  readonly number: number;
}

const SUBJECT_KINDS: ReadonlySet<number> = new Set([
  SHARD_KIND.locks,
  SHARD_KIND.orphan,
  SHARD_KIND.inlineFile,
  SHARD_KIND.deadContent,
  SHARD_KIND.contentCut,
  SHARD_KIND.deadVolume,
  SHARD_KIND.unpinned,
  SHARD_KIND.trees,
  SHARD_KIND.closedTree,
  SHARD_KIND.shadow,
]);

/** Takes a key apart; total: foreign bytes give fields that name nothing. */
export function parseKey(key: Uint8Array): ParsedKey {
  const volume = numberIn(key, 0, WIDTH.volume) as VolumeNumber;
  const kind = key[WIDTH.volume] ?? 0;
  let at = WIDTH.volume + 1;
  let subject = 0;
  if (volume === SHARD && SUBJECT_KINDS.has(kind)) {
    subject = numberIn(key, at, WIDTH.volume);
    at += WIDTH.volume;
  }
  let ino = 0;
  if (subject !== 0 || volume !== SHARD) {
    ino = numberIn(key, at, WIDTH.inode);
    at += WIDTH.inode;
  }
  const width = kind === KIND.region && volume !== SHARD ? WIDTH.region : WIDTH.number;
  return {
    volume,
    kind,
    subject: subject as VolumeNumber,
    ino: ino as InodeNumber,
    number: at + width <= key.length ? numberIn(key, at, width) : 0,
  };
}

/** The generation in a key of snapshotKey. */
export function snapshotIn(key: Uint8Array): number {
  return numberIn(key, WIDTH.volume + 1, WIDTH.number);
}
