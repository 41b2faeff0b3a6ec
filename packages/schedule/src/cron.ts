/** When something is due: cron's five fields, in UTC. */
import { HoldfastError } from '@holdfast/protocol';
import { Cron } from 'croner';

const MINUTE_MS = 60_000;
/** Longer than any sensible one. */
const TEXT_CHARACTERS_MAX = 128;
/** Names of months and days are letters; what the library knows beyond cron is left out. */
const FIELD = /^[0-9A-Za-z*,/-]+$/;

const NICKNAMES: ReadonlyMap<string, string> = new Map([
  ['@hourly', '0 * * * *'],
  ['@daily', '0 0 * * *'],
  ['@midnight', '0 0 * * *'],
  ['@weekly', '0 0 * * 0'],
  ['@monthly', '0 0 1 * *'],
  ['@yearly', '0 0 1 1 *'],
  ['@annually', '0 0 1 1 *'],
]);

/** A cron expression that is understood and comes true. Times are whole minutes, in milliseconds since the epoch. */
export class Schedule {
  /** Five fields with one space between them; equal expressions that are written alike have equal texts. */
  readonly text: string;
  readonly #cron: Cron;
  /** Answers given last: many volumes have one schedule, and ask the same. */
  readonly #next = new Map<number, number | undefined>();
  readonly #latest = new Map<number, number | undefined>();

  private constructor(text: string, cron: Cron) {
    this.text = text;
    this.#cron = cron;
  }

  /**
   * Reads minute, hour, day of month, month and day of week, or `@hourly`, `@daily`, `@weekly`,
   * `@monthly`, `@yearly`. BAD_REQUEST when it is not understood or never comes true.
   */
  static parse(text: string): Schedule {
    const short = text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, TEXT_CHARACTERS_MAX);
    const refuse = (why: string, cause?: unknown): HoldfastError =>
      new HoldfastError(
        'BAD_REQUEST',
        `schedule '${short}' ${why}; give minute, hour, day of month, month and day of week in UTC, such as '0 * * * *', or @hourly, @daily, @weekly, @monthly`,
        { cause },
      );
    const fields = text.trim().split(/\s+/);
    const plain = NICKNAMES.get(text.trim().toLowerCase()) ?? fields.join(' ');
    if (text.length > TEXT_CHARACTERS_MAX) throw refuse('is too long');
    if (plain.startsWith('@')) throw refuse('is no known name');
    if (plain.split(' ').length !== 5) throw refuse('has not five fields');
    if (!plain.split(' ').every((field) => FIELD.test(field))) throw refuse('is not understood');
    const cron = cronOf(plain, (cause) => refuse('is not understood', cause));
    if (cron.nextRun(new Date(0)) === null) throw refuse('never comes true');
    return new Schedule(plain, cron);
  }

  /** The first time after this one; undefined beyond the end of calendars. */
  next(afterMs: number): number | undefined {
    return remembered(this.#next, afterMs, () => this.#cron.nextRun(new Date(afterMs))?.getTime());
  }

  /** The newest time at or before this one; undefined when there was none since the epoch. */
  latest(nowMs: number): number | undefined {
    // The library looks strictly before its reference, by seconds; what is due is due at whole minutes.
    const minute = Math.floor(nowMs / MINUTE_MS) * MINUTE_MS;
    return remembered(this.#latest, minute, () => {
      const found = this.#cron.previousRuns(1, new Date(minute + 1_000))[0]?.getTime();
      return found !== undefined && found >= 0 ? found : undefined;
    });
  }
}

/** Answers kept of each kind. */
const REMEMBERED_MAX = 64;

function remembered(
  answers: Map<number, number | undefined>,
  question: number,
  answer: () => number | undefined,
): number | undefined {
  if (!answers.has(question)) {
    if (answers.size >= REMEMBERED_MAX) answers.clear();
    answers.set(question, answer());
  }
  return answers.get(question);
}

/** A calculator: without a function to call it sets no timer. */
function cronOf(text: string, refuse: (cause: unknown) => HoldfastError): Cron {
  try {
    return new Cron(text, { timezone: 'UTC', mode: '5-part', paused: true });
  } catch (error) {
    throw refuse(error);
  }
}
