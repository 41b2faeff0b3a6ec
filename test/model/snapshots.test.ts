import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import { Comparison, type RunOptions } from './comparison.ts';
import { stepsWithSnapshots } from './steps.ts';

/** Random sequences of each kind; more by the environment when something is suspected. */
const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 60);

/** Far above what the runs take: machines that test may be busy with other things. */
const TIMEOUT_MS = 600_000;

async function compareRuns(options: Partial<RunOptions>): Promise<void> {
  const all = { quotaBytes: 0, quotaInodes: 0, isFar: false, reclaimKeys: 100, ...options };
  const steps = fc.array(stepsWithSnapshots(), { maxLength: 200, size: 'max' });
  const property = fc.asyncProperty(steps, async (list) => {
    const comparison = new Comparison(all);
    await comparison.begin();
    for (const step of list) await comparison.step(step);
    await comparison.finish();
  });
  await fc.assert(property, { numRuns: RUNS });
}

describe('snapshots equal whole copies of the model', { timeout: TIMEOUT_MS }, () => {
  it('under random operations, with plans that are late, lost or done twice', async () => {
    await compareRuns({ fileCount: 2 });
  });

  it('when content is deleted in slices, a few keys at a time', async () => {
    await compareRuns({ isFar: true, reclaimKeys: 3, fileCount: 3 });
  });
});
