/**
 * Numbers and layouts of the FUSE kernel protocol (include/uapi/linux/fuse.h, major 7, up to minor
 * 45). All integers are in the byte order of the machine; x86-64 and arm64 are little endian, and
 * Holdfast runs on nothing else.
 */

/** Major version of the protocol; another one is refused. */
export const PROTOCOL_MAJOR = 7;
/** Newest minor version whose layouts are known here (Linux 6.16 to 6.18). */
export const PROTOCOL_MINOR_MAX = 45;
/** Oldest minor version that is served: Linux 5.10. */
export const PROTOCOL_MINOR_MIN = 32;

/** Bytes of `fuse_in_header`, in front of every request. */
export const REQUEST_HEADER_BYTES = 40;
/** Bytes of `fuse_out_header`, in front of every reply and notification. */
export const REPLY_HEADER_BYTES = 16;

/** Operation codes (`enum fuse_opcode`) by the name that requests, metrics and logs use. */
export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  getlk: 31,
  setlk: 32,
  setlkw: 33,
  access: 34,
  create: 35,
  interrupt: 36,
  bmap: 37,
  destroy: 38,
  ioctl: 39,
  poll: 40,
  notifyReply: 41,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
  copyFileRange: 47,
  syncfs: 50,
  tmpfile: 51,
  statx: 52,
} as const;

/** Notifications that the daemon may send (`enum fuse_notify_code`). */
export const NOTIFY = {
  invalidateInode: 2,
  invalidateEntry: 3,
  delete: 6,
  /** Linux 6.9: everything read and not answered is sent again, its id marked. */
  resend: 7,
  /** Linux 6.16: every name and attribute that the kernel believes is asked for again. */
  incrementEpoch: 8,
} as const;

/** First minor version that knows NOTIFY_INC_EPOCH (Linux 6.16). */
export const INCREMENT_EPOCH_MINOR = 44;

/** Bytes of `fuse_attr`. */
export const ATTRIBUTES_BYTES = 88;
/** Bytes of `fuse_entry_out`. */
export const ENTRY_BYTES = 40 + ATTRIBUTES_BYTES;
/** Bytes of `fuse_dirent` before the name; the record is padded to 8 bytes. */
export const DIRENT_HEADER_BYTES = 24;

/** Bytes of the buffer that a request is read into: the largest write and room for any header (E2BIG otherwise). */
export const REQUEST_BYTES_MAX = 1024 * 1024 + 64 * 1024;

/** Bytes of one READ or WRITE, and the pages they need. */
export const WRITE_BYTES_MAX = 1024 * 1024;
export const PAGES_MAX = 256;
