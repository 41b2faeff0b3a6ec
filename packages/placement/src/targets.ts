/** How many replicas each node should hold. */
import { PARTITION_COUNT } from '@holdfast/protocol';

/** A node that may hold replicas. */
export interface Share {
  readonly number: number;
  /** Relative, > 0. */
  readonly weight: number;
  readonly zone: string;
}

/** Replicas of one partition that a zone may hold: one while there are zones enough. */
export function perZoneMax(shares: readonly Share[], width: number): number {
  const zones = new Set(shares.map((share) => share.zone)).size;
  return Math.ceil(width / Math.max(1, zones));
}

/**
 * Whole numbers of replicas by node that add up to `width` a partition, in proportion to weights as
 * far as no node exceeds one replica a partition and no zone its share. `load` breaks ties in favour
 * of what is there, so that rounding moves nothing.
 */
export function targets(
  shares: readonly Share[],
  width: number,
  load: ReadonlyMap<number, number>,
): Map<number, number> {
  const zones = new Map<string, Share[]>();
  for (const share of shares) zones.set(share.zone, [...(zones.get(share.zone) ?? []), share]);
  const zoneMax = perZoneMax(shares, width);
  const caps = [...zones.values()].map((members) => ({
    weight: members.reduce((sum, member) => sum + member.weight, 0),
    cap: PARTITION_COUNT * Math.min(zoneMax, members.length),
  }));
  const zoneAmounts = fill(caps, PARTITION_COUNT * width);
  const exact: { share: Share; amount: number }[] = [];
  [...zones.values()].forEach((members, index) => {
    const nodes = members.map(({ weight }) => ({ weight, cap: PARTITION_COUNT }));
    const amounts = fill(nodes, zoneAmounts[index] ?? 0);
    members.forEach((share, i) => {
      exact.push({ share, amount: amounts[i] ?? 0 });
    });
  });
  return rounded(exact, PARTITION_COUNT * width, load);
}

/** Shares an amount in proportion to weights, none above its cap (water filling). */
function fill(parts: readonly { weight: number; cap: number }[], amount: number): number[] {
  const result = parts.map(() => 0);
  let open = parts.map((_, index) => index);
  let left = amount;
  while (open.length > 0 && left > 1e-9) {
    const weight = open.reduce((sum, index) => sum + (parts[index]?.weight ?? 0), 0);
    const full = open.filter(
      (i) => ((parts[i]?.weight ?? 0) / weight) * left >= (parts[i]?.cap ?? 0),
    );
    if (full.length === 0) {
      for (const index of open) result[index] = ((parts[index]?.weight ?? 0) / weight) * left;
      return result;
    }
    for (const index of full) {
      result[index] = parts[index]?.cap ?? 0;
      left -= parts[index]?.cap ?? 0;
    }
    open = open.filter((index) => !full.includes(index));
  }
  return result;
}

function rounded(
  exact: readonly { share: Share; amount: number }[],
  total: number,
  load: ReadonlyMap<number, number>,
): Map<number, number> {
  const rows = exact.map(({ share, amount }) => {
    const whole = Math.floor(amount + 1e-9);
    return {
      number: share.number,
      whole,
      rest: amount - whole,
      holdsMore: (load.get(share.number) ?? 0) > whole,
    };
  });
  let missing = total - rows.reduce((sum, row) => sum + row.whole, 0);
  rows.sort(
    (a, b) => Number(b.holdsMore) - Number(a.holdsMore) || b.rest - a.rest || a.number - b.number,
  );
  const result = new Map<number, number>();
  for (const row of rows) {
    const extra = missing > 0 && row.whole < PARTITION_COUNT && row.rest > 1e-9 ? 1 : 0;
    missing -= extra;
    result.set(row.number, row.whole + extra);
  }
  return result;
}
