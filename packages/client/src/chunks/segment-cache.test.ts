import type { ChunkId } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { SegmentCache } from './segment-cache.ts';

const SEGMENT = 256 * 1024;
const CHUNK = 'a'.repeat(32) as ChunkId;

/** Chunks whose bytes tell where they lie, and what was asked for of them. */
function origin(chunkBytes: number) {
  const whole = Buffer.alloc(chunkBytes);
  for (let at = 0; at + 4 <= chunkBytes; at += 4) whole.writeUInt32LE(at, at);
  const asked: string[] = [];
  const failures: Error[] = [];
  const read = (chunk: ChunkId, offset: number, length: number): Promise<Uint8Array> => {
    asked.push(`${chunk.slice(0, 1)} ${offset} ${length}`);
    const failure = failures.shift();
    if (failure !== undefined) return Promise.reject(failure);
    return Promise.resolve(Buffer.from(whole.subarray(offset, offset + length)));
  };
  return { whole, asked, failures, read };
}

describe('reading through the cache', () => {
  it('shows the bytes of any stretch, across segments and at the ends', async () => {
    const from = origin(3 * SEGMENT + 1_000);
    const cache = new SegmentCache(from, 16 * SEGMENT);
    const stretches = [
      [0, 4],
      [SEGMENT - 1, 2],
      [SEGMENT, SEGMENT],
      [100, 3 * SEGMENT + 900],
      [3 * SEGMENT + 999, 1],
    ] as const;
    for (const [offset, length] of stretches) {
      const pieces = await cache.read(CHUNK, from.whole.length, offset, length);
      expect(
        Buffer.concat(pieces).equals(from.whole.subarray(offset, offset + length)),
        `${offset}`,
      ).toBe(true);
    }
    expect(from.asked).toHaveLength(4);
  });

  it('shows what it keeps itself: nothing is copied', async () => {
    const from = origin(SEGMENT);
    const cache = new SegmentCache(from, 16 * SEGMENT);
    const [one] = await cache.read(CHUNK, SEGMENT, 0, 8);
    const [other] = await cache.read(CHUNK, SEGMENT, 4, 8);
    expect(one?.buffer).toBe(other?.buffer);
  });

  it('asks again for what could not be had', async () => {
    const from = origin(SEGMENT);
    const cache = new SegmentCache(from, 16 * SEGMENT);
    from.failures.push(new Error('no replica'));
    await expect(cache.read(CHUNK, SEGMENT, 0, 8)).rejects.toThrow('no replica');
    expect(cache.bytes).toBe(0);
    const [bytes] = await cache.read(CHUNK, SEGMENT, 0, 8);
    expect(bytes).toHaveLength(8);
  });

  it('keeps to its bound with chunks of any length', async () => {
    const small = origin(4_096);
    const cache = new SegmentCache(small, 10 * 4_096);
    for (let i = 0; i < 50; i++) {
      await cache.read(`${i}`.padStart(32, '0') as ChunkId, 4_096, 0, 4_096);
    }
    expect(cache.bytes).toBe(10 * 4_096);
  });
});

describe('bringing bytes ahead', () => {
  it('asks once for what is read later', async () => {
    const from = origin(4 * SEGMENT);
    const cache = new SegmentCache(from, 16 * SEGMENT);
    cache.ahead(CHUNK, 4 * SEGMENT, SEGMENT + 5, 2 * SEGMENT);
    expect(from.asked.map((ask) => ask.split(' ')[1])).toEqual(
      [SEGMENT, 2 * SEGMENT, 3 * SEGMENT].map(String),
    );
    await cache.read(CHUNK, 4 * SEGMENT, SEGMENT, 3 * SEGMENT);
    expect(from.asked).toHaveLength(3);
  });

  it('tells nobody of a failure, and leaves it to whoever reads', async () => {
    const from = origin(SEGMENT);
    const cache = new SegmentCache(from, 16 * SEGMENT);
    from.failures.push(new Error('no replica'));
    cache.ahead(CHUNK, SEGMENT, 0, 10);
    await Promise.resolve();
    await new Promise(setImmediate);
    expect(cache.bytes).toBe(0);
    expect(await cache.read(CHUNK, SEGMENT, 0, 10)).toHaveLength(1);
  });

  it('has no more than a bound on its way', () => {
    const from = origin(0);
    const never = { read: () => new Promise<Uint8Array>(() => {}) };
    const cache = new SegmentCache(never, 2 ** 40);
    for (let i = 0; i < 100; i++)
      cache.ahead(`${i}`.padStart(32, '0') as ChunkId, 2 ** 20, 0, 2 ** 20);
    expect(cache.bytes).toBe(32 * 2 ** 20);
    expect(from.asked).toHaveLength(0);
  });
});
