import {
  INTERNAL_SESSION,
  type InodeNumber,
  LIMITS,
  type Operation,
  ROOT_INODE,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { filesWithInline, freedChunks, orphansToAnnounce, planReclaim } from '../background.ts';
import { check } from '../check.ts';
import { chunkExtent, chunkId, inlineExtent, sessionId, TestShard } from '../test-shard.ts';
import { treeShownBy } from '../trees.ts';
import { view } from '../views.ts';

const C = 2 as VolumeNumber;

const back = (snapshot = 's', keep = 'before'): Operation => ({
  op: 'rollback-volume',
  snapshot,
  keep,
});

/** As the cluster does it. */
const BY_CLUSTER = { session: INTERNAL_SESSION, answeredBelow: 0 } as const;

/** A volume that was rolled back to its snapshot 's', and everybody knows it. */
class RolledBack extends TestShard {
  readonly ino: InodeNumber;

  constructor() {
    super();
    this.ino = this.create('f').ino;
    this.write(this.ino, chunkExtent(0, 100, 1));
    this.do({ op: 'create-snapshot', name: 's' });
    this.write(this.ino, chunkExtent(0, 100, 2));
  }

  back(snapshot?: string, keep?: string): this {
    this.do(back(snapshot, keep), BY_CLUSTER);
    this.do({ op: 'acknowledge-rollback' });
    return this;
  }

  look<V extends View>(wanted: V, volume = this.volume): Promise<ViewAnswers[V['view']]> {
    return view(this.state, { session: INTERNAL_SESSION, volume, view: wanted });
  }

  async chunk(ino = this.ino, at?: number): Promise<unknown> {
    const extents = { view: 'extents', ino, offset: 0, length: 100 } as const;
    const seen = await this.look(at === undefined ? extents : { ...extents, at });
    const source = seen.extents[0]?.source;
    return source?.kind === 'chunk' ? source.chunk : source?.kind;
  }

  async freed(): Promise<string[]> {
    await this.reclaimAll();
    return (await freedChunks(this.state, 0, 100)).map(({ chunk }) => chunk).sort();
  }
}

describe('a rollback', () => {
  it('shows the snapshot again, and keeps what was there as another one', async () => {
    const shard = new RolledBack();
    const { snapshot } = shard.do(back(), BY_CLUSTER);
    shard.do({ op: 'acknowledge-rollback' });
    expect(await shard.chunk()).toBe(chunkId(1));
    expect(await shard.chunk(shard.ino, snapshot?.generation)).toBe(chunkId(2));
    const { snapshots } = await shard.look({ view: 'snapshots', after: 0, count: 10 });
    expect(snapshots.map(({ name, clones }) => [name, clones])).toEqual([
      ['s', 0],
      ['before', 0],
    ]);
    shard.write(shard.ino, chunkExtent(0, 100, 3));
    shard.back('before', 'third');
    expect(await shard.chunk()).toBe(chunkId(2));
    expect(await check(shard.state)).toEqual([]);
    expect(await shard.freed()).toEqual([]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('is done once, however often it is asked for', () => {
    const shard = new RolledBack();
    const first = shard.do(back(), { ...BY_CLUSTER, timeNs: 500n });
    const again = shard.do(back(), { ...BY_CLUSTER, timeNs: 500n });
    expect(again).toEqual({ created: false, snapshot: first.snapshot });
    expect(shard.code(back(), { ...BY_CLUSTER, timeNs: 501n })).toBe('EEXIST');
    expect(shard.code(back('none', 'x'), BY_CLUSTER)).toBe('ENOENT');
    expect(shard.code(back('s', '.x'), BY_CLUSTER)).toBe('EINVAL');
  });

  it('waits for delegations, of which its new tree has none', () => {
    const shard = new RolledBack();
    shard.do({ op: 'acquire-delegation' });
    expect(shard.code(back(), BY_CLUSTER)).toBe('DELEGATED');
    shard.do({ op: 'return-delegation' });
    shard.back();
    shard.open(2);
    expect(shard.code({ op: 'create-snapshot', name: 't' }, { session: sessionId(2) })).toBe('ok');
  });

  it('gives no number of an inode twice', async () => {
    const shard = new RolledBack();
    const young = shard.create('young');
    shard.back();
    await expect(shard.look({ view: 'attributes', ino: young.ino })).rejects.toMatchObject({
      code: 'ESTALE',
    });
    expect(shard.create('other').ino).toBeGreaterThan(young.ino);
  });

  it('fences who was there before until he has acknowledged, and for ever what he sent before', () => {
    const shard = new RolledBack();
    const open = { answeredBelow: 1 };
    const late = shard.command({ op: 'unlink', parent: ROOT_INODE, name: 'f' }, open);
    shard.do(back(), BY_CLUSTER);
    const write: Operation = {
      op: 'write-extents',
      ino: shard.ino,
      extents: [inlineExtent(0, 'old')],
      append: false,
      killPrivileges: false,
    };
    expect(shard.code(write, open)).toBe('ROLLED_BACK');
    const release: Operation = {
      op: 'release-locks',
      ino: shard.ino,
      family: 'posix',
      owner: '1',
    };
    expect(shard.code(release, open)).toBe('ROLLED_BACK');
    shard.open(2);
    expect(shard.code(write, { session: sessionId(2) })).toBe('ok');
    shard.do({ op: 'acknowledge-rollback' }, open);
    expect(shard.code(late.operation, { ...late })).toBe('ROLLED_BACK');
    expect(shard.code(write)).toBe('ok');
  });

  it('fences a client too whose session has ended meanwhile, as long as its files are of before', async () => {
    const shard = new RolledBack();
    shard.do({ op: 'expire-session', expired: shard.session }, BY_CLUSTER);
    shard.do(back(), BY_CLUSTER);
    const session = sessionId(3);
    shard.do({ op: 'open-session', host: 'h', origin: shard.session }, { session });
    const touch: Operation = { op: 'set-attributes', ino: shard.ino, mtime: 'now' };
    expect(shard.code(touch, { session })).toBe('ROLLED_BACK');
    const looking = shard.look({ view: 'space' });
    expect((await looking).usedInodes).toBe(2);
    shard.do({ op: 'acknowledge-rollback' }, { session });
    expect(shard.code(touch, { session })).toBe('ok');
    // It has acknowledged for all sessions that follow.
    shard.do({ op: 'expire-session', expired: session }, BY_CLUSTER);
    const next = { session: sessionId(4) };
    shard.do({ op: 'open-session', host: 'h', origin: shard.session }, next);
    expect(shard.code(touch, next)).toBe('ok');
    // Of one that nobody remembers nothing is known.
    const unknown = { session: sessionId(5) };
    shard.do({ op: 'open-session', host: 'h', origin: sessionId(99) }, unknown);
    expect(shard.code(touch, unknown)).toBe('ROLLED_BACK');
  });

  it('ends locks and orphans of before, and keeps the locks that stand for snapshots', async () => {
    const shard = new RolledBack();
    const lock = { family: 'posix', type: 'write', owner: '1', pid: 1 } as const;
    shard.do({ op: 'set-lock', ino: shard.ino, lock: { ...lock, start: 0, end: 9 } });
    const hold = { ...lock, start: 2 ** 51 + 1, end: 2 ** 51 + 2 };
    shard.do({ op: 'set-lock', ino: ROOT_INODE, lock: hold });
    const orphan = shard.create('gone').ino;
    shard.write(orphan, chunkExtent(0, 100, 7));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'gone' });
    shard.back();
    shard.open(2);
    const other = { session: sessionId(2) };
    expect(
      shard.code({ op: 'set-lock', ino: shard.ino, lock: { ...lock, start: 0, end: 9 } }, other),
    ).toBe('ok');
    expect(shard.code({ op: 'set-lock', ino: ROOT_INODE, lock: hold }, other)).toBe('EAGAIN');
    expect(await orphansToAnnounce(shard.state, shard.session)).toEqual([]);
    expect(await shard.freed()).toEqual([chunkId(7)]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('leaves nothing behind that no snapshot shows, in any order of their removal', async () => {
    for (const order of [
      ['s', 'before', 't'],
      ['before', 't', 's'],
      ['t', 's', 'before'],
    ]) {
      const shard = new RolledBack();
      shard.back();
      shard.write(shard.ino, chunkExtent(0, 100, 3));
      shard.do({ op: 'create-snapshot', name: 't' });
      shard.write(shard.ino, chunkExtent(0, 100, 4));
      for (const name of order) {
        const { snapshots } = await shard.look({ view: 'snapshots', after: 0, count: 10 });
        const at = snapshots.find((one) => one.name === name)?.generation ?? 0;
        const { chunkBytes } = await shard.look({ view: 'snapshot-space', at });
        const before = (await shard.freed()).length;
        shard.do({ op: 'remove-snapshot', name });
        expect(chunkBytes).toBe(100 * ((await shard.freed()).length - before));
        expect(await check(shard.state)).toEqual([]);
      }
      // The snapshot that the present rests on keeps what it showed.
      expect(await shard.freed()).toEqual([chunkId(2), chunkId(3)]);
      shard.do({ op: 'destroy-volume', force: true });
      expect(await shard.freed()).toEqual([1, 2, 3, 4].map(chunkId));
      expect(await check(shard.state)).toEqual([]);
      expect(shard.code({ op: 'destroy-volume', force: true })).toBe('ok');
      expect(shard.code({ op: 'create-snapshot', name: 'x' })).toBe('ENOENT');
    }
  });

  it('has what it left behind looked through again when another pin becomes the newest', async () => {
    const shard = new RolledBack();
    shard.do({ op: 'create-snapshot', name: 't' });
    shard.write(shard.ino, chunkExtent(0, 100, 3));
    shard.back();
    await shard.reclaimAll();
    shard.do({ op: 'remove-snapshot', name: 'before' });
    const late = await planReclaim(shard.state, 100);
    if (late === undefined) throw new Error('there is garbage');
    shard.do({ op: 'remove-snapshot', name: 't' });
    shard.do(late, BY_CLUSTER);
    expect(await check(shard.state)).toEqual([]);
    expect(await shard.freed()).toEqual([chunkId(2), chunkId(3)]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('keeps what clones hold, in trees that were left behind too', async () => {
    const shard = new RolledBack().back();
    const clone: Operation = {
      op: 'clone-volume',
      name: 'c',
      from: shard.volume,
      snapshot: 'before',
      quotaBytes: 0,
      quotaInodes: 0,
    };
    shard.do(clone, { ...BY_CLUSTER, volume: C });
    shard.do({ op: 'remove-snapshot', name: 'before' });
    expect(shard.code({ op: 'destroy-volume', force: true })).toBe('EBUSY');
    const extents = { view: 'extents', ino: shard.ino, offset: 0, length: 100 } as const;
    const seen = await shard.look(extents, C);
    expect(seen.extents[0]?.source).toMatchObject({ chunk: chunkId(2) });
    expect(await shard.freed()).toEqual([]);
    shard.do({ op: 'destroy-volume', force: true }, { ...BY_CLUSTER, volume: C });
    expect(await shard.freed()).toEqual([chunkId(2)]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('goes so deep only, and says so before anything has changed', async () => {
    const shard = new RolledBack();
    for (let depth = 0; depth < LIMITS.cloneDepthMax; depth++) {
      shard.do({ op: 'create-snapshot', name: `s${depth}` });
      shard.back(`s${depth}`, `k${depth}`);
    }
    shard.do({ op: 'create-snapshot', name: 'last' });
    expect(shard.code(back('last', 'k'), BY_CLUSTER)).toBe('EINVAL');
    expect(shard.code(back('s', 'k'), BY_CLUSTER)).toBe('ok');
    expect(await check(shard.state)).toEqual([]);
  });

  it('has the leader move inline bytes in the tree only in which it has found them', async () => {
    const shard = new RolledBack();
    shard.write(shard.ino, inlineExtent(0, 'new'));
    const [file] = await filesWithInline(shard.state, undefined, 1);
    const move = (chunk: number): Operation => ({
      op: 'move-inline',
      ino: shard.ino,
      contentVersion: 9,
      extents: [chunkExtent(0, 3, chunk)],
    });
    shard.back();
    shard.write(shard.ino, inlineExtent(0, 'now'));
    expect(file?.volume).toBe(shard.volume);
    expect(shard.code(move(8), { ...BY_CLUSTER, volume: shard.volume })).toBe('ESTALE');
    await shard.reclaimAll();
    const [next] = await filesWithInline(shard.state, undefined, 1);
    expect(next?.volume).toBe(treeShownBy(shard.state, shard.volume));
    expect(shard.code(move(9), { ...BY_CLUSTER, volume: next?.volume as VolumeNumber })).toBe('ok');
    expect(await check(shard.state)).toEqual([]);
  });

  it('takes no chunk again that the volume had before', () => {
    const shard = new RolledBack().back();
    const write: Operation = {
      op: 'write-extents',
      ino: shard.ino,
      extents: [chunkExtent(0, 100, 2)],
      append: false,
      killPrivileges: false,
    };
    expect(shard.code(write)).toBe('CHUNK_FREED');
  });

  it('differs from what was there before in what was undone, and in nothing else', async () => {
    const shard = new RolledBack();
    shard.create('young');
    shard.create('same');
    const { snapshot } = shard.do(back(), BY_CLUSTER);
    const from = snapshot?.generation ?? 0;
    const changes = await shard.look({ view: 'difference', from, after: '', count: 2 });
    expect(changes.changes.map(({ kind, ino }) => [kind, ino])).toEqual([
      ['changed', ROOT_INODE],
      ['changed', shard.ino],
    ]);
    const rest = await shard.look({
      view: 'difference',
      from,
      after: changes.next ?? '',
      count: 9,
    });
    expect(rest.changes.map(({ kind }) => kind)).toEqual(['removed', 'removed']);
    expect(rest.next).toBeUndefined();
    const ranges = { view: 'changed-ranges', ino: shard.ino, from, offset: 0, count: 9 } as const;
    expect((await shard.look(ranges)).ranges).toEqual([{ offset: 0, length: 100 }]);
    const since = await shard.look({ view: 'difference', from: 1, after: '', count: 9 });
    expect(since.changes).toEqual([]);
  });
});
