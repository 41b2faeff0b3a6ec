/** How far long work has come: one line that is written over on a terminal, else JSON lines. */
import { bytesText, durationText } from './output.ts';

/** Milliseconds between two lines, on a terminal and elsewhere. */
const TERMINAL_MS = 200;
const LINES_MS = 2_000;
/** Milliseconds of work before a guess is made of what is left. */
const GUESS_AFTER_MS = 2_000;

/** What is done so far. */
export interface Done {
  readonly files: number;
  readonly bytes: number;
}

/** What there is to do, where that is known. */
export interface Expected {
  readonly files?: number;
  readonly bytes?: number;
}

/** What a progress line says. */
export interface Progress extends Done {
  readonly filesExpected?: number;
  readonly bytesExpected?: number;
  readonly secondsLeft?: number;
}

/** Adds a guess of the time that is left: by the bytes, at the speed so far. Pure. */
export function progressOf(done: Done, expected: Expected, elapsedMs: number): Progress {
  const { files, bytes } = expected;
  const known = {
    ...done,
    ...(files === undefined ? {} : { filesExpected: Math.max(files, done.files) }),
    ...(bytes === undefined ? {} : { bytesExpected: Math.max(bytes, done.bytes) }),
  };
  if (bytes === undefined || done.bytes === 0 || elapsedMs < GUESS_AFTER_MS) return known;
  const left = Math.max(0, bytes - done.bytes);
  return { ...known, secondsLeft: Math.ceil((left * elapsedMs) / done.bytes / 1_000) };
}

/** A line of progress for people. */
export function progressText(what: string, progress: Progress): string {
  const { files, bytes, filesExpected, bytesExpected, secondsLeft } = progress;
  const of = (known: string | number | undefined): string =>
    known === undefined ? '' : ` of ${known}`;
  const bytesOf = bytesExpected === undefined ? undefined : bytesText(bytesExpected);
  const left = secondsLeft === undefined ? '' : `, ${durationText(secondsLeft * 1_000)} left`;
  return `${what}: ${files}${of(filesExpected)} files, ${bytesText(bytes)}${of(bytesOf)}${left}`;
}

/** Shows progress on standard error. */
export class ProgressLine {
  readonly #what: string;
  readonly #isTerminal: boolean;
  readonly #startMs = performance.now();
  #expected: Expected = {};
  #nextMs: number;
  #isShown = false;

  constructor(what: string, { json }: { readonly json: boolean }) {
    this.#what = what;
    this.#isTerminal = process.stderr.isTTY && !json;
    this.#nextMs = this.#startMs + (this.#isTerminal ? TERMINAL_MS : LINES_MS);
  }

  /** Says how much there is to do. */
  expect(expected: Expected): void {
    this.#expected = expected;
  }

  /** Shows what is done, when it is time for a line. */
  update(done: Done): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + (this.#isTerminal ? TERMINAL_MS : LINES_MS);
    const progress = progressOf(done, this.#expected, nowMs - this.#startMs);
    if (!this.#isTerminal) {
      console.error(JSON.stringify({ progress: { what: this.#what, ...progress } }));
      return;
    }
    this.#isShown = true;
    process.stderr.write(`\r\u001b[K${progressText(this.#what, progress)}`);
  }

  /** Takes the line away again. */
  end(): void {
    if (this.#isShown) process.stderr.write('\r\u001b[K');
    this.#isShown = false;
  }
}
