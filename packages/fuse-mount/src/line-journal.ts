import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';

/** Dead lines that a journal may have before it is written anew. */
const DEAD_LINES_MAX = 4096;

/**
 * A file of lines that outlives a killed process (but need not outlive the host): each line is one
 * write, and a last line that was cut off is as if it had never been written.
 */
export class LineJournal {
  readonly #path: string;
  #descriptor: number | undefined;
  #deadLines = 0;

  /** Names the file; nothing is read or written before {@link load}. */
  constructor(path: string) {
    this.#path = path;
  }

  /** The whole lines that are there; none when there is no file. */
  load(): string[] {
    try {
      return readFileSync(this.#path, 'latin1').split('\n').slice(0, -1);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /** Replaces all lines, and goes on after them. */
  rewrite(lines: readonly string[]): void {
    this.close();
    // Written aside and renamed, so that a kill at any moment leaves the old or the new file.
    const text = lines.map((line) => `${line}\n`).join('');
    writeFileSync(`${this.#path}.new`, text, { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
    this.#descriptor = openSync(this.#path, 'a', 0o600);
    this.#deadLines = 0;
  }

  /** Adds a line; on return a successor will find it. Does nothing after {@link close}. */
  append(line: string): void {
    if (this.#descriptor !== undefined) writeSync(this.#descriptor, `${line}\n`);
  }

  /** Adds a line that takes an earlier one back; `living` gives all that still count, when it is time to tidy. */
  retract(line: string, living: () => readonly string[]): void {
    this.append(line);
    this.#deadLines += 2;
    if (this.#descriptor === undefined || this.#deadLines < DEAD_LINES_MAX) return;
    const lines = living();
    if (this.#deadLines > lines.length) this.rewrite(lines);
  }

  /** Closes the file; its lines stay. */
  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}
