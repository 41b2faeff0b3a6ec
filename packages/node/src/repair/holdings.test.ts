import {
  type ClusterMap,
  type NodeNumber,
  type NodeState,
  PARTITION_COUNT,
  type PartitionId,
  type PartitionPlacement,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { holdingsOf, isFor, isKept, isNamed, mostEndangeredFirst } from './holdings.ts';

/** A map whose first partitions are given; the others lie on peer 9. */
function mapOf(
  placements: readonly { replicas: number[]; previous?: number[] }[],
  states: Readonly<Record<number, NodeState>>,
): ClusterMap {
  const partitions = Array.from(
    { length: PARTITION_COUNT },
    (_, index) => (placements[index] ?? { replicas: [9] }) as unknown as PartitionPlacement,
  );
  const nodes = Object.entries(states).map(([number, state]) => ({
    number: Number(number),
    state,
  }));
  return { epoch: 7, partitions, nodes } as unknown as ClusterMap;
}

const UP: Readonly<Record<number, NodeState>> = { 1: 'up', 2: 'up', 3: 'up', 4: 'up', 9: 'up' };
const self = 1 as NodeNumber;
const p = (index: number): PartitionId => index as PartitionId;

describe('what a map asks of a peer', () => {
  it('is to compare each partition of its own with everyone who may hold some of it', () => {
    const { held, shared } = holdingsOf(
      mapOf(
        [{ replicas: [2, 1] }, { replicas: [1, 3], previous: [2, 1] }, { replicas: [2, 3] }],
        UP,
      ),
      self,
    );
    expect([...held.values()]).toEqual([
      { partition: 0, place: 1, others: [2] },
      { partition: 1, place: 0, others: [3, 2], move: { signature: '1,3/2,1', from: [2] } },
    ]);
    expect([...shared]).toEqual([
      [2, [0, 1]],
      [3, [1]],
    ]);
  });

  it('waits for old holders that are down, not for those given up or forgotten', () => {
    const { held } = holdingsOf(
      mapOf([{ replicas: [1], previous: [2, 3, 4, 5] }], { ...UP, 3: 'down', 4: 'out' }),
      self,
    );
    expect(held.get(p(0))?.others).toEqual([2, 3, 4]);
    expect(held.get(p(0))?.move?.from).toEqual([2, 3]);
  });

  it('tells the same move from another one', () => {
    const signature = (replicas: number[], previous: number[]): string | undefined =>
      holdingsOf(mapOf([{ replicas, previous }], UP), self).held.get(p(0))?.move?.signature;
    expect(signature([1, 2], [3])).toBe(signature([1, 2], [3]));
    expect(signature([1, 2], [3])).not.toBe(signature([1, 2], [3, 4]));
    expect(signature([1, 2], [3])).not.toBe(signature([1, 4], [3]));
  });

  it('lets nothing go that a placement names, or of which the map says nothing', () => {
    const map = mapOf([{ replicas: [2], previous: [1] }, { replicas: [2] }, { replicas: [1] }], UP);
    expect([0, 1, 2, PARTITION_COUNT].map((index) => isNamed(map, p(index), self))).toEqual([
      true,
      false,
      true,
      true,
    ]);
  });

  it('keeps chunks of few copies on the first replicas', () => {
    expect([0, 1, 2].map((place) => isFor(place, 2))).toEqual([true, true, false]);
    expect(isFor(5, 0)).toBe(true);
  });

  it('lets a chunk of few copies go only from a place too far back, and after the move', () => {
    const map = mapOf(
      [
        { replicas: [2, 1] },
        { replicas: [1, 2] },
        { replicas: [2, 1], previous: [3] },
        { replicas: [2] },
      ],
      UP,
    );
    const kept = (copies: number): boolean[] =>
      [0, 1, 2, 3, PARTITION_COUNT].map((index) => isKept(map, p(index), self, copies));
    expect(kept(1)).toEqual([false, true, true, false, true]);
    expect(kept(2)).toEqual([true, true, true, false, true]);
    expect(kept(0)).toEqual([true, true, true, false, true]);
  });

  it('begins with what has the fewest living holders', () => {
    const map = mapOf([{ replicas: [1, 2, 3] }, { replicas: [1, 3, 4] }, { replicas: [1, 4] }], {
      ...UP,
      3: 'down',
      4: 'out',
    });
    expect(mostEndangeredFirst(holdingsOf(map, self), [p(0), p(1), p(2)])).toEqual([1, 2, 0]);
  });
});
