import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { STEPS } from './steps.ts';
import { addTallies, emptyTally, formatTally, takeTally, writeTally } from './tally.ts';

describe('the whole check', () => {
  it('ends within 80 minutes even if every step takes all it may', () => {
    const testRuns = STEPS.filter((step) => step.isTestRun);
    const minutes = testRuns.reduce((sum, step) => sum + step.minutesMax, 0);
    expect(minutes).toBeLessThan(80);
  });

  it('closes with one line of what passed and what failed', () => {
    const unit = { passed: 400, failed: 0, skipped: 0 };
    const cluster = { passed: 12, failed: 1, skipped: 0 };
    expect(formatTally(addTallies(unit, cluster))).toBe('412 passed, 1 failed');
  });

  it('names the skipped ones in that line', () => {
    expect(formatTally({ passed: 3, failed: 0, skipped: 2 })).toBe('3 passed, 0 failed, 2 skipped');
  });

  it('takes a tally once and finds none after a run that left none', () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-tally-'));
    const path = join(directory, 'below', 'tally.json');
    try {
      expect(takeTally(path)).toBeUndefined();
      writeTally(path, { ...emptyTally(), passed: 1 });
      expect(takeTally(path)).toEqual({ passed: 1, failed: 0, skipped: 0 });
      expect(takeTally(path)).toBeUndefined();
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
