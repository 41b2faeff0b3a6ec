import { isVoter, type Membership, type ReplicaId } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

/**
 * A leader that is no voter of a committed membership steps down (Raft paper, section 6): it leads only
 * until its removal is committed.
 */
export function checkLeaderVotes(
  id: ReplicaId,
  membership: Membership,
  isMembershipSettled: boolean,
): void {
  if (!isMembershipSettled || isVoter(membership, id)) return;
  throw new CheckFailed('leader votes', `replica ${id} leads after its removal was committed`);
}
