import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import { Comparison, type RunOptions } from './comparison.ts';
import { steps } from './steps.ts';

/** Random sequences of operations, each compared with the model step by step and at its end. */
async function compareRuns(options: RunOptions, runs: number): Promise<void> {
  const property = fc.asyncProperty(
    fc.array(steps, { maxLength: 150, size: 'max' }),
    async (list) => {
      const comparison = new Comparison(options);
      for (const step of list) await comparison.step(step);
      await comparison.finish();
    },
  );
  await fc.assert(property, { numRuns: runs });
}

const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 100);

describe('the state machine equals a plain in-memory file system', () => {
  it('under random operations of several sessions', async () => {
    await compareRuns({ quotaBytes: 0, quotaInodes: 0, isFar: false, reclaimKeys: 100 }, RUNS);
  });

  it('when content is so large or far apart that it is deleted in slices', async () => {
    await compareRuns({ quotaBytes: 0, quotaInodes: 0, isFar: true, reclaimKeys: 3 }, RUNS);
  });

  it('at the bounds of a quota', async () => {
    await compareRuns({ quotaBytes: 20_000, quotaInodes: 12, isFar: false, reclaimKeys: 5 }, RUNS);
  });
});
