import type { Entry } from '@holdfast/raft';

/** Folds a number into a 32-bit hash. */
export function fold(hash: number, value: number): number {
  let h = Math.imul(hash ^ (value | 0), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13) ^ Math.floor(value / 0x1_0000_0000), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The hash of a log (or of the state made from it) that is longer by `entry`. */
export function chain(hash: number, entry: Entry): number {
  let next = fold(fold(hash, entry.index), entry.term);
  next = fold(next, entry.kind === 'normal' ? 1 : 2);
  for (const byte of entry.data) next = fold(next, byte);
  return fold(next, entry.data.length);
}
