import { assert } from './assert.ts';
import type { Membership } from './membership.ts';
import type { HardState, LogIndex, LogStorage, ReplicaId } from './storage.ts';

/** Bounds of one group's memory and messages. */
export interface GroupLimits {
  /** Bytes of entries in one append (or one entry). */
  readonly messageBytesMax: number;
  /** Appends on the way to one follower. */
  readonly inflightMessagesMax: number;
  /** Bytes of entries on the way to one follower. */
  readonly inflightBytesMax: number;
  /** Bytes of one entry's data; larger proposals are refused. */
  readonly entryBytesMax: number;
  /** Bytes proposed here and not committed; then proposals are refused as `overloaded`. */
  readonly uncommittedBytesMax: number;
  /** Bytes of committed entries handed out and not reported as applied. */
  readonly applyingBytesMax: number;
  /** Reads accepted and not answered; then reads are refused as `overloaded`. */
  readonly readsMax: number;
}

/** Sized for metadata: entries of some KiB, followers a millisecond away, a hundred groups a process. */
export const DEFAULT_LIMITS: GroupLimits = {
  messageBytesMax: 1024 * 1024,
  inflightMessagesMax: 128,
  inflightBytesMax: 8 * 1024 * 1024,
  entryBytesMax: 8 * 1024 * 1024,
  uncommittedBytesMax: 32 * 1024 * 1024,
  applyingBytesMax: 4 * 1024 * 1024,
  readsMax: 16_384,
};

/** How a {@link RaftGroup} starts, new or after a crash. Pre-vote and check-quorum are always on. */
export interface GroupOptions {
  readonly id: ReplicaId;
  readonly storage: LogStorage;
  /**
   * In force at `storage.firstIndex() - 1`, or at any later index up to `applied`. Newer ones are read from the
   * log. `EMPTY_MEMBERSHIP`: wait to be told by a leader.
   */
  readonly membership: Membership;
  /** As last persisted; undefined: never ran before. */
  readonly hardState?: HardState | undefined;
  /** What the state machine has applied, durably or from its snapshot; 0: nothing. */
  readonly applied: LogIndex;
  /** Ticks without a leader after which an election may start (up to twice that); default 10. */
  readonly electionTicks?: number | undefined;
  /** Ticks between heartbeats; default 1. */
  readonly heartbeatTicks?: number | undefined;
  /** Uniform in [0, 1). The group has no random source of its own. */
  readonly random: () => number;
  readonly limits?: Partial<GroupLimits> | undefined;
  /**
   * Answer reads from the leader's lease where it holds. It needs clocks that run at the same speed
   * within {@link leaseTicksOf}'s margin, and a driver that delivers every tick that is due before it asks.
   */
  readonly leaseReads: boolean;
}

/** {@link GroupOptions} with every default in its place. */
export interface GroupSettings {
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly leaseTicks: number;
  readonly leaseReads: boolean;
  readonly limits: GroupLimits;
}

/**
 * How long a leader trusts a heartbeat round, counted from when it was sent. Followers keep quiet for
 * `electionTicks` from when it arrived; one tick is lost to each side's phase, and a tenth of the time is left to
 * clocks that run apart (10 ticks: 7 against more than 9). 0: too short for a lease at all.
 */
export function leaseTicksOf(electionTicks: number): number {
  return Math.max(0, electionTicks - 2 - Math.ceil(electionTicks / 10));
}

/** Fills in defaults and checks that the options make sense together. */
export function settingsOf(options: GroupOptions): GroupSettings {
  const { electionTicks = 10, heartbeatTicks = 1 } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  assert(Number.isSafeInteger(options.id) && options.id > 0, 'a replica id is a positive integer');
  assert(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'ticks: 1 <= heartbeat < election');
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isSafeInteger(value) && value > 0, `limit ${name} must be positive`, { value });
  }
  const leaseTicks = leaseTicksOf(electionTicks);
  return { electionTicks, heartbeatTicks, leaseTicks, leaseReads: options.leaseReads, limits };
}
