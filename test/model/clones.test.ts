import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import { Comparison, type RunOptions } from './comparison.ts';
import { type Step, stepsOnContent, stepsWithSnapshots } from './steps.ts';

/** Random sequences; more by the environment when something is suspected. */
const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 40);

/** Far above what the runs take: machines that test may be busy with other things. */
const TIMEOUT_MS = 600_000;

const VOLUMES_MAX = 4;
const OPTIONS = { quotaBytes: 0, quotaInodes: 0, isFar: false, reclaimKeys: 4 };

/** A step of one of the volumes, or of the family of volumes itself. */
interface FamilyStep {
  readonly kind: 'step' | 'clone' | 'destroy';
  readonly volume: number;
  readonly step: Step;
}

const familySteps = (step: fc.Arbitrary<Step>): fc.Arbitrary<FamilyStep> =>
  fc.record({
    kind: fc.oneof(
      { arbitrary: fc.constant('step' as const), weight: 40 },
      { arbitrary: fc.constant('clone' as const), weight: 3 },
      { arbitrary: fc.constant('destroy' as const), weight: 1 },
    ),
    volume: fc.nat(VOLUMES_MAX - 1),
    step,
  });

async function take(
  family: Comparison[],
  options: RunOptions,
  { kind, volume, step }: FamilyStep,
): Promise<void> {
  const one = family[volume % family.length] as Comparison;
  if (kind === 'step') return one.step(step);
  if (kind === 'clone') {
    const snapshot = one.snapshots[step.a % Math.max(1, one.snapshots.length)];
    if (snapshot === undefined || family.length >= VOLUMES_MAX) return;
    family.push(new Comparison(options, { of: one, snapshot }));
    return;
  }
  if (one === family[0]) return;
  if (!one.isHeld) family.splice(family.indexOf(one), 1);
  await one.destroy();
}

async function compareFamilies(options: RunOptions, step = stepsWithSnapshots()): Promise<void> {
  const steps = fc.array(familySteps(step), { maxLength: 200, size: 'max' });
  const property = fc.asyncProperty(steps, async (list) => {
    const family = [new Comparison({ ...options, fileCount: 2 })];
    await family[0]?.begin();
    for (const step of list) await take(family, options, step);
    while (family.length > 0) {
      const last = family.pop() as Comparison;
      await last.finish();
      if (family.length > 0) await last.destroy();
    }
  });
  await fc.assert(property, { numRuns: RUNS });
}

describe('clones equal copies of the model', { timeout: TIMEOUT_MS }, () => {
  it('under random operations on them and on the volumes that they come from', async () => {
    await compareFamilies(OPTIONS);
  });

  it('when content is deleted in slices, in them and below them', async () => {
    await compareFamilies({ ...OPTIONS, isFar: true, reclaimKeys: 3 });
  });

  it('when much is cut off while snapshots and clones are made', async () => {
    await compareFamilies({ ...OPTIONS, isFar: true, reclaimKeys: 1 }, stepsOnContent());
  });
});
