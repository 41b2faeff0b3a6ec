import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ShardId } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LevelState } from './level-state.ts';
import { LevelStore, type LevelStoreOptions } from './level-store.ts';

const ONE = 1 as ShardId;
const TWO = 2 as ShardId;
/** Nothing is written unless a test asks for it. */
const LAZY: LevelStoreOptions = { writeBehindMs: 1e6, batchBytes: 1e9 };
let directory = '';
const open: LevelStore[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
});

afterEach(async () => {
  for (const store of open.splice(0)) await store.abandon();
  await rm(directory, { recursive: true });
});

async function openStore(o: LevelStoreOptions = LAZY): Promise<LevelStore> {
  const store = await LevelStore.open(directory, o);
  open.push(store);
  return store;
}

/** As a killed process would leave it. */
async function crash(store: LevelStore): Promise<void> {
  open.splice(open.indexOf(store), 1);
  await store.abandon();
}

const bytes = (text: string) => Buffer.from(text, 'latin1');
const END = bytes('\xff\xff');

async function textsOf(pairs: AsyncIterable<[Uint8Array, Uint8Array]>): Promise<string[]> {
  const texts: string[] = [];
  for await (const [key, value] of pairs) {
    texts.push(`${Buffer.from(key).toString('latin1')}=${Buffer.from(value).toString('latin1')}`);
  }
  return texts;
}

describe('level state', () => {
  it('shows changes at once, and after a crash exactly those of whole entries that were flushed', async () => {
    const store = await openStore();
    const state = await LevelState.open(store, ONE);
    state.put(bytes('a'), bytes('1'));
    state.put(bytes('b'), bytes('1'));
    state.setApplied(7);
    expect(await state.flushed()).toBe(7);
    state.put(bytes('a'), bytes('2'));
    state.delete(bytes('b'));
    state.setApplied(8);
    expect(state.get(bytes('a'))).toEqual(bytes('2'));
    expect(state.get(bytes('b'))).toBeUndefined();
    await crash(store);
    const again = await LevelState.open(await openStore(), ONE);
    expect(again.applied).toBe(7);
    expect(await textsOf(again.scan(bytes(''), END, 9))).toEqual(['a=1', 'b=1']);
  });

  it('writes all that is staged when it closes in order', async () => {
    const store = await openStore();
    const state = await LevelState.open(store, ONE);
    state.put(bytes('a'), bytes('1'));
    state.setApplied(3);
    open.pop();
    await store.close();
    const again = await LevelState.open(await openStore(), ONE);
    expect([again.applied, again.get(bytes('a'))]).toEqual([3, bytes('1')]);
  });

  it('scans written, half-written and staged changes as one, in the order of bytes', async () => {
    const store = await openStore();
    const state = await LevelState.open(store, ONE);
    const other = await LevelState.open(store, TWO);
    other.put(bytes('b'), bytes('other'));
    for (const key of ['b', 'd', '\x80', 'f', 'aa']) state.put(bytes(key), bytes('written'));
    state.setApplied(1);
    await state.flushed();
    state.put(bytes('c'), bytes('half'));
    state.delete(bytes('d'));
    state.put(bytes('f'), bytes('half'));
    state.setApplied(2);
    const flushing = state.flushed();
    state.put(bytes('d'), bytes('staged'));
    state.delete(bytes('c'));
    state.put(bytes('\xff'), bytes('staged'));
    state.setApplied(3);
    const all = ['aa=written', 'b=written', 'd=staged', 'f=half', '\x80=written', '\xff=staged'];
    expect(await textsOf(state.scan(bytes(''), END, 99))).toEqual(all);
    for (let limit = 0; limit <= 6; limit += 1) {
      expect(await textsOf(state.scan(bytes(''), END, limit))).toEqual(all.slice(0, limit));
    }
    expect(await textsOf(state.scan(bytes('b'), bytes('f'), 99))).toEqual(all.slice(1, 3));
    await flushing;
    expect(await textsOf(state.scan(bytes(''), END, 99))).toEqual(all);
  });

  it('agrees with a plain map under random changes, scans and flushes', async () => {
    const store = await openStore({ writeBehindMs: 1, batchBytes: 2000 });
    const state = await LevelState.open(store, ONE);
    const model = new Map<string, string>();
    let seed = 12345;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let index = 1; index <= 3000; index += 1) {
      const key = `k${random(400)}`;
      if (random(4) === 0) {
        state.delete(bytes(key));
        model.delete(key);
      } else {
        state.put(bytes(key), bytes(`v${index}`));
        model.set(key, `v${index}`);
      }
      state.setApplied(index);
      if (random(50) !== 0) continue;
      const from = `k${random(400)}`;
      const expected = [...model].filter(([k]) => k >= from).sort(([a], [b]) => (a < b ? -1 : 1));
      expect(await textsOf(state.scan(bytes(from), END, 40))).toEqual(
        expected.slice(0, 40).map(([k, v]) => `${k}=${v}`),
      );
    }
  });

  it('takes over a snapshot of another replica, as it was when it was asked for', async () => {
    const store = await openStore();
    const state = await LevelState.open(store, ONE);
    for (let i = 0; i < 5000; i += 1) state.put(bytes(`key ${i}`), Buffer.alloc(100, i));
    state.setApplied(10);
    await state.flushed();
    state.put(bytes('staged'), bytes('too'));
    state.setApplied(11);
    const stream = state.snapshot();
    state.put(bytes('late'), bytes('no'));
    state.setApplied(12);
    const copy = await LevelState.open(store, TWO);
    copy.put(bytes('old'), bytes('gone'));
    copy.setApplied(4);
    await copy.install(11, stream);
    expect(copy.applied).toBe(11);
    expect(copy.get(bytes('old'))).toBeUndefined();
    expect(copy.get(bytes('late'))).toBeUndefined();
    expect(copy.get(bytes('staged'))).toEqual(bytes('too'));
    state.delete(bytes('late'));
    expect(await textsOf(copy.scan(bytes(''), END, 1e6))).toEqual(
      await textsOf(state.scan(bytes(''), END, 1e6)),
    );
    await crash(store);
    const again = await LevelState.open(await openStore(), TWO);
    expect([again.applied, again.get(bytes('key 4999'))]).toEqual([11, Buffer.alloc(100, 4999)]);
  });

  it('keeps the old state when a snapshot is damaged or cut off at any block', async () => {
    const store = await openStore();
    const source = await LevelState.open(store, ONE);
    for (let i = 0; i < 40; i += 1) source.put(bytes(`key ${i}`), Buffer.alloc(20_000, i));
    source.setApplied(1);
    const pieces: Uint8Array[] = [];
    for await (const piece of source.snapshot()) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(4);
    const copy = await LevelState.open(store, TWO);
    copy.put(bytes('old'), bytes('kept'));
    copy.setApplied(4);
    const from = (list: readonly Uint8Array[]) =>
      (async function* () {
        yield* list;
      })();
    for (let count = 0; count < pieces.length; count += 1) {
      const cut = copy.install(9, from(pieces.slice(0, count)));
      await expect(cut).rejects.toMatchObject({ code: 'CORRUPT' });
    }
    for (let i = 0; i < pieces.length; i += 1) {
      const damaged = pieces.map((piece) => Uint8Array.from(piece));
      damaged[i]![damaged[i]!.length - 1]! ^= 4;
      const install = copy.install(9, from(damaged));
      await expect(install).rejects.toMatchObject({ code: 'CORRUPT' });
    }
    const lacking = pieces.filter((_, i) => i !== 1);
    await expect(copy.install(9, from(lacking))).rejects.toMatchObject({ code: 'CORRUPT' });
    expect([copy.applied, copy.get(bytes('old'))]).toEqual([4, bytes('kept')]);
    await copy.flushed();
    await crash(store);
    const again = await LevelState.open(await openStore(), TWO);
    expect(await textsOf(again.scan(bytes(''), END, 9))).toEqual(['old=kept']);
    await again.install(9, from(pieces));
    expect(again.get(bytes('old'))).toBeUndefined();
  });

  it('holds back when too much is staged, and lets go when it is written', async () => {
    const store = await openStore({ writeBehindMs: 1e6, batchBytes: 1e9, stagedBytesMax: 10_000 });
    const state = await LevelState.open(store, ONE);
    for (let i = 0; i < 30; i += 1) state.put(bytes(`key ${i}`), Buffer.alloc(1000));
    state.setApplied(1);
    await state.settled();
    await crash(store);
    expect((await LevelState.open(await openStore(), ONE)).applied).toBe(1);
  });

  it('does not make anybody wait for what a closed store will never write', async () => {
    const store = await openStore({ writeBehindMs: 1e6, batchBytes: 1e9, stagedBytesMax: 10_000 });
    const state = await LevelState.open(store, ONE);
    for (let i = 0; i < 30; i += 1) state.put(bytes(`key ${i}`), Buffer.alloc(1000));
    state.setApplied(1);
    await crash(store);
    await expect(state.settled()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });

  it('removes a shard without touching the next', async () => {
    const store = await openStore();
    const [one, two] = [await LevelState.open(store, ONE), await LevelState.open(store, TWO)];
    for (const state of [one, two]) {
      state.put(bytes('a'), bytes('1'));
      state.setApplied(1);
    }
    await store.closeShard(ONE);
    await store.removeShard(ONE);
    const again = await LevelState.open(store, ONE);
    expect([again.applied, again.get(bytes('a'))]).toEqual([0, undefined]);
    expect(two.get(bytes('a'))).toEqual(bytes('1'));
  });
});
