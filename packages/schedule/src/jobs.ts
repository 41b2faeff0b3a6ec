/** Jobs that schedules ask for: when each is due, and which may run beside which. Pure. */
import type { Schedule } from './cron.ts';

/** Milliseconds before a job that failed is tried again: after the first failure, and at most. */
export const RETRY_MS = { min: 10_000, max: 3_600_000 } as const;
/** Runs that are looked at for the longest time between two. */
const RUNS_LOOKED_AT = 32;
/** As in a volume's own period of backups. */
const PERIOD_MS_MAX = 366 * 86_400_000;

/** How far the runs of one job are. Milliseconds since the epoch. */
export interface JobProgress {
  /** Since when its schedule is as it is: what was due before is not made up. */
  readonly sinceMs: number;
  /** The newest time whose run was done. */
  readonly doneMs?: number;
  /** When someone asked for a run outside of the schedule. */
  readonly askedMs?: number;
  /** Tries since the last run that was done, and when the last of them ended. */
  readonly failures: number;
  readonly failedMs?: number;
}

/** Milliseconds between a failure and the next try: longer each time. `failures`: 1 and more. */
export function retryPauseMs(failures: number): number {
  return Math.min(RETRY_MS.max, RETRY_MS.min * 2 ** Math.min(30, failures - 1));
}

/**
 * The time whose run is wanted, of those that were missed the newest; undefined when none is, or a
 * failure is too young.
 */
export function dueJob(
  schedule: Schedule,
  { sinceMs, doneMs = 0, askedMs, failures, failedMs }: JobProgress,
  nowMs: number,
): number | undefined {
  // A clock that was put back must not hold a job up.
  const isPausing =
    failedMs !== undefined && Math.abs(nowMs - failedMs) < retryPauseMs(Math.max(1, failures));
  if (failures > 0 && isPausing) return undefined;
  const latest = schedule.latest(nowMs);
  const planned = latest !== undefined && latest > Math.max(sinceMs, doneMs) ? latest : undefined;
  const asked = askedMs !== undefined && askedMs > doneMs ? askedMs : undefined;
  if (planned === undefined || asked === undefined) return planned ?? asked;
  return Math.max(planned, asked);
}

/**
 * Milliseconds within which a run of the schedule has to succeed: twice the longest time between two of
 * its next runs, so that one may fail. At most 366 days.
 */
export function periodOf(schedule: Schedule, nowMs: number): number {
  let longest = 0;
  let at = schedule.next(nowMs);
  for (let run = 0; run < RUNS_LOOKED_AT && at !== undefined; run++) {
    const next = schedule.next(at);
    if (next === undefined) break;
    longest = Math.max(longest, next - at);
    at = next;
  }
  return longest === 0 ? PERIOD_MS_MAX : Math.min(PERIOD_MS_MAX, 2 * longest);
}

/** A job as the choice sees it. */
export interface JobChoice {
  /** A prune needs its repository for itself. */
  readonly isAlone: boolean;
  /** Name of the repository it works in. */
  readonly repository: string;
  /** Names of the hosts that may run it; empty: all. */
  readonly hosts: readonly string[];
  /** See {@link dueJob}. */
  readonly dueMs?: number | undefined;
  /** A worker has it. */
  readonly isTaken: boolean;
}

/**
 * The job that a host is to run: of those that are due the one that was so first. One that needs its
 * repository for itself waits for all that runs there; nothing that was due later begins before it.
 */
export function chooseJob<J extends JobChoice>(jobs: readonly J[], host: string): J | undefined {
  const taken = jobs.filter(({ isTaken }) => isTaken);
  const busy = new Set(taken.map(({ repository }) => repository));
  const closed = new Set(
    taken.filter(({ isAlone }) => isAlone).map(({ repository }) => repository),
  );
  const due = jobs
    .filter(({ dueMs, isTaken }) => dueMs !== undefined && !isTaken)
    .sort((a, b) => (a.dueMs ?? 0) - (b.dueMs ?? 0));
  for (const job of due) {
    const { repository, hosts, isAlone } = job;
    if (closed.has(repository)) continue;
    if (isAlone && busy.has(repository)) {
      closed.add(repository);
      continue;
    }
    if (hosts.length === 0 || hosts.includes(host)) return job;
    // Another host's turn: what needs the repository alone is not overtaken meanwhile.
    if (isAlone) closed.add(repository);
  }
  return undefined;
}
