import type { LogIndex, Membership, ReplicaId } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

/**
 * What a leader calls committed is flushed on a majority of the voters (of both halves of a joint
 * membership): the first half of promise P1, "any one host may burn down the next instant".
 * `memberships` are those that were in force at the leader when it may have decided.
 */
export function checkDurableQuorum(
  index: LogIndex,
  memberships: readonly Membership[],
  isDurableOn: (id: ReplicaId) => boolean,
): void {
  const isMajority = (voters: readonly ReplicaId[]) =>
    voters.length === 0 || voters.filter(isDurableOn).length > voters.length / 2;
  const isSafe = ({ voters, votersOutgoing }: Membership) =>
    isMajority(voters) && isMajority(votersOutgoing);
  if (memberships.some(isSafe)) return;
  throw new CheckFailed(
    'durable quorum',
    `index ${index} was committed, but is not on a majority's disks`,
  );
}
