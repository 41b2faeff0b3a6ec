import { describe, expect, it } from 'vitest';
import { ownSurroundings } from '../repository/surroundings.ts';
import { limitBandwidth, limitStream } from './bandwidth.ts';
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

  it('holds for a stream, which goes on in parts of a tenth of a second and loses nothing', async () => {
    let nowMs = 0;
    const surroundings = {
      nowMs: () => nowMs,
      sleep: async (ms: number) => {
        nowMs += ms;
      },
    };
    const chunks = async function* () {
      yield Uint8Array.from({ length: 250 }, (_, at) => at);
      yield new Uint8Array(0);
      yield Uint8Array.of(7);
    };
    const parts: Uint8Array[] = [];
    for await (const part of limitStream(chunks(), 1000, surroundings)) parts.push(part);
    expect(parts.map(({ length }) => length)).toEqual([100, 100, 50, 1]);
    expect(Buffer.concat(parts)).toEqual(
      Buffer.of(...Array.from({ length: 250 }, (_, at) => at), 7),
    );
    expect(nowMs).toBe(250);
    const stopped = AbortSignal.abort(new Error('stopped'));
    const real = { nowMs: () => 0, sleep: ownSurroundings().sleep };
    const late = limitStream(chunks(), 1, real, stopped);
    await late.next(); // what is sent first has nothing to wait for
    await expect(late.next()).rejects.toThrow('aborted');
  });
});
