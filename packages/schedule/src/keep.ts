/** Which scheduled snapshots stay, as text: `hourly=24,daily=7`. */
import { HoldfastError } from '@holdfast/protocol';
import type { RetentionPolicy } from './retention.ts';

const FIELDS = {
  last: 'keepLast',
  hourly: 'keepHourly',
  daily: 'keepDaily',
  weekly: 'keepWeekly',
  monthly: 'keepMonthly',
  yearly: 'keepYearly',
} as const;
type Name = keyof typeof FIELDS;
const NAMES = Object.keys(FIELDS) as Name[];

const COUNT_MAX = 1_000_000;

/** A rule that was read, and its text in the one way of writing it. */
export interface KeepRule {
  readonly text: string;
  readonly policy: RetentionPolicy;
}

/**
 * Reads counts by restic's names (`last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`, also with
 * `keep-` before them), 1 to 1,000,000 or `all`. BAD_REQUEST for anything else, or a name given twice.
 */
export function parseKeep(text: string): KeepRule {
  const counts = new Map<Name, number>();
  for (const part of text.split(',')) {
    const [, written = '', value = ''] =
      /^\s*(?:keep-)?([a-z]+)\s*=\s*(\d{1,7}|all)\s*$/i.exec(part) ?? [];
    const name = NAMES.find((known) => known === written.toLowerCase());
    const count = value.toLowerCase() === 'all' ? -1 : Number(value);
    if (name === undefined || count === 0 || count > COUNT_MAX) throw refusal(part);
    if (counts.has(name)) throw refusal(part, `names ${name} twice`);
    counts.set(name, count);
  }
  const given = NAMES.flatMap((name) => {
    const count = counts.get(name);
    return count === undefined ? [] : [{ name, count }];
  });
  return {
    text: given.map(({ name, count }) => `${name}=${count === -1 ? 'all' : count}`).join(),
    policy: Object.fromEntries(given.map(({ name, count }) => [FIELDS[name], count])),
  };
}

function refusal(part: string, why = 'is not understood'): HoldfastError {
  const shown = part.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 80);
  return new HoldfastError(
    'BAD_REQUEST',
    `'${shown}' in the rule of what snapshots to keep ${why}; give counts from 1 to ${COUNT_MAX}, or all, for ${NAMES.join(', ')}, such as hourly=24,daily=7`,
  );
}
