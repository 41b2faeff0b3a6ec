import { describe, expect, it } from 'vitest';
import { FAILED_ONCE } from './seeds/failed-once.ts';
import { simulate } from './world.ts';

const BATCHES = Array.from({ length: 12 }, (_, batch) => batch * 100 + 1);

describe('groups of replicas under faults', () => {
  it.each(BATCHES)('keep every promise and come together again, 100 seeds from %i', (first) => {
    const totals = { terms: 0, entries: 0, reads: 0, crash: 0, cut: 0, change: 0, snapshot: 0 };
    for (let seed = first; seed < first + 100; seed += 1) {
      const { terms, entries, reads, counts } = simulate(seed);
      totals.terms += terms;
      totals.entries += entries;
      totals.reads += reads;
      for (const kind of ['crash', 'cut', 'change', 'snapshot'] as const) {
        totals[kind] += counts[kind] ?? 0;
      }
    }
    // A simulation in which little happens proves little.
    expect(
      Object.values(totals).every((count) => count >= 10),
      JSON.stringify(totals),
    ).toBe(true);
  });

  it.each(FAILED_ONCE)('keep every promise with seed %i, which failed once', (seed) => {
    expect(simulate(seed).entries).toBeGreaterThan(0);
  });

  it('do the same again for the same seed, to the last event', () => {
    for (let seed = 1; seed <= 20; seed += 1) expect(simulate(seed)).toEqual(simulate(seed));
  });

  it('do something else for another seed', () => {
    const hashes = Array.from({ length: 20 }, (_, seed) => simulate(seed).hash);
    expect(new Set(hashes).size).toBe(20);
  });
});
