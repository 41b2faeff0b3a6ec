import { apply, check, MemoryState, planReclaim, view } from '@holdfast/metadata';
import { ClusterState, type RegistryAnswer, type RegistryChange } from '@holdfast/placement';
import {
  decode,
  type ErrorCode,
  HoldfastError,
  INTERNAL_SESSION,
  type Operation,
  type OperationAnswer,
  type ShardId,
  type Snapshot,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { type RunInShard, VolumeLifecycle } from './volumes.ts';

const SHARD_WIDE = ['reclaim', 'chunks-collected'];

/** The registry and two volume shards; whoever works with them may fall over before or after any step. */
class Cluster {
  readonly registry = new ClusterState();
  readonly shards = new Map([1, 2].map((shard) => [shard as ShardId, new MemoryState()]));
  #commands = 0;
  /** Steps until one fails; infinite: none does. */
  left = Number.POSITIVE_INFINITY;
  /** Whether the step that fails has taken effect. */
  isLate = false;

  constructor() {
    this.#change({
      op: 'init-cluster',
      clusterId: 'cc',
      name: 'test',
      volumeShards: 2,
      node: {
        name: 'a',
        grpcAddress: 'a:1',
        wireAddress: 'a:2',
        adminAddress: 'a:3',
        discoveryAddress: '',
        zone: 'a',
        weight: 1,
        incarnation: '0'.repeat(32),
      },
      serial: 'a1',
    });
  }

  #change(change: RegistryChange): RegistryAnswer {
    const id = `c${this.#commands++}`;
    const result = this.registry.apply({ v: 1, id, time: '2026-01-01T00:00:00.000Z', change });
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code as ErrorCode, result.message);
  }

  do(shard: ShardId, volume: VolumeNumber, operation: Operation): OperationAnswer {
    const result = apply(this.shards.get(shard) as MemoryState, {
      v: 1,
      session: INTERNAL_SESSION,
      sequence: 1,
      answeredBelow: 1,
      timeNs: 1n,
      volume: SHARD_WIDE.includes(operation.op) ? (0 as VolumeNumber) : volume,
      operation,
    });
    if (this.clones > this.holds) throw new Error('a clone whose snapshot nobody keeps');
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code as ErrorCode, result.message);
  }

  #step<T>(action: () => T): T {
    const isLast = this.left-- === 0;
    if (isLast && !this.isLate) throw new HoldfastError('NO_QUORUM');
    const answer = action();
    if (isLast) throw new HoldfastError('NO_QUORUM');
    return answer;
  }

  /** An operation that its shard refuses. */
  refuse = '';

  readonly run: RunInShard = async (shard, volume, operation) =>
    this.#step(() => {
      if (operation.op === this.refuse) throw new HoldfastError('ENOSPC');
      return this.do(shard, volume, operation);
    });

  /** A leader of the system shard, as it begins. */
  lifecycle(): VolumeLifecycle {
    return new VolumeLifecycle({
      registry: {
        execute: async (change) => this.#step(() => this.#change(change)),
        view: async (wanted) => {
          const name = wanted.view === 'volume' ? wanted.name : '';
          const volume = this.registry.volumeNamed(name)?.record;
          return (volume === undefined ? {} : { volume }) as never;
        },
      },
      run: this.run,
      snapshots: {
        origin: async (volumeName, snapshot) => {
          const record = this.registry.volumeNamed(volumeName)?.record;
          const found = (await this.snapshots()).find(({ name }) => name === snapshot);
          if (record === undefined || found === undefined) throw new HoldfastError('NOT_FOUND');
          return { volume: record.number, volumeName, snapshot, generation: found.generation };
        },
      },
    });
  }

  async snapshots(): Promise<readonly Snapshot[]> {
    const request = { session: INTERNAL_SESSION, volume: 1 as VolumeNumber };
    const wanted = { view: 'snapshots', after: 0, count: 9 } as const;
    const state = this.shards.get(1 as ShardId) as MemoryState;
    return (await view(state, { ...request, view: wanted })).snapshots;
  }

  /** Records of a kind, of volumes (not of trees) of a shard. */
  #recordsOf(shard: number, kind: number): Record<string, unknown>[] {
    const entries = this.shards.get(shard as ShardId)?.entries() ?? [];
    return entries
      .filter(([key]) => key[0] === 0 && key[2] !== 0 && key[3] === kind)
      .map(([, bytes]) => decode<Record<string, unknown>>(bytes));
  }

  /** Clones in the second shard. */
  get clones(): number {
    return this.#recordsOf(2, VOLUME_KIND).length;
  }

  /** Clones that snapshots in the first shard are kept for. */
  get holds(): number {
    return this.#recordsOf(1, SNAPSHOT_KIND).flatMap(({ c: clones = [] }) => clones).length;
  }

  /** The next leader goes on with what was begun. */
  async rollForward(): Promise<void> {
    this.left = Number.POSITIVE_INFINITY;
    await this.lifecycle().rollForward(this.registry.volumes);
  }

  /** All garbage is deleted; what is wrong then. */
  async problems(): Promise<string[]> {
    const found: string[] = [];
    for (const [shard, state] of this.shards) {
      for (let plan = await planReclaim(state, 99); plan !== undefined; ) {
        this.do(shard, 0 as VolumeNumber, plan);
        plan = await planReclaim(state, 99);
      }
      found.push(...(await check(state)));
    }
    return found;
  }
}

/** Kinds of keys, see packages/metadata/src/keys.ts. */
const VOLUME_KIND = 0x01;
const SNAPSHOT_KIND = 0x41;

/** A volume in the first shard, with a snapshot. */
async function begun(): Promise<Cluster> {
  const cluster = new Cluster();
  await cluster.lifecycle().create('v', {});
  cluster.do(1 as ShardId, 1 as VolumeNumber, { op: 'create-snapshot', name: 's' });
  return cluster;
}

/** Does something with each of its steps failing once, before and after it took effect. */
async function fallOver(
  prepare: () => Promise<Cluster>,
  action: (lifecycle: VolumeLifecycle) => Promise<unknown>,
  verify: (cluster: Cluster) => Promise<void>,
): Promise<number> {
  for (let steps = 0; ; steps++) {
    for (const isLate of [false, true]) {
      const cluster = await prepare();
      Object.assign(cluster, { left: steps, isLate });
      const outcome = await action(cluster.lifecycle()).then(
        () => 'done',
        (error: HoldfastError) => error.code,
      );
      await cluster.rollForward();
      await verify(cluster);
      if (outcome === 'done') return steps;
    }
  }
}

describe('a clone in another shard than its snapshot', () => {
  const place = { from: 'v@s', shard: 2 };
  const cloned = async (): Promise<Cluster> => {
    const cluster = await begun();
    await cluster.lifecycle().create('c', {}, place);
    return cluster;
  };

  it('is made with its hold or not at all, wherever its maker falls over', async () => {
    const steps = await fallOver(
      begun,
      (lifecycle) => lifecycle.create('c', {}, place),
      async (cluster) => {
        const made = cluster.registry.volumeNamed('c')?.record;
        expect(made?.state ?? 'ready').toBe('ready');
        const count = made === undefined ? 0 : 1;
        expect([cluster.clones, cluster.holds]).toEqual([count, count]);
        expect(await cluster.problems()).toEqual([]);
      },
    );
    expect(steps).toBe(4); // created, held, cloned, ready
  });

  it('is removed with its hold, wherever its remover falls over', async () => {
    const steps = await fallOver(
      cloned,
      (lifecycle) => lifecycle.remove('c', true),
      async (cluster) => {
        const left = cluster.registry.volumeNamed('c') === undefined ? 0 : 1;
        expect([cluster.clones, cluster.holds]).toEqual([left, left]);
        expect(await cluster.problems()).toEqual([]);
        if (left > 0) return;
        await cluster.lifecycle().remove('v', true);
      },
    );
    expect(steps).toBeGreaterThan(5);
  });

  it('leaves no hold when its shard refuses it', async () => {
    const cluster = await begun();
    const held = { usedBytes: 0, usedInodes: 1, nextInode: 2, depth: 0 };
    cluster.refuse = 'clone-from-afar';
    await expect(cluster.lifecycle().create('c', {}, place)).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    expect([cluster.clones, cluster.holds]).toEqual([0, 0]);
    expect(cluster.registry.volumeNamed('c')).toBeUndefined();
    // Commands that were under way come too late.
    const by = 2 as VolumeNumber;
    const hold = { op: 'hold-snapshot', snapshot: 's', generation: 1, by } as const;
    expect(() => cluster.do(1 as ShardId, 1 as VolumeNumber, hold)).toThrow(/given up/);
    const where = { shard: 1 as ShardId, from: 1 as VolumeNumber, generation: 1, held };
    const bounds = { quotaBytes: 0, quotaInodes: 0 };
    const clone = { op: 'clone-from-afar', name: 'c', ...where, ...bounds } as const;
    expect(() => cluster.do(2 as ShardId, by, clone)).toThrow(/destroyed/);
    expect(await cluster.problems()).toEqual([]);
  });

  it('keeps its snapshot while that goes, and is asked for again without it', async () => {
    const cluster = await cloned();
    cluster.do(1 as ShardId, 1 as VolumeNumber, { op: 'remove-snapshot', name: 's' });
    const again = await cluster.lifecycle().create('c', {}, place);
    expect(again).toMatchObject({ number: 2, shard: 2, from: { shard: 1, volumeName: 'v' } });
    await expect(cluster.lifecycle().remove('v', true)).rejects.toMatchObject({ code: 'EBUSY' });
    await cluster.lifecycle().remove('c', true);
    await cluster.lifecycle().remove('v', true);
    expect(await cluster.problems()).toEqual([]);
  });
});
