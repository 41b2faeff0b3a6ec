/** What trees are made of. Names, link targets and names of attributes are latin1 text, one character a byte. */
import type { FileKind } from '@holdfast/protocol';

/** An extended attribute. */
export interface Xattr {
  readonly name: string;
  readonly value: Uint8Array;
}

/** A range of a file's bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** An entry without what only its source knows: all that is needed to make it. */
export interface TreeEntry {
  readonly name: string;
  readonly kind: FileKind;
  /** 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  /** Bytes of a regular file; 0 for others. */
  readonly size: number;
  /** st_rdev of a device as Linux encodes it (gnu_dev_makedev); 0 for others. */
  readonly rdev: bigint;
  /** Of a symbolic link, else ''. */
  readonly target: string;
}

/** One component of a path that leads neither up nor out. */
export function isSafeName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}
