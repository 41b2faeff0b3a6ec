/** Every implementation of the ordered state that metadata works on (packages/metadata/src/state.ts). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryState, type StateScanner, type StateWriter } from '@holdfast/metadata';
import type { ShardId } from '@holdfast/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { LevelState } from '../../packages/node/src/shards/level-state.ts';
import { LevelStore } from '../../packages/node/src/shards/level-store.ts';

interface Implementation {
  readonly state: StateWriter & StateScanner;
  /** An entry of the log has been applied. */
  entryApplied(index: number): void;
  close(): Promise<void>;
}

/** `writeBehindMs` decides whether what is scanned is still staged, being written, or written. */
async function level(writeBehindMs: number): Promise<Implementation> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-contract-'));
  const store = await LevelStore.open(directory, { writeBehindMs, batchBytes: 4096 });
  const state = await LevelState.open(store, 3 as ShardId);
  return {
    state,
    entryApplied: (index) => state.setApplied(index),
    async close() {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
}

async function memory(): Promise<Implementation> {
  return { state: new MemoryState(), entryApplied() {}, async close() {} };
}

const IMPLEMENTATIONS = {
  'state in memory': memory,
  'state in LevelDB, all written': () => level(0),
  'state in LevelDB, nearly all staged': () => level(1e6),
};

const key = (...bytes: number[]) => Uint8Array.from(bytes);
const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex');
const LAST = key(255, 255, 255, 255, 255);

describe.each(Object.entries(IMPLEMENTATIONS))('%s', (_name, open) => {
  let opened: Implementation | undefined;
  afterEach(async () => {
    await opened?.close();
  });

  async function start(): Promise<StateWriter & StateScanner> {
    opened = await open();
    return opened.state;
  }

  async function scanned(from: Uint8Array, to: Uint8Array, limit: number): Promise<string[]> {
    const found: string[] = [];
    for await (const [k, v] of opened!.state.scan(from, to, limit))
      found.push(`${hex(k)}=${hex(v)}`);
    return found;
  }

  it('shows a put at once, a later one over it, and nothing after a delete', async () => {
    const state = await start();
    expect(state.get(key(1))).toBeUndefined();
    state.put(key(1), key(7));
    state.put(key(1), key(8, 9));
    expect(hex(state.get(key(1)))).toBe('0809');
    state.delete(key(1));
    state.delete(key(2));
    expect(state.get(key(1))).toBeUndefined();
    state.put(key(1), key());
    expect(state.get(key(1))).toHaveLength(0);
  });

  it('orders keys as unsigned bytes, a prefix before what goes on', async () => {
    const state = await start();
    for (const k of [key(128), key(1, 0), key(255), key(1), key(127), key(0), key(1, 255)]) {
      state.put(k, key(0));
    }
    opened!.entryApplied(1);
    const keys = (await scanned(key(), LAST, 99)).map((pair) => pair.split('=')[0]);
    expect(keys).toEqual(['00', '01', '0100', '01ff', '7f', '80', 'ff']);
  });

  it('scans from the first key on, up to the second without it, at most so many', async () => {
    const state = await start();
    for (let i = 0; i < 10; i += 1) state.put(key(i), key(i));
    opened!.entryApplied(1);
    state.delete(key(4));
    opened!.entryApplied(2);
    expect(await scanned(key(3), key(6), 99)).toEqual(['03=03', '05=05']);
    expect(await scanned(key(3), key(6), 1)).toEqual(['03=03']);
    expect(await scanned(key(3), key(3), 99)).toEqual([]);
    expect(await scanned(key(6), key(3), 99)).toEqual([]);
    expect(await scanned(key(0), LAST, 0)).toEqual([]);
  });

  it('agrees with a plain map under random changes', async () => {
    const state = await start();
    const model = new Map<string, string>();
    let seed = 99;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const anyKey = () => key(random(8), random(8), random(4));
    for (let index = 1; index <= 4000; index += 1) {
      const k = anyKey();
      if (random(3) === 0) {
        state.delete(k);
        model.delete(hex(k)!);
      } else {
        const value = key(random(256), random(256));
        state.put(k, value);
        model.set(hex(k)!, hex(value)!);
      }
      opened!.entryApplied(index);
      expect(hex(state.get(k))).toBe(model.get(hex(k)!));
      if (random(40) !== 0) continue;
      const [from, to, limit] = [anyKey(), anyKey(), random(20)];
      const expected = [...model]
        .filter(([other]) => other >= hex(from)! && other < hex(to)!)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, limit)
        .map(([other, value]) => `${other}=${value}`);
      expect(await scanned(from, to, limit)).toEqual(expected);
    }
  });
});
