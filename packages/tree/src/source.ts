/** What can be read: the seam for directories, volumes and their snapshots. */
import type { ByteRange, TreeEntry, Xattr } from './entry.ts';

/** An entry with its attributes. */
export interface SourceEntry extends TreeEntry {
  readonly ctimeNs: bigint;
  /** With `deviceId` the identity of the file: names that share it are hard links. */
  readonly inode: bigint;
  readonly deviceId: bigint;
  readonly links: number;
  /**
   * What the source knows since the snapshot that the reader takes for the parent, of what has the same
   * inode there, under whatever name. `content`: the file's bytes are the same. `all`: the entry, but for
   * its name, and of a directory all below it, are the same in everything, so that neither is to be looked
   * at. Absent: unknown; then size, times and inode decide.
   */
  readonly unchanged?: 'content' | 'all';
}

/** A file that is open for reading. */
export interface SourceFile {
  /** Bytes when it was opened. */
  readonly size: number;
  /** Fills `into` from `offset`; the bytes read, fewer only at the end of file. */
  read(into: Uint8Array, offset: number): Promise<number>;
  /**
   * Where data lies, ascending; the rest are holes. `undefined`: everywhere. Who asks for what lies
   * `within` a range may be told of more.
   */
  dataRanges(within?: ByteRange): Promise<readonly ByteRange[] | undefined>;
  /** Ranges that may differ from the parent snapshot's file, ascending. `undefined`: unknown. */
  changedRanges(): Promise<readonly ByteRange[] | undefined>;
  close(): Promise<void>;
}

/**
 * A tree that can be walked. `path`: names from the root, joined by '/', '' for the root; `entry` is
 * what {@link root} or {@link list} gave for it. NOT_FOUND when it is gone, FORBIDDEN, DISK_FAILED.
 */
export interface TreeSource {
  /** The root directory; its name is not used. */
  root(): Promise<SourceEntry>;
  /** Entries of a directory in any order, without '.' and '..'. */
  list(path: string, entry: SourceEntry): AsyncIterable<SourceEntry>;
  xattrs(path: string, entry: SourceEntry): Promise<readonly Xattr[]>;
  open(path: string, entry: SourceEntry): Promise<SourceFile>;
}
