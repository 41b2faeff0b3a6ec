/**
 * The words of a volume shard: every change of a volume's metadata (an Operation, carried by a
 * Command in the shard's log) and every linearizable look at it (a View).
 */
import type { Attributes, FileKind } from './attributes.ts';
import type { AfarOperation, BaseRecords, BaseView, HeldSnapshot } from './clones-afar.ts';
import type { ChunkId, InodeNumber, SessionId, VolumeNumber } from './ids.ts';

/** A time stamp given by the caller, or the command's own time. */
export type TimeStamp = bigint | 'now';

/** Where the bytes of a written range are. */
export type ExtentSource =
  /** Bytes that ride in the log, at most LIMITS.inlineBytesMax. */
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  /** Part of a chunk that is already durable on min_replicas peers. */
  | {
      readonly kind: 'chunk';
      readonly chunk: ChunkId;
      readonly chunkOffset: number;
      /** Whole length of the chunk in bytes, for accounting and collection. */
      readonly chunkLength: number;
    }
  /** Reads as zeros; `allocated` tells fallocate'd space from a hole. */
  | { readonly kind: 'zero'; readonly allocated: boolean };

/** A written range: bytes [offset, offset + length) of the file. */
export interface ExtentWrite {
  readonly offset: number;
  readonly length: number;
  readonly source: ExtentSource;
}

/** A range as a reader sees it; ranges of one answer are sorted and cover [from, to) without gaps. */
export type Extent = ExtentWrite;

/** A byte range lock of fcntl(2) or a whole-file lock of flock(2). */
export interface LockRequest {
  readonly family: 'posix' | 'flock';
  readonly type: 'read' | 'write' | 'unlock';
  /** First byte; end is exclusive, Number.MAX_SAFE_INTEGER stands for the end of file. flock: 0 … max. */
  readonly start: number;
  readonly end: number;
  /** The kernel's lock owner as decimal text; unique within the session. */
  readonly owner: string;
  readonly pid: number;
}

/** A change of one volume's metadata. Names are bytes as text in latin1 ("binary") so that any byte survives. */
export type Operation =
  /** Makes an empty volume whose root has the given owner and mode. Again with the same number: success, no change. */
  | {
      readonly op: 'init-volume';
      readonly name: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
      readonly quotaBytes: number;
      readonly quotaInodes: number;
    }
  /** 0 means no limit. */
  | { readonly op: 'set-quota'; readonly quotaBytes: number; readonly quotaInodes: number }
  /** Refuses ENOTEMPTY unless `force`; then the volume is gone and its space is given back in slices. */
  | { readonly op: 'destroy-volume'; readonly force: boolean }
  /**
   * Pins the volume as it is now under a name, in constant time. Names are like those of volumes:
   * a letter or digit, then letters, digits, '_', '.', '-', at most 255. EINVAL, ENAMETOOLONG; EEXIST;
   * ENOSPC above LIMITS.snapshotsMax. `origin`: see {@link Snapshot}.
   */
  | { readonly op: 'create-snapshot'; readonly name: string; readonly origin?: string }
  /**
   * Gives a snapshot up; what nobody else shows is given back in slices. ENOENT, also when the name
   * is that of another snapshot than `generation`: so a late repetition cannot remove a younger one.
   */
  | { readonly op: 'remove-snapshot'; readonly name: string; readonly generation?: number }
  /**
   * Makes the volume of the command as a clone of a snapshot of another volume of this shard, in
   * constant time. While it exists the snapshot's generation stays pinned: removing the snapshot takes
   * its name away and is put off for the rest, destroying its volume is refused with EBUSY. Again with
   * the same number: success, no change. ENOENT (as with remove-snapshot), ENOSPC above LIMITS.clonesMax, EINVAL too deep.
   */
  | {
      readonly op: 'clone-volume';
      readonly name: string;
      readonly from: VolumeNumber;
      readonly snapshot: string;
      readonly generation?: number;
      readonly quotaBytes: number;
      readonly quotaInodes: number;
    }
  | AfarOperation
  /**
   * Shows the volume as a snapshot of it again, in time that does not grow with what the volume holds.
   * What it was until now stays as a snapshot of the name `keep`; all its snapshots stay. Handles opened
   * before are void, see ROLLED_BACK. Again with the same `keep` and time: success, no change. ENOENT (as
   * with remove-snapshot), EEXIST and the rest as with create-snapshot, ENOSPC above LIMITS.clonesMax and
   * LIMITS.treesMax, EINVAL too deep.
   */
  | {
      readonly op: 'rollback-volume';
      readonly snapshot: string;
      readonly generation?: number;
      readonly keep: string;
    }
  /**
   * The session has heard that the volume was rolled back, and given up what it had open there: what it
   * sends from now on is of the time after. What it sent before (by sequence) is refused for ever.
   */
  | { readonly op: 'acknowledge-rollback' }
  /**
   * Makes an inode of any kind under a name. `exclusive`: EEXIST when the name exists; else an
   * existing regular file is the answer (`created: false`), any other kind EEXIST.
   * A set-gid parent hands down its gid, to directories its set-gid bit too; one with a default ACL that
   * ACL, which then takes the umask's place.
   */
  | {
      readonly op: 'create';
      readonly parent: InodeNumber;
      readonly name: string;
      readonly kind: FileKind;
      readonly mode: number;
      /** The mode before the umask, for a parent with a default ACL; default: `mode`. */
      readonly unmaskedMode?: number;
      readonly uid: number;
      readonly gid: number;
      readonly rdev: number;
      /** Target of a symlink in latin1, else ''. */
      readonly target: string;
      readonly exclusive: boolean;
    }
  | {
      readonly op: 'link';
      readonly ino: InodeNumber;
      readonly parent: InodeNumber;
      readonly name: string;
    }
  /** Removes a name of anything but a directory. At zero links the inode lives on as an orphan until every session has let go. */
  | { readonly op: 'unlink'; readonly parent: InodeNumber; readonly name: string }
  | { readonly op: 'rmdir'; readonly parent: InodeNumber; readonly name: string }
  | {
      readonly op: 'rename';
      readonly parent: InodeNumber;
      readonly name: string;
      readonly newParent: InodeNumber;
      readonly newName: string;
      /** rename(2), RENAME_NOREPLACE, RENAME_EXCHANGE. */
      readonly flag: 'replace' | 'noreplace' | 'exchange';
    }
  | {
      readonly op: 'set-attributes';
      readonly ino: InodeNumber;
      /** Changes the access ACL too. */
      readonly mode?: number;
      readonly uid?: number;
      readonly gid?: number;
      /** Truncates or extends. */
      readonly size?: number;
      readonly atime?: TimeStamp;
      readonly mtime?: TimeStamp;
      /** Clears set-user-id, and set-group-id when group execute is set, as write(2) and chown(2) do. */
      readonly killPrivileges?: boolean;
    }
  /**
   * Publishes written ranges in the order given, all or none. `append`: offsets are relative to the
   * end of file at this moment. Sets mtime and ctime; grows the size as needed, never shrinks it.
   * At most LIMITS.writeExtentsMax ranges and LIMITS.allocateBytesMax bytes. Only a chunk that was
   * never given up and is not barred (CHUNK_FREED, see barOf), and that is used by no other
   * volume, may be named.
   */
  | {
      readonly op: 'write-extents';
      readonly ino: InodeNumber;
      readonly extents: readonly ExtentWrite[];
      readonly append: boolean;
      readonly killPrivileges: boolean;
    }
  /**
   * fallocate(2). 'allocate' grows the size unless keepSize; 'punch' and 'zero' as in the man page.
   * 'allocate' and 'zero' take at most LIMITS.allocateBytesMax at a time: the caller goes on in steps.
   */
  | {
      readonly op: 'fallocate';
      readonly ino: InodeNumber;
      readonly mode: 'allocate' | 'punch' | 'zero';
      readonly keepSize: boolean;
      readonly offset: number;
      readonly length: number;
    }
  /**
   * Moves bytes into chunks without changing them. Within the given ranges, inline bytes that are
   * not newer than `contentVersion` are replaced; so are other extents of a region of 1 MiB that has
   * not changed since, and whatever is still as in `seen`. Other holes stay holes. A chunk of which
   * nothing is used is put up for collection.
   */
  | {
      readonly op: 'move-inline';
      readonly ino: InodeNumber;
      /** The inode's content version at which the mover read the bytes. */
      readonly contentVersion: number;
      readonly extents: readonly ExtentWrite[];
      /**
       * What the new chunk shows beside inline bytes, as the mover saw it: parts of other chunks, and
       * zeros. Holes among these are filled, whatever the quota: a block is not worth many pieces.
       */
      readonly seen?: readonly ExtentWrite[];
    }
  /**
   * ACL_XATTR are judged and mean what acl(5) says: an access ACL changes the mode, and one that says no
   * more than a mode becomes it; a value without entries removes. EACCES: a default ACL of no directory.
   */
  | {
      readonly op: 'set-xattr';
      readonly ino: InodeNumber;
      readonly name: string;
      readonly value: Uint8Array;
      /** setxattr(2): either, XATTR_CREATE, XATTR_REPLACE. */
      readonly mode: 'set' | 'create' | 'replace';
      /** An access ACL that is set clears set-group-id: its setter is not of the group, and may not do all. */
      readonly killSetGroup?: boolean;
    }
  | { readonly op: 'remove-xattr'; readonly ino: InodeNumber; readonly name: string }
  /**
   * Never waits: EAGAIN with the holder in detail (`session`, `lock`) when it conflicts. As in
   * flock(2), a refused conversion of a flock has given up the lock held before.
   */
  | { readonly op: 'set-lock'; readonly ino: InodeNumber; readonly lock: LockRequest }
  /** Drops all locks that (session, owner) holds on the inode: close(2), process exit. */
  | {
      readonly op: 'release-locks';
      readonly ino: InodeNumber;
      readonly family: 'posix' | 'flock';
      readonly owner: string;
    }
  /** The session holds none of these orphans open (any more). */
  | { readonly op: 'release-orphans'; readonly inos: readonly InodeNumber[] }
  /**
   * Begins a session, or renews it under the same id: success, no change; SESSION_EXPIRED once it has
   * ended, an id is never used again. Of the whole shard, as are all session operations: `volume` is 0.
   */
  | {
      readonly op: 'open-session';
      readonly host: string;
      /** The first session of the client, of which it may still have files open; default: this one. */
      readonly origin?: SessionId;
    }
  /** Ends a session: locks, delegations and orphans that only it held go with it. */
  | { readonly op: 'close-session' }
  /** The leader's verdict on another session; later commands of it are refused with SESSION_EXPIRED. */
  | { readonly op: 'expire-session'; readonly expired: SessionId }
  /**
   * The right to believe what was learned of the volume. Several sessions may hold one; while any
   * other does, an operation that changes what may be believed is refused with DELEGATED, whose detail
   * has the `sessions` that are in its way. Not granted when delegationHoldersMax hold it.
   */
  | { readonly op: 'acquire-delegation' }
  | { readonly op: 'return-delegation' }
  /**
   * Internal, by the leader: keys of the shard's state that a look found to be garbage (planReclaim in
   * packages/metadata). Each is judged again before it is deleted, so that a stale look does no harm.
   */
  | { readonly op: 'reclaim'; readonly keys: readonly Uint8Array[] }
  /** Internal, by the leader: the chunks at these places of the list of freed chunks are gone from all replicas. */
  | { readonly op: 'chunks-collected'; readonly places: readonly number[] }
  /**
   * Internal: from here on, chunks that were made before a second (see madeAtOf) and that the shard does
   * not know are refused, CHUNK_FREED, whoever names them. A bar is never lowered: no change.
   */
  | { readonly op: 'bar-chunks'; readonly before: number };

export type OperationName = Operation['op'];

/** Operations that change nothing of what is believed under a delegation: none holds them up, and they are no reason for one. */
export const BESIDE_DELEGATION: ReadonlySet<OperationName> = new Set<OperationName>([
  'acquire-delegation',
  'return-delegation',
  'acknowledge-rollback',
  'release-orphans',
  'release-locks',
  'set-lock',
]);

/** One entry of a volume shard's log. */
export interface Command {
  /** Version of this layout; 1. */
  readonly v: 1;
  readonly session: SessionId;
  /**
   * Number of the request within its session, unique, 1 … 2^53-1; a repeated (session, sequence)
   * gets the first answer again. Requests of a session may arrive in any order.
   */
  readonly sequence: number;
  /** The session has received every answer below this number: those may be forgotten. */
  readonly answeredBelow: number;
  /** Nanoseconds since the epoch at the caller: the 'now' of this command. */
  readonly timeNs: bigint;
  readonly volume: VolumeNumber;
  readonly operation: Operation;
}

/** What an operation answers when it is not refused. Unused fields are absent. */
export interface OperationAnswer {
  /** Of the inode made, changed, moved or unlinked, after the change. */
  readonly attributes?: Attributes;
  readonly created?: boolean;
  /** Offset at which an append landed. */
  readonly offset?: number;
  /** An inode that lost its last name with this operation and lives on as an orphan. */
  readonly orphan?: InodeNumber;
  /** rename: attributes of what the new name named before, or (exchange) of the other inode. */
  readonly replaced?: Attributes;
  /** create, link, unlink, rmdir, rename: the directories whose names changed, after the change. */
  readonly directories?: readonly Attributes[];
  readonly delegation?: { readonly granted: boolean };
  /** create-snapshot, remove-snapshot; rollback-volume: what keeps the state of before. */
  readonly snapshot?: Snapshot;
  /** hold-snapshot. */
  readonly held?: HeldSnapshot;
}

/** A snapshot of a volume. */
export interface Snapshot {
  readonly name: string;
  /** What it pins; its number in views, growing, never used again in the volume. */
  readonly generation: number;
  readonly timeNs: bigint;
  /** Volumes that were cloned from it and exist. */
  readonly clones: number;
  /** What the volume used then; files without names, still open somewhere, are not part of it. */
  readonly usedBytes: number;
  readonly usedInodes: number;
  /**
   * Of one that was received: what tells the snapshot that it was sent from everywhere, at most 128
   * characters. Kept, and never read, by the shard.
   */
  readonly origin?: string;
}

/** Result of a command: an answer or a refusal, equal on every replica. */
export type CommandResult =
  | { readonly ok: true; readonly answer: OperationAnswer }
  | {
      readonly ok: false;
      readonly code: string;
      readonly message?: string;
      readonly detail?: Readonly<Record<string, unknown>>;
    };

/** One name in a directory. `cookie` is opaque, never 0; a listing goes on after it. */
export interface DirectoryEntry {
  readonly name: string;
  readonly cookie: number;
  readonly attributes: Attributes;
}

/**
 * A linearizable look at one volume: as it is now, or, with `at`, as the snapshot of that generation
 * saw it. ESTALE when there is no such snapshot (any more).
 */
export type View = LookAt & { readonly at?: number };

type LookAt =
  | { readonly view: 'lookup'; readonly parent: InodeNumber; readonly name: string }
  | { readonly view: 'attributes'; readonly ino: InodeNumber }
  | {
      readonly view: 'read-directory';
      readonly ino: InodeNumber;
      readonly after: number;
      readonly count: number;
    }
  | { readonly view: 'read-link'; readonly ino: InodeNumber }
  | { readonly view: 'xattr'; readonly ino: InodeNumber; readonly name: string }
  | { readonly view: 'xattr-names'; readonly ino: InodeNumber }
  /**
   * Extents of [offset, offset + length), cut at the end of file; inline bytes included.
   * EINVAL when length is above LIMITS.extentsViewBytesMax.
   */
  | {
      readonly view: 'extents';
      readonly ino: InodeNumber;
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly view: 'seek';
      readonly ino: InodeNumber;
      readonly offset: number;
      readonly whence: 'data' | 'hole';
    }
  | { readonly view: 'test-lock'; readonly ino: InodeNumber; readonly lock: LockRequest }
  | { readonly view: 'space' }
  | { readonly view: 'parent'; readonly ino: InodeNumber }
  /** Snapshots in the order in which they were made, after a generation (0: from the first). */
  | { readonly view: 'snapshots'; readonly after: number; readonly count: number }
  /** What removing the snapshot `at` would give back. */
  | { readonly view: 'snapshot-space' }
  /**
   * Inodes that differ between the snapshot `from` and `at` (or now): first those that were there,
   * by the generation of their first change and number, then those made since, by number. Goes on
   * after `next` of the last answer; '' at first. Up to now, what changes meanwhile may be missed.
   */
  | {
      readonly view: 'difference';
      readonly from: number;
      readonly after: string;
      readonly count: number;
    }
  /** Ranges of a file that may differ between the snapshot `from` and `at` (or now), from `offset` on. */
  | {
      readonly view: 'changed-ranges';
      readonly ino: InodeNumber;
      readonly from: number;
      readonly offset: number;
      readonly count: number;
    }
  /** Internal, of the whole shard (`volume` is 0): which of these chunks it knows. At most knownChunksMax. */
  | { readonly view: 'known-chunks'; readonly chunks: readonly ChunkId[] }
  | BaseView;

/** Answers of {@link View}, by name. Refusals are thrown as HoldfastError (ENOENT, ESTALE, ENOTDIR, EINVAL, ENODATA, ENXIO). */
export interface ViewAnswers {
  lookup: { readonly attributes: Attributes };
  attributes: { readonly attributes: Attributes };
  'read-directory': { readonly entries: readonly DirectoryEntry[]; readonly end: boolean };
  'read-link': { readonly target: string };
  xattr: { readonly value: Uint8Array };
  'xattr-names': { readonly names: readonly string[] };
  extents: {
    readonly attributes: Attributes;
    readonly extents: readonly Extent[];
    readonly contentVersion: number;
  };
  seek: { readonly offset: number };
  'test-lock': { readonly conflict?: LockRequest };
  space: VolumeSpace;
  parent: { readonly parent: InodeNumber };
  snapshots: { readonly snapshots: readonly Snapshot[]; readonly end: boolean };
  'snapshot-space': {
    /** Bytes of chunks that nobody else shows. */
    readonly chunkBytes: number;
    /** Inline bytes in the metadata that nobody else shows. */
    readonly inlineBytes: number;
    /** False while the leader has not gone through what came free before: it may be more. */
    readonly isSettled: boolean;
  };
  /** `next` is absent at the end. */
  difference: { readonly changes: readonly InodeDifference[]; readonly next?: string };
  /** Ascending; `next` is the offset to go on at, absent at the end. */
  'changed-ranges': {
    readonly ranges: readonly { readonly offset: number; readonly length: number }[];
    readonly next?: number;
  };
  /** Chunks made before `barredBefore` that are not `known` never will be. */
  'known-chunks': { readonly known: readonly ChunkId[]; readonly barredBefore: number };
  'base-records': BaseRecords;
  'base-range': BaseRecords;
}

/** How an inode differs between two snapshots. */
export type InodeDifference =
  | {
      readonly kind: 'created';
      readonly ino: InodeNumber;
      readonly after: Attributes;
      readonly parent?: InodeNumber;
    }
  | { readonly kind: 'removed'; readonly ino: InodeNumber; readonly before: Attributes }
  | {
      readonly kind: 'changed';
      readonly ino: InodeNumber;
      readonly before: Attributes;
      readonly after: Attributes;
      /** The directory that holds it then; absent: not known, it may have several names. */
      readonly parent?: InodeNumber;
      /** Its bytes may differ; else only attributes, names or extended attributes do. */
      readonly content: boolean;
    };

/** Use and bounds of one volume. */
export interface VolumeSpace {
  readonly usedBytes: number;
  readonly usedInodes: number;
  /** 0: no limit. */
  readonly quotaBytes: number;
  readonly quotaInodes: number;
}

/** What a shard's leader tells a session without being asked. */
export type SessionNotice =
  /** These inodes have lost their last name; answer with release-orphans once none is open here. */
  | {
      readonly notice: 'orphans';
      readonly volume: VolumeNumber;
      readonly inos: readonly InodeNumber[];
    }
  /** Give the volume's delegation back: flush, drop caches, then return-delegation. */
  | { readonly notice: 'recall'; readonly volume: VolumeNumber }
  /** The session was fenced. */
  | { readonly notice: 'expired' };
