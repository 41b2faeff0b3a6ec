/** Chunks on real disks under random changes: what is needed is there, and in the end nothing else. */
import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import { Comparison } from './comparison.ts';
import { type DiskEvent, Disks } from './disks.ts';
import { type Step, stepsOf, stepsWithSnapshots, type WritersClock } from './steps.ts';

/** Random sequences; more by the environment when something is suspected. */
const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 8);

/** Far above what the runs take: machines that test may be busy with other things. */
const TIMEOUT_MS = 600_000;

const OPTIONS = { quotaBytes: 0, quotaInodes: 0, isFar: false, reclaimKeys: 4, fileCount: 2 };

const EVENTS = {
  nothing: 6,
  collect: 3,
  late: 1,
  restart: 1,
  orphan: 2,
  search: 2,
  repair: 1,
  compact: 1,
} as const;

const events: fc.Arbitrary<DiskEvent> = fc.record({
  kind: fc.oneof(
    ...Object.entries(EVENTS).map(([kind, weight]) => ({
      arbitrary: fc.constant(kind as DiskEvent['kind']),
      weight,
    })),
  ),
  a: fc.nat(1_000),
  b: fc.nat(1_000),
});

interface Moment {
  readonly volume: number;
  readonly step: Step;
  readonly event: DiskEvent;
}

const SNAPSHOT: Step = { action: 'snapshot', session: 0, a: 0, b: 1, c: 0, d: 0, e: 0 };

/** A volume, and a clone of its first snapshot in another shard. */
async function run(moments: readonly Moment[]): Promise<void> {
  const clock: WritersClock = { second: 10 };
  const disks = new Disks(clock);
  const options = { ...OPTIONS, clock, courier: disks };
  try {
    await disks.begin();
    const volume = new Comparison(options);
    disks.add(volume.real);
    await volume.begin();
    await volume.step(SNAPSHOT);
    const [snapshot] = volume.snapshots;
    const clone = new Comparison(options, { of: volume, snapshot: snapshot ?? '', isAfar: true });
    disks.add(clone.real);
    for (const { volume: which, step, event } of moments) {
      await (which === 0 ? volume : clone).step(step);
      await disks.take(event);
      await disks.compare();
    }
    await disks.finish(OPTIONS.reclaimKeys);
    await clone.finish();
    await clone.destroy();
    await volume.finish();
  } finally {
    await disks.end();
  }
}

describe('chunks on the disks of all replicas', { timeout: TIMEOUT_MS }, () => {
  it('are those that somebody needs, whoever dies while chunks are written and deleted', async () => {
    const step = fc.oneof(
      { arbitrary: stepsWithSnapshots(), weight: 3 },
      { arbitrary: stepsOf(['write']), weight: 1 },
    );
    const moment = fc.record({ volume: fc.nat(1), step, event: events });
    const moments = fc.array(moment, { minLength: 50, maxLength: 120, size: 'max' });
    await fc.assert(fc.asyncProperty(moments, run), { numRuns: RUNS });
  });
});
