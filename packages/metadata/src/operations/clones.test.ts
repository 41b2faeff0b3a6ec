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
import { KIND } from '../keys.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard } from '../test-shard.ts';
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

const unlink: Extract<Operation, { op: 'unlink' }> = {
  op: 'unlink',
  parent: ROOT_INODE,
  name: 'f',
};

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

  it('of a snapshot are as many as is allowed', () => {
    const { shard } = family();
    for (let index = 1; index < LIMITS.clonesMax; index++) {
      shard.do(cloned(1), { volume: (C + index) as VolumeNumber });
    }
    const more = (C + LIMITS.clonesMax) as VolumeNumber;
    expect(shard.code(cloned(1), { volume: more })).toBe('ENOSPC');
    shard.do({ op: 'destroy-volume', force: true }, { volume: C });
    expect(shard.code(cloned(1), { volume: more })).toBe('ok');
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

describe('what a clone deletes', () => {
  const MiB = 1024 * 1024;
  /** More regions than one command clears by itself. */
  const PUNCHED = 80;

  /** A volume of a high generation, whose file's middle is cut off and not purged yet; a clone of it. */
  function punched(): { shard: TestShard; ino: ReturnType<TestShard['create']>['ino'] } {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.write(ino, chunkExtent(0, 100, 1), chunkExtent(5 * MiB, 100, 2));
    shard.write(ino, chunkExtent((PUNCHED + 2) * MiB, 100, 3));
    for (const name of ['1', '2', '3', '4']) shard.do({ op: 'create-snapshot', name });
    const hole = { offset: MiB, length: PUNCHED * MiB, mode: 'punch', keepSize: true } as const;
    shard.do({ op: 'fallocate', ino, ...hole });
    shard.do({ op: 'create-snapshot', name: 's' });
    shard.do(cloned(1), { volume: C });
    return { shard, ino };
  }

  it('do not show the cut-off bytes in a later snapshot, nor keep them for ever', async () => {
    const { shard, ino } = punched();
    shard.do({ op: 'create-snapshot', name: 'a' }, { volume: C });
    // The first change in the clone marks the cut there: it is purged.
    shard.do({ op: 'set-attributes', ino, mode: 0o600 }, { volume: C });
    await shard.reclaimAll();
    shard.do({ op: 'create-snapshot', name: 'b' }, { volume: C });
    const extents = { view: 'extents', ino, offset: 4 * MiB, length: 2 * MiB } as const;
    for (const place of [{ at: 1 }, { at: 2 }, {}]) {
      const look = { session: INTERNAL_SESSION, volume: C, view: { ...extents, ...place } };
      const { extents: seen } = await view(shard.state, look);
      expect(seen.filter(({ source }) => source.kind !== 'zero')).toEqual([]);
    }
    for (const name of ['a', 'b']) shard.do({ op: 'remove-snapshot', name }, { volume: C });
    await shard.reclaimAll();
    expect(shard.state.entries(Buffer.of(0, 0, C, 0x30), Buffer.of(0, 0, C, 0x3a))).toEqual([]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('do not bring back in a snapshot what was unlinked before it and closed after it', async () => {
    const { shard, ino } = family();
    shard.do(unlink, { volume: C });
    shard.do({ op: 'create-snapshot', name: 'a' }, { volume: C });
    const attributes = { view: 'attributes', ino, at: 1 } as const;
    const look = { session: INTERNAL_SESSION, volume: C, view: attributes };
    await expect(view(shard.state, look)).rejects.toMatchObject({ code: 'ESTALE' });
    shard.do({ op: 'release-orphans', inos: [ino] }, { volume: C });
    await expect(view(shard.state, look)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('do not bring back in a snapshot what was unlinked before it and written after it', async () => {
    const { shard, ino } = family();
    shard.do({ op: 'create-snapshot', name: 'a' }, { volume: C });
    shard.do(unlink, { volume: C });
    shard.do({ op: 'create-snapshot', name: 'b' }, { volume: C });
    shard.do({ op: 'set-attributes', ino, mode: 0o600 }, { volume: C });
    const look = { session: INTERNAL_SESSION, volume: C };
    const wanted = { view: 'difference', from: 1, at: 2, after: '', count: 10 } as const;
    const answer = await view(shard.state, { ...look, view: wanted });
    expect(answer.changes.find((change) => change.ino === ino)).toMatchObject({ kind: 'removed' });
    shard.do({ op: 'remove-snapshot', name: 'a' }, { volume: C });
    await shard.reclaimAll();
    const attributes = { view: 'attributes', ino, at: 2 } as const;
    const gone = view(shard.state, { ...look, view: attributes });
    await expect(gone).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('keep no marks of what they made and deleted themselves', async () => {
    const { shard, ino } = family();
    const whiteouts = (): number =>
      shard.state.entries(Buffer.of(0, 0, C, KIND.whiteout), Buffer.of(0, 0, C, KIND.whiteout + 1))
        .length;
    const ofClone = { volume: C };
    for (const name of ['x', 'y', 'z']) {
      const fields = { kind: 'file', mode: 0o644, uid: 0, gid: 0, rdev: 0, target: '' } as const;
      const made = { op: 'create', parent: ROOT_INODE, name, ...fields, exclusive: true } as const;
      const { attributes } = shard.do(made, ofClone);
      const inos = [attributes!.ino];
      for (const text of ['one', 'two']) {
        const extents = [inlineExtent(0, text)];
        const write = {
          op: 'write-extents',
          extents,
          append: false,
          killPrivileges: false,
        } as const;
        shard.do({ ...write, ino: attributes!.ino }, ofClone);
      }
      shard.do({ ...unlink, name }, ofClone);
      shard.do({ op: 'release-orphans', inos }, ofClone);
    }
    await shard.reclaimAll();
    expect(whiteouts()).toBe(0);
    shard.do(unlink, ofClone);
    shard.do({ op: 'release-orphans', inos: [ino] }, ofClone);
    // The name, its place, the inode and its one region stay hidden.
    expect(whiteouts()).toBe(4);
  });
});
