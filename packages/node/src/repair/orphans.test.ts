import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { apply, MemoryState, view } from '@holdfast/metadata';
import {
  type ChunkId,
  HoldfastError,
  INTERNAL_SESSION,
  LIMITS,
  makeChunkId,
  type PartitionId,
  ROOT_VOLUME,
  type ShardId,
} from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ChunkStore } from '../chunks/store.ts';
import { openTestStore } from '../testing/chunk-store.ts';
import { OrphanSearch, type OrphanSearchParts } from './orphans.ts';

const SHARDS = [1, 2] as ShardId[];
const NOW = 100;
const AGE = 10;

/** A store, and two shards that know nothing. */
describe('a search for chunks that nobody names', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-orphans-'));
  let store: ChunkStore;
  let states: Map<ShardId, MemoryState>;
  let bars: [ShardId, number][];
  let freed: number;

  beforeEach(async () => {
    store = await openTestStore(join(directory, 'store'));
    states = new Map(SHARDS.map((shard) => [shard, new MemoryState()]));
    bars = [];
    freed = 0;
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  const put = async (madeAt: number, counter = 0): Promise<ChunkId> => {
    const partition = (counter % 100) as PartitionId;
    const chunk = makeChunkId(partition, 'abcdef012345', counter, madeAt);
    await store.write(chunk, Buffer.from('bytes'));
    return chunk;
  };
  const search = (parts: Partial<OrphanSearchParts> = {}): Promise<void> =>
    new OrphanSearch({
      store,
      shards: () => SHARDS,
      look: (shard, chunks) =>
        view(states.get(shard) as MemoryState, {
          session: INTERNAL_SESSION,
          volume: ROOT_VOLUME,
          view: { view: 'known-chunks', chunks },
        }),
      bar: async (shard, before) => {
        bars.push([shard, before]);
        const head = { v: 1, session: INTERNAL_SESSION, sequence: 1, answeredBelow: 0 } as const;
        const operation = { op: 'bar-chunks', before } as const;
        const command = { ...head, timeNs: 0n, volume: ROOT_VOLUME, operation };
        apply(states.get(shard) as MemoryState, command);
      },
      deleteChunks: async () => {},
      nowMs: () => NOW * 1000,
      ageMs: AGE * 1000,
      onFreed: (chunks) => {
        freed += chunks.length;
      },
      signal: new AbortController().signal,
      ...parts,
    }).run();

  it('frees those that are old enough, and has all shards refuse them first', async () => {
    const old = await put(NOW - AGE - 1);
    const young = await put(NOW - AGE);
    await search();
    expect([store.length(old), store.length(young)]).toEqual([undefined, 5]);
    expect(freed).toBe(1);
    expect(bars).toEqual(SHARDS.map((shard) => [shard, NOW - AGE]));
    await search();
    expect(bars).toHaveLength(SHARDS.length);
  });

  it('goes through more than one question takes', async () => {
    const count = LIMITS.knownChunksMax + 3;
    await Promise.all(Array.from({ length: count }, (_, i) => put(1, i)));
    await search();
    expect(freed).toBe(count);
    expect([...store.digests.nonEmpty()]).toEqual([]);
  });

  it('frees nothing when a shard does not answer, is not barred, or none is known', async () => {
    const old = await put(1);
    const outage = (): Promise<never> => Promise.reject(new HoldfastError('NO_QUORUM'));
    await expect(search({ look: outage })).rejects.toMatchObject({ code: 'NO_QUORUM' });
    await expect(search({ bar: outage })).rejects.toMatchObject({ code: 'NO_QUORUM' });
    await search({ bar: async () => {} });
    await search({ shards: () => [] });
    expect([freed, store.length(old)]).toEqual([0, 5]);
  });

  it('leaves no chunk here that the map places elsewhere, whether the others answer or not', async () => {
    const old = await put(1);
    const deleteChunks = (): Promise<never> => Promise.reject(new HoldfastError('NO_QUORUM'));
    await expect(search({ deleteChunks })).rejects.toMatchObject({ code: 'NO_QUORUM' });
    expect([freed, store.length(old)]).toEqual([1, undefined]);
  });
});
