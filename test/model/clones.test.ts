import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import { Comparison, type RunOptions } from './comparison.ts';
import { type Step, stepsOnContent, stepsWithSnapshots } from './steps.ts';

/** Random sequences; more by the environment when something is suspected. */
const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 40);
/** Of those that take longer: each is about two shards. */
const AFAR_RUNS = Math.ceil(RUNS / 2);

/** Far above what the runs take: machines that test may be busy with other things. */
const TIMEOUT_MS = 600_000;

const VOLUMES_MAX = 4;
const OPTIONS = { quotaBytes: 0, quotaInodes: 0, isFar: false, reclaimKeys: 4 };

/** A step of one of the volumes, or of the family of volumes itself. */
interface FamilyStep {
  readonly kind: 'step' | 'clone' | 'clone afar' | 'copy' | 'destroy';
  readonly volume: number;
  readonly step: Step;
}

const familySteps = (step: fc.Arbitrary<Step>, isAfar: boolean): fc.Arbitrary<FamilyStep> =>
  fc.record({
    kind: fc.oneof(
      { arbitrary: fc.constant('step' as const), weight: 40 },
      { arbitrary: fc.constant('clone' as const), weight: isAfar ? 1 : 3 },
      { arbitrary: fc.constant('clone afar' as const), weight: isAfar ? 3 : 0 },
      { arbitrary: fc.constant('copy' as const), weight: isAfar ? 6 : 0 },
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
  if (kind === 'copy') return one.real.copySome(step.a, 1 + (step.b % 5));
  if (kind === 'clone' || kind === 'clone afar') {
    const isAfar = kind === 'clone afar';
    const snapshot = one.snapshots[step.a % Math.max(1, one.snapshots.length)];
    if (snapshot === undefined || family.length >= VOLUMES_MAX) return;
    family.push(new Comparison(options, { of: one, snapshot, isAfar }));
    return;
  }
  if (one === family[0]) return;
  if (!one.isHeld) family.splice(family.indexOf(one), 1);
  await one.destroy();
}

async function compareFamilies(
  options: RunOptions,
  { step = stepsWithSnapshots(), isAfar = false, runs = RUNS } = {},
): Promise<void> {
  const steps = fc.array(familySteps(step, isAfar), { maxLength: 200, size: 'max' });
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
  await fc.assert(property, { numRuns: runs });
}

describe('clones equal copies of the model', { timeout: TIMEOUT_MS }, () => {
  it('under random operations on them and on the volumes that they come from', async () => {
    await compareFamilies(OPTIONS);
  });

  it('when content is deleted in slices, in them and below them', async () => {
    await compareFamilies({ ...OPTIONS, isFar: true, reclaimKeys: 3 });
  });

  it('when much is cut off while snapshots and clones are made', async () => {
    await compareFamilies({ ...OPTIONS, isFar: true, reclaimKeys: 1 }, { step: stepsOnContent() });
  });
});

describe('clones in another shard equal copies of the model', { timeout: TIMEOUT_MS }, () => {
  it('however little of them is copied, by whichever leader, and how often', async () => {
    await compareFamilies(OPTIONS, { isAfar: true, runs: AFAR_RUNS });
  });

  it('when content is deleted in slices, in them and below them', async () => {
    await compareFamilies(
      { ...OPTIONS, isFar: true, reclaimKeys: 3 },
      { isAfar: true, runs: AFAR_RUNS },
    );
  });

  it('when much is cut off while snapshots and clones are made', async () => {
    const options = { ...OPTIONS, isFar: true, reclaimKeys: 1 };
    await compareFamilies(options, { step: stepsOnContent(), isAfar: true, runs: AFAR_RUNS });
  });
});
