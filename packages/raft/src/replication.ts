/** Entries from leader to followers, and what counts as committed. */
import { assert } from './assert.ts';
import {
  encodeMembership,
  isJoint,
  isVoter,
  leaveJoint,
  type Membership,
  membersOf,
} from './membership.ts';
import type {
  Append,
  AppendReply,
  Heartbeat,
  HeartbeatReply,
  InstallSnapshot,
} from './messages.ts';
import { Progress } from './progress.ts';
import { quorumReached } from './quorum.ts';
import type { Replica } from './replica.ts';
import { type Entry, entryBytes, type LogIndex, type ReplicaId } from './storage.ts';

// ---- leader ----

/** A fresh view of every other member, as a new leader has it. */
export function freshProgress(replica: Replica): Map<ReplicaId, Progress> {
  const others = membersOf(replica.memberships.latest).filter((id) => id !== replica.id);
  return new Map(others.map((id) => [id, newProgress(replica, id)]));
}

function newProgress(replica: Replica, id: ReplicaId): Progress {
  const { inflightMessagesMax, inflightBytesMax } = replica.settings.limits;
  return new Progress(id, replica.log.lastIndex + 1, {
    messagesMax: inflightMessagesMax,
    bytesMax: inflightBytesMax,
  });
}

/** The leader appends an entry of its own; followers get it with the next Ready. */
export function appendOwn(replica: Replica, kind: Entry['kind'], data: Uint8Array): Entry {
  assert(replica.role === 'leader', 'only a leader appends of its own');
  const entry = { index: replica.log.lastIndex + 1, term: replica.term, kind, data };
  replica.log.append(entry);
  const bytes = entryBytes(entry);
  replica.uncommitted.push({ index: entry.index, bytes });
  replica.uncommittedBytes += bytes;
  return entry;
}

/** The leader appends a membership, which is in force from now on. */
export function appendMembership(replica: Replica, membership: Membership): Entry {
  const entry = appendOwn(replica, 'membership', encodeMembership(membership));
  replica.adoptMembership(entry);
  const members = new Set(membersOf(membership));
  for (const id of replica.progress.keys()) {
    if (!members.has(id)) replica.progress.delete(id);
  }
  for (const id of members) {
    if (id === replica.id || replica.progress.has(id)) continue;
    const progress = newProgress(replica, id);
    // It counts as present until the next check, or a group that grows from one would step down.
    progress.isActive = true;
    replica.progress.set(id, progress);
  }
  return entry;
}

/** Is there anything that `sendAppends` would send? */
export function hasAppends(replica: Replica): boolean {
  for (const progress of replica.progress.values()) {
    if (progress.maySend(replica.log.lastIndex)) return true;
  }
  return false;
}

/** Sends every follower what its window allows. Called once a Ready: that is what makes batches. */
export function sendAppends(replica: Replica): void {
  for (const progress of replica.progress.values()) {
    while (progress.maySend(replica.log.lastIndex)) sendAppend(replica, progress);
  }
}

function sendAppend(replica: Replica, progress: Progress): void {
  const { log, settings } = replica;
  const prevIndex = progress.next - 1;
  const prevTerm = log.term(prevIndex);
  // A nudge with a full window asks only whether what is on the way has arrived.
  const to = progress.window.isFull ? progress.next : log.lastIndex + 1;
  const entries = log.slice(progress.next, to, settings.limits.messageBytesMax);
  if (entries === 'compacted' || typeof prevTerm !== 'number') {
    sendSnapshot(replica, progress);
    return;
  }
  const { commit } = log;
  replica.send({ kind: 'append', to: progress.id, prevIndex, prevTerm, entries, commit });
  const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
  progress.sent(entries.at(-1)?.index ?? prevIndex, bytes);
}

function sendSnapshot(replica: Replica, progress: Progress): void {
  if (!progress.isActive) {
    // Nobody there to take so much; the next sign of life lifts the pause.
    progress.becomeProbe(progress.next);
    progress.isPaused = true;
    return;
  }
  const snapshot = replica.log.storedSnapshot();
  assert(
    snapshot.index >= replica.log.firstIndex - 1 && snapshot.index > 0,
    'no snapshot to send',
    {
      snapshot: snapshot.index,
      first: replica.log.firstIndex,
    },
  );
  progress.becomeSnapshot(snapshot.index);
  replica.send({ kind: 'installSnapshot', to: progress.id, snapshot });
}

/** Starts a heartbeat round; reads that wait ride on it. */
export function sendHeartbeats(replica: Replica): void {
  const { log, reads } = replica;
  replica.heartbeatElapsed = 0;
  const round = reads.begin(replica.now, hasCommittedInTerm(replica) ? log.commit : undefined);
  for (const progress of replica.progress.values()) {
    const commit = Math.min(log.commit, progress.match);
    replica.send({ kind: 'heartbeat', to: progress.id, commit, round });
  }
  confirmRounds(replica);
}

/** Looks which rounds a quorum has answered. */
function confirmRounds(replica: Replica): void {
  const { reads, progress } = replica;
  const answered = (id: ReplicaId) =>
    id === replica.id ? reads.round : (progress.get(id)?.roundAcked ?? 0);
  reads.confirm(quorumReached(replica.memberships.latest, answered));
}

/** Before its first commit a new leader does not know which earlier entries are committed. */
export function hasCommittedInTerm({ log, term }: Replica): boolean {
  return log.term(log.commit) === term;
}

/** May a read be answered without asking anyone? */
export function isLeaseValid(replica: Replica): boolean {
  const { settings, reads, transfer } = replica;
  if (replica.role !== 'leader' || !hasCommittedInTerm(replica)) return false;
  if (transfer || replica.isLeaseForfeited || !settings.leaseReads) return false;
  return reads.confirmedAge(replica.now) < settings.leaseTicks;
}

// A replica that does not lead has no progress of anyone, and so passes over replies.

export function handleHeartbeatReply(replica: Replica, message: HeartbeatReply): void {
  const progress = replica.progress.get(message.from);
  if (!progress) return;
  assert(message.round <= replica.reads.round, 'a round was answered before it was sent');
  progress.heard(replica.log.lastIndex);
  progress.roundAcked = Math.max(progress.roundAcked, message.round);
  confirmRounds(replica);
}

/** True when the commit index moved. */
export function handleAppendReply(replica: Replica, message: AppendReply): boolean {
  const { log } = replica;
  const progress = replica.progress.get(message.from);
  if (!progress) return false;
  progress.isActive = true;
  if (message.rejected) {
    const { index: hint } = log.lastIndexOfTermAtMost(message.hintIndex, message.hintTerm);
    progress.reject(message.index, hint);
    return false;
  }
  assert(message.index <= log.lastIndex, 'a follower confirms more than the leader has', {
    from: message.from,
    index: message.index,
  });
  const isNews = progress.acknowledge(message.index);
  if (progress.state === 'probe' && (isNews || message.index === progress.match)) {
    progress.becomeReplicate();
  } else if (progress.state === 'snapshot' && progress.match + 1 >= log.firstIndex) {
    progress.becomeReplicate();
  }
  return isNews && advanceCommit(replica);
}

/**
 * Commits what a quorum holds durably, if it is of the leader's own term: an older entry on a
 * majority may still be replaced (paper section 5.4.2). True when the commit index moved.
 */
export function advanceCommit(replica: Replica): boolean {
  const { log, memberships, progress } = replica;
  const holds = (id: ReplicaId): LogIndex =>
    id === replica.id ? log.persisted : (progress.get(id)?.match ?? 0);
  const index = quorumReached(memberships.latest, holds);
  if (index <= log.commit || log.term(index) !== replica.term) return false;
  log.commitTo(index);
  const { uncommitted } = replica;
  while (uncommitted.length > 0 && uncommitted[0]!.index <= index) {
    replica.uncommittedBytes -= uncommitted.shift()!.bytes;
  }
  return true;
}

/** Second half of a membership change, once the first is committed. True when an entry was appended. */
export function leaveCommittedJoint(replica: Replica): boolean {
  const { latest, latestIndex } = replica.memberships;
  if (!isJoint(latest) || latestIndex > replica.log.commit) return false;
  appendMembership(replica, leaveJoint(latest));
  return true;
}

/** A leader that is no voter any more, for certain. */
export function isRemovedForGood({ memberships, log, id }: Replica): boolean {
  return memberships.latestIndex <= log.commit && !isVoter(memberships.latest, id);
}

// ---- follower ----

export function handleAppend(replica: Replica, message: Append): void {
  const { log } = replica;
  replica.hearLeader(message.from);
  if (message.prevIndex < log.commit) {
    // Old news: all up to the commit index agrees, and it is the best answer.
    confirm(replica, message.from, log.commit);
    return;
  }
  if (!log.has(message.prevIndex, message.prevTerm)) {
    const hint = log.lastIndexOfTermAtMost(message.prevIndex, message.prevTerm);
    replica.send({
      kind: 'appendReply',
      to: message.from,
      index: message.prevIndex,
      rejected: true,
      hintIndex: hint.index,
      hintTerm: hint.term,
    });
    return;
  }
  const fresh = log.merge(message.entries);
  if (fresh.length > 0) replica.memberships.cut(fresh[0]!.index);
  for (const entry of fresh) replica.adoptMembership(entry);
  const agreed = message.prevIndex + message.entries.length;
  log.commitTo(Math.min(message.commit, agreed));
  confirm(replica, message.from, agreed);
}

/** Tells the leader that all up to `index` is durable here, as soon as it is. */
function confirm(replica: Replica, to: ReplicaId, index: LogIndex): void {
  replica.send(
    { kind: 'appendReply', to, index, rejected: false, hintIndex: 0, hintTerm: 0 },
    { afterPersist: index > replica.log.persisted },
  );
}

export function handleHeartbeat(replica: Replica, message: Heartbeat): void {
  replica.hearLeader(message.from);
  replica.log.commitTo(message.commit);
  replica.send({ kind: 'heartbeatReply', to: message.from, round: message.round });
}

export function handleInstallSnapshot(replica: Replica, message: InstallSnapshot): void {
  const { log } = replica;
  const { snapshot } = message;
  replica.hearLeader(message.from);
  if (snapshot.index > log.commit) {
    // The entry is here: then so is all before it, and the bytes are not needed.
    if (log.has(snapshot.index, snapshot.term)) log.commitTo(snapshot.index);
    else replica.restore(snapshot);
  }
  confirm(replica, message.from, log.commit);
}
