import { type Epoch, type NodeNumber, PARTITION_COUNT, type PartitionId } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { ClusterRecords } from './cluster-records.ts';
import { markSynced, moveTo } from './partition-moves.ts';

const nodes = (...numbers: number[]) => numbers as NodeNumber[];
const table = (...row: number[]) => Array.from({ length: PARTITION_COUNT }, () => nodes(...row));
const epoch = (number: number) => number as Epoch;
const everyone = () => true;
const first = 0 as PartitionId;

describe('a partition that moves', () => {
  it('again before it has settled remembers the holders of both tables', () => {
    const records = new ClusterRecords();
    moveTo(records, table(1, 2), epoch(1), everyone);
    expect(records.partitions[0]).toEqual({ replicas: [1, 2], movedAt: 1 });
    moveTo(records, table(3, 4), epoch(2), everyone);
    moveTo(records, table(5, 4), epoch(3), everyone);
    expect(records.partitions[0]).toEqual({
      replicas: [5, 4],
      previous: [1, 2, 3, 4],
      movedAt: 3,
      synced: [],
    });
  });

  it('does not ask peers that no longer exist', () => {
    const records = new ClusterRecords();
    moveTo(records, table(1, 2), epoch(1), everyone);
    moveTo(records, table(3, 2), epoch(2), everyone);
    expect(moveTo(records, table(3, 2), epoch(3), (node) => node !== 1)).toBe(true);
    expect(records.partitions[0]).toEqual({
      replicas: [3, 2],
      previous: [2],
      movedAt: 2,
      synced: [],
    });
    expect(moveTo(records, table(3, 2), epoch(4), (node) => node !== 1)).toBe(false);
  });

  it('has settled when every replica has said so since it last moved, and no sooner', () => {
    const records = new ClusterRecords();
    moveTo(records, table(1, 2), epoch(1), everyone);
    moveTo(records, table(1, 3), epoch(2), everyone);
    expect(markSynced(records, 3 as NodeNumber, epoch(1), first)).toBe(false);
    expect(markSynced(records, 9 as NodeNumber, epoch(2), first)).toBe(false);
    expect(markSynced(records, 3 as NodeNumber, epoch(2), first)).toBe(false);
    expect(markSynced(records, 3 as NodeNumber, epoch(2), first)).toBe(false);
    expect(records.partitions[0]?.previous).toEqual([1, 2]);
    moveTo(records, table(1, 4), epoch(3), everyone);
    expect(markSynced(records, 1 as NodeNumber, epoch(3), first)).toBe(false);
    expect(markSynced(records, 4 as NodeNumber, epoch(3), first)).toBe(true);
    expect(records.partitions[0]).toEqual({ replicas: [1, 4], movedAt: 3 });
  });
});
