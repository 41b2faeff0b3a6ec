import { apply, MemoryState } from '@holdfast/metadata';
import type { Command, Operation, SessionId, ShardId, VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { SessionLeases, SWEEP_MS } from './sessions.ts';

const A = 'a'.repeat(16) as SessionId;
const B = 'b'.repeat(16) as SessionId;
const LEASE_MS = 10_000;

/** A shard's leader whose clock the test holds. */
function leader() {
  const state = new MemoryState();
  const world = { now: 1000, expired: [] as SessionId[], isReachable: true };
  const leases = new SessionLeases({
    shard: 1 as ShardId,
    state,
    now: () => world.now,
    leaseMs: LEASE_MS,
    expire: async (session) => {
      world.expired.push(session);
      if (!world.isReachable) throw new RangeError('no quorum');
    },
  });
  const run = (session: SessionId, operation: Operation) => {
    const volume = 0 as VolumeNumber;
    const command: Command = {
      v: 1,
      session,
      sequence: 1,
      answeredBelow: 1,
      timeNs: 0n,
      volume,
      operation,
    };
    leases.applied(command, apply(state, command));
  };
  /** Time passes as it does for a process that runs. */
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= SWEEP_MS) {
      world.now += Math.min(left, SWEEP_MS);
      leases.sweep();
    }
  };
  return { world, leases, run, pass };
}

const OPEN = { op: 'open-session', host: 'h' } as const;
const channel = () => {
  const notices: unknown[] = [];
  return { notices, notify: (_method: string, header: unknown) => void notices.push(header) };
};

describe('session leases', () => {
  it('end with silence, and only with silence', async () => {
    const { world, leases, run, pass } = leader();
    leases.lead();
    run(A, OPEN);
    run(B, OPEN);
    pass(LEASE_MS - SWEEP_MS);
    await leases.heard(A, channel());
    pass(2 * SWEEP_MS);
    expect(world.expired).toEqual([B]);
  });

  it('are full ones for every open session when leadership begins', async () => {
    const { world, leases, run, pass } = leader();
    run(A, OPEN);
    await expect(leases.heard(A, channel())).rejects.toMatchObject({ code: 'NOT_LEADER' });
    pass(5 * LEASE_MS);
    leases.lead();
    await leases.heard(A, channel());
    expect(leases.count).toBe(1);
    leases.resign();
    leases.lead();
    await expect(leases.heard(B, channel())).rejects.toMatchObject({ code: 'SESSION_EXPIRED' });
    pass(LEASE_MS - SWEEP_MS);
    expect(world.expired).toEqual([]);
    pass(2 * SWEEP_MS);
    expect(world.expired).toEqual([A]);
  });

  it('do not run while the process stands still: what was sent meanwhile is not read yet', async () => {
    const { world, leases, run, pass } = leader();
    leases.lead();
    run(A, OPEN);
    pass(SWEEP_MS);
    world.now += 10 * LEASE_MS;
    leases.sweep();
    expect(world.expired).toEqual([]);
    await leases.heard(A, channel());
    pass(LEASE_MS - SWEEP_MS);
    expect(world.expired).toEqual([]);
  });

  it('are judged again when the verdict was not committed', async () => {
    const { world, leases, run, pass } = leader();
    leases.lead();
    run(A, OPEN);
    world.isReachable = false;
    pass(LEASE_MS + SWEEP_MS);
    await new Promise((resolve) => setImmediate(resolve));
    pass(SWEEP_MS);
    expect(world.expired.length).toBeGreaterThan(1);
  });

  it('tell the session that ended, then forget it', async () => {
    const { leases, run } = leader();
    leases.lead();
    run(A, OPEN);
    const heard = channel();
    await leases.heard(A, heard);
    run('0'.repeat(16) as SessionId, { op: 'expire-session', expired: A });
    expect(heard.notices).toEqual([{ shard: 1, session: A, notice: { notice: 'expired' } }]);
    await expect(leases.heard(A, heard)).rejects.toMatchObject({ code: 'SESSION_EXPIRED' });
    run(B, OPEN);
    run(B, { op: 'close-session' });
    expect(leases.count).toBe(0);
  });

  it('forget a connection that closed, not the session', async () => {
    const { leases, run } = leader();
    leases.lead();
    run(A, OPEN);
    const [first, second] = [channel(), channel()];
    await leases.heard(A, first);
    leases.left(first);
    leases.notify(A, { notice: 'recall', volume: 3 as VolumeNumber });
    await leases.heard(A, second);
    leases.notify(A, { notice: 'recall', volume: 3 as VolumeNumber });
    expect([first.notices.length, second.notices.length]).toEqual([0, 1]);
  });
});
