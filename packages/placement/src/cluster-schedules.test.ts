import {
  encode,
  type VolumeNumber,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange, RegistryResult } from './cluster-commands.ts';
import { ClusterState } from './cluster-state.ts';

const HOURLY = { snapshotSchedule: '0 * * * *', snapshotKeep: 'hourly=24' };
const V = 1 as VolumeNumber;

class Bench {
  state = new ClusterState();
  /** Hour of the day that the next command is given. */
  hour = 0;
  #next = 0;

  constructor() {
    const addresses = { grpcAddress: 'a:1', wireAddress: 'a:2', adminAddress: 'a:3' };
    const incarnation = '0'.repeat(32);
    const names = { name: 'a', zone: 'a', discoveryAddress: '' };
    const node = { ...names, ...addresses, weight: 1, incarnation };
    this.try({ op: 'init-cluster', clusterId: 'c', name: 't', volumeShards: 1, node, serial: '1' });
  }

  try(change: RegistryChange): RegistryResult {
    return this.state.apply({ v: 1, id: `c${this.#next++}`, time: this.at(this.hour), change });
  }

  at(hour: number): string {
    return `2026-01-01T${String(hour).padStart(2, '0')}:00:00.000Z`;
  }

  create(policy: Partial<VolumePolicy>, name = 'v'): RegistryResult {
    return this.try({ op: 'create-volume', name, policy });
  }

  set(policy: Partial<VolumePolicy>): RegistryResult {
    return this.try({ op: 'set-policy', name: 'v', policy });
  }

  note(dueHour: number, schedule = HOURLY.snapshotSchedule): RegistryResult {
    const due = this.at(dueHour);
    return this.try({ op: 'note-snapshot-run', volume: V, schedule, due, snapshot: `s${dueHour}` });
  }

  get volume(): VolumeRecord | undefined {
    return this.state.volume(V);
  }
}

describe('the snapshot schedule of a volume', () => {
  it('begins when it is set, and is noted run by run, never backwards', () => {
    const bench = new Bench();
    bench.hour = 1;
    bench.create(HOURLY);
    expect(bench.volume).toMatchObject({ policy: HOURLY, snapshotRuns: { since: bench.at(1) } });
    for (const [due, changed] of [
      [1, false],
      [3, true],
      [3, false],
      [2, false],
    ] as const)
      expect(bench.note(due)).toMatchObject({ ok: true, answer: { changed } });
    expect(bench.volume?.snapshotRuns).toEqual({
      since: bench.at(1),
      due: bench.at(3),
      made: 's3',
      madeAt: bench.at(1),
    });
    expect(bench.note(4, '* * * * *')).toMatchObject({ answer: { changed: false } });
  });

  it('begins anew when it is changed, not when only what it keeps is', () => {
    const bench = new Bench();
    bench.create(HOURLY);
    bench.note(3);
    bench.hour = 5;
    bench.set({ snapshotKeep: 'daily=7' });
    expect(bench.volume).toMatchObject({
      policy: { snapshotSchedule: '0 * * * *', snapshotKeep: 'daily=7' },
      snapshotRuns: { since: bench.at(0), due: bench.at(3) },
    });
    bench.set({ snapshotSchedule: '0 0 * * *' });
    expect(bench.volume?.policy).toMatchObject({ snapshotKeep: 'daily=7' });
    expect(bench.volume?.snapshotRuns).toEqual({
      since: bench.at(5),
      made: 's3',
      madeAt: bench.at(0),
    });
  });

  it('is taken away with what it keeps', () => {
    const bench = new Bench();
    bench.create(HOURLY);
    bench.set({ snapshotSchedule: '' });
    expect(bench.volume).not.toHaveProperty('snapshotRuns');
    expect(bench.volume?.policy).not.toHaveProperty('snapshotSchedule');
    expect(bench.volume?.policy).not.toHaveProperty('snapshotKeep');
    expect(bench.note(3)).toMatchObject({ answer: { changed: false } });
  });

  it('keeps a sensible number when nobody says how many, and is refused when it keeps none', () => {
    const bench = new Bench();
    bench.create({ snapshotSchedule: '0 * * * *' });
    expect(bench.volume?.policy.snapshotKeep).toBe('hourly=24,daily=7,weekly=4,monthly=12');
    for (const policy of [{ snapshotKeep: '' }, { snapshotSchedule: 'x'.repeat(300) }])
      expect(bench.set(policy)).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    expect(bench.create({ snapshotKeep: 'daily=1' }, 'w')).toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringMatching(/together with a snapshot schedule/),
    });
  });

  it('is no reason to refuse a volume that is made again, but for another schedule', () => {
    const bench = new Bench();
    bench.create({});
    bench.set(HOURLY);
    const { snapshotSchedule, snapshotKeep } = HOURLY;
    const [schedule, keep] = [{ snapshotSchedule }, { snapshotKeep }];
    for (const policy of [{}, HOURLY, schedule, keep])
      expect(bench.create(policy)).toMatchObject({ ok: true, answer: { changed: false } });
    const other = { snapshotKeep: 'daily=7' };
    for (const policy of [{ snapshotSchedule: '1 * * * *' }, other, { replicas: 2 }])
      expect(bench.create(policy)).toMatchObject({ ok: false, code: 'CONFLICT' });
  });

  it('is absent from records of before there were any, which are read and given one', () => {
    const bench = new Bench();
    bench.create({});
    // As they were written: no key of the schedule at all.
    const [old] = bench.state.all().filter(({ key }) => key === 'volume/1');
    const { record } = { record: bench.volume };
    expect(old?.value).toEqual(encode({ record }));
    expect(Object.keys(record?.policy ?? {})).not.toContain('snapshotSchedule');
    const loaded = new ClusterState();
    for (const { key, value } of bench.state.all())
      if (value !== undefined) loaded.load(key, value);
    bench.state = loaded;
    bench.hour = 2;
    expect(bench.set(HOURLY)).toMatchObject({ ok: true });
    expect(bench.volume?.snapshotRuns).toEqual({ since: bench.at(2) });
  });
});
