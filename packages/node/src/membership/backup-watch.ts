/** How old the last good backup of each volume is, as the registry knows it. */
import type { LastBackup, LastVerification, VolumeRecord } from '@holdfast/protocol';
import { periodOf, Schedule } from '@holdfast/schedule';
import { Gauge, type Registry as MetricsRegistry } from 'prom-client';
import type { BackupJobs, JobStatus } from './backup-jobs.ts';
import type { Registry } from './registry.ts';

/** Volumes told of one by one: a scrape must not grow without bound. */
const VOLUMES_MAX = 1_000;

/** What is known of a volume's backups. Times are ISO 8601. */
export interface BackupStatus {
  readonly volume: string;
  /** Within which a backup has to succeed, said or following from the schedule; absent: nobody waits for one. */
  readonly periodMs?: number;
  /** Name of the repository that scheduled ones go into, which of them stay, and how far the schedule is. */
  readonly repository?: string;
  readonly keep?: string;
  readonly job?: JobStatus;
  readonly last?: LastBackup;
  readonly verification?: LastVerification;
  /** No backup of a moment within the period is known. */
  readonly isOverdue: boolean;
}

/** What {@link BackupWatch} works with. */
export interface BackupWatchOptions {
  readonly registry: Pick<Registry, 'isLeader' | 'applied'>;
  readonly jobs: Pick<BackupJobs, 'ofVolume'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where metrics are registered. */
  readonly metrics: MetricsRegistry;
}

/** Runs on every peer; tells only where the system shard is led. */
export class BackupWatch {
  readonly #options: BackupWatchOptions;

  constructor(options: BackupWatchOptions) {
    this.#options = options;
    const gauge = (
      name: string,
      help: string,
      value: (one: BackupStatus) => number | undefined,
    ): void => {
      const statuses = (): readonly BackupStatus[] => this.status().slice(0, VOLUMES_MAX);
      new Gauge({
        name: `holdfast_backup_${name}`,
        help: `${help}; from the leader of the system shard`,
        labelNames: ['volume'],
        registers: [options.metrics],
        collect() {
          this.reset();
          for (const one of statuses()) {
            const known = value(one);
            if (known !== undefined) this.set({ volume: one.volume }, known);
          }
        },
      });
    };
    gauge(
      'last_success_timestamp_seconds',
      'The moment whose content the last good backup of a volume has, 0: there is none',
      ({ last }) => (last === undefined ? 0 : Date.parse(last.at) / 1_000),
    );
    gauge(
      'overdue',
      '1 while a volume has no backup that is younger than its period, 0 while it has, or no period',
      ({ isOverdue }) => (isOverdue ? 1 : 0),
    );
    gauge(
      'last_size_bytes',
      'Bytes of all files in the last good backup',
      ({ last }) => last?.bytes,
    );
    gauge('last_sent_bytes', 'Bytes that it sent to its repository', ({ last }) => last?.bytesSent);
    gauge('last_duration_seconds', 'How long it took', ({ last }) =>
      last === undefined ? undefined : last.tookMs / 1_000,
    );
    gauge(
      'last_verification_timestamp_seconds',
      'When its repository was last verified',
      ({ verification }) =>
        verification === undefined ? undefined : Date.parse(verification.at) / 1_000,
    );
    gauge(
      'last_verification_problems',
      'Problems that this found',
      ({ verification }) => verification?.problems,
    );
  }

  /** All volumes that have a backup or should, overdue ones first; none where the system shard is not led. */
  status(): readonly BackupStatus[] {
    const { registry, now, jobs } = this.#options;
    if (!registry.isLeader) return [];
    const nowMs = now();
    const all = [...registry.applied().volumes].flatMap(({ record, removal }) =>
      record.state === 'ready' && removal === undefined
        ? statusOf(record, jobs.ofVolume(record), nowMs)
        : [],
    );
    return all.sort((a, b) => Number(b.isOverdue) - Number(a.isOverdue));
  }
}

/** The period that is said, or else that of the schedule. */
function periodOfVolume(
  { policy }: VolumeRecord,
  job: JobStatus | undefined,
  nowMs: number,
): number | undefined {
  if (policy.backupPeriodMs !== undefined || job === undefined) return policy.backupPeriodMs;
  return periodOf(Schedule.parse(job.schedule), nowMs);
}

/** `nowMs`: milliseconds since the epoch. Empty for a volume that has no backup, and of which none is expected. */
function statusOf(volume: VolumeRecord, job: JobStatus | undefined, nowMs: number): BackupStatus[] {
  const { name, policy, lastBackup: last, lastVerification: verification } = volume;
  const { backupRepository: repository, backupKeep: keep } = policy;
  const periodMs = periodOfVolume(volume, job, nowMs);
  if (last === undefined && periodMs === undefined) return [];
  const begun = [volume.createdAt, volume.backupRuns?.since ?? ''].sort().at(-1) ?? '';
  // A period that follows from the schedule begins with it; one that is said with the volume.
  const first = policy.backupPeriodMs === undefined ? begun : volume.createdAt;
  const since = Date.parse(last?.at ?? first);
  return [
    {
      volume: name,
      ...(periodMs !== undefined && { periodMs }),
      ...(repository !== undefined && { repository }),
      ...(keep !== undefined && { keep }),
      ...(job !== undefined && { job }),
      ...(last !== undefined && { last }),
      ...(verification !== undefined && { verification }),
      isOverdue: periodMs !== undefined && nowMs - since > periodMs,
    },
  ];
}
