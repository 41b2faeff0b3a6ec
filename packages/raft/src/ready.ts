import type { Message } from './messages.ts';
import type { Entry, HardState, LogIndex, ReplicaId, SnapshotMeta } from './storage.ts';

/** What a replica is in its term. A learner is a follower that is not a voter. */
export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

/** Volatile facts worth telling others in the process. */
export interface SoftState {
  /** 0: not known. */
  readonly leader: ReplicaId;
  readonly role: Role;
}

/** An accepted `readIndex` may be answered once the state machine has applied `index`. */
export interface ReadState {
  readonly context: number;
  readonly index: LogIndex;
}

/**
 * What the driver has to do next. It is new work only: what an earlier Ready held is not repeated.
 *
 * The driver, for each Ready in the order of `number`:
 * 1. sends `messages` whenever it likes, at best before it touches the disk, so that followers write
 *    while the leader does; answers `readStates` as they get applied, fails `readsDropped`;
 * 2. if `snapshot` is there: finishes or gives up applying earlier entries, replaces the state machine's
 *    state with the streamed bytes and the whole log with nothing after `snapshot.index`, durably;
 * 3. writes `entries` (dropping any stored entry at or above the first one's index), then `hardState`;
 *    when `mustSync`, makes them durable. `hardState` never before the entries it may refer to;
 * 4. when this and all earlier Readies are durable: calls `advance(ready)`, sends
 *    `messagesAfterPersist`;
 * 5. applies `committed` in order, tells `applied(index)`. May begin at once: they are durable here.
 *    Entries of kind `membership` and empty ones need nothing but to be counted as applied.
 *
 * Between `ready` and `advance` the driver may step, tick, propose and take further Readies: several
 * may be under way, and one flush may serve many. Every Ready is advanced exactly once, in order. An
 * error of the disk between them is fatal: the process must stop without calling `advance`.
 *
 * Messages may be lost, repeated, delayed and put out of order. A message in `messagesAfterPersist`
 * that leaves early, or an entry reported durable that is not, breaks every promise of Raft.
 */
export interface Ready {
  /** Counts from 1. */
  readonly number: number;
  /** When term, vote or commit changed. */
  readonly hardState?: HardState;
  /** False: order is needed, a flush is not (only the commit index moved, or nothing did). */
  readonly mustSync: boolean;
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
  readonly messages: readonly Message[];
  readonly messagesAfterPersist: readonly Message[];
  readonly committed: readonly Entry[];
  readonly readStates: readonly ReadState[];
  /** Contexts of accepted reads that will never get a read state: leadership was lost. */
  readonly readsDropped: readonly number[];
  /** When it changed since the Ready before. */
  readonly softState?: SoftState;
}
