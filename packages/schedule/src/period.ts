import { HoldfastError } from '@holdfast/protocol';

const UNIT_MS: Readonly<Record<string, number>> = {
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const PERIOD_MS_MAX = 366 * 86_400_000;

/** Milliseconds of a period such as 90m, 24h, 7d or 2w, up to 366d; 0 for 'none'. Throws BAD_REQUEST. */
export function parsePeriod(text: string): number {
  const given = text.trim();
  if (given === 'none') return 0;
  const [, count = '', unit = ''] = /^(\d{1,6})([mhdw])$/.exec(given) ?? [];
  const ms = Number(count) * (UNIT_MS[unit] ?? Number.NaN);
  if (ms > 0 && ms <= PERIOD_MS_MAX) return ms;
  throw new HoldfastError(
    'BAD_REQUEST',
    `'${given.slice(0, 40)}' is no period; write a whole number of minutes, hours, days or weeks, such as 90m, 24h, 7d or 2w (at most 366d), or 'none'`,
  );
}

/** A period as {@link parsePeriod} reads it, in its largest unit. */
export function periodText(ms: number): string {
  if (ms === 0) return 'none';
  for (const unit of ['w', 'd', 'h'] as const) {
    const one = UNIT_MS[unit] as number;
    if (ms % one === 0) return `${ms / one}${unit}`;
  }
  return `${Math.round(ms / 60_000)}m`;
}
