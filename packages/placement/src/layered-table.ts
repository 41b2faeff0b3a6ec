/** The partition table in two layers: what most volumes use is balanced, what few use is appended. */
import { type NodeNumber, PARTITION_COUNT } from '@holdfast/protocol';
import { balance } from './balance.ts';

/** Replicas of a partition that are balanced: as many as a volume has by default. */
export const BALANCED_WIDTH = 3;

interface Holder {
  readonly number: NodeNumber;
  readonly weight: number;
  readonly zone: string;
}

/**
 * Rows of `width` replicas. A volume takes the first of a row, so only places that every volume
 * takes can be balanced: balancing all of them would put a new peer behind those that already
 * suffice, and it would never get any data. Places beyond are filled by a hash of peer and partition.
 * Throws RangeError without any peer of positive weight.
 */
export function layeredTable(
  holders: readonly Holder[],
  present: readonly (readonly NodeNumber[])[],
  width: number,
): readonly (readonly NodeNumber[])[] {
  const front = present.map((row) => row.slice(0, BALANCED_WIDTH));
  const usable = holders.filter((holder) => holder.weight > 0);
  const balanced = balance(holders, front, Math.min(width, BALANCED_WIDTH)).map((row, index) =>
    inOrder(row, usable, index),
  );
  if (width <= BALANCED_WIDTH || usable.length <= BALANCED_WIDTH) return balanced;
  return Array.from({ length: PARTITION_COUNT }, (_, index) =>
    appended(balanced[index] ?? [], present[index]?.slice(BALANCED_WIDTH) ?? [], usable, {
      index,
      width,
    }),
  );
}

/**
 * Volumes of one or two replicas take the first places: those go by hash too, or all of them would
 * lie on the peers that came first. A peer's rank in a partition does not depend on the others, so
 * that this order stays when they come and go.
 */
function inOrder(
  row: readonly NodeNumber[],
  usable: readonly Holder[],
  index: number,
): readonly NodeNumber[] {
  return usable
    .filter((holder) => row.includes(holder.number))
    .sort((a, b) => rank(a, index) - rank(b, index) || a.number - b.number)
    .map((holder) => holder.number);
}

/** The row with what it had beyond the balanced places, as far as that still holds, and more by hash. */
function appended(
  front: readonly NodeNumber[],
  tail: readonly NodeNumber[],
  usable: readonly Holder[],
  o: { readonly index: number; readonly width: number },
): readonly NodeNumber[] {
  const row = [...front];
  for (const node of tail) {
    if (
      row.length < o.width &&
      !row.includes(node) &&
      usable.some((holder) => holder.number === node)
    )
      row.push(node);
  }
  const rest = usable
    .filter((holder) => !row.includes(holder.number))
    .sort((a, b) => rank(a, o.index) - rank(b, o.index) || a.number - b.number);
  return [
    ...row,
    ...rest.slice(0, Math.max(0, o.width - row.length)).map((holder) => holder.number),
  ];
}

/** Weighted rendezvous hashing: the smallest of -ln(u) / weight wins as often as its weight asks for. */
function rank(holder: Holder, index: number): number {
  let hash = Math.imul(holder.number, 0x9e3779b1) ^ Math.imul(index + 1, 0xc2b2ae3d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  const unit = (((hash ^ (hash >>> 15)) >>> 0) + 1) / (2 ** 32 + 1);
  return -Math.log(unit) / holder.weight;
}
