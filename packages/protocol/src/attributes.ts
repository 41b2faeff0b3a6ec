import type { InodeNumber } from './ids.ts';

/** The seven file types of POSIX (sys/stat.h). */
export type FileKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';

/** What stat(2) tells of an inode. */
export interface Attributes {
  readonly ino: InodeNumber;
  readonly kind: FileKind;
  /** Permission bits with set-id and sticky: 0 … 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  /** Bytes; 0 … 2^53-1. Of a symbolic link: the length of its target in bytes. */
  readonly size: number;
  /** Bytes that extents cover (holes not counted); st_blocks is this over 512, rounded up. */
  readonly allocatedBytes: number;
  /** Device number as the kernel encodes it (new_encode_dev); 0 for other kinds. */
  readonly rdev: number;
  /** Nanoseconds since the epoch; negative before 1970. */
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthNs: bigint;
  /** Which ACLs it has beyond the mode: bits of ACL_BIT; absent: none. */
  readonly acls?: number;
}
