import { describe, expect, it } from 'vitest';
import { ReadRounds } from './read-index.ts';

describe('reads', () => {
  it('ride on the next round and are good at the index that was committed when it was sent', () => {
    const rounds = new ReadRounds();
    rounds.wait(1);
    rounds.wait(2);
    expect(rounds.wantsRound).toBe(true);
    expect(rounds.begin(0, 7)).toBe(1);
    expect([rounds.wantsRound, rounds.count]).toEqual([false, 2]);
    rounds.confirm(1);
    expect(rounds.take().readStates).toEqual([
      { context: 1, index: 7 },
      { context: 2, index: 7 },
    ]);
    expect(rounds.count).toBe(0);
  });

  it('are not answered by a round that was sent before they came (thesis section 6.4)', () => {
    const rounds = new ReadRounds();
    rounds.begin(0, 7);
    rounds.wait(1);
    rounds.confirm(1);
    expect(rounds.hasOutput).toBe(false);
    rounds.begin(1, 8);
    rounds.confirm(2);
    expect(rounds.take().readStates).toEqual([{ context: 1, index: 8 }]);
  });

  it('wait for the round under way instead of starting another', () => {
    const rounds = new ReadRounds();
    rounds.wait(1);
    rounds.begin(0, 7);
    rounds.wait(2);
    expect(rounds.wantsRound).toBe(false);
    rounds.confirm(1);
    expect(rounds.wantsRound).toBe(true);
  });

  it('are confirmed by any later round too', () => {
    const rounds = new ReadRounds();
    rounds.wait(1);
    rounds.begin(0, 7);
    rounds.begin(1, 9);
    rounds.confirm(2);
    expect(rounds.take().readStates).toEqual([{ context: 1, index: 7 }]);
  });

  it('ride on no round as long as the leader does not know what is committed', () => {
    const rounds = new ReadRounds();
    rounds.wait(1);
    rounds.begin(0, undefined);
    rounds.confirm(1);
    expect([rounds.hasOutput, rounds.count]).toEqual([false, 1]);
  });

  it('are dropped with the leadership, but answers that were given stay', () => {
    const rounds = new ReadRounds();
    rounds.wait(1);
    rounds.begin(0, 7);
    rounds.confirm(1);
    rounds.wait(2);
    rounds.begin(1, 7);
    rounds.wait(3);
    rounds.reset();
    expect(rounds.take()).toEqual({
      readStates: [{ context: 1, index: 7 }],
      readsDropped: [2, 3],
    });
    expect([rounds.count, rounds.round]).toEqual([0, 0]);
  });
});

describe('the age of the newest confirmed round', () => {
  it('counts from when it was sent, not from when it was answered', () => {
    const rounds = new ReadRounds();
    expect(rounds.confirmedAge(5)).toBe(Number.POSITIVE_INFINITY);
    rounds.begin(10, 1);
    rounds.begin(12, 1);
    rounds.begin(14, 1);
    rounds.confirm(2);
    expect(rounds.confirmedAge(15)).toBe(3);
    rounds.confirm(1);
    expect(rounds.confirmedAge(15)).toBe(3);
    rounds.confirm(3);
    expect(rounds.confirmedAge(15)).toBe(1);
  });

  it('is endless again after the leadership', () => {
    const rounds = new ReadRounds();
    rounds.begin(10, 1);
    rounds.confirm(1);
    rounds.reset();
    expect(rounds.confirmedAge(11)).toBe(Number.POSITIVE_INFINITY);
  });
});
