import { describe, expect, it } from 'vitest';
import { Budget, forEachOf, Pace } from './budget.ts';

describe('a budget', () => {
  it('lets in as many items and bytes as it has, the others in order', async () => {
    const budget = new Budget({ items: 3, bytes: 10 });
    const running: number[] = [];
    const ends: (() => void)[] = [];
    const spend = (name: number, bytes: number): Promise<void> =>
      budget.spend(bytes, async () => {
        running.push(name);
        await new Promise<void>((end) => ends.push(end));
        running.splice(running.indexOf(name), 1);
      });
    const all = [spend(1, 6), spend(2, 4), spend(3, 1), spend(4, 1), spend(5, 99)];
    const endFirst = async (): Promise<void> => {
      ends.shift()?.();
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    };
    await Promise.resolve();
    expect(running).toEqual([1, 2]);
    await endFirst();
    expect(running).toEqual([2, 3, 4]);
    await endFirst();
    await endFirst();
    // Larger than all there is: alone, but not never.
    expect(running).toEqual([4]);
    await endFirst();
    expect(running).toEqual([5]);
    await endFirst();
    await Promise.all(all);
  });

  it('gives back what a failed action had', async () => {
    const budget = new Budget({ items: 1, bytes: 1 });
    const failing = budget.spend(1, () => Promise.reject(new RangeError('no')));
    const next = budget.spend(1, async () => 'done');
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('done');
  });
});

describe('a pace', () => {
  it('spreads bytes beyond the first second', () => {
    const pace = new Pace(1_000);
    expect(pace.delayMs(1_000, 0)).toBe(0);
    expect(pace.delayMs(500, 0)).toBe(500);
    expect(pace.delayMs(500, 0)).toBe(1_000);
    expect(pace.delayMs(100, 10_000)).toBe(0);
    expect(new Pace(Number.POSITIVE_INFINITY).delayMs(1e12, 0)).toBe(0);
  });
});

describe('forEachOf', () => {
  it('works on a few at a time, and ends early when it is over', async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    const action = async (item: number): Promise<void> => {
      most = Math.max(most, ++running);
      await Promise.resolve();
      running--;
      done.push(item);
    };
    await forEachOf([1, 2, 3, 4, 5], 2, action, () => done.length >= 3);
    expect(most).toBe(2);
    expect(done.length).toBeLessThan(5);
    await forEachOf([], 2, action, () => false);
  });

  it('rejects with the first failure after all have ended', async () => {
    const ended: number[] = [];
    const action = async (item: number): Promise<void> => {
      if (item === 1) throw new RangeError('first');
      await Promise.resolve();
      ended.push(item);
    };
    await expect(forEachOf([1, 2, 3], 2, action, () => false)).rejects.toThrow('first');
    expect(ended).toEqual([2]);
  });
});
