import {
  ROOT_INODE,
  type SessionId,
  SNAPSHOT_HOLDS_AT,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { LossyShard, RECORD } from '../testing/lossy-shard.ts';

describe('snapshots of a shard whose answers get lost', () => {
  it('are taken once', async () => {
    const shard = new LossyShard();
    shard.loseAnswer();
    const made = await shard.snapshots.create('v', 's');
    expect(await shard.snapshots.list('v')).toEqual([made]);
    await expect(shard.snapshots.create('v', 's')).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('are those of the request, not of someone else for the same name', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 's', { timeNs: 5n });
    expect(await shard.snapshots.create('v', 's', { timeNs: 5n })).toMatchObject({ generation: 1 });
    await expect(shard.snapshots.create('v', 's', { timeNs: 6n })).rejects.toMatchObject({
      code: 'EEXIST',
    });
  });

  it('are removed once, and a younger one of the same name stays', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 's');
    shard.loseAnswer(() => shard.do({ op: 'create-snapshot', name: 's' }));
    expect(await shard.snapshots.remove('v', 's')).toMatchObject({ generation: 1 });
    expect(await shard.snapshots.list('v')).toMatchObject([{ name: 's', generation: 2 }]);
    shard.loseAnswer();
    await shard.snapshots.remove('v', 's');
    await expect(shard.snapshots.remove('v', 's')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('a rollback in a shard whose answers get lost', () => {
  it('is done once, and leaves one snapshot of what was there before', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 's');
    shard.loseAnswer();
    const kept = await shard.snapshots.rollBack('v', 's', { force: false, timeNs: 9n });
    expect(kept).toMatchObject({ name: 'before-rollback-1970-01-01T00-00-00.000Z' });
    const again = await shard.snapshots.rollBack('v', 's', { force: false, timeNs: 9n });
    expect(again).toEqual(kept);
    expect((await shard.snapshots.list('v')).map(({ name }) => name)).toEqual(['s', kept.name]);
    const none = shard.snapshots.rollBack('v', 'none', { force: false });
    await expect(none).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('is refused while hosts have the volume attached, unless it is forced', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 's');
    shard.attachedTo = ['node-7'];
    await expect(shard.snapshots.rollBack('v', 's', { force: false })).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/in use on node-7.*--force.*ESTALE/),
    });
    await shard.snapshots.rollBack('v', 's', { force: true });
  });
});

describe('snapshots of schedules', () => {
  const dueMs = Date.parse('2026-11-23T20:00:00Z');

  it('are made once for the time at which they are due, and by nobody else', async () => {
    const shard = new LossyShard();
    shard.loseAnswer();
    await shard.snapshots.createScheduled(RECORD, dueMs);
    await shard.snapshots.createScheduled(RECORD, dueMs);
    const name = 'auto-2026-11-23T20-00Z';
    expect(await shard.snapshots.list('v')).toMatchObject([{ name, generation: 1 }]);
    await expect(shard.snapshots.create('v', 'auto-2026-11-24T20-00Z')).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringMatching(/made, and removed, by snapshot schedules/),
    });
    await shard.snapshots.create('v', 'auto-mine');
  });

  it('are held by a lock on the byte of their generation, and on no other', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 'first');
    await shard.snapshots.create('v', 'second');
    const session = '00000000000000aa' as SessionId;
    shard.do({ op: 'open-session', host: 'h' }, 1n, { session, volume: 0 as VolumeNumber });
    const place = { start: SNAPSHOT_HOLDS_AT + 2, end: SNAPSHOT_HOLDS_AT + 3 };
    const lock = { family: 'posix', type: 'read', ...place, owner: '1', pid: 0 } as const;
    shard.do({ op: 'set-lock', ino: ROOT_INODE, lock }, 1n, { session, sequence: 2 });
    expect(await shard.snapshots.isHeld('v', 'first')).toBe(false);
    expect(await shard.snapshots.isHeld('v', 'second')).toBe(true);
    const unlock = { ...lock, type: 'unlock' } as const;
    shard.do({ op: 'set-lock', ino: ROOT_INODE, lock: unlock }, 1n, { session, sequence: 3 });
    expect(await shard.snapshots.isHeld('v', 'second')).toBe(false);
  });
});
