export { RaftBug } from './assert.ts';
export { RaftGroup } from './group.ts';
export {
  decodeMembership,
  EMPTY_MEMBERSHIP,
  encodeMembership,
  isJoint,
  isVoter,
  type Membership,
  type MembershipTarget,
  membershipOf,
  membersOf,
} from './membership.ts';
export {
  type Append,
  checkMessage,
  type InstallSnapshot,
  type Message,
  type MessageKind,
} from './messages.ts';
export { DEFAULT_LIMITS, type GroupLimits, type GroupOptions, leaseTicksOf } from './options.ts';
export type { ProgressState, ProgressStatus } from './progress.ts';
export type { ReadState, Ready, Role, SoftState } from './ready.ts';
export type {
  MembershipRefusal,
  NotLeader,
  Overloaded,
  Proposed,
  TooLarge,
  TransferRefusal,
} from './refusals.ts';
export type { GroupStatus } from './status.ts';
export {
  ENTRY_OVERHEAD_BYTES,
  type Entry,
  entryBytes,
  type HardState,
  type LogIndex,
  type LogStorage,
  type ReplicaId,
  type SnapshotMeta,
  type Term,
} from './storage.ts';
