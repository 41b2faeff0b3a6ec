import { constants, PerformanceObserver } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { bodyPassed } from './young-garbage.ts';

/** Of a collection, as the type of all entries does not tell. */
function kindOf(entry: unknown): number {
  return (entry as { readonly detail: { readonly kind: number } }).detail.kind;
}

/** The kinds of collections that V8 does until `count` of them were told. */
function collections(count: number): Promise<number[]> {
  return new Promise((resolve) => {
    const kinds: number[] = [];
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) kinds.push(kindOf(entry));
      if (kinds.length < count) return;
      observer.disconnect();
      resolve(kinds);
    });
    observer.observe({ entryTypes: ['gc'] });
  });
}

describe('bodies that passed', () => {
  it('have young objects collected once in 8 MiB, not the whole heap', async () => {
    const collected = collections(3);
    for (let i = 0; i < 3; i++) {
      bodyPassed(7 * 2 ** 20);
      bodyPassed(2 ** 20);
      await new Promise(setImmediate);
    }
    const kinds = await collected;
    expect(kinds.filter((kind) => kind === constants.NODE_PERFORMANCE_GC_MINOR).length).toBe(3);
  });

  it('leave no function to collect with behind', () => {
    expect('gc' in globalThis).toBe(false);
  });
});
