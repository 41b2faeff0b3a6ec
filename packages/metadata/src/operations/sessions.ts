import {
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  type SessionId,
} from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { changeCounters, countersOf } from '../counters.ts';
import {
  answerKey,
  endedRingKey,
  endedSessionKey,
  liveSessionsKey,
  ordinalKey,
  sessionKey,
} from '../keys.ts';
import { dropHolders } from '../orphans.ts';
import {
  ANSWER,
  LIVE_SESSIONS,
  MARK,
  SESSION,
  SESSION_ID,
  type SessionRecord,
} from '../shard-records.ts';
import type { Transaction } from '../transaction.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** The open session of this id. SESSION_EXPIRED when it is unknown or has ended. */
export function openSessionOf(transaction: Transaction, session: SessionId): SessionRecord {
  const record = transaction.read(SESSION, sessionKey(session));
  if (record === undefined || record.ended) throw new HoldfastError('SESSION_EXPIRED');
  return record;
}

/** Begins a session; an open one is left as it is. OVERLOADED when there are too many. */
export function openSession(
  context: Context,
  { host, origin }: Of<'open-session'>,
): OperationAnswer {
  const { transaction, session } = context;
  const known = transaction.read(SESSION, sessionKey(session));
  if (known?.ended === true) throw new HoldfastError('SESSION_EXPIRED');
  if (known !== undefined) return {};
  const ordinals = transaction.read(LIVE_SESSIONS, liveSessionsKey())?.ordinals ?? [];
  if (ordinals.length >= LIMITS.sessionsMax) {
    throw new HoldfastError('OVERLOADED', 'the shard has as many sessions as it takes');
  }
  const ordinal = countersOf(transaction).nextOrdinal;
  changeCounters(transaction, { nextOrdinal: ordinal + 1 });
  transaction.write(LIVE_SESSIONS, liveSessionsKey(), { ordinals: [...ordinals, ordinal] });
  transaction.write(SESSION_ID, ordinalKey(ordinal), { session });
  const first = origin === undefined || origin === session;
  const record = {
    ordinal,
    origin: first ? ordinal : (transaction.read(SESSION, sessionKey(origin))?.origin ?? 0),
    host,
    answeredBelow: 0,
    kept: [],
    ended: false,
  };
  transaction.write(SESSION, sessionKey(session), record);
  return {};
}

/**
 * Ends a session; without effect when it is not open. Its locks and delegations are void from now
 * on, since they name its ordinal; their records, and orphans that it held, are cleaned up in slices.
 */
function endSession({ transaction, nowNs }: Context, session: SessionId): void {
  const record = transaction.read(SESSION, sessionKey(session));
  if (record === undefined || record.ended) return;
  for (const sequence of record.kept) transaction.remove(ANSWER, answerKey(session, sequence));
  const { ordinal, origin, host } = record;
  const ended = { ordinal: 0, origin, host, answeredBelow: 0, kept: [], ended: true };
  transaction.write(SESSION, sessionKey(session), ended);
  transaction.remove(SESSION_ID, ordinalKey(ordinal));
  const live = transaction.read(LIVE_SESSIONS, liveSessionsKey())?.ordinals ?? [];
  transaction.write(LIVE_SESSIONS, liveSessionsKey(), {
    ordinals: live.filter((other) => other !== ordinal),
  });
  transaction.write(MARK, endedSessionKey(ordinal), { timeNs: nowNs });
  rememberEnded(transaction, session);
}

/** Puts an ended session in the ring; the one that was longest in it is forgotten. */
function rememberEnded(transaction: Transaction, session: SessionId): void {
  const { endedSessions } = countersOf(transaction);
  const slot = endedRingKey(endedSessions % LIMITS.sessionsEndedMax);
  const oldest = transaction.read(SESSION_ID, slot);
  if (oldest !== undefined) transaction.remove(SESSION, sessionKey(oldest.session));
  transaction.write(SESSION_ID, slot, { session });
  changeCounters(transaction, { endedSessions: endedSessions + 1 });
}

/** Ends the own session; again: success. */
export function closeSession(context: Context): OperationAnswer {
  endSession(context, context.session);
  return {};
}

/** Ends another session by the leader's verdict. */
export function expireSession(context: Context, operation: Of<'expire-session'>): OperationAnswer {
  endSession(context, operation.expired);
  return {};
}

/** The session has none of these inodes open; those that are no orphans are passed over. */
export function releaseOrphans(context: Context, { inos }: Of<'release-orphans'>): OperationAnswer {
  for (const ino of inos) dropHolders(context, ino, (ordinal) => ordinal === context.ordinal);
  return {};
}
