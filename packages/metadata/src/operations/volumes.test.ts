import {
  LIMITS,
  type Operation,
  ROOT_INODE,
  type SessionId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { freedChunks, planReclaim } from '../background.ts';
import { check } from '../check.ts';
import { chunkExtent, inlineExtent, TestShard } from '../test-shard.ts';

const init: Operation = {
  op: 'init-volume',
  name: 'w',
  mode: 0o700,
  uid: 3,
  gid: 4,
  quotaBytes: 5,
  quotaInodes: 6,
};
const W = 2 as VolumeNumber;

describe('volumes', () => {
  it('begin with a root of the given owner and bounds', async () => {
    const shard = new TestShard();
    const { attributes } = shard.do(init, { volume: W });
    const root = { ino: ROOT_INODE, kind: 'directory', mode: 0o700, uid: 3, gid: 4, nlink: 2 };
    expect(attributes).toMatchObject(root);
    expect(await check(shard.state)).toEqual([]);
  });

  it('are made once: again changes nothing', () => {
    const shard = new TestShard();
    shard.do(init, { volume: W });
    const again = shard.do({ ...init, mode: 0o777 } as Operation, { volume: W });
    expect(again.attributes).toMatchObject({ mode: 0o700 });
  });

  it('that do not exist, and volume 0, are refused', () => {
    const shard = new TestShard();
    const look: Operation = { op: 'set-quota', quotaBytes: 0, quotaInodes: 0 };
    expect(shard.code(look, { volume: W })).toBe('ENOENT');
    expect(shard.code(look, { volume: 0 as VolumeNumber })).toBe('ENOENT');
    expect(shard.code(init, { volume: 0 as VolumeNumber })).toBe('ENOENT');
    expect(shard.code({ op: 'destroy-volume', force: true }, { volume: W })).toBe('ENOENT');
  });

  it('are destroyed when empty, or by force', () => {
    const shard = new TestShard();
    shard.create('a');
    expect(shard.code({ op: 'destroy-volume', force: false })).toBe('ENOTEMPTY');
    expect(shard.code({ op: 'destroy-volume', force: true })).toBe('ok');
    expect(shard.code({ op: 'destroy-volume', force: true })).toBe('ok');
  });

  it('leave nothing, give every chunk up, and their number is never used again', async () => {
    const shard = new TestShard();
    const empty = new TestShard();
    const { ino } = shard.create('a');
    shard.write(ino, chunkExtent(0, 3_000_000, 1), inlineExtent(5_000_000, 'abc'));
    const freed = shard.create('b').ino;
    shard.write(freed, chunkExtent(0, 10, 2));
    shard.write(freed, chunkExtent(0, 10, 3));
    shard.do({ op: 'set-xattr', ino, name: 'user.a', value: new Uint8Array(9), mode: 'set' });
    const lock = { family: 'posix', type: 'read', start: 0, end: 1, owner: '1', pid: 1 } as const;
    shard.do({ op: 'set-lock', ino, lock });
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    shard.do({ op: 'destroy-volume', force: true });
    expect(shard.code({ op: 'unlink', parent: ROOT_INODE, name: 'b' })).toBe('ENOENT');
    expect(await shard.viewCode({ view: 'space' })).toBe('ENOENT');
    expect(await shard.reclaimAll(3)).toBeGreaterThan(3);
    expect(await planReclaim(shard.state, 10)).toBeUndefined();
    expect(await check(shard.state)).toEqual([]);
    const chunks = await freedChunks(shard.state, 0, 10);
    expect(new Set(chunks.map(({ chunk }) => Number.parseInt(chunk, 16)))).toEqual(
      new Set([1, 2, 3]),
    );
    shard.internal({ op: 'chunks-collected', places: chunks.map(({ place }) => place) });
    // Of the volume: nothing but its grave in place of its record and its root; the shard's counters.
    expect(shard.state.size).toBeLessThanOrEqual(empty.state.size + 1);
    expect(shard.code(init)).toBe('CONFLICT');
  });

  it('change their quota', async () => {
    const shard = new TestShard();
    shard.do({ op: 'set-quota', quotaBytes: 100, quotaInodes: 2 });
    expect(await shard.view({ view: 'space' })).toEqual({
      usedBytes: 0,
      usedInodes: 1,
      quotaBytes: 100,
      quotaInodes: 2,
    });
  });
});

describe('delegation', () => {
  const acquire: Operation = { op: 'acquire-delegation' };

  it('is granted to as many sessions as may hold one, once to each', () => {
    const shard = new TestShard();
    const granted = (session: SessionId) => shard.do(acquire, { session }).delegation?.granted;
    const sessions = Array.from({ length: LIMITS.delegationHoldersMax + 1 }, (_, i) =>
      shard.open(i + 2),
    );
    const [first, ...others] = sessions as [SessionId, ...SessionId[]];
    const last = others.pop() as SessionId;
    for (const session of [first, ...others]) expect(granted(session)).toBe(true);
    expect(granted(first)).toBe(true);
    expect(granted(last)).toBe(false);
    // Whoever holds none gives none back.
    shard.do({ op: 'return-delegation' }, { session: last });
    expect(granted(last)).toBe(false);
    shard.do({ op: 'return-delegation' }, { session: first });
    expect(granted(last)).toBe(true);
  });

  it('keeps others from changes, not from looks or locks, until all have given theirs back', async () => {
    const shard = new TestShard();
    const [two, three] = [shard.open(2), shard.open(3)];
    const { ino } = shard.create('f');
    const chmod: Operation = { op: 'set-attributes', ino, mode: 0o700 };
    for (const session of [two, three]) shard.do(acquire, { session });
    const inTheWay = (sessions: unknown) => ({ code: 'DELEGATED', detail: { sessions } });
    expect(shard.run(chmod)).toMatchObject(inTheWay([two, three]));
    expect(shard.run(chmod, { session: three })).toMatchObject(inTheWay([two]));
    expect(await shard.viewCode({ view: 'attributes', ino })).toBe('ok');
    const range = { start: 0, end: 1, type: 'write', owner: '1', family: 'posix' } as const;
    expect(shard.code({ op: 'set-lock', ino, lock: { ...range, pid: 1 } })).toBe('ok');
    shard.do({ op: 'return-delegation' }, { session: two });
    expect(shard.code(chmod)).toBe('DELEGATED');
    expect(shard.code(chmod, { session: three })).toBe('ok');
    shard.do({ op: 'return-delegation' }, { session: three });
    expect(shard.code(chmod)).toBe('ok');
  });

  it('lets its holder change the volume, and orphans be released', () => {
    const shard = new TestShard();
    const two = shard.open(2);
    shard.do({ op: 'acquire-delegation' }, { session: two });
    const chmod: Operation = { op: 'set-attributes', ino: ROOT_INODE, mode: 0o700 };
    expect(shard.code(chmod, { session: two })).toBe('ok');
    expect(shard.code({ op: 'release-orphans', inos: [] })).toBe('ok');
    shard.do({ op: 'return-delegation' }, { session: two });
    expect(shard.code(chmod)).toBe('ok');
  });

  it('ends with its session', () => {
    const shard = new TestShard();
    const two = shard.open(2);
    shard.do({ op: 'acquire-delegation' }, { session: two });
    const chmod: Operation = { op: 'set-attributes', ino: ROOT_INODE, mode: 0o700 };
    expect(shard.code(chmod)).toBe('DELEGATED');
    shard.internal({ op: 'expire-session', expired: two });
    expect(shard.code(chmod)).toBe('ok');
  });
});
