import {
  encode,
  type InodeNumber,
  LIMITS,
  type Operation,
  ROOT_INODE,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { freedChunks, planReclaim } from '../background.ts';
import { check } from '../check.ts';
import { inodeKey, KIND, parseKey } from '../keys.ts';
import { recordsAt } from '../past-scan.ts';
import { DEAD_CONTENT, HISTORY, INODE, VOLUME } from '../records.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard, textOf } from '../test-shard.ts';

const snapshot = (name: string): Operation => ({ op: 'create-snapshot', name });
const removal = (name: string): Operation => ({ op: 'remove-snapshot', name });

/** What the state holds for the sake of snapshots alone. */
function versionsIn({ state, volume }: TestShard): unknown[] {
  return state.entries(Buffer.of(0, 0, volume, 0x30), Buffer.of(0, 0, volume, 0x40));
}

describe('snapshots', () => {
  it('have names like volumes', () => {
    const shard = new TestShard();
    for (const name of ['', '.x', '-x', 'a/b', 'a b', '\xfc']) {
      expect(shard.code(snapshot(name))).toBe('EINVAL');
    }
    expect(shard.code(snapshot('x'.repeat(256)))).toBe('ENAMETOOLONG');
    expect(shard.code(snapshot('2026-11-23.daily_1'))).toBe('ok');
    expect(shard.code(snapshot('2026-11-23.daily_1'))).toBe('EEXIST');
    expect(shard.code(removal('other'))).toBe('ENOENT');
  });

  it('are listed in the order in which they were made, page by page', async () => {
    const shard = new TestShard();
    for (const name of ['c', 'a', 'b']) shard.do(snapshot(name));
    shard.do(removal('a'));
    const first = await shard.view({ view: 'snapshots', after: 0, count: 1 });
    expect(first.snapshots).toMatchObject([{ name: 'c', generation: 1, usedInodes: 1, clones: 0 }]);
    expect(first.end).toBe(false);
    const rest = await shard.view({ view: 'snapshots', after: 1, count: 5 });
    expect(rest).toMatchObject({ snapshots: [{ name: 'b', generation: 3 }], end: true });
  });

  it('tell for ever where they were sent from, when they were received', async () => {
    const shard = new TestShard();
    const origin = 'cluster/7/9';
    const taken = shard.do({ ...snapshot('a'), origin } as Operation);
    expect(taken.snapshot).toMatchObject({ name: 'a', origin });
    shard.do(snapshot('b'));
    shard.do({ op: 'rollback-volume', snapshot: 'b', keep: 'c' });
    shard.do({ op: 'acknowledge-rollback' });
    const { snapshots } = await shard.view({ view: 'snapshots', after: 0, count: 5 });
    expect(snapshots.map((one) => one.origin)).toEqual([origin, undefined, undefined]);
    const long = { ...snapshot('d'), origin: 'x'.repeat(129) } as Operation;
    expect(shard.code(long)).toBe('BAD_REQUEST');
  });

  it('are removed, or cloned, only as the one that was meant', () => {
    const shard = new TestShard();
    const { snapshot: first } = shard.do(snapshot('s'));
    const old: Operation = { op: 'remove-snapshot', name: 's', generation: first!.generation };
    shard.do(old);
    shard.do(snapshot('s'));
    expect(shard.code(old)).toBe('ENOENT');
    const clone = { op: 'clone-volume', name: 'c', from: shard.volume, snapshot: 's' } as const;
    const late = { ...clone, generation: first!.generation, quotaBytes: 0, quotaInodes: 0 };
    expect(shard.code(late, { volume: 2 as VolumeNumber })).toBe('ENOENT');
    expect(shard.code({ ...old, generation: 0 })).toBe('BAD_REQUEST');
    expect(shard.code({ ...old, generation: first!.generation + 1 })).toBe('ok');
  });

  it('answer ESTALE when they are gone, and for generations that nobody pinned', async () => {
    const shard = new TestShard();
    shard.do(snapshot('s'));
    expect(await shard.viewCode({ view: 'space', at: 1 })).toBe('ok');
    expect(await shard.viewCode({ view: 'space', at: 2 })).toBe('ESTALE');
    shard.do(removal('s'));
    expect(await shard.viewCode({ view: 'space', at: 1 })).toBe('ESTALE');
  });

  it('are read whoever holds the volume, and taken only when nobody else does', async () => {
    const shard = new TestShard();
    shard.do(snapshot('s'));
    const other = shard.open(2);
    shard.do({ op: 'acquire-delegation' }, { session: other });
    expect(await shard.viewCode({ view: 'space', at: 1 })).toBe('ok');
    expect(shard.code(snapshot('t'))).toBe('DELEGATED');
    expect(shard.code(snapshot('t'), { session: other })).toBe('ok');
  });

  it('leave out what has no name but is open', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.write(ino, chunkExtent(0, 100, 1));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    const { snapshot: taken } = shard.do(snapshot('s'));
    expect(taken).toMatchObject({ usedBytes: 0, usedInodes: 1 });
    expect(await shard.viewCode({ view: 'attributes', ino, at: 1 })).toBe('ESTALE');
    expect(await shard.viewCode({ view: 'attributes', ino })).toBe('ok');
    shard.do({ op: 'release-orphans', inos: [ino] });
    // Nothing is kept for the snapshot's sake.
    expect(versionsIn(shard)).toEqual([]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('keep nothing of what was written after one and had no name at the next', async () => {
    const shard = new TestShard();
    shard.do(snapshot('a'));
    const { ino } = shard.create('f');
    shard.write(ino, chunkExtent(0, 100, 1));
    shard.do(snapshot('b'));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    shard.do(snapshot('c'));
    shard.do(removal('b'));
    await shard.reclaimAll();
    shard.do({ op: 'release-orphans', inos: [ino] });
    const freed = (await freedChunks(shard.state, 0, 10)).map(({ chunk }) => chunk);
    expect(freed).toEqual([chunkId(1)]);
    for (const name of ['a', 'c']) shard.do(removal(name));
    await shard.reclaimAll();
    expect(versionsIn(shard)).toEqual([]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('take no account of what only a removed one saw, and plan no work on what another sees', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.do(snapshot('a'));
    shard.write(ino, chunkExtent(0, 100, 1));
    shard.do(snapshot('b'));
    shard.write(ino, chunkExtent(0, 100, 2));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    shard.do(removal('b'));
    const space = await shard.view({ view: 'snapshot-space', at: 1 });
    expect(space).toEqual({ chunkBytes: 0, inlineBytes: 0, isSettled: false });
    const plan = await planReclaim(shard.state, 100);
    const isNeeded = (key: Uint8Array): boolean => {
      if (parseKey(key).kind !== KIND.history) return false;
      const version = HISTORY.decode(shard.state.get(key) as Uint8Array);
      return version.birth <= 1 && version.death > 1;
    };
    expect(plan?.keys.some(isNeeded)).toBe(false);
    expect(plan?.keys.some((key) => parseKey(key).kind === KIND.history)).toBe(true);
  });

  it('say that what they have of their own may be more while something waits to be deleted', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.write(ino, chunkExtent(0, 100, 1));
    shard.do(snapshot('a'));
    shard.write(ino, chunkExtent(0, 50, 2));
    shard.do(snapshot('b'));
    shard.write(ino, chunkExtent(0, 100, 3));
    shard.do(removal('b'));
    const space = { view: 'snapshot-space', at: 1 } as const;
    // What only b showed has 50 bytes of the first chunk yet.
    expect(await shard.view(space)).toEqual({ chunkBytes: 0, inlineBytes: 0, isSettled: false });
    await shard.reclaimAll();
    expect(await shard.view(space)).toEqual({ chunkBytes: 100, inlineBytes: 0, isSettled: true });
  });

  it('differ by a directory of which names were swapped, though its times are the same', async () => {
    const shard = new TestShard();
    shard.create('f');
    shard.create('g');
    const { nowNs } = shard;
    shard.do(snapshot('a'));
    shard.nowNs = nowNs - 1n;
    shard.do({
      op: 'rename',
      parent: ROOT_INODE,
      name: 'f',
      newParent: ROOT_INODE,
      newName: 'g',
      flag: 'exchange',
    });
    const { changes } = await shard.view({ view: 'difference', from: 1, after: '', count: 10 });
    expect(changes.map(({ ino }) => ino)).toContain(ROOT_INODE);
  });

  it('differ from what came later by nothing that was made and unlinked since', async () => {
    const shard = new TestShard();
    shard.do(snapshot('a'));
    shard.create('f');
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    const wanted = { view: 'difference', from: 1, after: '', count: 10 } as const;
    const first = await shard.view(wanted);
    expect(first.changes).toMatchObject([{ kind: 'changed', ino: ROOT_INODE }]);
    expect(await shard.view({ ...wanted, after: first.next as string })).toEqual({ changes: [] });
  });

  it('differ by nothing that the leader moved, and by what a user did besides', async () => {
    const shard = new TestShard();
    const inos = ['moved', 'and written', 'and renamed'].map((name) => {
      const { ino } = shard.create(name);
      shard.write(ino, inlineExtent(0, 'abc'));
      return ino;
    });
    shard.do(snapshot('a'));
    const [, written, renamed] = inos as [InodeNumber, InodeNumber, InodeNumber];
    for (const [i, ino] of inos.entries()) {
      const extents = [chunkExtent(0, 3, i)];
      shard.internal({ op: 'move-inline', ino, contentVersion: 1, extents });
    }
    const wanted = { view: 'difference', from: 1, after: '', count: 10 } as const;
    expect(await shard.view(wanted)).toMatchObject({ changes: [] });
    shard.write(written, inlineExtent(0, 'def'));
    const [parent, newParent] = [ROOT_INODE, ROOT_INODE];
    shard.do({
      op: 'rename',
      parent,
      name: 'and renamed',
      newParent,
      newName: 'n',
      flag: 'replace',
    });
    shard.do(snapshot('b'));
    const { changes } = await shard.view({ ...wanted, at: 2 });
    expect(changes.toSorted((a, b) => a.ino - b.ino)).toMatchObject([
      { ino: ROOT_INODE, kind: 'changed' },
      { ino: written, kind: 'changed', content: true },
      { ino: renamed, kind: 'changed', content: false },
    ]);
  });

  it('keep what they see, whoever wants it reclaimed', async () => {
    const shard = new TestShard();
    shard.create('f');
    shard.do(snapshot('a'));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    const before = textOf(shard.state);
    const history = shard.state.entries().filter(([key]) => parseKey(key).kind === KIND.history);
    expect(history.length).toBeGreaterThan(0);
    shard.internal({ op: 'reclaim', keys: history.map(([key]) => key) });
    expect(textOf(shard.state)).toEqual(before);
  });

  it('show all of more records than are read at a time, older and present ones', async () => {
    const shard = new TestShard();
    for (let index = 0; index < 2600; index++) shard.create(`f${index}`);
    shard.do(snapshot('a'));
    for (let index = 0; index < 1300; index++) {
      shard.do({ op: 'unlink', parent: ROOT_INODE, name: `f${index}` });
    }
    const inos = Array.from({ length: 1300 }, (_, index) => (index + 2) as InodeNumber);
    for (const ino of inos) shard.do({ op: 'release-orphans', inos: [ino] });
    const range = {
      from: inodeKey(shard.volume, 2 as InodeNumber),
      to: inodeKey(shard.volume, 9999 as InodeNumber),
    };
    const found: number[] = [];
    for await (const [key] of recordsAt(shard.state, INODE, range, 1))
      found.push(parseKey(key).ino);
    expect(found).toEqual(Array.from({ length: 2600 }, (_, index) => index + 2));
  });

  it('are as many as is allowed, those included that only clones hold', () => {
    const shard = new TestShard();
    for (let index = 1; index <= LIMITS.snapshotsMax; index++) shard.do(snapshot(`s${index}`));
    expect(shard.code(snapshot('more'))).toBe('ENOSPC');
    const clone = { op: 'clone-volume', name: 'c', from: shard.volume, snapshot: 's1' } as const;
    const bounds = { quotaBytes: 0, quotaInodes: 0 };
    shard.do({ ...clone, ...bounds }, { volume: 2 as VolumeNumber });
    shard.do(removal('s1'));
    expect(shard.code(snapshot('more'))).toBe('ENOSPC');
    shard.do(removal('s2'));
    expect(shard.code(snapshot('more'))).toBe('ok');
  });

  it('stand in the way of a volume that is removed as empty', () => {
    const shard = new TestShard();
    shard.do(snapshot('s'));
    expect(shard.code({ op: 'destroy-volume', force: false })).toBe('ENOTEMPTY');
    expect(shard.code({ op: 'destroy-volume', force: true })).toBe('ok');
  });

  it('go in slices that begin where the last one ended', async () => {
    const shard = new TestShard();
    for (let index = 0; index < 20; index++) shard.create(`f${index}`);
    shard.do(snapshot('s'));
    for (let index = 0; index < 20; index++) {
      shard.do({ op: 'unlink', parent: ROOT_INODE, name: `f${index}` });
    }
    shard.do(removal('s'));
    expect(await shard.reclaimAll(7)).toBeGreaterThan(5);
    expect(await check(shard.state)).toEqual([]);
    expect(versionsIn(shard)).toEqual([]);
  });
});

describe('records from before there were snapshots', () => {
  it('are read as what they meant', () => {
    const volume = { v: 1, n: 'v', g: 1, i: 2, ui: 1 };
    expect(VOLUME.decode(encode(volume))).toMatchObject({
      newestPin: 0,
      orphanInodes: 0,
      baseVolume: 0 as VolumeNumber,
      cloneCount: 0,
    });
    expect(DEAD_CONTENT.decode(encode({ v: 1, t: 5n }))).toEqual({
      timeNs: 5n,
      generation: 1,
      cuts: [],
    });
    const times = { at: 0n, mt: 0n, ct: 0n, bt: 0n };
    const inode = INODE.decode(encode({ v: 1, b: 1, m: 0, ...times, cu: [[1, 2, 3]] }));
    expect(inode).toMatchObject({
      unlinked: 0,
      cuts: [{ from: 1, to: 2, epoch: 3, generation: 1 }],
    });
  });
});
