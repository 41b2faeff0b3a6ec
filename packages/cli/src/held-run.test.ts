import { HoldfastError, JOB_TIMES } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HeldRun } from './held-run.ts';

const order = { job: { kind: 'prune', repository: 'r' }, due: '2026-01-01T00:00:00.000Z' } as const;

/** A run, and the cluster's answers to its signs of life. */
function bench() {
  const world = { answer: async (): Promise<readonly string[]> => [], told: [] as unknown[] };
  const jobs = {
    renew: async (_worker: string, reports: readonly unknown[]) => {
      world.told.push(...reports);
      return world.answer();
    },
  };
  const held = new HeldRun({ jobs, worker: 'w', order, clock: () => performance.now() });
  return { world, held };
}

describe('a run that a worker has', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());
  const gone = (): Promise<never> => Promise.reject(new HoldfastError('NO_QUORUM', 'nobody leads'));

  it('gives signs of life with how far it is, until it is closed', async () => {
    const { world, held } = bench();
    held.tell({ files: 1, bytes: 2 });
    await vi.advanceTimersByTimeAsync(10 * JOB_TIMES.renewMs);
    expect(world.told).toHaveLength(10);
    expect(world.told[0]).toEqual({ ...order, progress: { files: 1, bytes: 2 } });
    held.close();
    await vi.advanceTimersByTimeAsync(10 * JOB_TIMES.renewMs);
    expect(world.told).toHaveLength(10);
    expect(held.isLost).toBe(false);
  });

  it('is lost when the cluster says so', async () => {
    const { world, held } = bench();
    world.answer = async () => ['prune/r'];
    await expect(held.confirm()).rejects.toMatchObject({ code: 'SESSION_EXPIRED' });
    expect(held.isLost).toBe(true);
  });

  it('is lost when nobody could be told for as long as the cluster waits, and not before', async () => {
    const { world, held } = bench();
    await held.confirm();
    world.answer = gone;
    await vi.advanceTimersByTimeAsync(JOB_TIMES.claimMs - 1);
    expect(held.isLost).toBe(false);
    await vi.advanceTimersByTimeAsync(JOB_TIMES.renewMs + 1);
    expect(held.signal.reason).toMatchObject({ message: expect.stringMatching(/in time/) });
  });

  it('lives on over an outage that ends in time', async () => {
    const { world, held } = bench();
    world.answer = gone;
    await vi.advanceTimersByTimeAsync(JOB_TIMES.claimMs - JOB_TIMES.renewMs);
    world.answer = async () => [];
    await vi.advanceTimersByTimeAsync(10 * JOB_TIMES.claimMs);
    expect(held.isLost).toBe(false);
    held.close();
  });
});
