/** What an archive is made of, whatever its format. */
import type { SinkEntry } from '@holdfast/tree';

/** Told of what is left out, changed while it was read, or cannot be kept. */
export type ArchiveWarning = (path: string, text: string) => void;

/** Bytes of a file at their place; the rest are holes. */
export interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * An entry as an archive holds it. `path`: as it stands in the archive, unchecked, latin1 text, one
 * character a byte; `name` is not used.
 */
export interface ArchivedEntry extends SinkEntry {
  readonly path: string;
  /** A further name of an entry before it: the path of that, unchecked. */
  readonly linkTo?: string;
  /** Content of a file; to be read before the next entry is asked for, or not at all. */
  readonly pieces?: () => AsyncIterable<Piece>;
}
