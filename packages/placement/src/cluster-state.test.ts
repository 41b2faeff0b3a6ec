import {
  type ClusterMap,
  type NodeNumber,
  PARTITION_COUNT,
  type PartitionId,
  type PartitionPlacement,
  type ShardId,
  type VolumeNumber,
  type VolumePolicy,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange } from './cluster-commands.ts';
import { ClusterState } from './cluster-state.ts';
import { begun, facts, RegistryBench } from './testing/registry-bench.ts';

/** A placement with its peers in order of number: which stands first is the table's own affair. */
function holders(bench: RegistryBench, index: number): PartitionPlacement {
  const { replicas, previous } = bench.map.partitions[index] ?? { replicas: [] };
  const sorted = (nodes: readonly NodeNumber[]): NodeNumber[] => [...nodes].sort((a, b) => a - b);
  return {
    replicas: sorted(replicas),
    ...(previous === undefined ? {} : { previous: sorted(previous) }),
  };
}

function withNodes(count: number): RegistryBench {
  const bench = begun();
  for (const name of 'bcdefg'.slice(0, count - 1)) {
    const { node } = bench.do({ op: 'register-node', node: facts(name), serial: `${name}1` });
    bench.do({ op: 'set-node-state', node: node?.number ?? (0 as NodeNumber), state: 'up' });
  }
  return bench;
}

describe('the first entry', () => {
  it('makes peer 1, the shards and a whole table', () => {
    const { map } = begun();
    expect(map).toMatchObject({ clusterId: 'cc', epoch: 1 });
    expect(map.nodes.map((node) => [node.number, node.state])).toEqual([[1, 'up']]);
    expect(map.shards).toEqual([0, 1, 2].map((shard) => ({ shard, members: [1] })));
    expect(map.partitions).toHaveLength(PARTITION_COUNT);
    expect(map.partitions[77]).toEqual({ replicas: [1] });
  });

  it('again changes nothing, for another cluster is refused, and nothing goes before it', () => {
    const bench = begun();
    const again = {
      op: 'init-cluster',
      clusterId: 'cc',
      name: 'x',
      volumeShards: 2,
      node: facts('a'),
      serial: 'a1',
    } as const;
    expect(bench.do(again)).toMatchObject({ changed: false, node: { number: 1 } });
    expect(bench.try({ ...again, clusterId: 'dd' })).toMatchObject({
      ok: false,
      code: 'WRONG_CLUSTER',
    });
    expect(bench.map.epoch).toBe(1);
    expect(new RegistryBench().try({ op: 'create-volume', name: 'v', policy: {} })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
  });
});

describe('peers', () => {
  it('hold nothing until they first come up', () => {
    const bench = begun();
    const { node } = bench.do({ op: 'register-node', node: facts('b'), serial: 'b1' });
    expect(node).toMatchObject({ number: 2, state: 'out' });
    expect(bench.map.partitions[0]).toEqual({ replicas: [1] });
    bench.do({ op: 'set-node-state', node: 2 as NodeNumber, state: 'up' });
    expect(holders(bench, 0)).toEqual({ replicas: [1, 2], previous: [1] });
  });

  it('that repeat a join keep their number; a lost disk gives a new one and revokes the old certificates', () => {
    const bench = withNodes(2);
    expect(bench.do({ op: 'register-node', node: facts('b'), serial: 'b2' }).node).toMatchObject({
      number: 2,
      state: 'up',
    });
    const newDisk = { op: 'register-node', node: facts('b', 'other'), serial: 'b3' } as const;
    expect(bench.try(newDisk)).toMatchObject({ ok: false, code: 'CONFLICT' });
    bench.do({ op: 'set-node-state', node: 2 as NodeNumber, state: 'down' });
    expect(bench.do(newDisk).node).toMatchObject({ number: 3, state: 'out' });
    expect(bench.node(2)).toBeUndefined();
    expect(bench.map.revoked).toEqual(['b1', 'b2']);
    bench.do({ op: 'remove-node', node: 3 as NodeNumber, force: false });
    expect(bench.do({ op: 'register-node', node: facts('c'), serial: 'c1' }).node?.number).toBe(4);
  });

  it('down keep their data; out lose it to the others, who know where it was', () => {
    const bench = withNodes(3);
    bench.do({ op: 'set-node-state', node: 3 as NodeNumber, state: 'down' });
    expect(holders(bench, 5).replicas).toEqual([1, 2, 3]);
    bench.do({ op: 'set-node-state', node: 3 as NodeNumber, state: 'out', from: ['down'] });
    expect(bench.node(3)).toMatchObject({ state: 'out', weight: 0 });
    expect(holders(bench, 5).replicas).toEqual([1, 2]);
    expect(bench.map.partitions[5]?.previous).toContain(3);
    bench.do({ op: 'set-node-state', node: 3 as NodeNumber, state: 'up' });
    expect(bench.node(3)).toMatchObject({ state: 'up', weight: 1 });
    bench.do({ op: 'set-node-state', node: 3 as NodeNumber, state: 'out', from: ['down'] });
    expect(bench.node(3)?.state).toBe('up');
  });

  it('change their addresses only in their own incarnation', () => {
    const bench = begun();
    const change = {
      op: 'update-node',
      node: 1 as NodeNumber,
      changes: { wireAddress: 'a:9' },
    } as const;
    expect(bench.try({ ...change, incarnation: 'x' })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
    const { incarnation } = facts('a');
    expect(bench.do({ ...change, incarnation })).toMatchObject({ changed: true });
    expect(bench.node(1)?.wireAddress).toBe('a:9');
    const { epoch } = bench.map;
    expect(bench.do({ ...change, incarnation })).toMatchObject({ changed: false });
    expect(bench.map.epoch).toBe(epoch);
  });

  it('with wrong names or addresses are refused', () => {
    const bench = begun();
    for (const wrong of [
      { name: '' },
      { name: 'a/b' },
      { zone: '-' },
      { wireAddress: 'x' },
      { weight: Number.NaN },
    ]) {
      const result = bench.try({
        op: 'register-node',
        node: { ...facts('b'), ...wrong },
        serial: 's',
      });
      expect(result).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    }
    expect(bench.map.nodes).toHaveLength(1);
  });

  it('cannot be removed while up or when last', () => {
    const bench = withNodes(2);
    expect(bench.try({ op: 'remove-node', node: 2 as NodeNumber, force: false })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
    bench.do({ op: 'remove-node', node: 2 as NodeNumber, force: true });
    expect(bench.map.revoked).toEqual(['b1']);
    expect(bench.try({ op: 'remove-node', node: 1 as NodeNumber, force: true })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
  });
});

describe('partitions', () => {
  const synced = (node: number, epoch: number, ...partitions: number[]): RegistryChange => ({
    op: 'partitions-synced',
    node: node as NodeNumber,
    epoch: epoch as ClusterMap['epoch'],
    partitions: partitions as PartitionId[],
  });

  it('forget their previous replicas when all present ones have everything', () => {
    const bench = withNodes(2);
    const { epoch } = bench.map;
    bench.do(synced(2, epoch, 8, 9));
    expect(bench.map.epoch).toBe(epoch);
    expect(holders(bench, 8).previous).toEqual([1]);
    bench.do(synced(1, epoch, 8));
    expect(bench.map.epoch).toBe(epoch + 1);
    expect(holders(bench, 8)).toEqual({ replicas: [1, 2] });
    expect(bench.map.partitions[9]?.previous).toEqual([1]);
    expect(bench.state.movingPartitions).toBe(PARTITION_COUNT - 1);
  });

  it('that moved since a report pass it over, and remember all who may still hold bytes', () => {
    const bench = withNodes(2);
    const before = bench.map.epoch;
    bench.do({ op: 'register-node', node: facts('c'), serial: 'c1' });
    bench.do({ op: 'set-node-state', node: 3 as NodeNumber, state: 'up' });
    expect(holders(bench, 8)).toEqual({ replicas: [1, 2, 3], previous: [1, 2] });
    for (const node of [1, 2, 3]) bench.do(synced(node, before, 8));
    expect(holders(bench, 8).previous).toEqual([1, 2]);
    for (const node of [1, 2, 3]) bench.do(synced(node, bench.map.epoch, 8));
    expect(holders(bench, 8)).toEqual({ replicas: [1, 2, 3] });
  });
});

describe('volumes', () => {
  const create = (name: string, policy: Partial<VolumePolicy> = {}): RegistryChange => ({
    op: 'create-volume',
    name,
    policy,
  });

  it('are spread over the volume shards and numbered for ever', () => {
    const bench = begun();
    const made = ['v1', 'v2', 'v3'].map((name) => bench.do(create(name)).volume);
    expect(made.map((volume) => [volume?.number, volume?.shard])).toEqual([
      [1, 1],
      [2, 2],
      [3, 1],
    ]);
    expect(made[0]).toMatchObject({ state: 'creating', policy: { replicas: 3, minReplicas: 2 } });
    expect(bench.map.epoch).toBe(1);
  });

  it('are made once: the same options again are a success, others a conflict', () => {
    const bench = begun();
    expect(bench.do(create('v', { replicas: 2 }))).toMatchObject({
      changed: true,
      volume: { policy: { minReplicas: 2 } },
    });
    expect(bench.do(create('v', { replicas: 2, minReplicas: 2 }))).toMatchObject({
      changed: false,
      volume: { number: 1 },
    });
    expect(bench.try(create('v'))).toMatchObject({ ok: false, code: 'CONFLICT' });
  });

  it.each([
    ['', 'EINVAL'],
    ['..', 'EINVAL'],
    ['a/b', 'EINVAL'],
    ['a b', 'EINVAL'],
    ['ä', 'EINVAL'],
    ['x'.repeat(256), 'ENAMETOOLONG'],
  ])('with the name %j are refused with %s', (name, code) => {
    expect(begun().try(create(name))).toMatchObject({ ok: false, code });
  });

  it.each([
    { replicas: 0 },
    { replicas: 8 },
    { replicas: 2, minReplicas: 3 },
    { mode: 0o10000 },
    { quotaBytes: -1 },
    { uid: 1.5 },
  ])('with the options %j are refused', (policy) => {
    const bench = begun();
    expect(bench.try(create('v', policy))).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    expect(bench.state.volumeNamed('v')).toBeUndefined();
  });

  it('go through creating, ready, removing and away, step by step and each step twice', () => {
    const bench = begun();
    bench.do(create('v'));
    const volume = 1 as VolumeNumber;
    expect(bench.try({ op: 'begin-remove', name: 'v', force: false })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
    for (const changed of [true, false])
      expect(bench.do({ op: 'volume-ready', volume }).changed).toBe(changed);
    for (const changed of [true, false])
      expect(bench.do({ op: 'begin-remove', name: 'v', force: false }).changed).toBe(changed);
    expect(bench.state.volume(volume)?.state).toBe('ready');
    expect(bench.try({ op: 'attach', name: 'v', host: 'h' })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
    expect(bench.try({ op: 'finish-remove', volume })).toMatchObject({
      ok: false,
      code: 'CONFLICT',
    });
    for (const changed of [true, false])
      expect(bench.do({ op: 'cancel-remove', volume }).changed).toBe(changed);
    bench.do({ op: 'begin-remove', name: 'v', force: true });
    for (const changed of [true, false])
      expect(bench.do({ op: 'volume-destroyed', volume }).changed).toBe(changed);
    expect(bench.state.volume(volume)?.state).toBe('removing');
    expect(bench.state.volumeNamed('v')).toBeUndefined();
    expect(bench.do(create('v')).volume?.number).toBe(2);
    for (const changed of [true, false])
      expect(bench.do({ op: 'finish-remove', volume }).changed).toBe(changed);
    expect(bench.state.volumeNamed('v')?.record.number).toBe(2);
  });

  it('in use on a host cannot be removed', () => {
    const bench = begun();
    bench.do(create('v'));
    bench.do({ op: 'volume-ready', volume: 1 as VolumeNumber });
    for (const host of ['h2', 'h1', 'h1']) bench.do({ op: 'attach', name: 'v', host });
    const refused = bench.try({ op: 'begin-remove', name: 'v', force: true });
    expect(refused).toMatchObject({
      ok: false,
      code: 'CONFLICT',
      detail: { attachedTo: ['h1', 'h2'] },
    });
    for (const host of ['h1', 'h2', 'h2']) bench.do({ op: 'detach', name: 'v', host });
    expect(bench.do({ op: 'begin-remove', name: 'v', force: true }).changed).toBe(true);
  });

  it('that want more replicas than any before widen the table', () => {
    const bench = withNodes(5);
    expect(bench.map.partitions[3]?.replicas).toHaveLength(3);
    const { epoch } = bench.map;
    bench.do(create('v', { replicas: 5 }));
    expect(bench.map.epoch).toBe(epoch + 1);
    expect(bench.map.partitions[3]?.replicas).toHaveLength(5);
  });

  it('take a new policy as a whole or not at all', () => {
    const bench = begun();
    bench.do(create('v', { replicas: 3, quotaBytes: 10 }));
    expect(
      bench.do({ op: 'set-policy', name: 'v', policy: { quotaBytes: 20 } }).volume?.policy,
    ).toMatchObject({ replicas: 3, minReplicas: 2, quotaBytes: 20 });
    expect(bench.try({ op: 'set-policy', name: 'v', policy: { replicas: 99 } })).toMatchObject({
      ok: false,
      code: 'BAD_REQUEST',
    });
    expect(bench.try({ op: 'set-policy', name: 'w', policy: {} })).toMatchObject({
      ok: false,
      code: 'NOT_FOUND',
    });
  });
});

describe('tokens, certificates and shards', () => {
  it('are kept, revoked and refused', () => {
    const bench = begun();
    const token = { id: 't', role: 'client', secretDigest: 'd', expiresAt: '' } as const;
    expect(bench.do({ op: 'create-token', token }).token).toMatchObject({
      revoked: false,
      createdAt: '2026-01-01T00:00:00.000Z',
    });
    expect(bench.try({ op: 'create-token', token })).toMatchObject({ ok: false, code: 'EEXIST' });
    for (const changed of [true, false])
      expect(bench.do({ op: 'revoke-token', id: 't' }).changed).toBe(changed);
    expect(bench.state.token('t')?.revoked).toBe(true);
    expect(bench.try({ op: 'revoke-token', id: 'u' })).toMatchObject({
      ok: false,
      code: 'NOT_FOUND',
    });
    const { epoch } = bench.map;
    for (const changed of [true, false])
      expect(bench.do({ op: 'revoke-certificate', serial: 'ff' }).changed).toBe(changed);
    expect(bench.map).toMatchObject({ epoch: epoch + 1, revoked: ['ff'] });
    expect(bench.try({ op: 'revoke-certificate', serial: 'FF' })).toMatchObject({
      ok: false,
      code: 'BAD_REQUEST',
    });
  });

  it('of shards name existing peers', () => {
    const bench = withNodes(3);
    const change = { op: 'set-shard-members', shard: 1 as ShardId } as const;
    expect(bench.try({ ...change, members: [9] as NodeNumber[] })).toMatchObject({
      ok: false,
      code: 'NOT_FOUND',
    });
    expect(bench.try({ ...change, members: [] })).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    bench.do({ ...change, members: [1, 2, 3] as NodeNumber[] });
    expect(bench.map.shards[1]?.members).toEqual([1, 2, 3]);
  });
});

describe('the state', () => {
  it('answers a repeated command as it did the first time', () => {
    const bench = begun();
    const change: RegistryChange = { op: 'create-volume', name: 'v', policy: {} };
    const first = bench.try(change, 'same');
    bench.do({ op: 'volume-ready', volume: 1 as VolumeNumber });
    expect(bench.try(change, 'same')).toEqual(first);
  });

  it('refuses what a newer version says, alike on every replica', () => {
    const bench = begun();
    expect(bench.try({ op: 'dance' } as never)).toMatchObject({ ok: false, code: 'ENOSYS' });
    const newer = { v: 2, id: 'n', time: '', change: { op: 'dance' } } as never;
    expect(bench.state.apply(newer)).toMatchObject({ ok: false, code: 'NEWER_FORMAT' });
  });

  it('comes back whole from its records, and from the changes of each step', () => {
    const bench = withNodes(3);
    const disk = new Map<string, Uint8Array>();
    const keep = (): void => {
      for (const { key, value } of bench.state.takeChanges()) {
        if (value === undefined) disk.delete(key);
        else disk.set(key, value);
      }
    };
    keep();
    bench.do({ op: 'create-volume', name: 'v', policy: {} });
    bench.do({ op: 'create-volume', name: 'w', policy: {} });
    bench.do({
      op: 'create-token',
      token: { id: 't', role: 'node', secretDigest: 'd', expiresAt: '' },
    });
    keep();
    bench.do({ op: 'volume-ready', volume: 1 as VolumeNumber });
    bench.do({ op: 'begin-remove', name: 'v', force: true });
    bench.do({ op: 'volume-destroyed', volume: 1 as VolumeNumber });
    bench.do({ op: 'finish-remove', volume: 1 as VolumeNumber });
    bench.do({ op: 'remove-node', node: 3 as NodeNumber, force: true });
    keep();
    const restored = new ClusterState();
    for (const [key, value] of disk) restored.load(key, value);
    expect(restored.all()).toEqual(bench.state.all());
    expect(new Set(disk.keys())).toEqual(new Set(bench.state.all().map(({ key }) => key)));
    expect(restored.map).toEqual(bench.state.map);
    expect([...restored.volumes].map(({ record }) => record.name)).toEqual(['w']);
    expect(bench.state.takeChanges()).toEqual([]);
  });
});
