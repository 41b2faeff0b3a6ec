/** Where a tree is restored to: the seam for directories and volumes. */
import type { TreeNode } from '../format/tree.ts';

/** A regular file that is being restored. */
export interface SinkFile {
  /** The file was made by this restore: what is not written reads as zeros. */
  readonly isNew: boolean;
  /** Fills `into` from `offset` with what an earlier attempt left; the bytes read. */
  read(into: Uint8Array, offset: number): Promise<number>;
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Sets length, owner, mode, xattrs and times, and gives up the file. The times come last: they say that it is complete. */
  finish(): Promise<void>;
  /** Gives up a file that failed. */
  abandon(): Promise<void>;
}

/** A directory that is being restored. Names were checked: one component, not '.' or '..'. */
export interface SinkDirectory {
  /** Makes or enters a directory. Whatever else has the name is replaced; symbolic links are never followed. */
  directory(node: TreeNode): Promise<SinkDirectory>;
  /** Makes or reopens a file; `undefined` when one of that size and time is there already. */
  file(node: TreeNode): Promise<SinkFile | undefined>;
  /** A symbolic link, fifo, socket or device. */
  special(node: TreeNode): Promise<void>;
  /** A further name of a file restored before; `existing`: names from the sink's root. */
  link(node: TreeNode, existing: readonly string[]): Promise<void>;
  /** Sets the attributes of a directory whose entries are complete; without `node` it only gives it up. */
  finish(node?: TreeNode): Promise<void>;
}

/** A tree to restore into. */
export interface TreeSink {
  root(): Promise<SinkDirectory>;
}
