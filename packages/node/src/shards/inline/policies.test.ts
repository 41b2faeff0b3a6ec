import type { ShardId, VolumeNumber, VolumeRecord, VolumeState } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { VolumePolicies } from './policies.ts';

function volume(number: number, replicas: number, state: VolumeState = 'ready'): VolumeRecord {
  const quotas = { quotaBytes: 0, quotaInodes: 0 };
  return {
    name: `v${number}`,
    number: number as VolumeNumber,
    shard: 1 as ShardId,
    policy: { replicas, minReplicas: 1, ...quotas, uid: 0, gid: 0, mode: 0o755 },
    state,
    createdAt: '',
    attachedTo: [],
  };
}

function policiesOf() {
  const world = { ms: 0, asked: 0, volumes: [volume(1, 3)] };
  const policies = new VolumePolicies({
    nowMs: () => world.ms,
    list: () => {
      world.asked += 1;
      return Promise.resolve(world.volumes);
    },
  });
  const replicas = async (number: number) => (await policies.of(number as VolumeNumber))?.replicas;
  return { world, replicas };
}

describe('policies of volumes', () => {
  it('are asked for now and then', async () => {
    const { world, replicas } = policiesOf();
    expect(await replicas(1)).toBe(3);
    world.volumes = [volume(1, 2)];
    world.ms = 29_999;
    expect(await replicas(1)).toBe(3);
    world.ms = 30_000;
    expect(await replicas(1)).toBe(2);
    expect(world.asked).toBe(2);
  });

  it('are asked for again soon when a volume is not known yet', async () => {
    const { world, replicas } = policiesOf();
    expect(await replicas(2)).toBeUndefined();
    world.volumes = [volume(2, 1)];
    world.ms = 1_999;
    expect(await replicas(2)).toBeUndefined();
    world.ms = 2_000;
    expect(await replicas(2)).toBe(1);
  });

  it('are none of a volume that is being removed', async () => {
    const { world, replicas } = policiesOf();
    world.volumes = [volume(1, 3, 'removing')];
    expect(await replicas(1)).toBeUndefined();
  });
});
