import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** The environment variable that tells the reporter where to leave its tally. */
export const TALLY_FILE_VARIABLE = 'HOLDFAST_TEST_TALLY';

/** Outcome of a vitest run, in tests; `failed` also counts files and hooks that did not run. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Nothing ran. */
export function emptyTally(): Tally {
  return { passed: 0, failed: 0, skipped: 0 };
}

/** Both together. */
export function addTallies(left: Tally, right: Tally): Tally {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** The closing line of a check: "412 passed, 0 failed", and the skipped ones when there are any. */
export function formatTally(tally: Tally): string {
  const line = `${tally.passed} passed, ${tally.failed} failed`;
  return tally.skipped > 0 ? `${line}, ${tally.skipped} skipped` : line;
}

/** Leaves a tally for the process that started the run. */
export function writeTally(path: string, tally: Tally): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(tally));
}

/** Reads and removes a tally; undefined if the run ended before it could leave one. */
export function takeTally(path: string): Tally | undefined {
  try {
    const tally = JSON.parse(readFileSync(path, 'utf8')) as Tally;
    rmSync(path);
    return tally;
  } catch {
    return undefined;
  }
}
