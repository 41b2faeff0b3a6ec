import { ClusterState, type RegistryAnswer, type RegistryChange } from '@holdfast/placement';
import {
  type ErrorCode,
  HoldfastError,
  type Snapshot,
  type VolumeNumber,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import { scheduledName } from '@holdfast/schedule';
import { pino } from 'pino';
import { Registry as MetricsRegistry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually } from '../testing/peers.ts';
import { fillingError } from './half-filled.ts';
import { type ScheduleStatus, SnapshotSchedules } from './snapshot-schedules.ts';

const V = 1 as VolumeNumber;
const HOUR = 3_600_000;
const START = Date.parse('2026-11-23T19:30:00Z');

/** The registry and one volume's snapshots, which outlive those who lead. */
class World {
  readonly state = new ClusterState();
  nowMs = START;
  leader = 'a';
  readonly snapshots: Snapshot[] = [];
  readonly held = new Set<string>();
  /** Every snapshot ever made, by name. */
  readonly made: string[] = [];
  /** Called before each step; what it throws, the step throws. */
  before: (who: string, step: string) => void = () => {};
  #commands = 0;

  constructor(policy: Partial<VolumePolicy>) {
    const addresses = { grpcAddress: 'a:1', wireAddress: 'a:2', adminAddress: 'a:3' };
    const names = { name: 'a', zone: 'a', discoveryAddress: '' };
    const node = { ...names, ...addresses, weight: 1, incarnation: '0'.repeat(32) };
    this.change({
      op: 'init-cluster',
      clusterId: 'c',
      name: 't',
      volumeShards: 1,
      node,
      serial: '1',
    });
    this.change({ op: 'create-volume', name: 'v', policy });
    this.change({ op: 'volume-ready', volume: V });
  }

  change(change: RegistryChange): RegistryAnswer {
    const time = new Date(this.nowMs).toISOString();
    const result = this.state.apply({ v: 1, id: `c${this.#commands++}`, time, change });
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code as ErrorCode, result.message);
  }

  take(name: string, clones = 0): void {
    if (this.snapshots.some((one) => one.name === name)) throw new HoldfastError('EEXIST');
    this.made.push(name);
    const generation = this.made.length;
    const facts = { timeNs: BigInt(this.nowMs) * 1_000_000n, usedBytes: 0, usedInodes: 1 };
    this.snapshots.push({ name, generation, clones, ...facts });
  }

  get names(): string[] {
    return this.snapshots.map(({ name }) => name).sort();
  }

  get record(): VolumeRecord | undefined {
    return this.state.volume(V);
  }
}

/** A peer that may lead; its clock is the world's. */
class Peer {
  readonly metrics = new MetricsRegistry();
  readonly schedules: SnapshotSchedules;

  constructor(world: World, name: string) {
    const step = (what: string): void => world.before(name, what);
    this.schedules = new SnapshotSchedules({
      now: () => world.nowMs,
      lookMs: 5,
      metrics: this.metrics,
      log: pino({ level: 'silent' }) as never,
      registry: {
        get isLeader() {
          return world.leader === name;
        },
        applied: () => world.state,
        read: async () => {
          if (world.leader !== name) throw new HoldfastError('NOT_LEADER');
          return world.state;
        },
        execute: async (change) => {
          step('note');
          return world.change(change);
        },
      },
      snapshots: {
        list: async () => [...world.snapshots],
        isHeld: async (_volume, snapshot) => world.held.has(snapshot),
        createScheduled: async (_record, dueMs) => {
          step('create');
          // As the shard's answer to a name that is taken.
          if (!world.names.includes(scheduledName(dueMs))) world.take(scheduledName(dueMs));
          step('created');
        },
        remove: async (_volume, snapshot) => {
          step('remove');
          const at = world.snapshots.findIndex((one) => one.name === snapshot);
          if (at < 0) throw new HoldfastError('NOT_FOUND');
          return world.snapshots.splice(at, 1)[0] as Snapshot;
        },
      },
    });
    this.schedules.start();
  }

  async value(metric: string): Promise<number | undefined> {
    const found = this.metrics.getSingleMetric(`holdfast_snapshot_schedule_${metric}`);
    return (await found?.get())?.values[0]?.value;
  }
}

let peers: Peer[] = [];
afterEach(async () => {
  await Promise.all(peers.map(({ schedules }) => schedules.close()));
  peers = [];
});

function start(world: World, name: string): Peer {
  const peer = new Peer(world, name);
  peers.push(peer);
  return peer;
}

const isDone = (world: World, due: string) => (): boolean =>
  world.record?.snapshotRuns?.due === `${due}:00.000Z`;

const HOURLY = { snapshotSchedule: '0 * * * *', snapshotKeep: 'last=2' };

describe('snapshot schedules', () => {
  it('make what is due, keep what their rule keeps, and leave what users made or need', async () => {
    const world = new World(HOURLY);
    world.take('mine');
    world.take('auto-2026-11-01T00-00Z');
    world.take('auto-2026-11-02T00-00Z', 1);
    world.take('auto-2026-11-03T00-00Z');
    world.held.add('auto-2026-11-03T00-00Z');
    const peer = start(world, 'a');
    world.nowMs += HOUR;
    await eventually('a run', isDone(world, '2026-11-23T20:00'));
    await eventually('a removal', () => world.snapshots.length === 4);
    // last=2 is the one of 20:00 and the newest before it, held or not.
    expect(world.names).toEqual([
      'auto-2026-11-02T00-00Z',
      'auto-2026-11-03T00-00Z',
      'auto-2026-11-23T20-00Z',
      'mine',
    ]);
    world.nowMs += HOUR;
    await eventually('the next run', isDone(world, '2026-11-23T21:00'));
    await eventually('what is held', () => world.names.length === 5);
    expect(world.names).toContain('auto-2026-11-03T00-00Z');
    expect(await peer.value('made_total')).toBe(2);
    await expect.poll(() => peer.value('held_total')).toBe(3);
    expect(await peer.value('last_success_timestamp_seconds')).toBe(world.nowMs / 1_000);
  });

  it.each(['create', 'created', 'note', 'remove'])(
    'make each snapshot once though the leader dies before or after: %s',
    async (deadly) => {
      const world = new World({ ...HOURLY, snapshotKeep: 'last=1' });
      world.before = (who, step) => {
        if (who !== 'a' || step !== deadly) return;
        world.leader = 'b';
        throw new HoldfastError('NOT_LEADER');
      };
      world.take('auto-2026-11-01T00-00Z');
      start(world, 'a');
      start(world, 'b');
      world.nowMs += HOUR;
      await eventually('a run', isDone(world, '2026-11-23T20:00'));
      world.leader = 'b';
      world.nowMs += HOUR;
      await eventually('the next run', isDone(world, '2026-11-23T21:00'));
      await eventually('a removal', () => world.snapshots.length === 1);
      const own = world.made.filter((name) => name.startsWith('auto-2026-11-23'));
      expect(own).toEqual(['auto-2026-11-23T20-00Z', 'auto-2026-11-23T21-00Z']);
    },
  );

  it('do not make again what was made and removed, whoever leads', async () => {
    const world = new World(HOURLY);
    start(world, 'a');
    world.nowMs += HOUR;
    await eventually('a run', isDone(world, '2026-11-23T20:00'));
    world.snapshots.length = 0;
    world.leader = 'b';
    start(world, 'b');
    world.nowMs += HOUR;
    await eventually('the next run', isDone(world, '2026-11-23T21:00'));
    expect(world.made).toEqual(['auto-2026-11-23T20-00Z', 'auto-2026-11-23T21-00Z']);
  });

  it('make up the newest that was missed in a long outage', async () => {
    const world = new World(HOURLY);
    world.nowMs += 1_000 * HOUR;
    start(world, 'a');
    await eventually('a run', isDone(world, '2027-01-04T11:00'));
    expect(world.made).toEqual(['auto-2027-01-04T11-00Z']);
  });

  it('tell that they fail, count it, try again, and are late after two periods', async () => {
    const world = new World(HOURLY);
    const peer = start(world, 'a');
    let isFull = true;
    world.before = (_who, step) => {
      if (step === 'create' && isFull) throw new HoldfastError('ENOSPC', 'no room');
    };
    const told = (): ScheduleStatus | undefined => peer.schedules.status()[0];
    world.nowMs += HOUR;
    await eventually('a failure', () => told()?.failure === 'no room');
    expect(told()).toMatchObject({ volume: 'v', keep: 'last=2', isLate: false });
    expect(await peer.value('failures_total')).toBe(1);
    world.nowMs += HOUR;
    expect(told()).toMatchObject({ isLate: true, nextAt: '2026-11-23T22:00:00.000Z' });
    expect(await peer.value('late')).toBe(1);
    isFull = false;
    world.nowMs += 31_000;
    await eventually('a run', isDone(world, '2026-11-23T21:00'));
    await eventually('no failure', () => told()?.failure === undefined);
    expect(told()).toMatchObject({ isLate: false, made: 'auto-2026-11-23T21-00Z' });
  });

  it('wait while a volume is half filled, without a failure, and say so', async () => {
    const world = new World(HOURLY);
    const peer = start(world, 'a');
    let isFilling = true;
    world.before = (_who, step) => {
      const filling = { message: 'something is being restored', isUnderWay: true };
      if (step === 'create' && isFilling) throw fillingError(filling);
    };
    const told = (): ScheduleStatus | undefined => peer.schedules.status()[0];
    world.nowMs += HOUR;
    await eventually('that it waits', () => told()?.waits === 'something is being restored');
    expect(told()).not.toHaveProperty('failure');
    expect(await peer.value('failures_total')).toBe(0);
    expect(world.made).toEqual([]);
    isFilling = false;
    world.nowMs += 31_000;
    await eventually('a run', isDone(world, '2026-11-23T20:00'));
    await eventually('that it waits no more', () => told()?.waits === undefined);
  });

  it('wait for a shard that does not answer once a round, not once a volume', async () => {
    const world = new World(HOURLY);
    for (let i = 2; i <= 30; i++) {
      world.change({ op: 'create-volume', name: `v${i}`, policy: HOURLY });
      world.change({ op: 'volume-ready', volume: i as VolumeNumber });
    }
    const peer = start(world, 'a');
    world.before = (_who, step) => {
      if (step === 'create') throw new HoldfastError('NO_QUORUM', 'no majority');
    };
    world.nowMs += HOUR;
    const failed = (): number =>
      peer.schedules.status().filter(({ failure }) => failure === 'no majority').length;
    await eventually('failures of all', () => failed() === 30);
    expect(await peer.value('failures_total')).toBe(8);
  });

  it('are silent where nobody leads them', () => {
    const world = new World(HOURLY);
    expect(start(world, 'b').schedules.status()).toEqual([]);
  });
});
