/**
 * The seam between the mount (packages/fuse-mount) and the client library (packages/client): one
 * namespace whose root lists the volumes. All methods throw HoldfastError; errnoOf gives the errno.
 */
import type { Attributes, FileKind } from './attributes.ts';
import type { InodeNumber, VolumeNumber } from './ids.ts';
import type { LockRequest, TimeStamp } from './operations.ts';

/**
 * An inode of the namespace. The list of volumes is volume 0, inode 1; a volume's root is inode 1 of
 * its number, its directory `.snapshots` is SNAPSHOTS_INODE. From SNAPSHOT_NUMBERS_FROM on `volume`
 * is the number of a snapshot, whose inodes have the numbers that they have in the volume.
 */
export interface NodeReference {
  readonly volume: VolumeNumber;
  readonly ino: InodeNumber;
}

/** Who asks. */
export interface RequestContext {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /**
   * Makes a change exactly-once: the same id after a restart of the mount daemon gets the first
   * answer again. The kernel's `unique` without the resend bit; unique in the life of the mount, and
   * to be followed by {@link FileSystem.answered}. 0: the request will never be repeated.
   */
  readonly requestId: number;
  /** Aborted when the kernel interrupts the request: the call then throws EINTR, unless it took effect already. */
  readonly signal?: AbortSignal;
}

/** Attributes of a node and how long the kernel may believe name and attributes without asking (milliseconds; 0: not at all). */
export interface NodeAnswer {
  readonly node: NodeReference;
  readonly attributes: Attributes;
  readonly validMs: number;
}

/** A directory entry with attributes, for READDIRPLUS. Names are latin1 text, one character a byte. */
export interface ListedEntry extends NodeAnswer {
  readonly name: string;
  /** Opaque, > 0; a later call goes on after it. */
  readonly cookie: number;
}

export interface AttributeChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: TimeStamp;
  readonly mtime?: TimeStamp;
  readonly killPrivileges?: boolean;
}

/** What {@link FileSystem.create} makes. */
export interface CreateOptions {
  readonly kind: FileKind;
  /** As the umask leaves it. */
  readonly mode: number;
  /** Before the umask: what counts where the parent has a default ACL. Default: `mode`. */
  readonly unmaskedMode?: number;
  readonly rdev: number;
  readonly target: string;
  readonly exclusive: boolean;
}

/** How {@link FileSystem.setXattr} sets. */
export interface XattrOptions {
  /** setxattr(2): either, XATTR_CREATE, XATTR_REPLACE. */
  readonly mode: 'set' | 'create' | 'replace';
  /** Of an access ACL: clears set-group-id. */
  readonly killSetGroup?: boolean;
}

/** statfs(2) in bytes. */
export interface SpaceAnswer {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

export interface FileSystem {
  /** Resolves when the cluster has been reached once. */
  lookup(parent: NodeReference, name: string, context: RequestContext): Promise<NodeAnswer>;
  getAttributes(node: NodeReference, context: RequestContext): Promise<NodeAnswer>;
  setAttributes(
    node: NodeReference,
    change: AttributeChange,
    context: RequestContext,
  ): Promise<NodeAnswer>;
  /** Up to `count` entries after `cookie` (0: from the start), without '.' and '..'; `end` when none follow. */
  readDirectory(
    node: NodeReference,
    cookie: number,
    count: number,
    context: RequestContext,
  ): Promise<{ entries: readonly ListedEntry[]; end: boolean }>;
  /** The directory that holds a directory; its own for a root of the namespace. */
  parentOf(node: NodeReference, context: RequestContext): Promise<NodeReference>;
  readLink(node: NodeReference, context: RequestContext): Promise<string>;
  /** Any kind. `exclusive` false: an existing regular file is the answer. mkdir in the list of volumes makes a volume. */
  create(
    parent: NodeReference,
    name: string,
    options: CreateOptions,
    context: RequestContext,
  ): Promise<NodeAnswer & { created: boolean }>;
  link(
    node: NodeReference,
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<NodeAnswer>;
  unlink(parent: NodeReference, name: string, context: RequestContext): Promise<void>;
  removeDirectory(parent: NodeReference, name: string, context: RequestContext): Promise<void>;
  rename(
    from: { parent: NodeReference; name: string },
    to: { parent: NodeReference; name: string },
    flag: 'replace' | 'noreplace' | 'exchange',
    context: RequestContext,
  ): Promise<void>;
  /** Counts an open; an unlinked file stays readable until as many releases. ESTALE when the inode is gone. `truncate`: O_TRUNC. */
  open(
    node: NodeReference,
    options: { write: boolean; truncate: boolean },
    context: RequestContext,
  ): Promise<void>;
  /** After a restart of the daemon: counts an open that the kernel still holds, without asking the cluster. */
  reopen(node: NodeReference, options: { write: boolean }): void;
  release(node: NodeReference, options: { write: boolean }): Promise<void>;
  /** Up to `length` bytes (<= LIMITS.ioBytesMax) from `offset`; fewer only at the end of file; in pieces, one behind the other, that may be shared: do not change them. */
  read(
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]>;
  /** All bytes or an error; `append` writes at the end of file, atomically across hosts. The buffer may be reused once this resolves. */
  write(
    node: NodeReference,
    offset: number,
    bytes: Uint8Array,
    options: { append: boolean; killPrivileges: boolean },
    context: RequestContext,
  ): Promise<void>;
  /** close(2) of one descriptor: reports a failed write-behind; gives up the owner's POSIX locks. */
  flush(node: NodeReference, lockOwner: string, context: RequestContext): Promise<void>;
  /** P1. */
  sync(node: NodeReference, options: { dataOnly: boolean }, context: RequestContext): Promise<void>;
  allocate(
    node: NodeReference,
    options: {
      mode: 'allocate' | 'punch' | 'zero';
      keepSize: boolean;
      offset: number;
      length: number;
    },
    context: RequestContext,
  ): Promise<void>;
  seek(
    node: NodeReference,
    offset: number,
    whence: 'data' | 'hole',
    context: RequestContext,
  ): Promise<number>;
  getXattr(node: NodeReference, name: string, context: RequestContext): Promise<Uint8Array>;
  listXattrs(node: NodeReference, context: RequestContext): Promise<readonly string[]>;
  setXattr(
    node: NodeReference,
    name: string,
    value: Uint8Array,
    options: XattrOptions,
    context: RequestContext,
  ): Promise<void>;
  removeXattr(node: NodeReference, name: string, context: RequestContext): Promise<void>;
  /** The lock that stands in the way, if any. */
  testLock(
    node: NodeReference,
    lock: LockRequest,
    context: RequestContext,
  ): Promise<LockRequest | undefined>;
  /** `wait`: until granted, or EINTR by the signal; else EAGAIN. */
  setLock(
    node: NodeReference,
    lock: LockRequest,
    options: { wait: boolean },
    context: RequestContext,
  ): Promise<void>;
  releaseLocks(node: NodeReference, family: 'posix' | 'flock', owner: string): Promise<void>;
  space(node: NodeReference, context: RequestContext): Promise<SpaceAnswer>;
  /**
   * The answer of a request has left, or nobody waits for it any more: what would be needed to answer
   * it again is forgotten. Without effect for requests that changed nothing.
   */
  answered(requestId: number): void;
  /**
   * After a restart of the daemon: all requests that the kernel sends again have come, and are those
   * of which `isUnderWay` is true. What is kept for others, answered just before the daemon died, is
   * forgotten.
   */
  resumed(isUnderWay: (requestId: number) => boolean): void;
  /**
   * Whether what is read of a volume now may be believed until {@link onInvalidate} tells otherwise; of a
   * snapshot always.
   */
  isBelieved(volume: VolumeNumber): boolean;
  /** What the kernel was told to believe must be dropped: the mount invalidates and then resolves. Asynchronous by nature (fuse.md: never before a reply). */
  onInvalidate(listener: (what: Invalidation) => Promise<void>): void;
  close(): Promise<void>;
}

/** Kernel caches to drop. */
export type Invalidation =
  | { readonly what: 'inode'; readonly node: NodeReference }
  | { readonly what: 'entry'; readonly parent: NodeReference; readonly name: string }
  /** Everything the kernel knows of one volume. */
  | { readonly what: 'volume'; readonly volume: VolumeNumber }
  /** The volume was rolled back: files opened before are void, at once, when the listener returns. */
  | { readonly what: 'handles'; readonly volume: VolumeNumber };
