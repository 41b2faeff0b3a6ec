import { isJoint, type Membership } from './membership.ts';
import { type ProgressStatus, progressStatus } from './progress.ts';
import type { Role } from './ready.ts';
import type { Replica } from './replica.ts';
import { isLeaseValid } from './replication.ts';
import type { LogIndex, ReplicaId, Term } from './storage.ts';

/** What a group says about itself. */
export interface GroupStatus {
  readonly id: ReplicaId;
  readonly term: Term;
  readonly vote: ReplicaId;
  readonly role: Role;
  readonly leader: ReplicaId;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** Durable here. */
  readonly persisted: LogIndex;
  readonly commit: LogIndex;
  readonly applied: LogIndex;
  /** In force, committed or not. */
  readonly membership: Membership;
  /** True when no change of membership is under way. */
  readonly isMembershipSettled: boolean;
  /** Where leadership is being transferred to; 0: nowhere. */
  readonly transferTo: ReplicaId;
  readonly isLeaseValid: boolean;
  readonly uncommittedBytes: number;
  readonly readsWaiting: number;
  /** Of a leader: every other member. */
  readonly followers: readonly ProgressStatus[];
}

/** True when no change of membership is under way, as far as this replica knows. */
export function isMembershipSettled({ memberships, log }: Replica): boolean {
  return memberships.latestIndex <= log.commit && !isJoint(memberships.latest);
}

/** How things stand with a replica; a copy. */
export function statusOf(replica: Replica): GroupStatus {
  const { log, memberships } = replica;
  return {
    id: replica.id,
    term: replica.term,
    vote: replica.vote,
    role: replica.role,
    leader: replica.leader,
    firstIndex: log.firstIndex,
    lastIndex: log.lastIndex,
    persisted: log.persisted,
    commit: log.commit,
    applied: log.applied,
    membership: memberships.latest,
    isMembershipSettled: isMembershipSettled(replica),
    transferTo: replica.transfer?.to ?? 0,
    isLeaseValid: isLeaseValid(replica),
    uncommittedBytes: replica.uncommittedBytes,
    readsWaiting: replica.reads.count,
    followers: [...replica.progress.values()].map(progressStatus),
  };
}
