/** Majority arithmetic, plain and joint; knows nothing of Raft's roles. */
import type { Membership } from './membership.ts';
import type { ReplicaId } from './storage.ts';

/** What the votes so far decide. */
export type VoteResult = 'won' | 'lost' | 'pending';

/** How many of `count` voters are a majority; 0 of 0. */
function majorityOf(count: number): number {
  return count === 0 ? 0 : Math.floor(count / 2) + 1;
}

/**
 * The highest number that a majority of `voters` has reached, given what each has reached.
 * No voters: Infinity, so that the empty half of a membership that is not joint never holds back.
 */
function majorityReached(
  voters: readonly ReplicaId[],
  reachedBy: (id: ReplicaId) => number,
): number {
  if (voters.length === 0) return Infinity;
  const descending = voters.map(reachedBy).sort((a, b) => b - a);
  return descending[majorityOf(voters.length) - 1]!;
}

/** The highest number that every needed majority has reached; 0 when there are no voters at all. */
export function quorumReached(
  membership: Membership,
  reachedBy: (id: ReplicaId) => number,
): number {
  const reached = Math.min(
    majorityReached(membership.voters, reachedBy),
    majorityReached(membership.votersOutgoing, reachedBy),
  );
  return reached === Infinity ? 0 : reached;
}

/** Result of a vote among `voters`; undefined: has not answered. Nobody to ask: won. */
function majorityVote(
  voters: readonly ReplicaId[],
  voteOf: (id: ReplicaId) => boolean | undefined,
): VoteResult {
  const votes = voters.map(voteOf);
  const granted = votes.filter((vote) => vote === true).length;
  const missing = votes.filter((vote) => vote === undefined).length;
  const needed = majorityOf(voters.length);
  if (granted >= needed) return 'won';
  return granted + missing >= needed ? 'pending' : 'lost';
}

/** Result under a membership: both halves must be won; one lost half decides. No voters: lost. */
export function quorumVote(
  membership: Membership,
  voteOf: (id: ReplicaId) => boolean | undefined,
): VoteResult {
  if (membership.voters.length === 0) return 'lost';
  const incoming = majorityVote(membership.voters, voteOf);
  const outgoing = majorityVote(membership.votersOutgoing, voteOf);
  if (incoming === 'lost' || outgoing === 'lost') return 'lost';
  return incoming === 'won' && outgoing === 'won' ? 'won' : 'pending';
}
