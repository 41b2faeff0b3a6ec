/** Where a copy is made so that it is there whole or not at all: the seam for directories and volumes. */
import { HoldfastError } from '@holdfast/protocol';
import type { TreeSink } from './sink.ts';

/** What a copy will be called, in the directory that its place is made for. */
export interface CopyTarget {
  /** Checked with isSafeName. */
  readonly name: string;
  /** Whether what has the name gives way, all of it. */
  readonly overwrite: boolean;
  /** A directory never gives way to something else, nor something else to a directory. */
  readonly isDirectory: boolean;
}

/**
 * A hidden directory beside the name that the copy is to get. Who dies while building leaves it; it
 * is removed by the next who makes a place in the same directory.
 */
export interface CopyPlace {
  /** Its root takes the one entry with the name of the target, and no attributes. */
  readonly sink: TreeSink;
  /** That name. */
  readonly name: string;
  /** Gives the copy its name in one step; it is durable when this resolves. EEXIST as at the beginning. */
  publish(): Promise<void>;
  /** Removes what was built. */
  discard(): Promise<void>;
}

/**
 * Throws EEXIST, EISDIR or ENOTDIR unless the target may take the place of what is there; answers
 * whether there is something. `found`: whether that is a directory, `undefined` for nothing.
 */
export function checkTarget(
  { name, overwrite, isDirectory }: CopyTarget,
  found: boolean | undefined,
): boolean {
  if (found === undefined) return false;
  const shown = JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
  if (!overwrite) throw new HoldfastError('EEXIST', `${shown} exists already`);
  if (found && !isDirectory)
    throw new HoldfastError('EISDIR', `${shown} is a directory; a file does not take its place`);
  if (!found && isDirectory)
    throw new HoldfastError('ENOTDIR', `${shown} is no directory; one does not take its place`);
  return true;
}

/** Times that another name is tried when somebody took a new place for an abandoned one. */
export const PLACE_ATTEMPTS_MAX = 5;

/** Thrown when each of the attempts failed. */
export function noPlace(): HoldfastError {
  return new HoldfastError('CONFLICT', 'others make and remove copies here; try again');
}
