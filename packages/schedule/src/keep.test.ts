import { describe, expect, it } from 'vitest';
import { parseKeep } from './keep.ts';

describe('a rule of what to keep', () => {
  it("is read by restic's names, and written in one way", () => {
    expect(parseKeep(' daily=7, keep-HOURLY = 24,yearly=all')).toEqual({
      text: 'hourly=24,daily=7,yearly=all',
      policy: { keepHourly: 24, keepDaily: 7, keepYearly: -1 },
    });
  });

  it.each(['', 'hourly', 'hourly=0', 'hourly=-1', 'hourly=1.5', 'hourly=1000001', 'minutely=3'])(
    "'%s' is refused",
    (text) => {
      expect(() => parseKeep(text)).toThrow(/not understood; give counts/);
    },
  );

  it('names nothing twice', () => {
    expect(() => parseKeep('daily=1,keep-daily=2')).toThrow(/names daily twice/);
  });
});
