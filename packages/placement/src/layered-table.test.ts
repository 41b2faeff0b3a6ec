import { type NodeNumber, PARTITION_COUNT } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { layeredTable } from './layered-table.ts';

const holders = (...weights: number[]) =>
  weights.map((weight, index) => ({
    number: (index + 1) as NodeNumber,
    weight,
    zone: `z${index}`,
  }));

type Rows = readonly (readonly NodeNumber[])[];

/** How many rows name a peer among their first `places`. */
function load(rows: Rows, places: number): number[] {
  const counts = new Map<number, number>();
  for (const row of rows)
    for (const node of row.slice(0, places)) counts.set(node, (counts.get(node) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b).map(([, count]) => count);
}

function expectEven(counts: readonly number[], total: number, tolerance: number): void {
  for (const count of counts)
    expect(Math.abs(count / (total / counts.length) - 1)).toBeLessThan(tolerance);
}

describe('the layered table', () => {
  it('gives a fourth peer its share of what every volume uses, whatever the width', () => {
    let rows: Rows = [];
    for (const count of [1, 2, 3, 4])
      rows = layeredTable(holders(...Array<number>(count).fill(1)), rows, 7);
    expect(rows.every((row) => new Set(row).size === 4)).toBe(true);
    expectEven(load(rows, 3), 3 * PARTITION_COUNT, 0.05);
  });

  it('spreads first places, for volumes of one replica, as peers come one by one', () => {
    let rows: Rows = [];
    for (const count of [1, 2, 3])
      rows = layeredTable(holders(...Array<number>(count).fill(1)), rows, 3);
    expectEven(load(rows, 1), PARTITION_COUNT, 0.05);
    expectEven(load(rows, 2), 2 * PARTITION_COUNT, 0.05);
  });

  it('keeps the order of those that stay when another goes', () => {
    const before = layeredTable(holders(1, 1, 1, 1, 1), [], 5);
    const after = layeredTable(holders(1, 1, 1, 0, 1), before, 5);
    expect(after.every((row) => row.length === 4 && !row.includes(4 as NodeNumber))).toBe(true);
    const common = (row: readonly NodeNumber[], other: readonly NodeNumber[]) =>
      row.slice(0, 3).filter((node) => other.slice(0, 3).includes(node));
    expect(
      before.every((row, index) => {
        const then = common(row, after[index] ?? []);
        return JSON.stringify(then) === JSON.stringify(common(after[index] ?? [], row));
      }),
    ).toBe(true);
  });

  it('is the same for the same input', () => {
    expect(layeredTable(holders(1, 2, 3, 4), [], 4)).toEqual(
      layeredTable(holders(1, 2, 3, 4), [], 4),
    );
  });
});
