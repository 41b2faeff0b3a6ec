/** Times of the format: RFC 3339 with nanoseconds, years 0 to 9999. */
import { HoldfastError } from '@holdfast/protocol';

const NS_PER_S = 1_000_000_000n;
const YEAR_MIN_S = BigInt(Date.parse('0000-01-01T00:00:00Z') / 1000);
const YEAR_MAX_S = BigInt(Date.parse('9999-12-31T23:59:59Z') / 1000);

const PATTERN = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/;

/** Nanoseconds since the epoch as text in UTC; beyond the years 0 to 9999 the nearest one. */
export function timeText(ns: bigint): string {
  let seconds = ns / NS_PER_S;
  let rest = ns % NS_PER_S;
  if (rest < 0n) {
    rest += NS_PER_S;
    seconds -= 1n;
  }
  if (seconds < YEAR_MIN_S) seconds = YEAR_MIN_S;
  if (seconds > YEAR_MAX_S) seconds = YEAR_MAX_S;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  const fraction = rest === 0n ? '' : `.${rest.toString().padStart(9, '0').replace(/0+$/, '')}`;
  return `${whole}${fraction}Z`;
}

/** The reverse of {@link timeText}, any zone; CORRUPT when it is no time. Absent: the epoch. */
export function timeOf(value: unknown, what: string): bigint {
  if (value === undefined) return 0n;
  const match = typeof value === 'string' ? PATTERN.exec(value) : null;
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}${match[3]}`);
  if (match === null || Number.isNaN(ms))
    throw new HoldfastError('CORRUPT', `${what} is not a time`);
  return BigInt(ms) * 1_000_000n + BigInt((match[2] ?? '').padEnd(9, '0'));
}
