/** Which snapshots stay: restic's `--keep-*` rules. Pure. Calendars are read in UTC. */
import { HoldfastError } from '@holdfast/protocol';

/** Rules; a snapshot stays when one of them keeps it. Counts: -1 is all, 0 or absent none. */
export interface RetentionPolicy {
  readonly keepLast?: number;
  readonly keepHourly?: number;
  readonly keepDaily?: number;
  readonly keepWeekly?: number;
  readonly keepMonthly?: number;
  readonly keepYearly?: number;
  /** All that are younger than this before the newest one: `1y2m3d4h`, any part of it. */
  readonly keepWithin?: string;
  /** One for each hour (day, …) of those that are younger than this before the newest one. */
  readonly keepWithinHourly?: string;
  readonly keepWithinDaily?: string;
  readonly keepWithinWeekly?: string;
  readonly keepWithinMonthly?: string;
  readonly keepWithinYearly?: string;
  /** All that carry every tag of one of these lists. */
  readonly keepTags?: readonly (readonly string[])[];
}

/** Anything that was taken at a time, nanoseconds since the epoch. */
export interface TimedSnapshot {
  readonly timeNs: bigint;
  readonly tags?: readonly string[];
}

/** What a policy decides. */
export interface RetentionDecision<S> {
  readonly keep: readonly S[];
  readonly remove: readonly S[];
}

const DAY_MS = 86_400_000;

function dateOf(snapshot: TimedSnapshot): Date {
  return new Date(Number(snapshot.timeNs / 1_000_000n));
}

/** ISO 8601: the week belongs to the year of its Thursday. */
function isoWeek(date: Date): string {
  const day = (date.getUTCDay() + 6) % 7;
  const thursday = new Date(date.getTime() + (3 - day) * DAY_MS);
  const firstOfYear = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  const week = Math.floor((thursday.getTime() - firstOfYear) / DAY_MS / 7);
  return `${thursday.getUTCFullYear()}w${week}`;
}

type Period = (date: Date, position: number) => string;

const HOUR: Period = (date) => date.toISOString().slice(0, 13);
const DAY: Period = (date) => date.toISOString().slice(0, 10);
const MONTH: Period = (date) => date.toISOString().slice(0, 7);
const YEAR: Period = (date) => date.toISOString().slice(0, 4);
/** Each snapshot has one of its own. */
const EACH: Period = (_, position) => String(position);

const COUNTED: readonly [keyof RetentionPolicy, Period][] = [
  ['keepLast', EACH],
  ['keepHourly', HOUR],
  ['keepDaily', DAY],
  ['keepWeekly', isoWeek],
  ['keepMonthly', MONTH],
  ['keepYearly', YEAR],
];

const WITHIN: readonly [keyof RetentionPolicy, Period][] = [
  ['keepWithin', EACH],
  ['keepWithinHourly', HOUR],
  ['keepWithinDaily', DAY],
  ['keepWithinWeekly', isoWeek],
  ['keepWithinMonthly', MONTH],
  ['keepWithinYearly', YEAR],
];

/** The time up to which a span goes back, given the newest snapshot. EINVAL when malformed. */
function withinLimit(text: string, latest: Date): Date {
  const match = /^(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)d)?(?:(\d+)h)?$/.exec(text);
  if (match === null || text === '')
    throw new HoldfastError('EINVAL', `keep-within is years, months, days, hours: 1y2m3d4h`, {
      detail: { value: text },
    });
  const [years, months, days, hours] = match.slice(1).map((part) => Number(part ?? 0));
  const limit = new Date(latest);
  limit.setUTCFullYear(limit.getUTCFullYear() - (years ?? 0), limit.getUTCMonth() - (months ?? 0));
  return new Date(limit.getTime() - (days ?? 0) * DAY_MS - (hours ?? 0) * 3_600_000);
}

/** A rule: the newest of each period, `left` of them (-1: all), of those taken after a time. */
interface Rule {
  readonly period: Period;
  readonly after: Date | undefined;
  left: number;
  last: string;
}

function rulesOf(policy: RetentionPolicy, newest: Date): Rule[] {
  const counted = checked(policy).map(([period, left]) => ({ period, left, after: undefined }));
  const within = WITHIN.flatMap(([name, period]) => {
    const span = policy[name] as string | undefined;
    return span === undefined ? [] : [{ period, left: -1, after: withinLimit(span, newest) }];
  });
  return [...counted, ...within].map((rule) => ({ ...rule, last: '' }));
}

function checked(policy: RetentionPolicy): [Period, number][] {
  const counts = COUNTED.map(([name, period]): [Period, number] => {
    const count = (policy[name] as number | undefined) ?? 0;
    if (!Number.isSafeInteger(count) || count < -1)
      throw new HoldfastError('EINVAL', `${name} is a count or -1 for all`, { detail: { count } });
    return [period, count];
  });
  const keepsNone =
    counts.every(([, count]) => count === 0) &&
    WITHIN.every(([name]) => policy[name] === undefined) &&
    (policy.keepTags ?? []).length === 0;
  // Without one rule everything would go: that is never what was meant.
  if (keepsNone)
    throw new HoldfastError('EINVAL', 'a retention policy keeps something; give a rule');
  return counts;
}

function hasTags({ tags = [] }: TimedSnapshot, wanted: readonly string[]): boolean {
  return wanted.every((tag) => tags.includes(tag));
}

/**
 * Applies a policy to the snapshots of one group (a host and a path). As in restic, each rule keeps
 * the newest snapshot of each of its periods, and the oldest of all while its count is not used up.
 */
export function applyRetention<S extends TimedSnapshot>(
  snapshots: readonly S[],
  policy: RetentionPolicy,
): RetentionDecision<S> {
  const newestFirst = snapshots.toSorted((a, b) => Number(b.timeNs - a.timeNs));
  const newest = newestFirst[0];
  const rules = rulesOf(policy, newest === undefined ? new Date(0) : dateOf(newest));
  const keep: S[] = [];
  const remove: S[] = [];
  for (const [position, snapshot] of newestFirst.entries()) {
    const date = dateOf(snapshot);
    const isOldest = position === newestFirst.length - 1;
    let isKept = (policy.keepTags ?? []).some((tags) => hasTags(snapshot, tags));
    for (const rule of rules) {
      if (rule.left === 0 || (rule.after !== undefined && date <= rule.after)) continue;
      const period = rule.period(date, position);
      if (period === rule.last && !isOldest) continue;
      isKept = true;
      rule.last = period;
      if (rule.left > 0) rule.left--;
    }
    (isKept ? keep : remove).push(snapshot);
  }
  return { keep, remove };
}
