/** Flag sets of the FUSE kernel protocol and of the system calls that shine through it. */

/** Bits 0 to 63 of INIT: the low word is `flags`, the high one `flags2` (needs INIT_EXT). */
export const INIT_FLAG = {
  asyncRead: 1n << 0n,
  posixLocks: 1n << 1n,
  atomicTruncate: 1n << 3n,
  bigWrites: 1n << 5n,
  /** The daemon applies the umask: where a directory has a default ACL nobody does. */
  dontMask: 1n << 6n,
  flockLocks: 1n << 10n,
  autoInvalidateData: 1n << 12n,
  readdirplus: 1n << 13n,
  readdirplusAuto: 1n << 14n,
  asyncDirectIo: 1n << 15n,
  parallelDirectoryOperations: 1n << 18n,
  /** The kernel judges by ACLs that it asks the daemon for. */
  posixAcls: 1n << 20n,
  maxPages: 1n << 22n,
  /** Linux 5.11 */
  handleKillPrivilegesV2: 1n << 28n,
  /** Linux 5.14: SETXATTR has flags of its own */
  setxattrExtended: 1n << 29n,
  /** Linux 5.17: the 64-byte INIT with `flags2` */
  initExtended: 1n << 30n,
  /** Linux 6.6 */
  directIoAllowMmap: 1n << 36n,
  /** Linux 6.9 */
  resend: 1n << 39n,
} as const;

/** Flags in the reply to OPEN, OPENDIR and CREATE. */
export const OPEN_REPLY = {
  /** Reads and writes always reach the daemon, whatever the kernel has cached. */
  directIo: 1 << 0,
  keepCache: 1 << 1,
} as const;

/** Which fields of SETATTR count. */
export const SETATTR_FLAG = {
  mode: 1 << 0,
  uid: 1 << 1,
  gid: 1 << 2,
  size: 1 << 3,
  atime: 1 << 4,
  mtime: 1 << 5,
  handle: 1 << 6,
  atimeNow: 1 << 7,
  mtimeNow: 1 << 8,
  lockOwner: 1 << 9,
  ctime: 1 << 10,
  killPrivileges: 1 << 11,
} as const;

/** Flags of READ. */
export const READ_FLAG = {
  lockOwner: 1 << 1,
} as const;

/** Flags of WRITE. */
export const WRITE_FLAG = {
  /** Written back from the page cache: uid and pid mean nothing, O_APPEND does not apply. */
  fromCache: 1 << 0,
  killPrivileges: 1 << 2,
} as const;

/** Flag of RELEASE: the descriptor had a flock(2) lock. */
export const RELEASE_FLOCK_UNLOCK = 1 << 1;
/** Flag of OPEN and CREATE: clear set-id bits when truncating. */
export const OPEN_KILL_PRIVILEGES = 1 << 0;
/** Flag of FSYNC: data and what is needed to read it, as fdatasync(2). */
export const FSYNC_DATA_ONLY = 1 << 0;
/** Flag of SETLK: flock(2) instead of fcntl(2). */
export const LOCK_IS_FLOCK = 1 << 0;

/** Flags of open(2) on Linux (asm-generic/fcntl.h) as far as the mount looks at them. */
export const OPEN_FLAG = {
  accessMode: 0o3,
  readOnly: 0o0,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
  dataSync: 0o10000,
  /** The bit of O_SYNC that O_DSYNC does not have. */
  fileSync: 0o4000000,
} as const;

/** Lock types of fcntl(2). */
export const LOCK_TYPE = { read: 0, write: 1, unlock: 2 } as const;

/** Modes of fallocate(2). */
export const FALLOCATE_FLAG = { keepSize: 0x01, punchHole: 0x02, zeroRange: 0x10 } as const;

/** Flags of renameat2(2). */
export const RENAME_FLAG = { noReplace: 1 << 0, exchange: 1 << 1 } as const;

/** Flags of setxattr(2). */
export const XATTR_FLAG = { create: 1, replace: 2 } as const;

/** Flag of the extended SETXATTR: an access ACL that is set clears set-group-id. */
export const SETXATTR_KILL_SET_GROUP = 1 << 0;

/** `whence` of lseek(2) that reach the daemon. */
export const SEEK = { data: 3, hole: 4 } as const;

/** File type bits of `st_mode` (sys/stat.h). */
export const MODE_TYPE_MASK = 0o170000;
