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
const TAGS_MAX = 16;
const TAG = /^[\x21-\x2a\x2d-\x7e]{1,64}$/;
const WITHIN = /^(?=\d)(?:\d{1,4}y)?(?:\d{1,4}m)?(?:\d{1,5}d)?(?:\d{1,6}h)?$/;

/** A rule that was read, and its text in the one way of writing it. */
export interface KeepRule {
  readonly text: string;
  readonly policy: RetentionPolicy;
}

/** Spans by their names in the text, as restic's options have them. */
const SPANS = {
  within: 'keepWithin',
  'within-hourly': 'keepWithinHourly',
  'within-daily': 'keepWithinDaily',
  'within-weekly': 'keepWithinWeekly',
  'within-monthly': 'keepWithinMonthly',
  'within-yearly': 'keepWithinYearly',
} as const;
const SPAN_NAMES = Object.keys(SPANS) as (keyof typeof SPANS)[];
const MORE = /^\s*(?:keep-)?(within(?:-[a-z]+)?|tag)\s*=\s*(.*?)\s*$/i;

/**
 * A rule of backups: counts as in {@link parseKeep}, and beside them spans, `within=1y2m3d4h` or
 * `within-daily=1m`, and `tag=a+b` for what has all of these. BAD_REQUEST.
 */
export function parseBackupKeep(text: string): KeepRule {
  const parts = text.split(',').map((part) => ({ part, more: MORE.exec(part) }));
  const counts = parts.flatMap(({ part, more }) => (more === null ? [part] : []));
  const tags: string[] = [];
  const spans = new Map<keyof typeof SPANS, string>();
  for (const { part, more } of parts) {
    if (more === null) continue;
    const [, name = '', value = ''] = more;
    const span = SPAN_NAMES.find((known) => known === name.toLowerCase());
    if (span === undefined && name.toLowerCase() !== 'tag') throw refusal(part);
    if (span === undefined) tags.push(checkedTags(value, part));
    else if (spans.has(span)) throw refusal(part, `names ${span} twice`);
    else if (WITHIN.test(value)) spans.set(span, value);
    else throw refusal(part, 'is not understood: a span is 1y2m3d4h or a part of it');
  }
  if (tags.length > TAGS_MAX)
    throw refusal('tag', `is not understood: at most ${TAGS_MAX} of them`);
  const rule = counts.length === 0 ? { text: '', policy: {} } : parseKeep(counts.join());
  const given = SPAN_NAMES.flatMap((name) => {
    const span = spans.get(name);
    return span === undefined ? [] : [[name, span] as const];
  });
  const more = [
    ...given.map(([name, span]) => `${name}=${span}`),
    ...tags.map((tag) => `tag=${tag}`),
  ];
  return {
    text: [rule.text, ...more].filter((part) => part !== '').join(),
    policy: {
      ...rule.policy,
      ...Object.fromEntries(given.map(([name, span]) => [SPANS[name], span])),
      ...(tags.length === 0 ? {} : { keepTags: tags.map((tag) => tag.split('+')) }),
    },
  };
}

function checkedTags(value: string, part: string): string {
  if (value.split('+').every((tag) => TAG.test(tag))) return value;
  throw refusal(part, 'is not understood: tags have no spaces and commas, several are a+b');
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
    `'${shown}' in the rule of what to keep ${why}; give counts from 1 to ${COUNT_MAX}, or all, for ${NAMES.join(', ')}, such as hourly=24,daily=7`,
  );
}
