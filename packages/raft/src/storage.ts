/** What a driver must provide, and the values that go to and come from its disk. */
import type { Membership } from './membership.ts';

/** A replica's number: a positive safe integer, unique in the cluster, never used again for another. */
export type ReplicaId = number;
/** Raft's logical clock: 0 before the first election. */
export type Term = number;
/** Position in the log, from 1; 0 is the empty log's end. */
export type LogIndex = number;

/** One position of the replicated log. Never changed after it was made; `data` is shared, not copied. */
export interface Entry {
  readonly index: LogIndex;
  readonly term: Term;
  /** `membership`: data is an encoded {@link Membership}; the group acts on it by itself. */
  readonly kind: 'normal' | 'membership';
  /** Empty and `normal`: a new leader's no-op, nothing to apply. */
  readonly data: Uint8Array;
}

/** What must survive a crash besides the entries. */
export interface HardState {
  readonly term: Term;
  /** Whom this replica voted for in `term`; 0: nobody. */
  readonly vote: ReplicaId;
  /** Highest index known to be committed. May be older on disk than in memory: it is a hint. */
  readonly commit: LogIndex;
}

/** The state after `index`, whose entry had `term`; the bytes are the driver's affair. */
export interface SnapshotMeta {
  readonly index: LogIndex;
  readonly term: Term;
  /** In force at `index`: see `RaftGroup.membershipAt`. */
  readonly membership: Membership;
}

/**
 * The driver's synchronous view of its log. It must show at least what `advance` was told is
 * durable; it may already show what `ready` handed out. The group reads below that only.
 * Returned arrays and entries belong to the driver and are not changed by the group.
 */
export interface LogStorage {
  /** Lowest index that `entries` can give; `lastIndex() + 1` when the log is empty. */
  firstIndex(): LogIndex;
  /** Highest index held; `firstIndex() - 1` when empty. */
  lastIndex(): LogIndex;
  /** Term of the entry; known for `firstIndex() - 1` too (0 for index 0). */
  term(index: LogIndex): Term | 'compacted' | 'unavailable';
  /**
   * Entries in `[from, toExclusive)`, at least one when there is one, then no more than `bytesMax`
   * bytes of data. `compacted`: not (cheaply) there any more; a follower then gets a snapshot.
   */
  entries(from: LogIndex, toExclusive: LogIndex, bytesMax: number): readonly Entry[] | 'compacted';
  /**
   * The snapshot that a follower could be sent now, at `firstIndex() - 1` or later. `index` 0 when the
   * log was never compacted.
   */
  snapshot(): SnapshotMeta;
}

/** Counted for an entry in every limit on bytes, so that a flood of empty entries is bounded too. */
export const ENTRY_OVERHEAD_BYTES = 32;

/** Bytes that an entry counts in limits. */
export function entryBytes(entry: Entry): number {
  return entry.data.byteLength + ENTRY_OVERHEAD_BYTES;
}
