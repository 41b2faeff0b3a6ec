/** Work on repositories of backups that schedules ask for. */
import type { VolumeRecord } from './cluster.ts';
import type { VolumeNumber } from './ids.ts';
import type { RepositoryAccess } from './repositories.ts';

/** Which job: a volume's backup, or the upkeep of a repository. */
export type JobName =
  | { readonly kind: 'backup'; readonly volume: VolumeNumber }
  | { readonly kind: 'prune' | 'verify'; readonly repository: string };

/** A job as text, one for each: `backup/7`, `prune/nightly`. */
export function jobKey(job: JobName): string {
  return `${job.kind}/${job.kind === 'backup' ? job.volume : job.repository}`;
}

/** A worker has a job: nobody else runs it until it is done, given back, or the worker falls silent. */
export interface JobClaim {
  /** When the run was due, ISO 8601: what the run is known by. */
  readonly due: string;
  /** Chosen at random by each worker process. */
  readonly worker: string;
  /** Name of its host. */
  readonly host: string;
  /** ISO 8601. */
  readonly since: string;
}

/** How far a job's schedule is. Times are ISO 8601. */
export interface JobRuns {
  /** When the schedule was set: what was due before is not made up. */
  readonly since: string;
  /** The newest time that was due whose run is done; absent before the first. */
  readonly due?: string;
  /** When the last run was done, by an earlier schedule too, and how many were. */
  readonly doneAt?: string;
  readonly done: number;
  /** When someone last asked for a run at once. */
  readonly askedAt?: string;
  readonly claim?: JobClaim;
  /** Tries that failed since the last run that was done; when and why the last one did. */
  readonly failures: number;
  readonly failedAt?: string;
  readonly failure?: string;
}

/** How far a run is. */
export interface RunProgress {
  readonly files: number;
  readonly bytes: number;
  /** What there is to do, as far as it is known. */
  readonly bytesExpected?: number;
}

/** All that a worker is told of a run that it has. */
export interface JobOrder extends RepositoryAccess {
  readonly job: JobName;
  /** ISO 8601: what the run is known by. */
  readonly due: string;
  /** Of a backup. */
  readonly volume?: VolumeRecord;
  /** Of a prune: volumes that are backed up into the repository by schedule. */
  readonly volumes: readonly VolumeRecord[];
}

/** A worker's word on a run that it has. */
export interface RunReport {
  readonly job: JobName;
  readonly due: string;
  readonly progress?: RunProgress;
}

/** What came of a run that is not done; nothing of one that is. */
export interface RunEnd {
  readonly failure?: string | undefined;
  /** The volume is half filled: its time has not come, and it is no failure. */
  readonly waits?: boolean | undefined;
}

/** Times of claims on jobs, milliseconds. */
export const JOB_TIMES = {
  /** A worker that was not heard of for so long has lost its job, and stops by itself. */
  claimMs: 15_000,
  /** Between two signs of life. */
  renewMs: 3_000,
} as const;
