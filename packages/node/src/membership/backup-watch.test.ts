import type { VolumeRecord } from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { BackupWatch } from './backup-watch.ts';

const HOUR_MS = 3_600_000;
const START = '2026-01-01T00:00:00.000Z';
const counts = { files: 3, bytes: 900, bytesRead: 40, bytesSent: 20, tookMs: 1_500 };
const backup = { id: 'ab'.repeat(32), at: START, repository: '/r', ...counts };

type Parts = Pick<VolumeRecord, 'lastBackup' | 'lastVerification'> & { periodMs?: number };

function volume(name: string, { periodMs, ...more }: Parts = {}): { record: VolumeRecord } {
  const policy = periodMs === undefined ? {} : { backupPeriodMs: periodMs };
  return { record: { name, policy, state: 'ready', createdAt: START, ...more } as VolumeRecord };
}

function bench(...volumes: readonly object[]) {
  const world = { nowMs: Date.parse(START), isLeader: true };
  const metrics = new Registry();
  const registry = {
    get isLeader() {
      return world.isLeader;
    },
    applied: () => ({ volumes }) as never,
  };
  const jobs = {
    ofVolume: ({ policy: { backupSchedule: schedule } }: VolumeRecord) =>
      schedule === undefined ? undefined : { schedule, failures: 0 },
  };
  const watch = new BackupWatch({ registry, jobs, metrics, now: () => world.nowMs });
  return { world, watch, metrics };
}

describe('the watch over backups', () => {
  it('finds a volume overdue once its period has passed since its last backup, or its beginning', () => {
    const { world, watch } = bench(
      volume('free'),
      volume('kept', { lastBackup: backup }),
      volume('new', { periodMs: 2 * HOUR_MS }),
      volume('db', { periodMs: HOUR_MS, lastBackup: backup }),
      { ...volume('going', { periodMs: 1 }), removal: { force: true } },
    );
    const overdue = (): string[] =>
      watch.status().flatMap(({ volume: name, isOverdue }) => (isOverdue ? [name] : []));
    world.nowMs += HOUR_MS;
    expect(watch.status().map(({ volume: name }) => name)).toEqual(['kept', 'new', 'db']);
    expect(overdue()).toEqual([]);
    world.nowMs += 1;
    expect(overdue()).toEqual(['db']);
    expect(watch.status()[0]).toEqual({
      volume: 'db',
      periodMs: HOUR_MS,
      last: backup,
      isOverdue: true,
    });
    world.nowMs += HOUR_MS;
    expect(overdue()).toEqual(['new', 'db']);
    world.isLeader = false;
    expect(watch.status()).toEqual([]);
  });

  it('takes the period of a schedule where none is said, from when that was set or the last one', () => {
    const daily = volume('daily', {});
    const policy = { backupSchedule: '0 0 * * *', backupRepository: 'r', backupKeep: 'last=3' };
    const backupRuns = { since: '2026-01-05T00:00:00.000Z', done: 0, failures: 0 };
    const record = { ...daily.record, policy, backupRuns } as unknown as VolumeRecord;
    const { world, watch } = bench({ record });
    world.nowMs = Date.parse(backupRuns.since) + 48 * HOUR_MS;
    expect(watch.status()).toMatchObject([
      { periodMs: 48 * HOUR_MS, repository: 'r', keep: 'last=3', isOverdue: false },
    ]);
    world.nowMs += 1;
    expect(watch.status()).toMatchObject([{ isOverdue: true }]);
    (record as { lastBackup?: object }).lastBackup = { ...backup, at: '2026-01-06T00:00:00.000Z' };
    expect(watch.status()).toMatchObject([{ isOverdue: false }]);
  });

  it('tells Prometheus of each volume, and of none where it does not lead', async () => {
    const lastVerification = { at: START, readShare: 0.5, problems: 2 };
    const { metrics, world } = bench(
      volume('db', { periodMs: HOUR_MS, lastBackup: backup, lastVerification }),
      volume('new', { periodMs: HOUR_MS }),
    );
    world.nowMs += 2 * HOUR_MS;
    const text = await metrics.metrics();
    const seconds = Date.parse(START) / 1_000;
    for (const line of [
      `last_success_timestamp_seconds{volume="db"} ${seconds}`,
      'last_success_timestamp_seconds{volume="new"} 0',
      'overdue{volume="db"} 1',
      'last_size_bytes{volume="db"} 900',
      'last_sent_bytes{volume="db"} 20',
      'last_duration_seconds{volume="db"} 1.5',
      `last_verification_timestamp_seconds{volume="db"} ${seconds}`,
      'last_verification_problems{volume="db"} 2',
    ])
      expect(text).toContain(`holdfast_backup_${line}\n`);
    expect(text).not.toContain('last_size_bytes{volume="new"}');
    world.isLeader = false;
    expect(await metrics.metrics()).not.toContain('volume=');
  });
});
