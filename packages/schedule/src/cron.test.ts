import { describe, expect, it } from 'vitest';
import { Schedule } from './cron.ts';

const ms = (time: string): number => Date.parse(time);

describe('a schedule', () => {
  it.each([
    ['0 * * * *', '0 * * * *'],
    ['  */15   9-17 * *  MON-FRI ', '*/15 9-17 * * MON-FRI'],
    ['@hourly', '0 * * * *'],
    ['@DAILY', '0 0 * * *'],
    ['@weekly', '0 0 * * 0'],
    ['@monthly', '0 0 1 * *'],
    ['@yearly', '0 0 1 1 *'],
  ])("'%s' is kept as '%s'", (text, kept) => {
    expect(Schedule.parse(text).text).toBe(kept);
  });

  it.each([
    ['', /has not five fields/],
    ['0 * * *', /has not five fields/],
    ['0 0 * * * *', /has not five fields/],
    ['60 * * * *', /is not understood/],
    ['? * * * *', /is not understood/],
    ['0 0 30 2 *', /never comes true/],
    ['@fortnightly', /no known name/],
    ['__proto__', /has not five fields/],
    [`0 ${'1,'.repeat(100)}1 * * *`, /too long/],
  ])("'%s' is refused in one sentence", (text, why) => {
    expect(() => Schedule.parse(text)).toThrow(
      expect.objectContaining({ code: 'BAD_REQUEST', message: expect.stringMatching(why) }),
    );
  });

  it('is due at whole minutes of UTC, whatever the zone of the host', () => {
    const daily = Schedule.parse('30 2 * * *');
    expect(daily.next(ms('2026-03-29T00:00:00Z'))).toBe(ms('2026-03-29T02:30:00Z'));
    expect(daily.next(ms('2026-03-29T02:30:00Z'))).toBe(ms('2026-03-30T02:30:00Z'));
    expect(daily.latest(ms('2026-03-29T02:29:59.999Z'))).toBe(ms('2026-03-28T02:30:00Z'));
    expect(daily.latest(ms('2026-03-29T02:30:00Z'))).toBe(ms('2026-03-29T02:30:00Z'));
    expect(daily.latest(ms('2026-03-29T02:30:59.999Z'))).toBe(ms('2026-03-29T02:30:00Z'));
  });
});
