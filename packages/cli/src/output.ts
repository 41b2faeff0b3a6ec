import { styleText } from 'node:util';

/** Prints for people or for programs, by the global option --json. */
export class Output {
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
  }

  /** One result: the value as JSON, or the lines made of it. */
  result(value: unknown, lines: () => readonly string[]): void {
    if (this.json) console.log(JSON.stringify(value, null, 2));
    else for (const line of lines()) console.log(line);
  }

  /** A step of long work, on standard error so that it never mixes with results. */
  progress(line: string): void {
    if (this.json) console.error(JSON.stringify({ progress: line }));
    else console.error(styleText('dim', line, { stream: process.stderr }));
  }
}

/** Rows under headings, columns as wide as their widest cell, two spaces between. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(headings), ...rows.map(line)];
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Bytes for people: 1536 is '1.5 KiB'; 0 as a limit is 'none' when `zero` says so. */
export function bytesText(bytes: number, zero = '0 B'): string {
  if (bytes === 0) return zero;
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 2 ** (10 * power);
  return `${power === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(1))} ${UNITS[power]}`;
}

/** Nanoseconds since the epoch as ISO 8601, to the millisecond. */
export function timeText(timeNs: bigint): string {
  return new Date(Number(timeNs / 1_000_000n)).toISOString();
}

/** A time span for people, its largest unit only: 90_000 is '1 min'. */
export function durationText(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}
