/** Where a tree is written to: the seam for directories and volumes. */
import type { FileKind } from '@holdfast/protocol';
import type { TreeEntry, Xattr } from './entry.ts';

/** An entry that is to be made. */
export interface SinkEntry extends TreeEntry {
  readonly xattrs: readonly Xattr[];
}

/** A regular file that is being written. */
export interface SinkFile {
  /** The file was made just now: what is not written reads as zeros. */
  readonly isNew: boolean;
  /** Fills `into` from `offset` with what an earlier attempt left; the bytes read. */
  read(into: Uint8Array, offset: number): Promise<number>;
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Sets length, owner, mode, xattrs and times, and gives up the file. The times come last: they say that it is complete. */
  finish(): Promise<void>;
  /** Gives up a file that failed. */
  abandon(): Promise<void>;
}

/** How {@link SinkDirectory.file} deals with a file that is there. */
export interface FileOptions {
  /** Begins with an empty file. */
  readonly fresh?: boolean;
  /** Reopens it whatever its size and time are: they are not believed. */
  readonly compare?: boolean;
}

/** How {@link SinkDirectory.enter} deals with a directory. */
export interface EnterOptions {
  /** Nothing will be changed in it. */
  readonly isLook?: boolean;
}

/** What has a name already. */
export interface Present {
  readonly kind: FileKind;
  /** Bytes of a file. */
  readonly size: number;
  readonly mtimeNs: bigint;
}

/** A directory that is being written. Names were checked by the caller with isSafeName. */
export interface SinkDirectory {
  /** Makes or enters a directory. Whatever else has the name is replaced; symbolic links are never followed. */
  directory(entry: SinkEntry): Promise<SinkDirectory>;
  /**
   * Enters a directory that is there; `undefined` when nothing has the name, ENOTDIR when something
   * else has it. Its finish() without an entry puts its times back as they were; not so for who only
   * looks.
   */
  enter(name: string, options?: EnterOptions): Promise<SinkDirectory | undefined>;
  /**
   * Makes or reopens a file. One of that size and time is taken for complete: `undefined`; not so
   * with `fresh` or `compare`.
   */
  file(entry: SinkEntry, options?: FileOptions): Promise<SinkFile | undefined>;
  /** What has a name; `undefined`: nothing. Symbolic links are not followed. */
  look(name: string): Promise<Present | undefined>;
  /** All names that are there, but for those of hidden directories in which something is built. */
  names(): Promise<readonly string[]>;
  /** Removes what has a name, a directory with all below it; nothing is followed. Without effect when it is gone. */
  remove(name: string): Promise<void>;
  /** A symbolic link, fifo, socket or device. */
  special(entry: SinkEntry): Promise<void>;
  /** A further name of a file made before; `existing`: names from the sink's root. NOT_FOUND, ENOTDIR. */
  link(entry: { readonly name: string }, existing: readonly string[]): Promise<void>;
  /** Sets the attributes of a directory whose entries are complete; without `entry` it only gives it up. */
  finish(entry?: SinkEntry): Promise<void>;
}

/** A tree to write into. */
export interface TreeSink {
  root(): Promise<SinkDirectory>;
}

/** Told of an attribute that could not be set: owner, mode, xattr or times. */
export type AttributeProblem = (name: string, what: string, error: unknown) => void;
