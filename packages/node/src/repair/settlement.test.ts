import type { ClusterMap, NodeNumber, PartitionId } from '@holdfast/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Holding, Holdings, Move } from './holdings.ts';
import { Settlement } from './settlement.ts';

const [two, three] = [2, 3] as [NodeNumber, NodeNumber];

function moving(partition: number, from: readonly number[], signature = 'a'): Holding {
  const move: Move = { signature, from: from as NodeNumber[] };
  return { partition: partition as PartitionId, place: 0, others: move.from, move };
}

function holdings(epoch: number, ...all: Holding[]): Holdings {
  const held = new Map(all.map((holding) => [holding.partition, holding]));
  return { map: { epoch } as ClusterMap, held, shared: new Map() };
}

describe('settlement', () => {
  let settlement: Settlement;
  beforeEach(() => {
    settlement = new Settlement();
  });

  it('comes when all old holders were compared, with the lowest epoch of them', () => {
    const holding = moving(4, [2, 3]);
    settlement.complete(holding, two, 11);
    expect(settlement.isOpen(holding)).toBe(true);
    expect(settlement.due(holdings(12, holding), 0)).toEqual([]);
    settlement.complete(holding, three, 12);
    expect(settlement.isOpen(holding)).toBe(false);
    expect(settlement.due(holdings(12, holding), 0)).toEqual([{ epoch: 11, partitions: [4] }]);
    settlement.complete(holding, two, 12);
    expect(settlement.due(holdings(12, holding), 0)).toEqual([{ epoch: 12, partitions: [4] }]);
  });

  it('comes at once when there is nobody to compare with', () => {
    const alone = moving(4, []);
    expect(settlement.due(holdings(5, alone), 0)).toEqual([{ epoch: 5, partitions: [4] }]);
  });

  it('begins anew when the partition moves on, and ends when it moves no more', () => {
    settlement.complete(moving(4, [2]), two, 11);
    const on = moving(4, [2], 'b');
    expect(settlement.isOpen(on)).toBe(true);
    expect(settlement.due(holdings(13, on), 0)).toEqual([]);
    const settled: Holding = { partition: 4 as PartitionId, place: 0, others: [] };
    expect(settlement.due(holdings(14, settled), 0)).toEqual([]);
    expect(settlement.isOpen(settled)).toBe(false);
  });

  it('is reported once, and again when the map keeps showing the move', () => {
    const holding = moving(4, [2]);
    settlement.complete(holding, two, 11);
    const [due] = settlement.due(holdings(11, holding), 1_000);
    settlement.reported(due ?? { epoch: 0, partitions: [] }, 1_000);
    expect(settlement.due(holdings(12, holding), 2_000)).toEqual([]);
    expect(settlement.due(holdings(12, holding), 60_000)).toEqual([due]);
  });

  it('groups partitions by epoch', () => {
    const all = [moving(1, [2]), moving(2, [2]), moving(3, [2])];
    for (const [index, holding] of all.entries())
      settlement.complete(holding, two, 10 + (index % 2));
    expect(settlement.due(holdings(20, ...all), 0)).toEqual([
      { epoch: 10, partitions: [1, 3] },
      { epoch: 11, partitions: [2] },
    ]);
  });
});
