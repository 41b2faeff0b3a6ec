import { describe, expect, it } from 'vitest';
import { applyRetention, type RetentionPolicy } from './retention.ts';

interface Taken {
  readonly id: string;
  readonly timeNs: bigint;
  readonly tags: readonly string[];
}

function at(time: string, tags: readonly string[] = []): Taken {
  return { id: time, timeNs: BigInt(Date.parse(time)) * 1_000_000n, tags };
}

function kept(times: readonly string[], policy: RetentionPolicy): string[] {
  return applyRetention(
    times.map((time) => at(time)),
    policy,
  ).keep.map(({ id }) => id);
}

/** One at noon of each day of a stretch. */
function daily(from: string, count: number): string[] {
  const start = Date.parse(from);
  return Array.from({ length: count }, (_, day) =>
    new Date(start + day * 86_400_000).toISOString(),
  );
}

describe('retention', () => {
  it('keeps the newest of each period, and the oldest while the count is not used up', () => {
    const times = [
      '2024-01-01T10:10:00Z',
      '2024-01-01T10:50:00Z',
      '2024-01-01T12:00:00Z',
      '2024-01-03T00:00:00Z',
    ];
    expect(kept(times, { keepLast: 1 })).toEqual([times[3]]);
    expect(kept(times, { keepHourly: 2 })).toEqual([times[3], times[2]]);
    expect(kept(times, { keepHourly: 3 })).toEqual([times[3], times[2], times[1]]);
    expect(kept(times, { keepHourly: 4 })).toEqual([times[3], times[2], times[1], times[0]]);
    expect(kept(times, { keepDaily: 2 })).toEqual([times[3], times[2]]);
    expect(kept(times, { keepDaily: -1 })).toEqual([times[3], times[2], times[0]]);
  });

  it('knows weeks by ISO 8601, months and years', () => {
    const days = daily('2020-12-20T12:00:00.000Z', 30);
    // 2020-12-28 to 2021-01-03 is one week.
    expect(kept(days, { keepWeekly: 3 }).map((time) => time.slice(0, 10))).toEqual([
      '2021-01-18',
      '2021-01-17',
      '2021-01-10',
    ]);
    expect(kept(days, { keepMonthly: 2 }).map((time) => time.slice(0, 10))).toEqual([
      '2021-01-18',
      '2020-12-31',
    ]);
    expect(kept(days, { keepYearly: 2 }).map((time) => time.slice(0, 10))).toEqual([
      '2021-01-18',
      '2020-12-31',
    ]);
  });

  it('keeps what is young enough and what carries all tags of a list', () => {
    const days = daily('2024-01-01T12:00:00.000Z', 10);
    expect(kept(days, { keepWithin: '2d12h' })).toHaveLength(3);
    const tagged = [at('2024-01-01T00:00:00Z', ['a', 'b']), at('2024-01-02T00:00:00Z', ['a'])];
    const { keep, remove } = applyRetention(tagged, { keepTags: [['a', 'b']] });
    expect([keep.length, remove.length]).toEqual([1, 1]);
  });

  it('keeps one of each period of those that are young enough', () => {
    const times = [
      '2024-02-01T10:00:00Z',
      '2024-02-28T09:00:00Z',
      '2024-02-28T22:00:00Z',
      '2024-02-29T10:10:00Z',
      '2024-02-29T10:50:00Z',
    ];
    expect(kept(times, { keepWithinHourly: '1d' })).toEqual([times[4], times[2]]);
    expect(kept(times, { keepWithinDaily: '2d' })).toEqual([times[4], times[2]]);
    expect(kept(times, { keepWithinMonthly: '1m' })).toEqual([times[4], times[0]]);
    expect(kept(times, { keepWithinYearly: '1y', keepWithin: '12h' })).toEqual([
      times[4],
      times[3],
      times[0],
    ]);
    expect(() => kept(times, { keepWithinWeekly: 'x' })).toThrow(/1y2m3d4h/);
  });

  it('refuses a policy that keeps nothing or cannot be read', () => {
    expect(() => applyRetention([], {})).toThrow(/keeps something/);
    expect(() => applyRetention([], { keepLast: -2 })).toThrow(/keepLast/);
    expect(() => applyRetention([at('2024-01-01T00:00:00Z')], { keepWithin: '3x' })).toThrow(
      /1y2m3d4h/,
    );
  });
});
