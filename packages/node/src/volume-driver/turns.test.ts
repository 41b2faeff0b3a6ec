import { describe, expect, it } from 'vitest';
import { Turns } from './turns.ts';

const NEVER_MS = 600_000;

describe('Turns', () => {
  it('ask a few at once and the others in the order they came', async () => {
    const turns = new Turns(2);
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    const answers = [0, 1, 2, 3].map((number) =>
      turns.take('it', NEVER_MS, async () => {
        begun.push(number);
        await new Promise<void>((resolve) => ends.push(resolve));
      }),
    );
    expect(begun).toEqual([0, 1]);
    ends[1]?.();
    await answers[1];
    expect(begun).toEqual([0, 1, 2]);
    ends[0]?.();
    await answers[0];
    expect(begun).toEqual([0, 1, 2, 3]);
    ends[2]?.();
    ends[3]?.();
    await Promise.all(answers);
  });

  it('go on after a failure', async () => {
    const turns = new Turns(1);
    const failing = turns.take('it', NEVER_MS, () => Promise.reject(new RangeError('no')));
    const next = turns.take('it', NEVER_MS, () => Promise.resolve());
    await expect(failing).rejects.toThrow(RangeError);
    await next;
  });

  it('let those go whose time is over, and never ask for them', async () => {
    const turns = new Turns(1);
    let end = (): void => {};
    const first = turns.take('it', NEVER_MS, () => new Promise((resolve) => (end = resolve)));
    let isAsked = false;
    const late = turns.take('it', 1, async () => {
      isAsked = true;
    });
    await expect(late).rejects.toMatchObject({ code: 'DEADLINE' });
    end();
    await first;
    await turns.take('it', NEVER_MS, () => Promise.resolve());
    expect(isAsked).toBe(false);
  });
});
