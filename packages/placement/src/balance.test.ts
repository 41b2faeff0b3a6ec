import { type NodeNumber, PARTITION_COUNT } from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balance } from './balance.ts';
import { targets } from './targets.ts';

interface Node {
  number: NodeNumber;
  weight: number;
  zone: string;
}
type Rows = readonly (readonly NodeNumber[])[];

function nodes(
  count: number,
  zoneOf: (i: number) => string = (i) => `z${i}`,
  weightOf: (i: number) => number = () => 1,
): Node[] {
  return Array.from({ length: count }, (_, i) => ({
    number: (i + 1) as NodeNumber,
    weight: weightOf(i),
    zone: zoneOf(i),
  }));
}

function loads(rows: Rows): Map<number, number> {
  const load = new Map<number, number>();
  for (const row of rows) for (const node of row) load.set(node, (load.get(node) ?? 0) + 1);
  return load;
}

/** Largest load against the mean, each in proportion to the node's weight. */
function imbalance(rows: Rows, cluster: readonly Node[]): number {
  const load = loads(rows);
  const weight = cluster.reduce((sum, node) => sum + node.weight, 0);
  const slots = rows.reduce((sum, row) => sum + row.length, 0);
  return Math.max(
    ...cluster.map((node) => (load.get(node.number) ?? 0) / ((slots * node.weight) / weight)),
  );
}

/** Replicas in the new table that were not in the old one. */
function moved(before: Rows, after: Rows): number {
  return after.reduce(
    (sum, row, index) => sum + row.filter((node) => before[index]?.includes(node) !== true).length,
    0,
  );
}

function zonesApart(rows: Rows, cluster: readonly Node[]): boolean {
  const zone = new Map(cluster.map((node) => [node.number, node.zone]));
  return rows.every((row) => new Set(row.map((node) => zone.get(node))).size === row.length);
}

describe('balance', () => {
  it('fills every partition with distinct nodes, as many as there are up to the width', () => {
    for (const count of [1, 2, 3, 5]) {
      const rows = balance(nodes(count), [], 3);
      expect(rows).toHaveLength(PARTITION_COUNT);
      expect(
        rows.every((row) => row.length === Math.min(3, count) && new Set(row).size === row.length),
      ).toBe(true);
    }
  });

  it.each([3, 4, 7, 30, 100, 1000])(
    'keeps the largest of %i equal nodes within 5 % of the mean',
    (count) => {
      const cluster = nodes(count);
      expect(imbalance(balance(cluster, [], 3), cluster)).toBeLessThanOrEqual(1.05);
    },
  );

  it('moves no more than 1.1 times the least on a join and on a leave, at any size', () => {
    for (const count of [3, 4, 10, 100]) {
      const grown = nodes(count + 1);
      const before = balance(grown.slice(0, count), [], 3);
      const after = balance(grown, before, 3);
      const gained = loads(after).get(count + 1) ?? 0;
      expect(moved(before, after)).toBeLessThanOrEqual(1.1 * gained);
      expect(imbalance(after, grown)).toBeLessThanOrEqual(1.05);
      const left = balance(grown.slice(0, count), after, 3);
      expect(moved(after, left)).toBeLessThanOrEqual(1.1 * gained);
      expect(imbalance(left, grown.slice(0, count))).toBeLessThanOrEqual(1.05);
    }
  });

  it('moves nothing when nothing has changed', () => {
    const cluster = nodes(
      7,
      (i) => `z${i % 4}`,
      (i) => 1 + (i % 3),
    );
    const rows = balance(cluster, [], 3);
    expect(balance(cluster, rows, 3)).toEqual(rows);
  });

  it('gives a drained node nothing and everybody else its share', () => {
    const cluster = nodes(5);
    const before = balance(cluster, [], 3);
    const drained = cluster.map((node) => (node.number === 2 ? { ...node, weight: 0 } : node));
    const after = balance(drained, before, 3);
    expect(loads(after).has(2)).toBe(false);
    expect(moved(before, after)).toBeLessThanOrEqual(1.01 * (loads(before).get(2) ?? 0));
  });

  it('keeps replicas in zones of their own while there are zones enough, and spreads them else', () => {
    const racks = nodes(9, (i) => `rack${i % 3}`);
    expect(zonesApart(balance(racks, [], 3), racks)).toBe(true);
    const two = nodes(6, (i) => `rack${i % 2}`);
    const rows = balance(two, [], 3);
    expect(rows.every((row) => new Set(row.map((node) => node % 2)).size === 2)).toBe(true);
  });

  it('gives every node its share where some zones must be in every partition', () => {
    const zones = [0, 0, 0, 1, 1, 2, 3];
    for (const count of [7, 10, 30]) {
      const cluster = nodes(
        count,
        (i) => `rack${zones[i % zones.length]}`,
        (i) => 1 + (i % 3),
      );
      let rows: Rows = balance(cluster, [], 3);
      expect(zonesApart(rows, cluster)).toBe(true);
      expect(loads(rows)).toEqual(targets(cluster, 3, loads(rows)));
      const rest = cluster.slice(1);
      rows = balance(rest, rows, 3);
      expect(zonesApart(rows, rest)).toBe(true);
      expect(loads(rows)).toEqual(targets(rest, 3, loads(rows)));
    }
  });

  it('keeps the largest of nodes of unequal weight within 5 % of its share', () => {
    for (const count of [6, 30, 300]) {
      const cluster = nodes(
        count,
        (i) => `z${i}`,
        (i) => 1 + (i % 4),
      );
      expect(imbalance(balance(cluster, [], 3), cluster)).toBeLessThanOrEqual(1.05);
    }
  });

  it('spreads first places as evenly as all others', () => {
    const first = loads(balance(nodes(5), [], 3).map((row) => row.slice(0, 1)));
    for (const count of first.values())
      expect(Math.abs(count / (PARTITION_COUNT / 5) - 1)).toBeLessThan(0.1);
  });

  it('refuses a cluster without room', () => {
    expect(() => balance([], [], 3)).toThrow(RangeError);
  });

  it('holds its rules for any weights, zones and history', () => {
    const shape = fc.record({
      weights: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 4, maxLength: 12 }),
      zones: fc.integer({ min: 4, max: 12 }),
      gone: fc.nat(),
    });
    fc.assert(
      fc.property(shape, ({ weights, zones, gone }) => {
        const cluster = nodes(
          weights.length,
          (i) => `z${i % zones}`,
          (i) => weights[i] ?? 1,
        );
        const before = balance(cluster, [], 3);
        const rest = cluster.filter((_, i) => i !== gone % cluster.length);
        const after = balance(rest, before, 3);
        const enough = new Set(rest.map((node) => node.zone)).size >= 3;
        return (
          after.every((row) => row.length === 3 && new Set(row).size === 3) &&
          (!enough || zonesApart(after, rest)) &&
          after.every((row) => row.every((node) => rest.some((other) => other.number === node)))
        );
      }),
      { numRuns: 25 },
    );
  });
});
