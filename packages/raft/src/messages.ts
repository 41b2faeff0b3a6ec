/** What replicas of one group say to each other. */
import { HoldfastError } from '@holdfast/protocol';
import type { Entry, LogIndex, ReplicaId, SnapshotMeta, Term } from './storage.ts';

interface Envelope {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  /** The sender's term; of `preVote` and a granted `preVoteReply`: the term that is asked about. */
  readonly term: Term;
}

/** Would you vote for me in `term`? Changes nothing at the receiver (thesis section 9.6). */
export interface PreVote extends Envelope {
  readonly kind: 'preVote';
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
}

export interface PreVoteReply extends Envelope {
  readonly kind: 'preVoteReply';
  readonly granted: boolean;
}

/** RequestVote. */
export interface Vote extends Envelope {
  readonly kind: 'vote';
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** The present leader asked for this election, so its lease does not stand against it. */
  readonly transfer: boolean;
}

export interface VoteReply extends Envelope {
  readonly kind: 'voteReply';
  readonly granted: boolean;
}

/** AppendEntries; `entries` may be empty. */
export interface Append extends Envelope {
  readonly kind: 'append';
  /** Index and term just before `entries`. */
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  readonly entries: readonly Entry[];
  readonly commit: LogIndex;
}

/** Answer to `append` and `installSnapshot`. */
export interface AppendReply extends Envelope {
  readonly kind: 'appendReply';
  /** Accepted: all up to here equals the leader's log and is durable. Rejected: the `prevIndex` asked. */
  readonly index: LogIndex;
  readonly rejected: boolean;
  /** When rejected: the highest place (index, its term) where the logs could agree. */
  readonly hintIndex: LogIndex;
  readonly hintTerm: Term;
}

/** Leader's sign of life; no entries, so that it never queues behind them. */
export interface Heartbeat extends Envelope {
  readonly kind: 'heartbeat';
  /** Never above what the receiver is known to hold. */
  readonly commit: LogIndex;
  /** Counts the rounds of one leadership; carried back, so that reads and the lease know when. */
  readonly round: number;
}

export interface HeartbeatReply extends Envelope {
  readonly kind: 'heartbeatReply';
  readonly round: number;
}

/**
 * The follower needs a snapshot. The driver streams the bytes out of band and steps the receiver with
 * this message when all have arrived. It may send a newer snapshot and then puts that one's meta here.
 */
export interface InstallSnapshot extends Envelope {
  readonly kind: 'installSnapshot';
  readonly snapshot: SnapshotMeta;
}

/** Leadership transfer: campaign at once. */
export interface TimeoutNow extends Envelope {
  readonly kind: 'timeoutNow';
}

/** Plain data: any codec that keeps numbers, booleans, strings and bytes will do. */
export type Message =
  | PreVote
  | PreVoteReply
  | Vote
  | VoteReply
  | Append
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | InstallSnapshot
  | TimeoutNow;

/** A message's name. */
export type MessageKind = Message['kind'];

/** Omit that keeps a union a union. */
type WithoutEnvelope<M> = M extends Message ? Omit<M, 'from' | 'term'> : never;
/** A message before its sender and term are filled in. */
export type Outgoing = WithoutEnvelope<Message>;

/**
 * Throws BAD_REQUEST when a message could not have been sent by a correct peer: it is refused before
 * it touches any state, so that a peer's fault does not become ours.
 */
export function checkMessage(message: Message, receiver: ReplicaId): void {
  if (message.to !== receiver) refuse(message, `for replica ${message.to}, not ${receiver}`);
  if (!isPositive(message.from) || message.from === receiver)
    refuse(message, 'its sender is wrong');
  if (!isPositive(message.term)) refuse(message, `term ${message.term} is not positive`);
  if (message.kind === 'append') checkEntries(message);
  if (message.kind === 'installSnapshot') {
    const { index, term } = message.snapshot;
    if (!isPositive(index) || !isPositive(term) || term > message.term) {
      refuse(message, 'its snapshot is wrong');
    }
  }
}

function checkEntries(message: Append): void {
  let { prevIndex: index, prevTerm: term } = message;
  for (const entry of message.entries) {
    index += 1;
    if (entry.index !== index) refuse(message, 'its entries have a gap');
    if (entry.term < term || entry.term > message.term) refuse(message, 'its terms do not ascend');
    term = entry.term;
  }
}

function isPositive(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}

function refuse(message: Message, why: string): never {
  throw new HoldfastError('BAD_REQUEST', `raft message ${message.kind}: ${why}`, {
    detail: { from: message.from, to: message.to, term: message.term },
  });
}
