import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RaftBug } from './assert.ts';
import {
  decodeMembership,
  encodeMembership,
  faultOf,
  isJoint,
  leaveJoint,
  type Membership,
  MembershipHistory,
  membershipOf,
  membersOf,
  sameMembership,
  toward,
  votersOf,
} from './membership.ts';
import { quorumVote } from './quorum.ts';

/** Each id of 1..7 is a voter, a learner or nobody; at least one voter. */
const targets = fc
  .array(fc.constantFrom('voter', 'learner', 'nobody'), { minLength: 7, maxLength: 7 })
  .map((parts) => {
    const having = (part: string) => parts.flatMap((own, i) => (own === part ? [i + 1] : []));
    return { voters: having('voter'), learners: having('learner') };
  })
  .filter(({ voters }) => voters.length > 0);

/** Where a change from one to the other passes through. */
function stages(from: Membership, target: { voters: number[]; learners: number[] }): Membership[] {
  const first = toward(from, target);
  return isJoint(first) ? [from, first, leaveJoint(first)] : [from, first];
}

describe('a change of membership', () => {
  it('ends with what was asked for', () => {
    fc.assert(
      fc.property(targets, targets, (from, to) => {
        const last = stages(membershipOf(from.voters, from.learners), to).at(-1)!;
        expect(last).toEqual(membershipOf(to.voters, to.learners));
      }),
    );
  });

  it('is joint exactly when the voters differ', () => {
    fc.assert(
      fc.property(targets, targets, (from, to) => {
        const first = toward(membershipOf(from.voters, from.learners), to);
        const isSame =
          membershipOf(from.voters).voters.join() === membershipOf(to.voters).voters.join();
        expect(isJoint(first)).toBe(!isSame);
      }),
    );
  });

  it('never leaves two disjoint majorities in neighbouring memberships (paper section 6)', () => {
    const sides = fc.array(fc.boolean(), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(targets, targets, sides, (from, to, side) => {
        const path = stages(membershipOf(from.voters, from.learners), to);
        for (const [i, membership] of path.entries()) {
          for (const other of path.slice(i, i + 2)) {
            const isBoth =
              quorumVote(membership, (id) => side[id]!) === 'won' &&
              quorumVote(other, (id) => !side[id]!) === 'won';
            expect(isBoth).toBe(false);
          }
        }
      }),
    );
  });

  it('keeps voters and learners apart in every stage', () => {
    fc.assert(
      fc.property(targets, targets, (from, to) => {
        for (const stage of stages(membershipOf(from.voters, from.learners), to)) {
          const voters = votersOf(stage);
          expect(stage.learners.filter((id) => voters.includes(id))).toEqual([]);
          expect(stage.learnersNext.every((id) => stage.votersOutgoing.includes(id))).toBe(true);
        }
      }),
    );
  });

  it('sends the log to everyone of before and after while it is joint', () => {
    fc.assert(
      fc.property(targets, targets, (from, to) => {
        const joint = stages(membershipOf(from.voters, from.learners), to).filter(isJoint);
        const needed = [...from.voters, ...to.voters, ...to.learners];
        expect(joint.every((stage) => needed.every((id) => membersOf(stage).includes(id)))).toBe(
          true,
        );
      }),
    );
  });

  it('starts only from a membership that is not joint, and leaves only a joint one', () => {
    const joint = toward(membershipOf([1]), { voters: [2], learners: [] });
    expect(() => toward(joint, { voters: [3], learners: [] })).toThrow(RaftBug);
    expect(() => leaveJoint(membershipOf([1]))).toThrow(RaftBug);
  });

  it.each([
    [{ voters: [], learners: [1] }, 'at least one voter is needed'],
    [{ voters: [1, 1], learners: [] }, 'an id is named twice'],
    [{ voters: [1], learners: [1] }, 'an id is named twice'],
    [{ voters: [0], learners: [] }, 'ids are positive integers'],
    [{ voters: [1.5], learners: [] }, 'ids are positive integers'],
    [{ voters: [1], learners: [-1] }, 'ids are positive integers'],
  ])('to %j is refused: %s', (target, fault) => {
    expect(faultOf(target)).toBe(fault);
  });
});

describe('a membership entry', () => {
  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(targets, targets, (from, to) => {
        for (const stage of stages(membershipOf(from.voters, from.learners), to)) {
          expect(sameMembership(decodeMembership(encodeMembership(stage)), stage)).toBe(true);
        }
      }),
    );
  });

  it('has the bytes it always had', () => {
    const joint = toward(membershipOf([1, 2], [3]), { voters: [3], learners: [2] });
    expect(new TextDecoder().decode(encodeMembership(joint))).toBe('[1,[3],[1,2],[],[2]]');
  });

  it.each([
    ['', 'CORRUPT'],
    ['{}', 'CORRUPT'],
    ['[1,[1],[],[]]', 'CORRUPT'],
    ['[1,[2,1],[],[],[]]', 'CORRUPT'],
    ['[1,[0],[],[],[]]', 'CORRUPT'],
    ['[1,["1"],[],[],[]]', 'CORRUPT'],
    ['[2,[1],[],[],[]]', 'NEWER_FORMAT'],
  ])('of %j is refused as %s', (text, code) => {
    expect(() => decodeMembership(new TextEncoder().encode(text))).toThrow(
      expect.objectContaining({ code }),
    );
  });
});

describe('the memberships along a log', () => {
  const history = () => {
    const made = new MembershipHistory(0, membershipOf([1]));
    made.append(5, membershipOf([1, 2]));
    made.append(9, membershipOf([1, 2, 3]));
    return made;
  };

  it('are in force from their entry on', () => {
    const voters = [0, 4, 5, 8, 9, 100].map((index) => history().at(index).voters.length);
    expect(voters).toEqual([1, 1, 2, 2, 3, 3]);
    expect(history().previous).toEqual(membershipOf([1, 2]));
  });

  it('go with a truncated entry', () => {
    const cut = history();
    cut.cut(9);
    expect([cut.latest, cut.latestIndex]).toEqual([membershipOf([1, 2]), 5]);
    cut.cut(1);
    expect([cut.latest, cut.latestIndex]).toEqual([membershipOf([1]), 0]);
  });

  it('are forgotten below a compacted index, except the one in force there', () => {
    const forgetful = history();
    forgetful.forgetBelow(7);
    expect(forgetful.at(7)).toEqual(membershipOf([1, 2]));
    expect(forgetful.at(9)).toEqual(membershipOf([1, 2, 3]));
    forgetful.forgetBelow(20);
    expect(forgetful.latest).toEqual(membershipOf([1, 2, 3]));
    expect(forgetful.previous).toBeUndefined();
  });

  it('do not go back', () => {
    expect(() => history().append(9, membershipOf([4]))).toThrow(RaftBug);
  });
});
