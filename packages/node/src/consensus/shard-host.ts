/** The seam between consensus and what is replicated by it. */
import type { NodeNumber, ShardId } from '@holdfast/protocol';
import type { GroupStatus, LogIndex, Term } from '@holdfast/raft';

/** A committed entry with something in it. */
export interface AppliedEntry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly data: Uint8Array;
}

/**
 * What a shard's log is applied to on one replica. Called by the driver alone, one call at a time, in
 * the order of the log; the same entries give the same state and results on every replica.
 */
export interface StateMachine {
  /**
   * Index of the last entry that is part of the state; after a crash, of the state that was durable
   * or at least whole: what comes after is applied again from the log.
   */
  readonly applied: LogIndex;
  /**
   * Applies on the spot; result i belongs to entry i. It may not throw: a refusal is a result. Entries
   * without data (a new leader's, membership) are left out, so indices may skip.
   */
  apply(entries: readonly AppliedEntry[]): readonly unknown[];
  /** Resolves when the machine can take more; rejects when its disk failed (fatal). */
  settled(): Promise<void>;
  /** Makes all applied so far durable; answers the index up to which the log is no longer needed. */
  flushed?(): Promise<LogIndex>;
  /** The whole state as of this call, in pieces; entries applied while it is read are not in it. */
  snapshot(): AsyncIterable<Uint8Array>;
  /**
   * Puts a snapshot taken at `meta.index` in the place of the state, all or nothing, also across a
   * crash; durable when it resolves. Throws CORRUPT when the pieces are not what was sent.
   */
  install(
    meta: { readonly index: LogIndex; readonly term: Term },
    stream: AsyncIterable<Uint8Array>,
  ): Promise<void>;
}

/** Who leads a shard has changed, as far as this peer knows. */
export interface LeaderChange {
  readonly shard: ShardId;
  /** 0: nobody known. */
  readonly leader: NodeNumber | 0;
  readonly isLeader: boolean;
  readonly term: Term;
}

/** Members of a shard. */
export interface ShardMembers {
  readonly voters: readonly NodeNumber[];
  readonly learners: readonly NodeNumber[];
}

/** What a call may be given. */
export interface ShardCallOptions {
  readonly signal?: AbortSignal;
}

/** The Raft groups of this process. */
export interface ShardHost {
  /**
   * Replicates `data` (not empty; it belongs to the host from then on) and answers with the result of
   * applying it here. Throws
   * - NOT_LEADER (detail.leader, 0 when unknown): it was not and never will be applied;
   * - OVERLOADED, ENOSPC: likewise not applied;
   * - UNKNOWN_OUTCOME: leadership was lost with the entry in flight;
   * - NO_QUORUM: not committed within the bounded wait; it may still be. Commands that carry a request
   *   number can be proposed again in both cases.
   */
  propose(shard: ShardId, data: Uint8Array, o?: ShardCallOptions): Promise<unknown>;
  /**
   * Resolves when the state here shows everything that was acknowledged by anyone before the call.
   * Throws NOT_LEADER, OVERLOADED, NO_QUORUM.
   */
  readBarrier(shard: ShardId, o?: ShardCallOptions): Promise<void>;
  /** 0 when unknown or when this peer holds no replica. */
  leaderOf(shard: ShardId): NodeNumber | 0;
  isLeader(shard: ShardId): boolean;
  /** Undefined when this peer holds no replica. */
  status(shard: ShardId): GroupStatus | undefined;
  /** Shards opened here. */
  shards(): readonly ShardId[];
  /**
   * Takes part in a shard. Of a shard that the log knows, `members` is ignored; a new one begins with
   * these voters (the same everywhere) or, 'join', waits until its leader takes it in. Throws CORRUPT
   * when log and state do not fit together.
   */
  openShard(
    shard: ShardId,
    machine: StateMachine,
    members: readonly NodeNumber[] | 'join',
  ): Promise<void>;
  /** Stops taking part, keeps the log. Calls in flight end with SHUTTING_DOWN. */
  closeShard(shard: ShardId): Promise<void>;
  /** Forgets a closed shard's log, once this peer is no member of it any more. */
  dropShard(shard: ShardId): Promise<void>;
  /**
   * On the leader: new voters are first taken in as learners and waited for. Resolves when the change
   * is committed. Throws NOT_LEADER, BAD_REQUEST, NO_QUORUM (it may still happen).
   */
  changeMembers(shard: ShardId, members: ShardMembers, o?: ShardCallOptions): Promise<void>;
  /** On the leader: hands leadership to a voter. Throws NOT_LEADER, BAD_REQUEST, NO_QUORUM. */
  transfer(shard: ShardId, to: NodeNumber): Promise<void>;
  /** Listens for changes of leadership; the answer ends it. */
  onLeader(listener: (change: LeaderChange) => void): () => void;
}
