import type { ShardId, VolumeNumber, VolumeRecord } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { linesOf, scheduleText } from './snapshot-schedule.ts';

const counts = {
  replicas: 3,
  minReplicas: 2,
  quotaBytes: 0,
  quotaInodes: 0,
  uid: 0,
  gid: 0,
  mode: 0,
};
const volume: VolumeRecord = {
  number: 1 as VolumeNumber,
  name: 'db',
  shard: 1 as ShardId,
  state: 'ready',
  createdAt: '',
  attachedTo: [],
  policy: { ...counts, snapshotSchedule: '0 * * * *', snapshotKeep: 'hourly=24' },
  snapshotRuns: {
    since: '2026-11-23T18:00:00.000Z',
    due: '2026-11-23T20:00:00.000Z',
    made: 'auto-2026-11-23T20-00Z',
    madeAt: '2026-11-23T20:00:01.000Z',
  },
};

describe('the schedule of a volume, for people', () => {
  it('tells when, what stays, what was last and what is next', () => {
    expect(linesOf(volume, Date.parse('2026-11-23T20:30:00Z'))).toEqual([
      'schedule:  0 * * * * (UTC), since 2026-11-23T18:00:00.000Z',
      'keeps:     hourly=24',
      'last:      @auto-2026-11-23T20-00Z, made at 2026-11-23T20:00:01.000Z',
      'next due:  2026-11-23T21:00:00.000Z',
    ]);
    expect(scheduleText(volume)).toBe(
      "snapshots at '0 * * * *' UTC, keeps hourly=24; last @auto-2026-11-23T20-00Z",
    );
  });

  it('says so when there is none, or none was made yet', () => {
    const { snapshotRuns: _, ...plain } = volume;
    expect(linesOf({ ...plain, policy: counts }, 0)).toEqual(['db has no snapshot schedule']);
    expect(scheduleText({ ...volume, snapshotRuns: { since: '' } })).toMatch(/none yet$/);
  });
});
