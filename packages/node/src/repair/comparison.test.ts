import type { ClusterMap, NodeNumber, PartitionId } from '@holdfast/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Digest } from '../chunks/digests.ts';
import { Comparison, type DigestSource } from './comparison.ts';
import type { Holding, Holdings } from './holdings.ts';
import { Settlement } from './settlement.ts';

const two = 2 as NodeNumber;
const partition = 5 as PartitionId;
const NOTHING: Digest = { count: 0, high: 0, low: 0 };
const SOME: Digest = { count: 2, high: 10, low: 20 };
const MORE: Digest = { count: 3, high: 30, low: 40 };
const holding: Holding = {
  partition,
  place: 0,
  others: [two],
  move: { signature: 's', from: [two] },
};
const holdings: Holdings = {
  map: { epoch: 9 } as ClusterMap,
  held: new Map([[partition, holding]]),
  shared: new Map([[two, [partition]]]),
};

describe('a comparison of digests', () => {
  let own: Digest;
  let settlement: Settlement;
  let comparison: Comparison;
  let theirs: { digest: Digest; epoch: number; answered: boolean };
  const source: DigestSource = {
    hasAnswered: () => theirs.answered,
    epochOf: () => theirs.epoch,
    of: () => theirs.digest,
  };
  const found = (): readonly number[] => [...comparison.differences(holdings, source).keys()];

  beforeEach(() => {
    own = SOME;
    theirs = { digest: SOME, epoch: 9, answered: true };
    settlement = new Settlement();
    comparison = new Comparison(() => own, settlement);
  });

  it('finds what differs, and how much is missing at least', () => {
    theirs.digest = MORE;
    expect([...comparison.differences(holdings, source).values()]).toEqual([
      { holding, peers: [two], estimate: 1 },
    ]);
    expect(settlement.isOpen(holding)).toBe(true);
  });

  it('takes equal digests, and a peer that has nothing, for whole', () => {
    expect(found()).toEqual([]);
    expect(settlement.isOpen(holding)).toBe(false);
    settlement = new Settlement();
    comparison = new Comparison(() => own, settlement);
    theirs.digest = NOTHING;
    expect(found()).toEqual([]);
    expect(settlement.isOpen(holding)).toBe(false);
  });

  it('settles nothing with a peer whose map is older', () => {
    theirs.epoch = 8;
    expect(found()).toEqual([]);
    expect(settlement.isOpen(holding)).toBe(true);
    comparison.exhausted(holding, two, holdings, source);
    expect(settlement.isOpen(holding)).toBe(true);
  });

  it('says nothing of a peer that did not answer', () => {
    theirs = { digest: MORE, epoch: 9, answered: false };
    expect(found()).toEqual([]);
    expect(settlement.isOpen(holding)).toBe(true);
  });

  it('does not come back to a difference without fruit until a digest changes', () => {
    theirs.digest = MORE;
    comparison.exhausted(holding, two, holdings, source);
    expect(found()).toEqual([]);
    expect(settlement.isOpen(holding)).toBe(false);
    theirs.digest = { ...MORE, low: 41 };
    expect(found()).toEqual([partition]);
    theirs.digest = MORE;
    own = { ...SOME, high: 11 };
    expect(found()).toEqual([partition]);
  });
});
