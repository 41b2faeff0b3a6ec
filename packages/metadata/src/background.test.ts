import { ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { filesWithInline, freedChunks, planReclaim } from './background.ts';
import { check } from './check.ts';
import { chunkKey, inodeKey, regionKey, volumeKey } from './keys.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard, textOf } from './test-shard.ts';

const MiB = 1024 * 1024;

describe('background work', () => {
  it('is none in a state without garbage', async () => {
    const shard = new TestShard();
    shard.create('a');
    expect(await planReclaim(shard.state, 100)).toBeUndefined();
  });

  it('lists freed chunks in the order of giving up, page by page, with their time', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    for (const chunk of [7, 5, 6]) {
      shard.write(ino, chunkExtent(0, 10, chunk));
      shard.write(ino, inlineExtent(0, '0123456789'));
    }
    const [first] = await freedChunks(shard.state, 0, 1);
    expect(first).toEqual({
      place: 1,
      chunk: chunkId(7),
      volume: shard.volume,
      length: 10,
      timeNs: 5n,
    });
    const rest = await freedChunks(shard.state, first?.place ?? 0, 10);
    expect(rest.map(({ chunk }) => chunk)).toEqual([chunkId(5), chunkId(6)]);
  });

  it('forgets collected chunks, those only, and twice without effect', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    for (const chunk of [1, 2, 3]) shard.write(ino, chunkExtent(0, 10, chunk));
    shard.internal({ op: 'chunks-collected', places: [1] });
    shard.internal({ op: 'chunks-collected', places: [1, 99] });
    expect((await freedChunks(shard.state, 0, 10)).map(({ place }) => place)).toEqual([2]);
    expect(shard.state.get(chunkKey(shard.volume, chunkId(1)))).toBeUndefined();
    expect(shard.state.get(chunkKey(shard.volume, chunkId(2)))).toBeDefined();
  });

  it('lists files with inline bytes page by page', async () => {
    const shard = new TestShard();
    const inos = ['a', 'b', 'c'].map((name) => shard.create(name).ino);
    for (const ino of inos) shard.write(ino, inlineExtent(0, 'x'));
    const first = await filesWithInline(shard.state, undefined, 2);
    expect(first.map(({ ino }) => ino)).toEqual(inos.slice(0, 2));
    const rest = await filesWithInline(shard.state, first[1], 2);
    expect(rest.map(({ ino }) => ino)).toEqual(inos.slice(2));
    shard.write(inos[2] as (typeof inos)[0], chunkExtent(0, 1, 1));
    expect(await filesWithInline(shard.state, first[1], 2)).toEqual([]);
  });

  it('passes over keys that are no garbage: what is alive stays', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.write(ino, chunkExtent(0, 10, 1), inlineExtent(20, 'abc'));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    const lock = { family: 'posix', type: 'read', start: 0, end: 1, owner: '1', pid: 1 } as const;
    shard.do({ op: 'set-lock', ino, lock });
    const before = shard.state.entries();
    const shown = textOf(shard.state);
    shard.internal({ op: 'reclaim', keys: before.map(([key]) => key) });
    // A mark of finished work is believed, and there is none here.
    expect(textOf(shard.state)).toEqual(shown);
  });

  it('survives keys of any bytes', async () => {
    const shard = new TestShard();
    const keys = Array.from({ length: 256 }, (_, kind) => [
      Uint8Array.of(),
      Uint8Array.of(kind),
      Uint8Array.of(0, 0, 0, kind),
      Uint8Array.of(0, 0, 1, kind, 1),
      Uint8Array.of(0, 0, 9, kind, 0, 0, 0, 0, 1),
    ]).flat();
    shard.internal({ op: 'reclaim', keys });
    expect(await check(shard.state)).toEqual([]);
  });

  it('does no harm with a plan that is out of date', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    for (let index = 0; index < 100; index++)
      shard.write(ino, chunkExtent(index * MiB, 10, index + 1));
    shard.do({ op: 'set-attributes', ino, size: 10 });
    const plan = await planReclaim(shard.state, 1000);
    shard.write(ino, chunkExtent(50 * MiB, 10, 1000));
    shard.internal(plan as NonNullable<typeof plan>);
    expect(shard.state.get(regionKey(shard.volume, ino, 50))).toBeDefined();
    expect(await check(shard.state)).toEqual([]);
    expect((await freedChunks(shard.state, 0, 1000)).length).toBe(99);
  });

  it('works in slices of about the given number of keys', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    for (let index = 0; index < 100; index++)
      shard.write(ino, chunkExtent(index * MiB, 10, index + 1));
    shard.do({ op: 'set-attributes', ino, size: 0 });
    expect((await planReclaim(shard.state, 10))?.keys).toHaveLength(10);
    expect(await shard.reclaimAll(10)).toBe(11);
    expect(shard.state.get(inodeKey(shard.volume, ino))).toBeDefined();
    expect(shard.state.get(volumeKey(shard.volume))).toBeDefined();
  });
});
