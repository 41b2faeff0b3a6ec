/**
 * Records of a volume: their fields, short keys and meaning. All are versioned MessagePack maps; a
 * field that is not stored has the value given as `absent`. Keys: keys.ts.
 */
import type { ChunkId, FileKind, InodeNumber, VolumeNumber } from '@holdfast/protocol';
import { packPieces, unpackPieces } from './content/piece-codec.ts';
import type { Piece } from './content/pieces.ts';
import { recordType } from './record-type.ts';

/** A record of which snapshots see older versions: history.ts. */
export interface HeadRecord {
  /** The volume's generation when this version was made; >= 1. */
  readonly birth: number;
}

/** A volume: bounds, use, generations. */
export interface VolumeRecord {
  readonly name: string;
  /** Counter of snapshots, >= 1: what changes now is born in this generation. */
  readonly generation: number;
  /** The newest generation that a snapshot pins, below `generation`; 0: none. All of them: PinsRecord. */
  readonly newestPin: number;
  /** Next number for an inode or a content. */
  readonly nextInode: number;
  /** Bytes that extents of all inodes cover. */
  readonly usedBytes: number;
  /** Inodes, the root and orphans included. */
  readonly usedInodes: number;
  /** Of these, what orphans use: no snapshot shows it. */
  readonly orphanBytes: number;
  readonly orphanInodes: number;
  /** 0: no limit. */
  readonly quotaBytes: number;
  readonly quotaInodes: number;
  /** Ordinals of the sessions that hold a delegation of the volume; void once a session has ended. */
  readonly holders: readonly number[];
  /** A clone: the volume and the generation that it was made of; 0: no clone. */
  readonly baseVolume: VolumeNumber;
  readonly baseGeneration: number;
  /** Clones between it and a volume that is none. */
  readonly depth: number;
  /** Clones of its snapshots, trees of rollbacks among them. */
  readonly cloneCount: number;
  /** A tree of a rollback: the number of the volume that it belongs to; 0: it is that volume's first. */
  readonly home: VolumeNumber;
  /** A rollback has put another tree in its place: only its snapshots show it. */
  readonly isClosed: boolean;
  /** A tree of a snapshot's records copied from another shard, on which a clone rests: shadows.ts. */
  readonly isShadow: boolean;
}

/** {@link VolumeRecord} in bytes. */
export const VOLUME = recordType<VolumeRecord>('volume', {
  name: { short: 'n' },
  generation: { short: 'g' },
  newestPin: { short: 'np', absent: 0 },
  nextInode: { short: 'i' },
  usedBytes: { short: 'ub', absent: 0 },
  usedInodes: { short: 'ui', absent: 0 },
  orphanBytes: { short: 'ob', absent: 0 },
  orphanInodes: { short: 'oi', absent: 0 },
  quotaBytes: { short: 'qb', absent: 0 },
  quotaInodes: { short: 'qi', absent: 0 },
  holders: { short: 'h', absent: [] },
  baseVolume: { short: 'bv', absent: 0 as VolumeNumber },
  baseGeneration: { short: 'bg', absent: 0 },
  depth: { short: 'dp', absent: 0 },
  cloneCount: { short: 'cc', absent: 0 },
  home: { short: 'hm', absent: 0 as VolumeNumber },
  isClosed: { short: 'cl', absent: false },
  isShadow: { short: 'sh', absent: false },
});

const KINDS: readonly FileKind[] = [
  'file',
  'directory',
  'symlink',
  'fifo',
  'socket',
  'char',
  'block',
];

/** Regions [from, to) that were cut off in one go: those with an epoch below this one are dead. */
export interface ContentCut {
  readonly from: number;
  readonly to: number;
  readonly epoch: number;
  /** The volume's generation at the cut: what was cut off is seen by no later one. */
  readonly generation: number;
}

/** An inode of any kind. */
export interface InodeRecord extends HeadRecord {
  readonly kind: FileKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthNs: bigint;
  readonly rdev: number;
  /** Bits of ACL_BIT: the ACLs that are among its extended attributes; others of these names mean nothing. */
  readonly acls: number;
  /** Symbolic link: its target as latin1. */
  readonly target: string;
  /**
   * The directory that holds it; the root holds itself. 0 for what is no directory: not known, since it
   * has, or had, several names, or is older than this.
   */
  readonly parent: InodeNumber;
  /** Directory: its entries. */
  readonly children: number;
  /** Directory: cookie of the next entry; never used again, so that listings go on where they were. */
  readonly nextCookie: number;
  /** File: grows by one with each change of its content. */
  readonly contentVersion: number;
  /** File: how many of these changes moved its bytes to another place, and were no change to its users. */
  readonly moves: number;
  /**
   * File: the number under which its regions are kept: its own at first, a new one when all content
   * is dropped at once, so that this costs nothing and the old regions are deleted in slices.
   */
  readonly content: number;
  /** File: no region at or above this index is alive. */
  readonly regionEnd: number;
  /** File: bytes of all extents of `content`, regions dead by a cut but not yet deleted included. */
  readonly allocatedBytes: number;
  /** File: the inline ones among them. */
  readonly inlineBytes: number;
  /** File: epoch given to regions that are written now; grows with each cut. */
  readonly epoch: number;
  /** File: cuts of which dead regions are still to be deleted. */
  readonly cuts: readonly ContentCut[];
  /**
   * The generation in which it lost its last name; 0: it has one. No snapshot shows it from then on.
   * 0 too for orphans made before there were snapshots.
   */
  readonly unlinked: number;
}

/** A cut as stored; those made before there were snapshots are of generation 1 and do not say so. */
type StoredCut = [number, number, number, number?];

const packCuts = (cuts: readonly ContentCut[]): StoredCut[] =>
  cuts.map(({ from, to, epoch, generation }) =>
    generation === 1 ? [from, to, epoch] : [from, to, epoch, generation],
  );

const unpackCuts = (stored: StoredCut[]): ContentCut[] =>
  stored.map(([from, to, epoch, generation = 1]) => ({ from, to, epoch, generation }));

/** {@link InodeRecord} in bytes. */
export const INODE = recordType<InodeRecord>('inode', {
  birth: { short: 'b' },
  kind: {
    short: 'k',
    absent: 'file',
    pack: (kind) => KINDS.indexOf(kind),
    unpack: (stored: number) => KINDS[stored] ?? 'file',
  },
  mode: { short: 'm' },
  uid: { short: 'u', absent: 0 },
  gid: { short: 'g', absent: 0 },
  nlink: { short: 'n', absent: 1 },
  size: { short: 's', absent: 0 },
  atimeNs: { short: 'at' },
  mtimeNs: { short: 'mt' },
  ctimeNs: { short: 'ct' },
  birthNs: { short: 'bt' },
  rdev: { short: 'r', absent: 0 },
  acls: { short: 'ac', absent: 0 },
  target: { short: 't', absent: '' },
  parent: { short: 'p', absent: 0 as InodeNumber },
  children: { short: 'c', absent: 0 },
  nextCookie: { short: 'nc', absent: 1 },
  contentVersion: { short: 'cv', absent: 0 },
  moves: { short: 'mv', absent: 0 },
  content: { short: 'ci', absent: 0 },
  regionEnd: { short: 're', absent: 0 },
  allocatedBytes: { short: 'a', absent: 0 },
  inlineBytes: { short: 'ib', absent: 0 },
  epoch: { short: 'e', absent: 0 },
  cuts: {
    short: 'cu',
    absent: [],
    pack: packCuts,
    unpack: unpackCuts,
  },
  unlinked: { short: 'ul', absent: 0 },
});

/** A name in a directory. */
export interface DentryRecord extends HeadRecord {
  readonly ino: InodeNumber;
  /** Its place in the listing. */
  readonly cookie: number;
}

/** {@link DentryRecord} in bytes. */
export const DENTRY = recordType<DentryRecord>('dentry', {
  birth: { short: 'b' },
  ino: { short: 'i' },
  cookie: { short: 'c' },
});

/** A place in a directory's listing. */
export interface ListingRecord extends HeadRecord {
  /** latin1. */
  readonly name: string;
  readonly ino: InodeNumber;
}

/** {@link ListingRecord} in bytes. */
export const LISTING = recordType<ListingRecord>('listing', {
  birth: { short: 'b' },
  name: { short: 'n' },
  ino: { short: 'i' },
});

/** All extended attributes of an inode, in the order in which they were made. */
export interface XattrsRecord extends HeadRecord {
  readonly entries: readonly (readonly [name: string, value: Uint8Array])[];
}

/** {@link XattrsRecord} in bytes. */
export const XATTRS = recordType<XattrsRecord>('xattrs', {
  birth: { short: 'b' },
  entries: { short: 'x' },
});

/** Extents of one region: REGION_BYTES of a file's content. */
export interface RegionRecord extends HeadRecord {
  /** The inode whose content it is; 0: that of the content's own number. */
  readonly owner: InodeNumber;
  /** The inode's epoch when it was last written: dead when a cut has a later one. */
  readonly epoch: number;
  /** The inode's content version when it was last changed. */
  readonly modified: number;
  /** Number of the next blob. */
  readonly nextBlob: number;
  /** Ascending, none overlaps, none is empty; what no piece covers is a hole. */
  readonly pieces: readonly Piece[];
}

/** {@link RegionRecord} in bytes. */
export const REGION = recordType<RegionRecord>('region', {
  birth: { short: 'b' },
  owner: { short: 'o', absent: 0 as InodeNumber },
  epoch: { short: 'e', absent: 0 },
  modified: { short: 'm', absent: 0 },
  nextBlob: { short: 'nb', absent: 0 },
  pieces: {
    short: 'x',
    absent: [],
    pack: packPieces,
    unpack: unpackPieces,
  },
});

/** Inline bytes; shown by pieces of one region, gone with the last of them. */
export interface BlobRecord extends HeadRecord {
  readonly bytes: Uint8Array;
}

/** {@link BlobRecord} in bytes. */
export const BLOB = recordType<BlobRecord>('blob', {
  birth: { short: 'b' },
  bytes: { short: 'd' },
});

/** Liveness of a chunk. */
export interface ChunkRecord {
  /** Whole length in bytes. */
  readonly length: number;
  /** Bytes of all pieces that refer to it, in heads and in history; a byte shown twice counts twice. */
  readonly liveBytes: number;
  /** Place in the list of freed chunks; 0: alive. Once given up, a chunk is never taken back. */
  readonly freed: number;
}

/** {@link ChunkRecord} in bytes. */
export const CHUNK = recordType<ChunkRecord>('chunk', {
  length: { short: 'l' },
  liveBytes: { short: 'n', absent: 0 },
  freed: { short: 'f', absent: 0 },
});

/** In a shadow: a chunk that its records show. Another shard counts it, and gives it up. */
export interface LentRecord {
  /** Whole length in bytes. */
  readonly length: number;
}

/** {@link LentRecord} in bytes. */
export const LENT = recordType<LentRecord>('lent', { length: { short: 'l' } });

/** An older version of a head record, seen by the generations of [birth, death). */
export interface HistoryRecord {
  readonly birth: number;
  readonly death: number;
  /** The record as it was. */
  readonly record: Uint8Array;
}

/** {@link HistoryRecord} in bytes. */
export const HISTORY = recordType<HistoryRecord>('history', {
  birth: { short: 'b' },
  death: { short: 'd' },
  record: { short: 'r' },
});

/** All versions of one head record that are in history. */
export interface VersionsRecord {
  /** [birth, death), ascending, none overlaps. */
  readonly lives: readonly (readonly [birth: number, death: number])[];
}

/** {@link VersionsRecord} in bytes. */
export const VERSIONS = recordType<VersionsRecord>('versions', {
  lives: { short: 'l', absent: [] },
});

/** A version in history, in the table ordered by death. */
export interface DeathRecord {
  readonly birth: number;
}

/** {@link DeathRecord} in bytes. */
export const DEATH = recordType<DeathRecord>('death', { birth: { short: 'b' } });

/** A content that was dropped as a whole and waits to be deleted. */
export interface DeadContentRecord {
  /** Time of the command that dropped it. */
  readonly timeNs: bigint;
  /** The generation in which it was dropped. */
  readonly generation: number;
  /** What had been cut off before that. */
  readonly cuts: readonly ContentCut[];
}

/** {@link DeadContentRecord} in bytes; without the later fields it is a mark, as it was before snapshots. */
export const DEAD_CONTENT = recordType<DeadContentRecord>('dead-content', {
  timeNs: { short: 't' },
  generation: { short: 'g', absent: 1 },
  cuts: { short: 'cu', absent: [], pack: packCuts, unpack: unpackCuts },
});

/** Generations of a volume that are pinned. */
export interface PinsRecord {
  /** Ascending, each below the volume's generation. */
  readonly generations: readonly number[];
}

/** {@link PinsRecord} in bytes. */
export const PINS = recordType<PinsRecord>('pins', { generations: { short: 'g', absent: [] } });

/** A snapshot; its key holds the generation that it pins. */
export interface SnapshotRecord {
  readonly name: string;
  /** Time of the command that made it. */
  readonly timeNs: bigint;
  /** What the volume used then, without orphans. */
  readonly usedBytes: number;
  readonly usedInodes: number;
  /** The next number for an inode or content: what has it or a higher one is younger. */
  readonly nextInode: number;
  /** Volumes that were cloned from it and exist, here or in another shard; trees that rest on it. */
  readonly clones: readonly VolumeNumber[];
  /** Its user gave it up: it has no name, and goes with its last clone. */
  readonly removed: boolean;
  /** Of one that was received, else ''. */
  readonly origin: string;
}

/** {@link SnapshotRecord} in bytes. */
export const SNAPSHOT = recordType<SnapshotRecord>('snapshot', {
  name: { short: 'n' },
  timeNs: { short: 't' },
  usedBytes: { short: 'ub', absent: 0 },
  usedInodes: { short: 'ui', absent: 0 },
  nextInode: { short: 'i' },
  clones: { short: 'c', absent: [] },
  removed: { short: 'r', absent: false },
  origin: { short: 'o', absent: '' },
});

/** A head record of a clone's snapshot that was deleted in the clone; stays, whatever comes in its place. */
export type WhiteoutRecord = HeadRecord;

/** {@link WhiteoutRecord} in bytes. */
export const WHITEOUT = recordType<WhiteoutRecord>('whiteout', { birth: { short: 'b' } });

/** Which generation a snapshot of a name pins. */
export interface SnapshotNameRecord {
  readonly generation: number;
}

/** {@link SnapshotNameRecord} in bytes. */
export const SNAPSHOT_NAME = recordType<SnapshotNameRecord>('snapshot-name', {
  generation: { short: 'g' },
});

/** A generation that was unpinned and whose versions are not cleaned up yet. */
export interface UnpinnedRecord {
  /** Time of the command that unpinned it. */
  readonly timeNs: bigint;
  /** The look for garbage has come so far in the table ordered by death; empty: nowhere. */
  readonly after: Uint8Array;
}

/** {@link UnpinnedRecord} in bytes. */
export const UNPINNED = recordType<UnpinnedRecord>('unpinned', {
  timeNs: { short: 't' },
  after: { short: 'a' },
});

/** A chunk up for collection. */
export interface FreedChunkRecord {
  readonly chunk: ChunkId;
  readonly volume: number;
  readonly length: number;
  /** Time of the command that gave it up. */
  readonly timeNs: bigint;
}

/** {@link FreedChunkRecord} in bytes. */
export const FREED_CHUNK = recordType<FreedChunkRecord>('freed-chunk', {
  chunk: { short: 'c' },
  volume: { short: 'o' },
  length: { short: 'l' },
  timeNs: { short: 't' },
});
