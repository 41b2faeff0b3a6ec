import { Counter, Gauge, type Registry } from 'prom-client';
import type { JobStatus, RepositoryStatus } from './backup-jobs.ts';

/** Volumes and repositories told of one by one: a scrape must not grow without bound. */
const SHOWN_MAX = 1_000;

/** Where the values come from: empty but on the leader of the system shard. */
export interface BackupJobSources {
  readonly volumes: () => readonly { readonly volume: string; readonly status: JobStatus }[];
  readonly repositories: () => readonly RepositoryStatus[];
}

/** Seconds since the epoch of a time in ISO 8601; 0: there was none. */
function secondsOf(time: string | undefined): number {
  return time === undefined ? 0 : Date.parse(time) / 1_000;
}

/** Metrics of backups, prunes and verifications by schedule. */
export class BackupJobMetrics {
  readonly runs: Counter<'kind'>;
  readonly failures: Counter<'kind'>;
  readonly silenced: Counter;

  constructor(registry: Registry, { volumes, repositories }: BackupJobSources) {
    const registers = [registry];
    const name = (rest: string): string => `holdfast_backup_${rest}`;
    const labelNames = ['kind'] as const;
    this.runs = new Counter({
      name: name('runs_total'),
      help: 'Runs of schedules that were done, by kind (backup, prune, verify), told to this peer as the leader',
      labelNames,
      registers,
    });
    this.failures = new Counter({
      name: name('run_failures_total'),
      help: 'Tries of such runs that failed; they are tried again',
      labelNames,
      registers,
    });
    this.silenced = new Counter({
      name: name('silent_workers_total'),
      help: 'Runs taken from workers that fell silent, for others to do',
      registers,
    });
    observeVolumes(registry, volumes);
    observeRepositories(registry, repositories);
  }
}

function observeVolumes(registry: Registry, volumes: BackupJobSources['volumes']): void {
  const ofVolumes = (what: string, help: string, value: (status: JobStatus) => number): void => {
    new Gauge({
      name: `holdfast_backup_${what}`,
      help: `${help}; from the leader of the system shard`,
      labelNames: ['volume'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { volume, status } of volumes().slice(0, SHOWN_MAX))
          this.set({ volume }, value(status));
      },
    });
  };
  ofVolumes('running', '1 while the scheduled backup of a volume runs', ({ running }) =>
    running === undefined ? 0 : 1,
  );
  ofVolumes(
    'failures',
    'Tries of it that failed since the last that was done',
    (status) => status.failures,
  );
  ofVolumes(
    'next_due_timestamp_seconds',
    'When it is due next, in the past while it waits for a worker, 0: never',
    ({ nextAt }) => secondsOf(nextAt),
  );
}

function observeRepositories(
  registry: Registry,
  repositories: BackupJobSources['repositories'],
): void {
  const ofRepositories = (
    what: string,
    help: string,
    value: (status: RepositoryStatus) => number | undefined,
  ): void => {
    new Gauge({
      name: `holdfast_backup_repository_${what}`,
      help: `${help}; from the leader of the system shard`,
      labelNames: ['repository'],
      registers: [registry],
      collect() {
        this.reset();
        for (const one of repositories().slice(0, SHOWN_MAX)) {
          const known = value(one);
          if (known !== undefined) this.set({ repository: one.name }, known);
        }
      },
    });
  };
  ofRepositories(
    'last_prune_timestamp_seconds',
    'When a repository was last pruned by its schedule, 0: never',
    ({ prune }) => (prune === undefined ? undefined : secondsOf(prune.doneAt)),
  );
  ofRepositories(
    'last_verification_timestamp_seconds',
    'When a repository was last verified by its schedule, 0: never',
    ({ verify }) => (verify === undefined ? undefined : secondsOf(verify.doneAt)),
  );
  ofRepositories(
    'problems',
    'Problems that the last verification by schedule found',
    ({ verification }) => verification?.problems,
  );
  ofRepositories(
    'failures',
    'Tries of prune and verification that failed since the last that were done',
    ({ prune, verify }) =>
      prune === undefined && verify === undefined
        ? undefined
        : (prune?.failures ?? 0) + (verify?.failures ?? 0),
  );
}
