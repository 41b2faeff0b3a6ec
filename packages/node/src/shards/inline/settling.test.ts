import type { InodeNumber, VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { Settling } from './settling.ts';

const FILE = { volume: 1 as VolumeNumber, ino: 5 as InodeNumber };

function settlingOf(filesRemembered = 10) {
  const settling = new Settling({ settleMs: 1000, filesRemembered });
  /** Asks about a file of a content version, changed at a time, at a time; both in milliseconds. */
  const ask = (contentVersion: number, changedMs: number, ms: number, file = FILE): number => {
    const seen = { contentVersion, ctimeNs: BigInt(changedMs) * 1_000_000n, inlineBytes: 1 };
    return settling.settledUpTo(file, seen, { ms, ns: BigInt(ms) * 1_000_000n });
  };
  return { settling, ask };
}

describe('settling', () => {
  it('takes all of a file that did not change for long enough', () => {
    const { ask } = settlingOf();
    expect(ask(7, 0, 999)).toBe(0);
    expect(ask(7, 0, 1000)).toBe(7);
  });

  it('takes of a file that is written all the time what was there at a look so long ago', () => {
    const { ask } = settlingOf();
    expect(ask(10, 5000, 5000)).toBe(0);
    expect(ask(20, 5500, 5999)).toBe(0);
    expect(ask(30, 6000, 6000)).toBe(10);
    // Once is enough: nothing more has settled before the next look is old.
    expect(ask(40, 6500, 6500)).toBe(0);
    expect(ask(50, 7000, 7000)).toBe(30);
  });

  it('is not misled by a writer whose clock is ahead', () => {
    const { ask } = settlingOf();
    expect(ask(3, 9_000_000, 1)).toBe(0);
    expect(ask(3, 9_000_000, 1001)).toBe(3);
  });

  it('remembers a bounded number of files', () => {
    const { ask } = settlingOf(2);
    for (const ino of [1, 2, 3]) ask(4, 100, 100, { ...FILE, ino: ino as InodeNumber });
    expect(ask(9, 1100, 1100, { ...FILE, ino: 3 as InodeNumber })).toBe(4);
    expect(ask(9, 1100, 1100, { ...FILE, ino: 1 as InodeNumber })).toBe(0);
  });

  it('forgets', () => {
    const { settling, ask } = settlingOf();
    ask(10, 5000, 5000);
    settling.clear();
    expect(ask(10, 6000, 6000)).toBe(0);
  });
});
