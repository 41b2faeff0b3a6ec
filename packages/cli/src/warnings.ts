import type { AttributeProblem } from '@holdfast/tree';
import type { Output } from './output.ts';

/** Warnings that are shown; the rest are counted. */
const SHOWN_MAX = 20;

/** Warnings of long work about single entries: the first few, and how many more there were. */
export class Warnings {
  readonly #output: Output;
  readonly #before: () => void;
  #count = 0;

  /** `before` each that is shown: ends a line of progress that is being written. */
  constructor(output: Output, before: () => void = () => {}) {
    this.#output = output;
    this.#before = before;
  }

  get count(): number {
    return this.#count;
  }

  /** `path`: one character a byte; it is shown without writing to the terminal beyond its letters. */
  add(path: string, text: string): void {
    this.say(`${JSON.stringify(Buffer.from(path, 'latin1').toString('utf8'))} ${text}`);
  }

  /** One that is about no entry. */
  say(text: string): void {
    this.#count += 1;
    if (this.#count > SHOWN_MAX) return;
    this.#before();
    this.#output.progress(`warning: ${text}`);
  }

  /** Tells of those that were not shown. */
  end(): void {
    if (this.#count > SHOWN_MAX)
      this.#output.progress(`warning: and ${this.#count - SHOWN_MAX} more like these`);
  }
}

/** Tells of attributes that could not be set as warnings about their entries. */
export function attributeWarning(
  onWarning: (path: string, text: string) => void,
): AttributeProblem {
  return (entry, what, error) => {
    const why = error instanceof Error ? error.message : String(error);
    onWarning(entry, `${what} could not be set: ${why}`);
  };
}
