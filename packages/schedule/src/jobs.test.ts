import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Schedule } from './cron.ts';
import { chooseJob, dueJob, type JobChoice, periodOf, RETRY_MS, retryPauseMs } from './jobs.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START = Date.parse('2026-01-01T00:30:00Z');
const hourly = Schedule.parse('@hourly');

describe('a job', () => {
  const due = (progress: object, nowMs: number): number | undefined =>
    dueJob(hourly, { sinceMs: START, failures: 0, ...progress }, nowMs);
  const hour = START + HOUR_MS / 2;

  it('is due once at each time, and of what was missed only the newest', () => {
    expect(due({}, hour - 1)).toBeUndefined();
    expect(due({}, hour)).toBe(hour);
    expect(due({ doneMs: hour }, hour + HOUR_MS - 1)).toBeUndefined();
    expect(due({ doneMs: hour }, hour + 5.5 * HOUR_MS)).toBe(hour + 5 * HOUR_MS);
  });

  it('does not make up what was due before its schedule was set', () => {
    expect(due({ sinceMs: hour + 1, doneMs: hour - HOUR_MS }, hour + 2)).toBeUndefined();
  });

  it('is due when it is asked for, until a run of that time or later is done', () => {
    const askedMs = hour + 5;
    expect(due({ doneMs: hour, askedMs }, askedMs)).toBe(askedMs);
    expect(due({ doneMs: askedMs, askedMs }, askedMs + 1)).toBeUndefined();
    expect(due({ doneMs: hour, askedMs }, hour + HOUR_MS)).toBe(hour + HOUR_MS);
    expect(due({ doneMs: hour + HOUR_MS, askedMs }, hour + HOUR_MS)).toBeUndefined();
  });

  it('that failed is tried again, each time later, and whatever the clock does', () => {
    const failed = (failures: number, afterMs: number): number | undefined =>
      due({ failures, failedMs: hour }, hour + afterMs);
    expect(failed(1, RETRY_MS.min - 1)).toBeUndefined();
    expect(failed(1, RETRY_MS.min)).toBe(hour);
    expect(failed(2, RETRY_MS.min)).toBeUndefined();
    expect(failed(2, 2 * RETRY_MS.min)).toBe(hour);
    expect(failed(1, -HOUR_MS / 2 - 1)).toBeUndefined(); // not due yet, then
    expect(due({ failures: 1, failedMs: hour + 2 * HOUR_MS }, hour)).toBe(hour);
    expect([1, 2, 3, 9, 10, 99].map(retryPauseMs)).toEqual([
      10_000, 20_000, 40_000, 2_560_000, 3_600_000, 3_600_000,
    ]);
  });
});

describe('the period of a schedule', () => {
  it.each([
    ['@hourly', 2 * HOUR_MS],
    ['@daily', 2 * DAY_MS],
    ['0 2 * * 1-5', 6 * DAY_MS],
    ['@monthly', 62 * DAY_MS],
    ['@yearly', 366 * DAY_MS],
    ['0 0 29 2 *', 366 * DAY_MS],
  ])('%s is twice the longest time between two runs', (text, expected) => {
    expect(periodOf(Schedule.parse(text), START)).toBe(expected);
  });
});

interface Job extends JobChoice {
  readonly id: number;
}

const jobs = fc
  .array(
    fc.record({
      isAlone: fc.boolean(),
      repository: fc.constantFrom('a', 'b', 'c'),
      hosts: fc.constantFrom<readonly string[]>([], ['h1'], ['h2'], ['h1', 'h2']),
      dueMs: fc.option(fc.nat(9), { nil: undefined }),
      isTaken: fc.constant(false),
    }),
    { maxLength: 12 },
  )
  .map((all) => all.map((job, id) => ({ ...job, id })));

describe('the choice of a job', () => {
  it('lets nothing run beside what needs its repository alone, and comes to an end with all', () => {
    fc.assert(
      fc.property(jobs, fc.array(fc.nat()), (all, ends) => {
        let left: Job[] = all.filter(({ dueMs }) => dueMs !== undefined);
        let turn = 0;
        for (let step = 0; left.length > 0; step++) {
          const host = step % 2 === 0 ? 'h1' : 'h2';
          const chosen = chooseJob(left, host);
          const hosts: readonly string[] = chosen?.hosts ?? [];
          expect(chosen?.isTaken === true || (hosts.length > 0 && !hosts.includes(host))).toBe(
            false,
          );
          if (chosen !== undefined)
            left = left.map((job) => (job === chosen ? { ...job, isTaken: true } : job));
          const running = left.filter(({ isTaken }) => isTaken);
          for (const job of running.filter(({ isAlone }) => isAlone))
            expect(running.filter(({ repository }) => repository === job.repository)).toEqual([
              job,
            ]);
          // Some that run end, at last all of them: whatever the order, nothing waits for ever.
          const ended =
            running[(ends[turn++ % Math.max(1, ends.length)] ?? 0) % (running.length || 1)];
          if (chosen === undefined || step % 3 === 0) left = left.filter((job) => job !== ended);
          expect(step).toBeLessThan(200);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('takes what was due first, and lets nothing overtake what waits for its repository', () => {
    const job = (id: number, more: Partial<Job>): Job => ({
      id,
      isAlone: false,
      repository: 'a',
      hosts: [],
      dueMs: id,
      isTaken: false,
      ...more,
    });
    expect(chooseJob([job(2, {}), job(1, {})], 'h')).toMatchObject({ id: 1 });
    const prune = job(2, { isAlone: true });
    expect(chooseJob([job(1, { isTaken: true }), prune, job(3, {})], 'h')).toBeUndefined();
    expect(chooseJob([prune, job(3, {})], 'h')).toBe(prune);
    expect(chooseJob([{ ...prune, isTaken: true }, job(3, {})], 'h')).toBeUndefined();
    const other = job(4, { repository: 'b' });
    expect(chooseJob([{ ...prune, isTaken: true }, job(3, {}), other], 'h')).toBe(other);
    expect(chooseJob([{ ...prune, hosts: ['x'] }, job(3, {})], 'h')).toBeUndefined();
    expect(chooseJob([job(1, { dueMs: undefined })], 'h')).toBeUndefined();
  });
});
