/**
 * The partition table as a pure function: equal inputs give equal tables on every peer. In
 * proportion to weights, zones kept apart, and with as little movement as the new proportions allow:
 * a replica moves only from a node that has too many to one that has too few.
 */
import { type NodeNumber, PARTITION_COUNT } from '@holdfast/protocol';
import { Table } from './table.ts';
import { perZoneMax, type Share, targets } from './targets.ts';

/** Spreads what is decided partition by partition over all of them (odd, prime to their number). */
const STRIDE = 6_151;

/**
 * Table of PARTITION_COUNT rows of `width` distinct nodes (fewer when there are fewer), from the
 * present one (empty at first). Nodes of weight 0 get nothing. Throws RangeError without any node
 * of positive weight.
 */
export function balance(
  nodes: readonly { readonly number: NodeNumber; readonly weight: number; readonly zone: string }[],
  present: readonly (readonly NodeNumber[])[],
  width: number,
): readonly (readonly NodeNumber[])[] {
  const shares: Share[] = nodes
    .filter((node) => node.weight > 0)
    .sort((a, b) => a.number - b.number);
  if (shares.length === 0) throw new RangeError('no node may hold data');
  const limits = {
    width: Math.min(width, shares.length),
    perZoneMax: perZoneMax(shares, Math.min(width, shares.length)),
  };
  const table = new Table(shares, present, limits);
  const wanted = targets(shares, limits.width, table.load);
  const isFresh = table.rows.map((row) => row.length === 0);
  fillUp(table, shares, wanted, limits.width);
  level(table, shares, wanted);
  // New rows in an order of their own, so that first places are spread as evenly as all others.
  return table.rows.map((row, index) =>
    isFresh[index] ? shuffled(row, index) : row,
  ) as NodeNumber[][];
}

/**
 * Gives every partition as many replicas as it should have. The zone that lacks most comes first,
 * whatever its nodes: taking the largest demands first is what makes all of them come out even
 * (Havel and Hakimi's construction), where some zones must be in every partition.
 */
function fillUp(
  table: Table,
  shares: readonly Share[],
  wanted: ReadonlyMap<number, number>,
  width: number,
): void {
  const zones = [...Map.groupBy(shares, ({ zone }) => zone).values()].map((members) => ({
    members,
    lack: members.reduce(
      (sum, { number }) => sum + (wanted.get(number) ?? 0) - (table.load.get(number) ?? 0),
      0,
    ),
  }));
  const lack = (node: number): number => (wanted.get(node) ?? 0) - (table.load.get(node) ?? 0);
  for (let step = 0; step < PARTITION_COUNT; step++) {
    const index = (step * STRIDE) % PARTITION_COUNT;
    while ((table.rows[index]?.length ?? width) < width) {
      let best: { node: number; zone: { lack: number } } | undefined;
      for (const zone of zones) {
        if (best !== undefined && zone.lack <= best.zone.lack) continue;
        const node = neediestOf(zone.members, lack, (member) => table.fits(index, member));
        if (node !== undefined) best = { node, zone };
      }
      if (best === undefined) break; // zones are too uneven to hold more
      table.add(index, best.node);
      best.zone.lack--;
    }
  }
}

function neediestOf(
  members: readonly Share[],
  lack: (node: number) => number,
  fits: (node: number) => boolean,
): number | undefined {
  let best: number | undefined;
  for (const { number } of members) {
    if ((best === undefined || lack(number) > lack(best)) && fits(number)) best = number;
  }
  return best;
}

/** Moves replicas from nodes above their target to nodes below it. */
function level(table: Table, shares: readonly Share[], wanted: ReadonlyMap<number, number>): void {
  const surplus = (node: number): number => (table.load.get(node) ?? 0) - (wanted.get(node) ?? 0);
  for (let step = 0; step < PARTITION_COUNT; step++) {
    const index = (step * STRIDE) % PARTITION_COUNT;
    for (const giver of (table.rows[index] ?? []).slice()) {
      if (surplus(giver) <= 0) continue;
      const taker = neediest(shares, surplus, (node) => table.fits(index, node, giver));
      if (taker !== undefined) table.replace(index, giver, taker);
    }
  }
  for (const { number } of shares) {
    while (surplus(number) < 0 && pullThrough(table, shares, surplus, number));
  }
}

function neediest(
  shares: readonly Share[],
  surplus: (node: number) => number,
  fits: (node: number) => boolean,
): number | undefined {
  let best: number | undefined;
  for (const { number } of shares) {
    if (
      surplus(number) < 0 &&
      (best === undefined || surplus(number) < surplus(best)) &&
      fits(number)
    )
      best = number;
  }
  return best;
}

/**
 * When no replica can move straight from a giver to `taker` (zones, or the giver's partitions all
 * have it already), one goes by way of a third node. False when even that is impossible.
 */
function pullThrough(
  table: Table,
  shares: readonly Share[],
  surplus: (node: number) => number,
  taker: number,
): boolean {
  const givers = shares.filter((share) => surplus(share.number) > 0).map((share) => share.number);
  for (const giver of givers) {
    const middles = new Map<number, number>();
    for (let index = 0; index < PARTITION_COUNT; index++) {
      for (const middle of table.rows[index] ?? []) {
        if (middle !== giver && !middles.has(middle) && table.fits(index, taker, middle))
          middles.set(middle, index);
      }
    }
    for (let index = 0; index < PARTITION_COUNT; index++) {
      if (!table.rows[index]?.includes(giver)) continue;
      for (const [middle, from] of middles) {
        if (from === index || !table.fits(index, middle, giver)) continue;
        table.replace(index, giver, middle);
        table.replace(from, middle, taker);
        return true;
      }
    }
  }
  return false;
}

function shuffled(row: readonly number[], index: number): number[] {
  return [...row].sort((a, b) => mix(a, index) - mix(b, index) || a - b);
}

/** A well-spread 32-bit number of two (the finaliser of MurmurHash3). */
function mix(node: number, index: number): number {
  let hash = Math.imul(node, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
