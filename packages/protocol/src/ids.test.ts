import { describe, expect, it } from 'vitest';
import { CHUNK_NUMBERS_MAX, madeAtOf, makeChunkId, type PartitionId, partitionOf } from './ids.ts';

const WRITER = 'abcdef012345';

describe('ids of chunks', () => {
  it('carry a partition and when they were made', () => {
    const chunk = makeChunkId(0x3fff as PartitionId, WRITER, 1, 2);
    expect(chunk).toBe('3fffabcdef0123450000000200000001');
    expect([partitionOf(chunk), madeAtOf(chunk)]).toEqual([0x3fff, 2]);
    const last = makeChunkId(0 as PartitionId, WRITER, CHUNK_NUMBERS_MAX, CHUNK_NUMBERS_MAX);
    expect(madeAtOf(last)).toBe(CHUNK_NUMBERS_MAX);
  });

  it('are not made of numbers that they have no room for', () => {
    for (const number of [-1, 0.5, CHUNK_NUMBERS_MAX + 1, Number.NaN]) {
      expect(() => makeChunkId(0 as PartitionId, WRITER, number)).toThrow(RangeError);
      expect(() => makeChunkId(0 as PartitionId, WRITER, 0, number)).toThrow(RangeError);
    }
    expect(() => madeAtOf('x' as never)).toThrow(RangeError);
  });
});
