/** Jobs on repositories of backups: who runs them, and how far their schedules are. */
import type { JobClaim, JobName, JobRuns } from '@holdfast/protocol';
import type { RegistryResult } from './cluster-commands.ts';
import type { ChangeOf } from './cluster-nodes.ts';
import type { ClusterRecords } from './cluster-records.ts';
import { changed, refuse, unchanged } from './registry-results.ts';

/** Characters of the reason of a failure that are kept. */
const FAILURE_MAX = 500;

/** The runs of a schedule that is set now; what was done by the one before is still the last. */
export function runsAnew(before: JobRuns | undefined, since: string): JobRuns {
  const { doneAt, claim, done = 0 } = before ?? {};
  return {
    since,
    ...(doneAt !== undefined && { doneAt }),
    done,
    ...(claim !== undefined && { claim }),
    failures: 0,
  };
}

/** The runs that a schedule has after a change, of which `before` were those until now. */
export function runsOf(
  schedule: string | undefined,
  before: { readonly schedule: string | undefined; readonly runs: JobRuns | undefined },
  time: string,
): JobRuns | undefined {
  if (schedule === undefined) return undefined;
  return schedule === before.schedule && before.runs !== undefined
    ? before.runs
    : runsAnew(before.runs, time);
}

function runsIn(records: ClusterRecords, job: JobName): JobRuns | undefined {
  if (job.kind === 'backup') return records.volumes.get(job.volume)?.record.backupRuns;
  const repository = records.repositories.get(job.repository)?.repository;
  return job.kind === 'prune' ? repository?.pruneRuns : repository?.verifyRuns;
}

function putRuns(records: ClusterRecords, job: JobName, runs: JobRuns): RegistryResult {
  if (job.kind === 'backup') {
    const volume = records.volumes.get(job.volume);
    if (volume !== undefined)
      records.putVolume({ ...volume, record: { ...volume.record, backupRuns: runs } });
  } else {
    const access = records.repositories.get(job.repository);
    const field = job.kind === 'prune' ? 'pruneRuns' : 'verifyRuns';
    if (access !== undefined)
      records.putRepository({ ...access, repository: { ...access.repository, [field]: runs } });
  }
  return changed();
}

function noSchedule({ kind }: JobName): RegistryResult {
  return refuse('NOT_FOUND', `there is no schedule of this ${kind} any more`);
}

function isSame(claim: JobClaim | undefined, worker: string, due: string): boolean {
  return claim?.worker === worker && claim.due === due;
}

/** See the change's own description; likewise below. `time` is the command's, ISO 8601. */
export function beginJob(
  records: ClusterRecords,
  { job, due, worker, host }: ChangeOf<'begin-job'>,
  time: string,
): RegistryResult {
  const runs = runsIn(records, job);
  if (runs === undefined) return noSchedule(job);
  if (isSame(runs.claim, worker, due)) return unchanged();
  if (runs.claim !== undefined)
    return refuse('CONFLICT', `${runs.claim.host} runs this ${job.kind}`);
  if (due <= (runs.due ?? '')) return refuse('CONFLICT', `the run of ${due} is done`);
  return putRuns(records, job, { ...runs, claim: { due, worker, host, since: time } });
}

export function endJob(
  records: ClusterRecords,
  { job, due, worker, failure, waits = false }: ChangeOf<'end-job'>,
  time: string,
): RegistryResult {
  const runs = runsIn(records, job);
  if (runs === undefined) return noSchedule(job);
  if (!isSame(runs.claim, worker, due))
    return refuse('CONFLICT', `this ${job.kind} is not the worker's any more`);
  const { claim: _, ...unclaimed } = runs;
  if (waits) return putRuns(records, job, unclaimed);
  if (failure !== undefined) return putRuns(records, job, failed(runs, failure, time));
  const { failure: _why, failedAt: _when, ...rest } = unclaimed;
  return putRuns(records, job, { ...rest, due, doneAt: time, done: runs.done + 1, failures: 0 });
}

function failed({ claim: _, ...runs }: JobRuns, failure: string, failedAt: string): JobRuns {
  const shown = failure.slice(0, FAILURE_MAX);
  return { ...runs, failures: runs.failures + 1, failedAt, failure: shown };
}

export function voidClaim(
  records: ClusterRecords,
  { job, due, worker }: ChangeOf<'void-claim'>,
  time: string,
): RegistryResult {
  const runs = runsIn(records, job);
  if (runs?.claim === undefined || !isSame(runs.claim, worker, due)) return unchanged();
  return putRuns(records, job, failed(runs, `${runs.claim.host} fell silent while it ran`, time));
}

export function askJob(
  records: ClusterRecords,
  { job }: ChangeOf<'ask-job'>,
  time: string,
): RegistryResult {
  const runs = runsIn(records, job);
  if (runs === undefined)
    return refuse('NOT_FOUND', `there is no schedule of this ${job.kind}; set one first`);
  const { failedAt: _, ...rest } = runs;
  return putRuns(records, job, { ...rest, askedAt: time });
}
