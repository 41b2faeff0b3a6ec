import { INTERNAL_SESSION, LIMITS, type Operation, ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { apply } from '../apply.ts';
import { openSessions, orphansToAnnounce } from '../background.ts';
import { check } from '../check.ts';
import { countersKey, liveSessionsKey, sessionKey } from '../keys.ts';
import { COUNTERS, LIVE_SESSIONS } from '../shard-records.ts';
import { sessionId, TestShard, textOf } from '../test-shard.ts';

const mkdir = (name: string): Operation => ({
  op: 'create',
  parent: ROOT_INODE,
  name,
  kind: 'directory',
  mode: 0o755,
  uid: 0,
  gid: 0,
  rdev: 0,
  target: '',
  exclusive: true,
});

describe('sessions', () => {
  it('must be open: commands and looks of unknown ones are refused', async () => {
    const shard = new TestShard();
    const unknown = sessionId(99);
    expect(shard.code(mkdir('a'), { session: unknown })).toBe('SESSION_EXPIRED');
    await expect(shard.view({ view: 'space' }, unknown)).rejects.toMatchObject({
      code: 'SESSION_EXPIRED',
    });
  });

  it('are opened once, however often they ask', async () => {
    const shard = new TestShard();
    const before = shard.state.size;
    shard.open(1);
    shard.open(1);
    expect(shard.state.size).toBe(before);
    expect(await openSessions(shard.state)).toEqual([{ session: sessionId(1), host: 'host-1' }]);
  });

  it('end for ever, by themselves or by the leader: an id is never used again', async () => {
    const shard = new TestShard();
    const two = shard.open(2);
    const three = shard.open(3);
    shard.do({ op: 'close-session' }, { session: two });
    shard.internal({ op: 'expire-session', expired: three });
    for (const session of [two, three]) {
      expect(shard.code(mkdir('a'), { session })).toBe('SESSION_EXPIRED');
      expect(shard.code({ op: 'open-session', host: 'h' }, { session })).toBe('SESSION_EXPIRED');
      expect(shard.code({ op: 'close-session' }, { session })).toBe('ok');
    }
    expect((await openSessions(shard.state)).length).toBe(1);
    expect(await check(shard.state)).toEqual([]);
  });

  it('leave nothing behind but their mark, once the leader has cleaned up', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const counters = shard.state.get(countersKey());
    const before = shard.state.size;
    const two = shard.open(2);
    const lock = { family: 'posix', type: 'write', start: 0, end: 9, owner: '1', pid: 1 } as const;
    shard.do({ op: 'set-lock', ino, lock }, { session: two });
    for (let count = 0; count < 5; count++)
      shard.do(mkdir('x'.repeat(count + 1)), { session: two, answeredBelow: 1 });
    for (let count = 0; count < 5; count++) {
      shard.do({ op: 'rmdir', parent: ROOT_INODE, name: 'x'.repeat(count + 1) });
      shard.do({
        op: 'release-orphans',
        inos: (await orphansToAnnounce(shard.state, sessionId(1))).map((orphan) => orphan.ino),
      });
    }
    shard.internal({ op: 'expire-session', expired: two });
    await shard.reclaimAll(2);
    expect(counters).toBeDefined();
    // The ended session itself and its place in the ring.
    expect(shard.state.size).toBe(before + 2);
    expect(await check(shard.state)).toEqual([]);
  });

  it('are remembered as ended for a bounded while', () => {
    const shard = new TestShard();
    const end = (number: number): void => {
      const session = shard.open(number);
      shard.do({ op: 'close-session' }, { session });
    };
    end(2);
    const counters = COUNTERS.decode(shard.state.get(countersKey()) as Uint8Array);
    const endedSessions = LIMITS.sessionsEndedMax;
    shard.state.put(countersKey(), COUNTERS.encode({ ...counters, endedSessions }));
    end(3);
    expect(shard.state.get(sessionKey(sessionId(2)))).toBeUndefined();
    expect(shard.state.get(sessionKey(sessionId(3)))).toBeDefined();
  });

  it('are bounded in number', () => {
    const shard = new TestShard();
    const ordinals = Array.from({ length: LIMITS.sessionsMax }, (_, index) => index + 1);
    shard.state.put(liveSessionsKey(), LIVE_SESSIONS.encode({ ordinals }));
    expect(shard.code({ op: 'open-session', host: 'h' }, { session: sessionId(2) })).toBe(
      'OVERLOADED',
    );
  });

  it('cannot do what only the leader may', () => {
    const shard = new TestShard();
    const two = shard.open(2);
    expect(shard.code({ op: 'expire-session', expired: two })).toBe('FORBIDDEN');
    expect(shard.code({ op: 'reclaim', keys: [] })).toBe('FORBIDDEN');
    expect(shard.code({ op: 'chunks-collected', places: [1] })).toBe('FORBIDDEN');
    expect(shard.code({ op: 'expire-session', expired: two }, { session: INTERNAL_SESSION })).toBe(
      'ok',
    );
  });
});

describe('exactly once', () => {
  it('gives a repeated request its first answer and changes nothing', () => {
    const shard = new TestShard();
    const command = shard.command(mkdir('a'), { answeredBelow: 0 });
    const first = apply(shard.state, command);
    shard.do({ op: 'rmdir', parent: ROOT_INODE, name: 'a' }, { answeredBelow: 0 });
    const before = textOf(shard.state);
    expect(apply(shard.state, command)).toEqual(first);
    expect(textOf(shard.state)).toEqual(before);
  });

  it('keeps refusals too: a late copy does not succeed', async () => {
    const shard = new TestShard();
    shard.mkdir('a');
    const command = shard.command(mkdir('a'), { answeredBelow: 0 });
    expect(apply(shard.state, command)).toMatchObject({ code: 'EEXIST' });
    shard.do({ op: 'rmdir', parent: ROOT_INODE, name: 'a' }, { answeredBelow: 0 });
    expect(apply(shard.state, command)).toMatchObject({ code: 'EEXIST' });
    expect(await shard.names()).toEqual([]);
  });

  it('takes requests of a session in any order', () => {
    const shard = new TestShard();
    const fields = { answeredBelow: 0 };
    const late = shard.command(mkdir('a'), fields);
    const early = shard.command(mkdir('b'), fields);
    expect(apply(shard.state, early).ok).toBe(true);
    expect(apply(shard.state, late).ok).toBe(true);
  });

  it('forgets answers that were received, and refuses their requests', () => {
    const shard = new TestShard();
    const command = shard.command(mkdir('a'), { answeredBelow: 0 });
    apply(shard.state, command);
    const size = shard.state.size;
    shard.do({ op: 'release-orphans', inos: [] }, { answeredBelow: command.sequence + 1 });
    expect(shard.state.size).toBe(size);
    expect(apply(shard.state, command)).toMatchObject({ code: 'CONFLICT' });
  });

  it('asks a session to slow down that confirms nothing, and goes on when it does', () => {
    const shard = new TestShard();
    const noop: Operation = { op: 'release-orphans', inos: [] };
    for (let count = 0; count < LIMITS.sessionRequestsMax; count++) {
      shard.do(noop, { answeredBelow: 1 });
    }
    const command = shard.command(mkdir('a'), { answeredBelow: 1 });
    expect(apply(shard.state, command)).toMatchObject({ code: 'OVERLOADED' });
    const confirmed = { ...command, answeredBelow: command.sequence };
    expect(apply(shard.state, confirmed).ok).toBe(true);
  });

  it('does not keep an outage: the same request may succeed later', () => {
    const shard = new TestShard();
    const two = shard.open(2);
    shard.do({ op: 'acquire-delegation' }, { session: two });
    const command = shard.command(mkdir('a'), { answeredBelow: 0 });
    expect(apply(shard.state, command)).toMatchObject({ code: 'DELEGATED' });
    shard.do({ op: 'return-delegation' }, { session: two });
    expect(apply(shard.state, command).ok).toBe(true);
  });
});

describe('orphans', () => {
  it('live until every session that was open has let go or ended', async () => {
    const shard = new TestShard();
    const two = shard.open(2);
    const three = shard.open(3);
    const { ino } = shard.create('a');
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    const four = shard.open(4);
    const announced = { volume: shard.volume, ino };
    expect(await orphansToAnnounce(shard.state, two)).toEqual([announced]);
    expect(await orphansToAnnounce(shard.state, four)).toEqual([]);
    shard.do({ op: 'release-orphans', inos: [ino] }, { session: two });
    shard.do({ op: 'release-orphans', inos: [ino] }, { session: four });
    expect(await orphansToAnnounce(shard.state, two)).toEqual([]);
    shard.do({ op: 'release-orphans', inos: [ino] });
    expect((await shard.attributes(ino)).nlink).toBe(0);
    shard.internal({ op: 'expire-session', expired: three });
    await shard.reclaimAll();
    expect(await shard.viewCode({ view: 'attributes', ino })).toBe('ESTALE');
    expect(await shard.view({ view: 'space' })).toMatchObject({ usedInodes: 1 });
  });

  it('are written, read, cut and given attributes like any file', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    expect(shard.code({ op: 'set-attributes', ino, size: 10, mode: 0o600 })).toBe('ok');
    expect(
      shard.code({ op: 'fallocate', ino, mode: 'zero', keepSize: false, offset: 0, length: 5 }),
    ).toBe('ok');
    expect(shard.code({ op: 'link', ino, parent: ROOT_INODE, name: 'b' })).toBe('ENOENT');
  });

  it('die at once when no session is open', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do({ op: 'close-session' });
    const answer = shard.internal({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    expect(answer.orphan).toBeUndefined();
    expect(answer.attributes).toMatchObject({ ino, nlink: 0 });
    expect(await check(shard.state)).toEqual([]);
  });
});
