import type { ShardId, VolumeNumber, VolumePolicy } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange } from './cluster-commands.ts';
import { begun, type RegistryBench } from './testing/registry-bench.ts';

const create = (name: string, policy: Partial<VolumePolicy> = {}): RegistryChange => ({
  op: 'create-volume',
  name,
  policy,
});

describe('volumes that are clones', () => {
  const from = { volume: 1 as VolumeNumber, snapshot: 's', generation: 3 };
  const clone = (name: string, policy: Partial<VolumePolicy> = {}): RegistryChange => ({
    op: 'create-volume',
    name,
    policy,
    from,
  });
  const family = (): RegistryBench => {
    const bench = begun();
    bench.do(create('base', { replicas: 2, quotaBytes: 5, uid: 7 }));
    bench.do({ op: 'volume-ready', volume: 1 as VolumeNumber });
    return bench;
  };

  it('lie with the volume that they come from and are kept like it but for what is asked', () => {
    const bench = family();
    for (let i = 2; i < 5; i++) bench.do(create(`v${i}`));
    expect(bench.do(clone('c', { quotaBytes: 9 })).volume).toMatchObject({
      shard: 1,
      state: 'creating',
      policy: { replicas: 2, quotaBytes: 9, uid: 7 },
      from: { ...from, volumeName: 'base' },
    });
    expect(bench.try(clone('d', { uid: 8 }))).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
  });

  it('are made once, and are not the same as volumes of that name', () => {
    const bench = family();
    bench.do(clone('c'));
    bench.do({ op: 'set-policy', name: 'base', policy: { quotaBytes: 6 } });
    expect(bench.do(clone('c'))).toMatchObject({ changed: false, volume: { number: 2 } });
    expect(bench.try(create('c', { replicas: 2 }))).toMatchObject({
      code: 'CONFLICT',
      message: "volume 'c' exists, as a clone of base@s",
    });
    expect(bench.try(clone('base'))).toMatchObject({ code: 'CONFLICT' });
  });

  it('keep the volume that they come from, and are not made while that is removed', () => {
    const bench = family();
    bench.do(clone('c'));
    const removal = { op: 'begin-remove', name: 'base', force: true } as const;
    expect(bench.try(removal)).toMatchObject({
      ok: false,
      code: 'EBUSY',
      message: expect.stringMatching(/remove them first \(c\)/),
    });
    bench.do({ op: 'cancel-create', volume: 2 as VolumeNumber });
    bench.do(removal);
    expect(bench.try(clone('d'))).toMatchObject({ code: 'CONFLICT' });
  });

  it('are given up only before they are ready', () => {
    const bench = family();
    bench.do(clone('c'));
    const cancel = { op: 'cancel-create', volume: 2 as VolumeNumber } as const;
    expect(bench.do(cancel).volume).toMatchObject({ state: 'removing' });
    expect(bench.do({ op: 'volume-ready', volume: 2 as VolumeNumber })).toMatchObject({
      changed: false,
      volume: { state: 'removing' },
    });
    expect(bench.state.volumeNamed('c')).toBeUndefined();
    bench.do({ op: 'finish-remove', volume: 2 as VolumeNumber });
    expect(bench.do(cancel)).toEqual({ changed: false });
    bench.do(clone('c'));
    bench.do({ op: 'volume-ready', volume: 3 as VolumeNumber });
    expect(bench.do({ ...cancel, volume: 3 as VolumeNumber }).volume?.state).toBe('ready');
  });

  it('do not inherit the schedule, and are made again with what their parent had then', () => {
    const bench = family();
    const base = { name: 'base', op: 'set-policy' } as const;
    bench.do({ ...base, policy: { snapshotSchedule: '0 * * * *' } });
    const made = bench.do(clone('c')).volume;
    expect(made?.policy).not.toHaveProperty('snapshotSchedule');
    bench.do({ ...base, policy: { quotaBytes: 77 } });
    expect(bench.do(clone('c'))).toMatchObject({ changed: false, volume: { number: 2 } });
  });

  it('lie in the shard that is asked for, and then name that of their snapshot', () => {
    const bench = family();
    const afar = { ...clone('c'), shard: 2 as ShardId } as RegistryChange;
    expect(bench.do(afar).volume).toMatchObject({ shard: 2, from: { ...from, shard: 1 } });
    expect(bench.do(afar)).toMatchObject({ changed: false });
    expect(bench.try({ ...clone('c'), shard: 1 as ShardId } as RegistryChange)).toMatchObject({
      code: 'CONFLICT',
      message: "volume 'c' exists, in shard 2",
    });
    expect(bench.try({ ...clone('d'), shard: 3 as ShardId } as RegistryChange)).toMatchObject({
      code: 'BAD_REQUEST',
      message: 'there is no volume shard 3: there are 1, 2',
    });
    const plain = { ...create('e'), shard: 2 as ShardId } as RegistryChange;
    expect(bench.do(plain).volume).toMatchObject({ shard: 2 });
  });

  it('go elsewhere when the shard of their snapshot has very many more volumes', () => {
    const bench = family();
    const shards: (number | undefined)[] = [];
    for (let i = 0; i < 20; i++) shards.push(bench.do(clone(`c${i}`)).volume?.shard);
    // One above 2 * 0 + 16: the base itself is in shard 1; then above 2 * 1 + 16, and so on.
    expect(shards).toEqual([...Array(16).fill(1), 2, 1, 1, 2]);
  });

  it('keep a snapshot elsewhere until the registry has forgotten them', () => {
    const bench = family();
    bench.do({ ...clone('c'), shard: 2 as ShardId } as RegistryChange);
    bench.do({ op: 'cancel-create', volume: 2 as VolumeNumber });
    const removal = { op: 'begin-remove', name: 'base', force: true } as const;
    expect(bench.try(removal)).toMatchObject({ ok: false, code: 'EBUSY' });
    bench.do({ op: 'finish-remove', volume: 2 as VolumeNumber });
    bench.do(removal);
  });
});
