import { type InodeNumber, ROOT_INODE, type VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { freedChunks } from './background.ts';
import { check } from './check.ts';
import { chunkKey, dentryKey, inodeKey, KIND, regionKey, volumeKey } from './keys.ts';
import { CHUNK, DENTRY, INODE, REGION, VOLUME } from './records.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard } from './test-shard.ts';
import { recordAt } from './versions.ts';

const V = 1 as VolumeNumber;

/** Takes a snapshot; gives the pinned generation. */
function pin(shard: TestShard): number {
  const key = volumeKey(V);
  const { generation } = VOLUME.decode(shard.state.get(key) as Uint8Array);
  shard.do({ op: 'create-snapshot', name: `s${generation}` });
  return generation;
}

function historySize(shard: TestShard): number {
  const from = Buffer.of(0, 0, V, KIND.history);
  return shard.state.entries(from, Buffer.of(0, 0, V, KIND.history + 1)).length;
}

const nameAt = (shard: TestShard, name: string, generation: number) =>
  recordAt(shard.state, DENTRY, dentryKey(V, ROOT_INODE, name), generation)?.ino;

const sizeAt = (shard: TestShard, ino: InodeNumber, generation: number) =>
  recordAt(shard.state, INODE, inodeKey(V, ino), generation)?.size;

describe('history', () => {
  it('keeps nothing while no generation is pinned', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.write(ino, inlineExtent(0, 'abc'));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    shard.do({ op: 'release-orphans', inos: [ino] });
    expect(historySize(shard)).toBe(0);
  });

  it('shows each pinned generation the names that it had', async () => {
    const shard = new TestShard();
    const a = shard.create('a').ino;
    const first = pin(shard);
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    const b = shard.create('b').ino;
    const second = pin(shard);
    const later = shard.create('a').ino;
    const third = pin(shard);
    expect([nameAt(shard, 'a', first), nameAt(shard, 'b', first)]).toEqual([a, undefined]);
    expect([nameAt(shard, 'a', second), nameAt(shard, 'b', second)]).toEqual([undefined, b]);
    expect([nameAt(shard, 'a', third), nameAt(shard, 'b', third)]).toEqual([later, b]);
  });

  it('moves a record once for a generation, however often it changes', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const first = pin(shard);
    const before = historySize(shard);
    shard.do({ op: 'set-attributes', ino, size: 5 });
    shard.do({ op: 'set-attributes', ino, size: 6 });
    shard.do({ op: 'set-attributes', ino, size: 7 });
    expect(historySize(shard)).toBe(before + 1);
    const second = pin(shard);
    shard.do({ op: 'set-attributes', ino, size: 8 });
    expect([sizeAt(shard, ino, first), sizeAt(shard, ino, second)]).toEqual([0, 7]);
    expect(sizeAt(shard, ino, second + 1)).toBe(8);
  });

  it('does not show a generation what was born later, though an older version of it exists', async () => {
    const shard = new TestShard();
    const first = pin(shard);
    const b = shard.create('b').ino;
    const second = pin(shard);
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'b' });
    expect([nameAt(shard, 'b', first), nameAt(shard, 'b', second)]).toEqual([undefined, b]);
  });

  it('reads records that never changed from the head', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const generations = [pin(shard), pin(shard), pin(shard)];
    for (const generation of generations) expect(nameAt(shard, 'a', generation)).toBe(ino);
    expect(nameAt(shard, 'a', 0)).toBeUndefined();
  });

  it('keeps chunks alive that only a pinned generation shows', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.write(ino, chunkExtent(0, 1000, 1));
    const first = pin(shard);
    shard.write(ino, chunkExtent(0, 1000, 2));
    shard.write(ino, chunkExtent(0, 1000, 3));
    const freed = (await freedChunks(shard.state, 0, 10)).map(({ chunk }) => chunk);
    expect(freed).toEqual([chunkId(2)]);
    const kept = CHUNK.decode(shard.state.get(chunkKey(V, chunkId(1))) as Uint8Array);
    expect(kept).toMatchObject({ liveBytes: 1000, freed: 0 });
    const region = recordAt(shard.state, REGION, regionKey(V, ino, 0), first);
    expect(region?.pieces[0]?.source).toMatchObject({ chunk: chunkId(1) });
    expect(await check(shard.state)).toEqual([]);
  });

  it('keeps names, content and chunks of a file that was deleted after the pin', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.write(ino, chunkExtent(0, 100, 1), inlineExtent(100, 'tail'));
    const first = pin(shard);
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    shard.do({ op: 'release-orphans', inos: [ino] });
    await shard.reclaimAll();
    expect(shard.state.get(inodeKey(V, ino))).toBeUndefined();
    expect(nameAt(shard, 'a', first)).toBe(ino);
    expect(sizeAt(shard, ino, first)).toBe(104);
    expect(await freedChunks(shard.state, 0, 10)).toEqual([]);
    expect(await check(shard.state)).toEqual([]);
  });
});
