/** What a group answers to those who want something of it, when it does not simply do it. */
import type { LogIndex, ReplicaId, Term } from './storage.ts';

/** Where a proposal stands in the log; committed only if that index is committed with that term. */
export interface Proposed {
  readonly index: LogIndex;
  readonly term: Term;
}

/** Ask `leader` (0: not known; wait for one). */
export interface NotLeader {
  readonly code: 'not-leader';
  readonly leader: ReplicaId;
}

/** Nothing was done; try again soon: a limit is reached, or leadership is being transferred. */
export interface Overloaded {
  readonly code: 'overloaded';
}

/** The entry exceeds `entryBytesMax` and never will be taken. */
export interface TooLarge {
  readonly code: 'too-large';
}

/** A membership change was not begun. */
export interface MembershipRefusal {
  /**
   * pending-change: another is not finished, or the leader is too new; try again soon.
   * invalid: no voters, an id twice or not positive. unchanged: it is so already.
   */
  readonly code: 'pending-change' | 'invalid' | 'unchanged';
  readonly message: string;
}

/** A transfer was not begun. */
export interface TransferRefusal {
  /** The target is not a voter of the membership in force, or leads already. */
  readonly code: 'invalid-target';
}
