import { describe, expect, it } from 'vitest';
import { parseBackupKeep, parseKeep } from './keep.ts';

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

  it('of backups knows spans and tags beside counts', () => {
    expect(parseBackupKeep('tag=gold, last=3,keep-within=1y2m,tag=x')).toEqual({
      text: 'last=3,within=1y2m,tag=gold,tag=x',
      policy: { keepLast: 3, keepWithin: '1y2m', keepTags: [['gold'], ['x']] },
    });
    expect(parseBackupKeep('within=36h').policy).toEqual({ keepWithin: '36h' });
    expect(parseBackupKeep('tag=a+b,within-daily=1m')).toEqual({
      text: 'within-daily=1m,tag=a+b',
      policy: { keepWithinDaily: '1m', keepTags: [['a', 'b']] },
    });
    expect(() => parseBackupKeep('within=1d,within=2d')).toThrow(/within twice/);
    for (const wrong of ['within=2h1d', 'within=', 'tag=', 'tag=a b', 'within-often=1d', 'x=1', ''])
      expect(() => parseBackupKeep(wrong), wrong).toThrow(/is not understood/);
    expect(() => parseKeep('tag=x')).toThrow(/is not understood/);
  });

  it('names nothing twice', () => {
    expect(() => parseKeep('daily=1,keep-daily=2')).toThrow(/names daily twice/);
  });
});
