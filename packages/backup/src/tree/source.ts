/** What can be backed up: the seam for directories, volumes and their snapshots. */
import type { FileKind } from '@holdfast/protocol';
import type { Xattr } from '../format/tree.ts';
import type { ByteRange } from '../store/store.ts';

/** An entry with its attributes. Names and targets are latin1 text, one character a byte. */
export interface SourceEntry {
  readonly name: string;
  readonly kind: FileKind;
  /** 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly ctimeNs: bigint;
  /** With `deviceId` the identity of the file: names that share it are hard links. */
  readonly inode: bigint;
  readonly deviceId: bigint;
  readonly links: number;
  readonly size: number;
  readonly rdev: bigint;
  /** Of a symbolic link. */
  readonly target: string;
  /**
   * What the source knows since the snapshot that the backup was told to be the parent. `content`:
   * the file's bytes are the same. `subtree`: the directory and all below it are the same in
   * everything, so that it need not be listed. Absent: unknown; then size, times and inode decide.
   */
  readonly unchanged?: 'content' | 'subtree';
}

/** A file that is open for reading. */
export interface SourceFile {
  /** Bytes when it was opened. */
  readonly size: number;
  /** Fills `into` from `offset`; the bytes read, fewer only at the end of file. */
  read(into: Uint8Array, offset: number): Promise<number>;
  /** Where data lies, ascending; the rest are holes. `undefined`: everywhere. */
  dataRanges(): Promise<readonly ByteRange[] | undefined>;
  /** Ranges that may differ from the parent snapshot's file, ascending. `undefined`: unknown. */
  changedRanges(): Promise<readonly ByteRange[] | undefined>;
  close(): Promise<void>;
}

/** A tree that can be walked. `path`: names from the root, joined by '/', '' for the root. */
export interface TreeSource {
  /** The root directory; its name is not used. */
  root(): Promise<SourceEntry>;
  /** Entries of a directory in any order, without '.' and '..'. */
  list(path: string): AsyncIterable<SourceEntry>;
  xattrs(path: string, entry: SourceEntry): Promise<readonly Xattr[]>;
  open(path: string, entry: SourceEntry): Promise<SourceFile>;
}
