import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import { Comparison, type RunOptions } from './comparison.ts';
import { type Action, stepsOf } from './steps.ts';

/** Random sequences of each kind; more by the environment when something is suspected. */
const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 300);

/** Far above what the runs take: machines that test may be busy with other things. */
const TIMEOUT_MS = 600_000;

const UNBOUNDED = { quotaBytes: 0, quotaInodes: 0 };

/** Random sequences of operations, each compared with the model step by step and at its end. */
async function compareRuns(options: RunOptions, only?: readonly Action[]): Promise<void> {
  const steps = fc.array(stepsOf(only), { maxLength: 150, size: 'max' });
  const property = fc.asyncProperty(steps, async (list) => {
    const comparison = new Comparison(options);
    await comparison.begin();
    for (const step of list) await comparison.step(step);
    await comparison.finish();
  });
  await fc.assert(property, { numRuns: RUNS });
}

describe('the state machine equals a plain in-memory file system', { timeout: TIMEOUT_MS }, () => {
  it('under random operations of several sessions', async () => {
    await compareRuns({ ...UNBOUNDED, isFar: false, reclaimKeys: 100 });
  });

  it('when content is so large or far apart that it is deleted in slices', async () => {
    await compareRuns({ ...UNBOUNDED, isFar: true, reclaimKeys: 3 });
  });

  it('at the bounds of a quota', async () => {
    await compareRuns({ quotaBytes: 20_000, quotaInodes: 12, isFar: false, reclaimKeys: 5 });
  });

  it('in the locks that sessions hold', async () => {
    const only: Action[] = ['lock', 'releaseLocks', 'session', 'repeat', 'look'];
    await compareRuns({ ...UNBOUNDED, isFar: false, reclaimKeys: 2, fileCount: 2 }, only);
  });
});
