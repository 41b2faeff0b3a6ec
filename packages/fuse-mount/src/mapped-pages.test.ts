import type { NodeReference } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MappedPages, UNPROTECTED_MS_MAX } from './mapped-pages.ts';

const NODE = { volume: 1, ino: 2 } as NodeReference;
const OTHER = { volume: 1, ino: 3 } as NodeReference;

/** Pages of a volume that is believed or not, and a kernel that can be made to fail. */
function bench() {
  const world = { isBelieved: false, isBroken: false };
  const dropped: number[] = [];
  const failures: unknown[] = [];
  const pages = new MappedPages({
    isBelieved: () => world.isBelieved,
    drop: async ({ ino }) => {
      if (world.isBroken) throw new Error('broken');
      dropped.push(ino);
    },
    onFailure: (error) => failures.push(error),
  });
  return { world, dropped, failures, pages };
}

describe('pages of mapped files', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('are dropped after a while when nobody would tell of a change', async () => {
    const { pages, dropped } = bench();
    expect(await pages.pageIn(NODE, async () => 'bytes')).toBe('bytes');
    await vi.advanceTimersByTimeAsync(UNPROTECTED_MS_MAX - 1);
    expect(dropped).toEqual([]);
    await pages.pageIn(NODE, async () => 'more');
    await vi.advanceTimersByTimeAsync(UNPROTECTED_MS_MAX - 1);
    expect(dropped).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(dropped).toEqual([NODE.ino]);
    await vi.advanceTimersByTimeAsync(10 * UNPROTECTED_MS_MAX);
    expect(dropped).toEqual([NODE.ino]);
  });

  it('stay under a delegation that was held from before the read until after it', async () => {
    const { pages, world, dropped } = bench();
    world.isBelieved = true;
    await pages.pageIn(NODE, async () => {});
    await pages.refresh(NODE);
    expect(dropped).toEqual([]);
    await pages.pageIn(NODE, async () => {
      world.isBelieved = false;
    });
    await pages.refresh(NODE);
    expect(dropped).toEqual([NODE.ino]);
    await pages.pageIn(NODE, async () => {
      world.isBelieved = true;
    });
    await pages.refresh(NODE);
    expect(dropped).toEqual([NODE.ino, NODE.ino]);
  });

  it('are dropped at once, and once, for who locks the file, and no others', async () => {
    const { pages, dropped } = bench();
    await pages.pageIn(NODE, async () => {});
    await pages.refresh(OTHER);
    expect(dropped).toEqual([]);
    await pages.refresh(NODE);
    await pages.refresh(NODE);
    await vi.advanceTimersByTimeAsync(UNPROTECTED_MS_MAX);
    expect(dropped).toEqual([NODE.ino]);
  });

  it('are tried again when the kernel could not be told', async () => {
    const { pages, world, dropped, failures } = bench();
    world.isBroken = true;
    pages.suspect(NODE);
    await expect(pages.refresh(NODE)).rejects.toThrow('broken');
    await vi.advanceTimersByTimeAsync(UNPROTECTED_MS_MAX);
    expect(failures).toHaveLength(1);
    world.isBroken = false;
    await vi.advanceTimersByTimeAsync(UNPROTECTED_MS_MAX);
    expect(dropped).toEqual([NODE.ino]);
  });

  it('are left to the next daemon at the end', async () => {
    const { pages, dropped } = bench();
    pages.suspect(NODE);
    pages.close();
    await vi.advanceTimersByTimeAsync(UNPROTECTED_MS_MAX);
    expect(dropped).toEqual([]);
  });
});
