import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Schedule } from './cron.ts';
import { parseKeep } from './keep.ts';
import {
  dueRun,
  isLate,
  type PresentSnapshot,
  planRun,
  scheduledName,
  scheduledTime,
} from './plan.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ms = (time: string): number => Date.parse(time);
const START = ms('2026-11-23T19:30:00Z');
const HOURLY = Schedule.parse('@hourly');
const { policy: KEEP } = parseKeep('last=2');
const free = (...names: string[]): PresentSnapshot[] =>
  names.map((name) => ({ name, isHeld: false }));

describe('names of scheduled snapshots', () => {
  it('tell their time, and no other names do', () => {
    expect(scheduledName(ms('2026-11-23T20:05:00Z'))).toBe('auto-2026-11-23T20-05Z');
    expect(scheduledTime('auto-2026-11-23T20-05Z')).toBe(ms('2026-11-23T20:05:00Z'));
    for (const name of ['auto-2026-02-30T20-05Z', 'auto-2026-11-23T24-00Z', 'auto-x', 'nightly'])
      expect(scheduledTime(name), name).toBeUndefined();
  });
});

describe('a run', () => {
  const progress = { schedule: HOURLY, sinceMs: START, keep: KEEP };

  it('is not due before the first time after the schedule was set', () => {
    expect(planRun(progress, START, [])).toBeUndefined();
    expect(planRun(progress, START + 30 * MINUTE - 1, [])).toBeUndefined();
    expect(planRun(progress, START + 30 * MINUTE, [])).toEqual({
      dueMs: ms('2026-11-23T20:00:00Z'),
      create: 'auto-2026-11-23T20-00Z',
      remove: [],
      held: [],
    });
  });

  it('makes up only the newest of those that were missed', () => {
    const plan = planRun({ ...progress, doneMs: ms('2026-01-01T00:00:00Z') }, START, []);
    expect(plan).toMatchObject({ create: 'auto-2026-11-23T19-00Z' });
    expect(dueRun({ ...progress, doneMs: plan?.dueMs ?? 0 }, START)).toBeUndefined();
  });

  it('makes nothing when its snapshot is there, and still notes and removes', () => {
    const there = free(
      'auto-2026-11-23T20-00Z',
      'auto-2026-11-23T19-00Z',
      'auto-2026-11-23T18-00Z',
    );
    expect(planRun(progress, START + HOUR, there)).toEqual({
      dueMs: ms('2026-11-23T20:00:00Z'),
      remove: ['auto-2026-11-23T18-00Z'],
      held: [],
    });
  });

  it('removes nothing that a user made, and nothing that is held', () => {
    const there = [
      ...free('auto-mine', 'before-upgrade', '2026-11-23T15-52-59.123Z', 'auto-2026-11-01T00-00Z'),
      { name: 'auto-2026-11-02T00-00Z', isHeld: true },
      { name: 'auto-2026-11-03T00-00Z', isHeld: false },
    ];
    expect(planRun(progress, START + HOUR, there)).toMatchObject({
      remove: ['auto-2026-11-01T00-00Z'],
      held: ['auto-2026-11-02T00-00Z'],
    });
  });

  it('keeps what it makes though a clock that was ahead has made younger ones', () => {
    const there = free('auto-2027-11-23T20-00Z', 'auto-2027-11-23T21-00Z');
    expect(planRun(progress, START + HOUR, there)?.remove).toEqual([]);
  });

  it('is late when two were due and none was done', () => {
    expect(isLate(progress, ms('2026-11-23T20:59:59Z'))).toBe(false);
    expect(isLate(progress, ms('2026-11-23T21:00:00Z'))).toBe(true);
    // A clock that was ahead has done them.
    expect(isLate({ ...progress, doneMs: ms('2026-11-23T20:00:00Z') }, START)).toBe(false);
    expect(isLate({ ...progress, doneMs: ms('2026-11-23T21:00:00Z') }, START)).toBe(true);
    expect(isLate({ ...progress, doneMs: ms('2026-11-23T20:00:00Z') }, START + 2 * HOUR)).toBe(
      false,
    );
  });
});

const SCHEDULES = [
  '* * * * *',
  '*/5 * * * *',
  '7 * * * *',
  '@daily',
  '15 3 1,15 * *',
  '0 12 * * 1',
];
const scheduleOf = fc.constantFrom(...SCHEDULES).map((text) => Schedule.parse(text));
const keepOf = fc.constantFrom(
  'last=1',
  'last=3',
  'hourly=2,daily=2',
  'weekly=1,monthly=2',
  'last=all',
);

/** What a leader does between two looks at the clock, and where it dies. */
const stepOf = fc.record({
  waitMs: fc.oneof(
    fc.integer({ min: 1, max: 5 * MINUTE }),
    fc.integer({ min: 1, max: 3 * 24 * HOUR }),
  ),
  diesAfter: fc.constantFrom('nothing', 'create', 'note', 'one removal', 'all'),
  clones: fc.boolean(),
});

describe('runs under any change of leaders', () => {
  it('are each done once, the newest missed one included, and remove only what nobody keeps', () => {
    const property = (
      schedule: Schedule,
      keep: string,
      steps: readonly { waitMs: number; diesAfter: string; clones: boolean }[],
    ): void => {
      const { policy } = parseKeep(keep);
      const present = new Map<string, boolean>([['mine', false]]);
      const made: string[] = [];
      let doneMs: number | undefined;
      let nowMs = START;
      for (const { waitMs, diesAfter, clones } of steps) {
        nowMs += waitMs;
        const progress = { schedule, sinceMs: START, ...(doneMs !== undefined && { doneMs }) };
        const all = [...present].map(([name, isHeld]) => ({ name, isHeld }));
        const plan = planRun({ ...progress, keep: policy }, nowMs, all);
        const isDue = (schedule.next(doneMs ?? START) ?? Infinity) <= nowMs;
        expect(plan !== undefined).toBe(isDue);
        if (plan === undefined) continue;
        expect(plan.dueMs).toBeLessThanOrEqual(nowMs);
        expect(plan.dueMs).toBeGreaterThan(doneMs ?? START);
        expect(schedule.next(plan.dueMs) ?? Infinity).toBeGreaterThan(nowMs);
        for (const name of plan.remove) {
          expect(scheduledTime(name)).toBeLessThan(plan.dueMs);
          expect(present.get(name)).toBe(false);
        }
        if (diesAfter === 'nothing') continue;
        if (plan.create !== undefined) {
          made.push(plan.create);
          present.set(plan.create, clones);
        }
        if (diesAfter === 'create') continue;
        doneMs = plan.dueMs;
        if (diesAfter === 'note') continue;
        const removed = diesAfter === 'all' ? plan.remove : plan.remove.slice(0, 1);
        for (const name of removed) present.delete(name);
      }
      expect(new Set(made).size).toBe(made.length);
      expect(present.has('mine')).toBe(true);
    };
    fc.assert(fc.property(scheduleOf, keepOf, fc.array(stepOf, { maxLength: 30 }), property), {
      numRuns: 300,
    });
  });
});
