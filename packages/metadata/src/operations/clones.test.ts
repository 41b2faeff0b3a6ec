import {
  INTERNAL_SESSION,
  LIMITS,
  type Operation,
  ROOT_INODE,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { freedChunks } from '../background.ts';
import { check } from '../check.ts';
import { chunkExtent, chunkId, TestShard } from '../test-shard.ts';
import { view } from '../views.ts';

const C = 2 as VolumeNumber;

const cloned = (from: number, snapshot = 's'): Operation => ({
  op: 'clone-volume',
  name: 'c',
  from: from as VolumeNumber,
  snapshot,
  quotaBytes: 0,
  quotaInodes: 0,
});

const unlink: Operation = { op: 'unlink', parent: ROOT_INODE, name: 'f' };

/** A volume with a file of chunk 1, a snapshot of it, and a clone of that. */
function family(): { shard: TestShard; ino: ReturnType<TestShard['create']>['ino'] } {
  const shard = new TestShard();
  const { ino } = shard.create('f');
  shard.write(ino, chunkExtent(0, 100, 1));
  shard.do({ op: 'create-snapshot', name: 's' });
  shard.do(cloned(1), { volume: C });
  return { shard, ino };
}

const freed = async ({ state }: TestShard): Promise<string[]> =>
  (await freedChunks(state, 0, 100)).map(({ chunk }) => chunk);

describe('clones', () => {
  it('are made once', () => {
    const { shard } = family();
    expect(shard.do(cloned(1), { volume: C })).toMatchObject({ created: false });
    expect(shard.code(cloned(9), { volume: 3 as VolumeNumber })).toBe('ENOENT');
    expect(shard.code(cloned(1, 'other'), { volume: 3 as VolumeNumber })).toBe('ENOENT');
  });

  it('hold their snapshot until the last of them is destroyed', async () => {
    const { shard, ino } = family();
    shard.do({ op: 'remove-snapshot', name: 's' });
    shard.do(unlink);
    shard.do({ op: 'release-orphans', inos: [ino] });
    await shard.reclaimAll();
    expect(await freed(shard)).toEqual([]);
    const extents = { view: 'extents', ino, offset: 0, length: 100 } as const;
    const seen = await view(shard.state, { session: INTERNAL_SESSION, volume: C, view: extents });
    expect(seen.extents[0]?.source).toMatchObject({ chunk: chunkId(1) });
    shard.do({ op: 'create-snapshot', name: 's' });
    expect(shard.code({ op: 'destroy-volume', force: true })).toBe('EBUSY');
    shard.do({ op: 'destroy-volume', force: true }, { volume: C });
    await shard.reclaimAll();
    expect(await freed(shard)).toEqual([chunkId(1)]);
    expect(await check(shard.state)).toEqual([]);
    expect(shard.code({ op: 'destroy-volume', force: true })).toBe('ok');
  });

  it('never give up a chunk of the volume that they come from', async () => {
    const { shard, ino } = family();
    shard.do(unlink, { volume: C });
    shard.do({ op: 'release-orphans', inos: [ino] }, { volume: C });
    await shard.reclaimAll();
    expect(await freed(shard)).toEqual([]);
    expect((await shard.attributes(ino)).nlink).toBe(1);
    expect(await check(shard.state)).toEqual([]);
  });

  it('are refused chunks that nothing would keep for them', () => {
    const { shard, ino } = family();
    const naming = (chunk: number): Operation => ({
      op: 'write-extents',
      ino,
      extents: [chunkExtent(500, 10, chunk, 0)].map((extent) => ({
        ...extent,
        source: { kind: 'chunk', chunk: chunkId(chunk), chunkOffset: 0, chunkLength: 100 },
      })),
      append: false,
      killPrivileges: false,
    });
    expect(shard.code(naming(1), { volume: C })).toBe('CHUNK_FREED');
    expect(shard.code(naming(2), { volume: C })).toBe('ok');
  });

  it('do not show what had no name at the snapshot', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.do(unlink);
    shard.do({ op: 'create-snapshot', name: 's' });
    shard.do(cloned(1), { volume: C });
    const attributes = { view: 'attributes', ino } as const;
    const gone = view(shard.state, { session: shard.session, volume: C, view: attributes });
    await expect(gone).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('of clones go as deep as is allowed', () => {
    const shard = new TestShard();
    shard.do({ op: 'create-snapshot', name: 's' });
    for (let depth = 1; depth <= LIMITS.cloneDepthMax; depth++) {
      const volume = (1 + depth) as VolumeNumber;
      shard.do(cloned(depth), { volume });
      shard.do({ op: 'create-snapshot', name: 's' }, { volume });
    }
    const last = LIMITS.cloneDepthMax + 1;
    expect(shard.code(cloned(last), { volume: (last + 1) as VolumeNumber })).toBe('EINVAL');
  });
});
