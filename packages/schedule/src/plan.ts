/**
 * What a snapshot schedule does next. Pure: whoever leads decides the same from the same facts, so a
 * run that a leader did not finish is finished by the next one, and none is done twice.
 */
import type { Schedule } from './cron.ts';
import { applyRetention, type RetentionPolicy } from './retention.ts';

const NAME = /^auto-(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})Z$/;

/** A schedule and how far it is. Milliseconds since the epoch. */
export interface ScheduleProgress {
  readonly schedule: Schedule;
  /** Since when it is as it is: what was due before is not made up. */
  readonly sinceMs: number;
  /** The newest time whose run was done; absent before the first. */
  readonly doneMs?: number;
}

/** A snapshot that there is. */
export interface PresentSnapshot {
  readonly name: string;
  /** It must stay: something was cloned from it, or reads it. */
  readonly isHeld: boolean;
}

/** What is to be done, in this order: create, note the run as done, remove. */
export interface RunPlan {
  /** The time whose run this is. */
  readonly dueMs: number;
  /** Name of the snapshot to be made; absent when it is there already. */
  readonly create?: string;
  /** Names of snapshots that no rule keeps. */
  readonly remove: readonly string[];
  /** Likewise, but they must stay for now. */
  readonly held: readonly string[];
}

/** The name of the snapshot that is due then: auto-2026-11-23T20-00Z. */
export function scheduledName(dueMs: number): string {
  return `auto-${new Date(dueMs).toISOString().slice(0, 16).replace(':', '-')}Z`;
}

/** The time in a name that only schedules give; undefined for all other names. */
export function scheduledTime(name: string): number | undefined {
  const [, date, hour, minute] = NAME.exec(name) ?? [];
  if (date === undefined) return undefined;
  const timeMs = Date.parse(`${date}T${hour}:${minute}:00Z`);
  return Number.isNaN(timeMs) || scheduledName(timeMs) !== name ? undefined : timeMs;
}

/** The time whose run is to be done now: of those that were missed the newest; undefined when none is. */
export function dueRun(progress: ScheduleProgress, nowMs: number): number | undefined {
  const latest = progress.schedule.latest(nowMs);
  return latest !== undefined && latest > reached(progress) ? latest : undefined;
}

/**
 * Whether two runs that were due have not been done, or the next two will not be: a clock that was
 * ahead has done them before their time.
 */
export function isLate(progress: ScheduleProgress, nowMs: number): boolean {
  const { schedule } = progress;
  const doneMs = reached(progress);
  return nowMs >= secondAfter(schedule, doneMs) || doneMs >= secondAfter(schedule, nowMs);
}

function secondAfter(schedule: Schedule, timeMs: number): number {
  const first = schedule.next(timeMs);
  return (first === undefined ? undefined : schedule.next(first)) ?? Infinity;
}

function reached({ doneMs, sinceMs }: ScheduleProgress): number {
  return doneMs ?? sinceMs;
}

/** The run that is due now, given all snapshots of the volume; undefined when none is due. */
export function planRun(
  progress: ScheduleProgress & { readonly keep: RetentionPolicy },
  nowMs: number,
  snapshots: readonly PresentSnapshot[],
): RunPlan | undefined {
  const dueMs = dueRun(progress, nowMs);
  if (dueMs === undefined) return undefined;
  const name = scheduledName(dueMs);
  const isThere = snapshots.some((snapshot) => snapshot.name === name);
  const all = isThere ? snapshots : [...snapshots, { name, isHeld: false }];
  const own = all.flatMap((snapshot) => {
    const timeMs = scheduledTime(snapshot.name);
    return timeMs === undefined ? [] : [{ ...snapshot, timeNs: BigInt(timeMs) * 1_000_000n }];
  });
  // What this run makes stays, whatever a clock that was ahead has made before.
  const unkept = applyRetention(own, progress.keep).remove.filter((one) => one.name !== name);
  return {
    dueMs,
    ...(isThere ? {} : { create: name }),
    remove: unkept.filter(({ isHeld }) => !isHeld).map((snapshot) => snapshot.name),
    held: unkept.filter(({ isHeld }) => isHeld).map((snapshot) => snapshot.name),
  };
}
