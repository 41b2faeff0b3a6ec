/**
 * The kernel's 64-bit node id, which is also `st_ino`, and the place it names:
 *
 * | bits    | meaning                                    |
 * |---------|--------------------------------------------|
 * | 63      | 0                                          |
 * | 62 … 40 | number of the volume; 0: list of volumes;  |
 * |         | with bit 62 set: number of a snapshot      |
 * | 39 … 0  | inode within the volume; 1: its root       |
 *
 * The kernel's root, FUSE_ROOT_ID = 1, is thereby volume 0, inode 1 without a special case. As
 * numbers of JavaScript hold only 53 bits, an id is handled as its two 32-bit words.
 */
import type { InodeNumber, NodeReference, VolumeNumber } from '@holdfast/protocol';

const WORD = 2 ** 32;

/** The high 32 bits of a node's id. */
export function nodeIdHigh(node: NodeReference): number {
  return ((node.volume << 8) | Math.floor(node.ino / WORD)) >>> 0;
}

/** The low 32 bits of a node's id. */
export function nodeIdLow(node: NodeReference): number {
  return node.ino >>> 0;
}

/** The place that an id's words name; ids that were never given out name inodes that do not exist. */
export function nodeOf(low: number, high: number): NodeReference {
  return {
    volume: (high >>> 8) as VolumeNumber,
    ino: ((high & 0xff) * WORD + low) as InodeNumber,
  };
}
