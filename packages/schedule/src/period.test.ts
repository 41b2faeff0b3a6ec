import { describe, expect, it } from 'vitest';
import { parsePeriod, periodText } from './period.ts';

describe('a period', () => {
  it.each([
    ['1m', 60_000],
    ['90m', 5_400_000],
    ['24h', 86_400_000],
    [' 7d ', 604_800_000],
    ['2w', 1_209_600_000],
    ['366d', 31_622_400_000],
    ['none', 0],
  ])('is read from %j', (text, ms) => {
    expect(parsePeriod(text)).toBe(ms);
    expect(parsePeriod(periodText(ms))).toBe(ms);
  });

  it.each(['', '0h', '24', '1.5h', '-1h', '24 h', '367d', '9999999h', 'h', 'daily', '5s'])(
    'is not %j',
    (text) => {
      expect(() => parsePeriod(text)).toThrow(/24h/);
    },
  );

  it('is written in its largest whole unit', () => {
    expect([60_000, 5_400_000, 7_200_000, 86_400_000, 1_209_600_000].map(periodText)).toEqual([
      '1m',
      '90m',
      '2h',
      '1d',
      '2w',
    ]);
  });
});
