import { describe, expect, it } from 'vitest';
import { limitBandwidth } from './bandwidth.ts';
import type { Store } from './store.ts';

const OBJECT = new Uint8Array(5000);
const store: Store = {
  put: async () => 'created',
  get: async (_, range) => OBJECT.subarray(0, range?.length),
  size: async () => OBJECT.length,
  list: async function* () {},
  delete: async () => {},
};

describe('a limit of bandwidth', () => {
  it('holds over concurrent requests, each direction by itself', async () => {
    const waits: number[] = [];
    const surroundings = { nowMs: () => 1000, sleep: async (ms: number) => void waits.push(ms) };
    const limits = { sendBytesPerSecond: 1000, fetchBytesPerSecond: 10_000 };
    const limited = limitBandwidth(store, limits, surroundings);
    await Promise.all([1, 2, 3].map(() => limited.put('a', new Uint8Array(500))));
    expect(waits).toEqual([500, 1000]);
    waits.length = 0;
    await limited.get('a');
    await limited.get('a', { offset: 0, length: 1000 });
    await limited.get('a', { offset: 0, length: 1000 });
    expect(waits).toEqual([500, 600]);
  });
});
