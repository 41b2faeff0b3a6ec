import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EMPTY_MEMBERSHIP, type Membership, membershipOf } from './membership.ts';
import { quorumReached, quorumVote } from './quorum.ts';

const ids = (minLength: number) =>
  fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength, maxLength: 7 });

/** Any membership with voters, plain or joint. */
const memberships: fc.Arbitrary<Membership> = fc
  .record({ voters: ids(1), votersOutgoing: ids(0) })
  .map((halves) => ({ ...EMPTY_MEMBERSHIP, ...halves }));

const reached = fc.array(fc.nat({ max: 12 }), { minLength: 10, maxLength: 10 });
const votes = fc.array(fc.constantFrom(true, false, undefined), { minLength: 10, maxLength: 10 });

/** By the definition: every needed majority has at least `index`. */
function isReached(membership: Membership, numbers: readonly number[], index: number): boolean {
  return [membership.voters, membership.votersOutgoing].every(
    (half) =>
      half.length === 0 ||
      half.filter((id) => numbers[id]! >= index).length > Math.floor(half.length / 2),
  );
}

describe('a majority', () => {
  it.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [6, 4],
    [7, 4],
  ])('of %i is %i', (count, majority) => {
    const membership = membershipOf(Array.from({ length: count }, (_, i) => i + 1));
    expect(quorumVote(membership, (id) => id <= majority)).toBe('won');
    expect(quorumVote(membership, (id) => id < majority)).toBe('lost');
  });

  it('reaches what the definition says, and nothing above', () => {
    fc.assert(
      fc.property(memberships, reached, (membership, numbers) => {
        const index = quorumReached(membership, (id) => numbers[id]!);
        expect(isReached(membership, numbers, index)).toBe(true);
        expect(isReached(membership, numbers, index + 1)).toBe(false);
      }),
    );
  });

  it('is nothing without any voters: such a replica commits and elects nothing', () => {
    expect(quorumReached(EMPTY_MEMBERSHIP, () => 9)).toBe(0);
    expect(quorumVote(EMPTY_MEMBERSHIP, () => true)).toBe('lost');
  });
});

describe('a vote', () => {
  it('is won by a majority of yes in every half, lost by no chance of that in one', () => {
    fc.assert(
      fc.property(memberships, votes, (membership, ballots) => {
        const could = (vote: boolean | undefined) => vote !== false;
        const isWon = isReached(
          membership,
          ballots.map((vote) => (vote === true ? 1 : 0)),
          1,
        );
        const isOpen = isReached(
          membership,
          ballots.map((vote) => (could(vote) ? 1 : 0)),
          1,
        );
        const expected = isWon ? 'won' : isOpen ? 'pending' : 'lost';
        expect(quorumVote(membership, (id) => ballots[id])).toBe(expected);
      }),
    );
  });

  it('is never won twice by disjoint sets of voters', () => {
    fc.assert(
      fc.property(memberships, reached, (membership, sides) => {
        const wonBy = (parity: number) =>
          quorumVote(membership, (id) => sides[id]! % 2 === parity) === 'won';
        expect(wonBy(0) && wonBy(1)).toBe(false);
      }),
    );
  });

  it('of a plain membership is the majority of its voters', () => {
    const membership = membershipOf([1, 2, 3]);
    expect(quorumVote(membership, (id) => (id === 1 ? true : undefined))).toBe('pending');
    expect(quorumVote(membership, (id) => id !== 3)).toBe('won');
    expect(quorumVote(membership, (id) => id === 3)).toBe('lost');
  });
});
