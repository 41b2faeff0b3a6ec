import { type InodeNumber, LIMITS, type LockRequest, ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { check } from '../check.ts';
import { perInodeKey } from '../keys.ts';
import { LOCKS } from '../shard-records.ts';
import { sessionId, TestShard } from '../test-shard.ts';

const END = Number.MAX_SAFE_INTEGER;

/** A lock in short: type, range, owner. */
function posix(type: LockRequest['type'], start: number, end: number, owner = 'A'): LockRequest {
  return { family: 'posix', type, start, end, owner, pid: 42 };
}

function flock(type: LockRequest['type'], owner = 'A'): LockRequest {
  return { family: 'flock', type, start: 0, end: END, owner, pid: 42 };
}

function fileOf() {
  const shard = new TestShard();
  shard.open(2);
  const { ino } = shard.create('a');
  const lock = (wanted: LockRequest, session = 1): string =>
    shard.code({ op: 'set-lock', ino, lock: wanted }, { session: sessionId(session) });
  return { shard, ino, lock };
}

function held(shard: TestShard, ino: InodeNumber): string[] {
  const bytes = shard.state.get(perInodeKey('locks', shard.volume, ino));
  if (bytes === undefined) return [];
  const { posix: locks } = LOCKS.decode(bytes);
  return locks.map(({ type, start, end, owner }) => `${owner} ${type} ${start}-${end}`).sort();
}

describe('posix locks', () => {
  it('conflict between owners where one of them writes', () => {
    const { lock } = fileOf();
    expect(lock(posix('read', 0, 10))).toBe('ok');
    expect(lock(posix('read', 5, 15, 'B'))).toBe('ok');
    expect(lock(posix('write', 9, 12, 'C'))).toBe('EAGAIN');
    expect(lock(posix('write', 15, 20, 'C'))).toBe('ok');
    expect(lock(posix('read', 19, END), 2)).toBe('EAGAIN');
    expect(lock(posix('write', 20, END), 2)).toBe('ok');
  });

  it('tell who holds what stands in the way', async () => {
    const { shard, ino, lock } = fileOf();
    lock(posix('write', 0, 10), 2);
    const wanted = posix('read', 5, 6);
    const refused = shard.run({ op: 'set-lock', ino, lock: wanted });
    const holder = posix('write', 0, 10);
    expect(refused).toMatchObject({
      code: 'EAGAIN',
      detail: { session: sessionId(2), lock: holder },
    });
    expect(await shard.view({ view: 'test-lock', ino, lock: wanted })).toEqual({
      conflict: holder,
    });
    const free = posix('read', 10, 11);
    expect(await shard.view({ view: 'test-lock', ino, lock: free })).toEqual({});
  });

  it('of different sessions with the same owner are strangers', () => {
    const { lock } = fileOf();
    lock(posix('write', 0, 10));
    expect(lock(posix('write', 0, 10), 2)).toBe('EAGAIN');
  });

  it('are split, joined, changed and dropped by their owner', () => {
    const { shard, ino, lock } = fileOf();
    lock(posix('write', 0, 30));
    lock(posix('read', 10, 20));
    expect(held(shard, ino)).toEqual(['A read 10-20', 'A write 0-10', 'A write 20-30']);
    lock(posix('write', 10, 20));
    expect(held(shard, ino)).toEqual(['A write 0-30']);
    lock(posix('unlock', 5, 6));
    expect(held(shard, ino)).toEqual(['A write 0-5', 'A write 6-30']);
    lock(posix('write', 40, END));
    expect(held(shard, ino)).toHaveLength(3);
    lock(posix('unlock', 0, END));
    expect(shard.state.get(perInodeKey('locks', shard.volume, ino))).toBeUndefined();
  });

  it('refuse an empty range and an inode that is gone', () => {
    const { shard, lock } = fileOf();
    expect(lock(posix('write', 5, 5))).toBe('EINVAL');
    const gone = { op: 'set-lock', ino: 99 as InodeNumber, lock: posix('read', 0, 1) } as const;
    expect(shard.code(gone)).toBe('ESTALE');
  });

  it('are bounded in number', () => {
    const { shard, ino, lock } = fileOf();
    const one = { holder: 1, owner: 'A', pid: 1, type: 'read' } as const;
    const locks = Array.from({ length: LIMITS.locksPerInodeMax }, (_, index) => ({
      ...one,
      start: index * 2,
      end: index * 2 + 1,
    }));
    const key = perInodeKey('locks', shard.volume, ino);
    shard.state.put(key, LOCKS.encode({ posix: locks, flock: [] }));
    expect(lock(posix('read', 1_000_000, END))).toBe('ENOLCK');
    expect(lock(posix('unlock', 0, 1))).toBe('ok');
    expect(lock(posix('read', 1_000_000, END))).toBe('ok');
  });

  it('are dropped with their owner, and that succeeds without any', () => {
    const { shard, ino, lock } = fileOf();
    lock(posix('write', 0, 5));
    lock(posix('write', 9, 15));
    lock(posix('write', 20, 25, 'B'));
    shard.do({ op: 'release-locks', ino, family: 'posix', owner: 'A' });
    expect(held(shard, ino)).toEqual(['B write 20-25']);
    shard.do({ op: 'release-locks', ino, family: 'flock', owner: 'B' });
    expect(held(shard, ino)).toHaveLength(1);
    expect(
      shard.code({ op: 'release-locks', ino: 99 as InodeNumber, family: 'posix', owner: 'A' }),
    ).toBe('ok');
  });

  it('are void when their session ends, at once', async () => {
    const { shard, ino, lock } = fileOf();
    lock(posix('write', 0, END), 2);
    shard.internal({ op: 'expire-session', expired: sessionId(2) });
    expect(lock(posix('write', 0, END))).toBe('ok');
    expect(held(shard, ino)).toEqual([`A write 0-${END}`]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('go with their inode', () => {
    const { shard, ino, lock } = fileOf();
    lock(posix('write', 0, 5));
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    shard.do({ op: 'release-orphans', inos: [ino] });
    shard.do({ op: 'release-orphans', inos: [ino] }, { session: sessionId(2) });
    expect(shard.state.get(perInodeKey('locks', shard.volume, ino))).toBeUndefined();
  });
});

describe('flock', () => {
  it('locks the whole file, beside the other family', () => {
    const { lock } = fileOf();
    expect(lock(flock('read'))).toBe('ok');
    expect(lock(flock('read', 'B'))).toBe('ok');
    expect(lock(flock('write', 'C'))).toBe('EAGAIN');
    expect(lock(posix('write', 0, END, 'C'))).toBe('ok');
  });

  it('changes its kind, and has lost it when that is refused', () => {
    const { lock } = fileOf();
    lock(flock('read'));
    lock(flock('read', 'B'));
    expect(lock(flock('write'))).toBe('EAGAIN');
    expect(lock(flock('write', 'B'))).toBe('ok');
    expect(lock(flock('read'))).toBe('EAGAIN');
    expect(lock(flock('read', 'B'))).toBe('ok');
    expect(lock(flock('read'))).toBe('ok');
  });
});
