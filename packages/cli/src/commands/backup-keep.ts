/** The `--keep-*` options, by restic's names. */
import type { RetentionPolicy } from '@holdfast/schedule';
import { type Command, Option } from 'commander';
import { parseCount } from '../sizes.ts';

/** What they say. */
export interface KeepOptions extends Omit<RetentionPolicy, 'keepTags'> {
  /** Each all that one backup must have, separated by commas. */
  readonly keepTag?: readonly string[];
}

const COUNTS = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
const PERIODS = {
  hourly: 'hours',
  daily: 'days',
  weekly: 'weeks',
  monthly: 'months',
  yearly: 'years',
} as const;

/** Of an option that may be given several times. */
export function collected(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Adds the options to a command. */
export function addKeepOptions(command: Command): Command {
  for (const period of COUNTS)
    command.addOption(
      new Option(
        `--keep-${period} <count>`,
        period === 'last'
          ? 'keep so many, the newest'
          : `keep the newest of so many ${PERIODS[period]}`,
      ).argParser(parseKeepCount(`--keep-${period}`)),
    );
  for (const [period, plural] of Object.entries(PERIODS))
    command.option(
      `--keep-within-${period} <span>`,
      `keep the newest of the ${plural} that are younger before the newest`,
    );
  return command
    .option(
      '--keep-within <span>',
      'keep what is younger before the newest: 1y2m3d4h or a part of it',
    )
    .option(
      '--keep-tag <tags>',
      'keep what has this tag, or all of these: a,b; may be given several times',
      collected,
    );
}

/** A count, or restic's words for all of them. */
function parseKeepCount(option: string): (text: string) => number {
  const count = parseCount(option, 1, 1_000_000);
  return (text) => (['all', 'unlimited', '-1'].includes(text) ? -1 : count(text));
}

/** Tags separated by commas. */
export function tagsOf(text: string): readonly string[] {
  return text.split(',').map((tag) => tag.trim());
}

/** Rules but those of tags, by their names in a policy: `keepDaily`, `keepWithinHourly`. */
function givenIn(options: KeepOptions): readonly (readonly [string, number | string])[] {
  return Object.entries(options).filter(
    ([name, value]) => name.startsWith('keep') && typeof value !== 'boolean' && name !== 'keepTag',
  ) as never;
}

/** The rule that was given; empty when none was. */
export function retentionOf(options: KeepOptions): RetentionPolicy {
  const { keepTag } = options;
  return {
    ...(Object.fromEntries(givenIn(options)) as RetentionPolicy),
    ...(keepTag === undefined ? {} : { keepTags: keepTag.map(tagsOf) }),
  };
}

/** The rule as a text such as `daily=7,within=1m`; undefined when none was given. */
export function keepText(options: KeepOptions): string | undefined {
  const rules = givenIn(options).map(([name, value]) => {
    const words = name.slice('keep'.length).split(/(?=[A-Z])/);
    return `${words.join('-').toLowerCase()}=${value === -1 ? 'all' : value}`;
  });
  const tags = (options.keepTag ?? []).map((text) => `tag=${tagsOf(text).join('+')}`);
  return rules.length + tags.length === 0 ? undefined : [...rules, ...tags].join();
}
