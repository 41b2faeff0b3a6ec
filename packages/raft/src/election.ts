/** Who leads: pre-vote, vote, check-quorum, leadership transfer. */
import { votersOf } from './membership.ts';
import type { PreVote, PreVoteReply, TimeoutNow, Vote, VoteReply } from './messages.ts';
import { quorumVote } from './quorum.ts';
import type { Replica } from './replica.ts';
import { appendOwn, freshProgress, sendHeartbeats } from './replication.ts';

/** Asks whether an election could be won, before it costs anyone a term. */
export function startPreVote(replica: Replica): void {
  if (replica.role === 'leader' || !replica.mayCampaign) return;
  replica.becomePreCandidate();
  replica.votes.set(replica.id, true);
  const { lastIndex, lastTerm } = replica.log;
  for (const to of otherVoters(replica)) {
    replica.send({ kind: 'preVote', to, lastIndex, lastTerm }, { term: replica.term + 1 });
  }
  countPreVotes(replica);
}

/**
 * A new term and a vote for oneself. The requests wait until both are durable: else a crash would bring
 * back a replica that campaigns in the same term again, with another log.
 */
function startElection(replica: Replica, options: { transfer: boolean }): void {
  replica.becomeCandidate();
  const { lastIndex, lastTerm } = replica.log;
  const { transfer } = options;
  for (const to of otherVoters(replica)) {
    replica.send({ kind: 'vote', to, lastIndex, lastTerm, transfer }, { afterPersist: true });
  }
}

/** The candidate's own vote is on its disk. */
export function countOwnVote(replica: Replica): void {
  const { durable } = replica;
  if (!replica.isSelfVotePending || replica.role !== 'candidate') return;
  if (durable.term !== replica.term || durable.vote !== replica.id) return;
  replica.isSelfVotePending = false;
  replica.votes.set(replica.id, true);
  countVotes(replica);
}

function otherVoters(replica: Replica) {
  return votersOf(replica.memberships.latest).filter((id) => id !== replica.id);
}

function tally(replica: Replica) {
  return quorumVote(replica.memberships.latest, (id) => replica.votes.get(id));
}

function countPreVotes(replica: Replica): void {
  const result = tally(replica);
  if (result === 'won') startElection(replica, { transfer: false });
  else if (result === 'lost') replica.becomeFollower(replica.term, 0);
}

function countVotes(replica: Replica): void {
  const result = tally(replica);
  // Votes of others may be a quorum before our own is durable; a leader waits for it all the same.
  if (result === 'won' && !replica.isSelfVotePending) takeOffice(replica);
  else if (result === 'lost') replica.becomeFollower(replica.term, 0);
}

/** The no-op is what lets a new leader commit, and so learn, what its predecessors left. */
function takeOffice(replica: Replica): void {
  replica.becomeLeader(freshProgress(replica));
  sendHeartbeats(replica);
  appendOwn(replica, 'normal', new Uint8Array(0));
}

export function handlePreVote(replica: Replica, message: PreVote): void {
  const granted =
    message.term > replica.term && replica.log.isUpToDate(message.lastIndex, message.lastTerm);
  replica.send(
    { kind: 'preVoteReply', to: message.from, granted },
    // A grant speaks of the asker's term; a refusal shows ours, which may be news to it.
    granted ? { term: message.term } : {},
  );
}

export function handlePreVoteReply(replica: Replica, message: PreVoteReply): void {
  if (replica.role !== 'preCandidate') return;
  if (message.granted && message.term !== replica.term + 1) return;
  recordVote(replica, message);
  countPreVotes(replica);
}

export function handleVote(replica: Replica, message: Vote): void {
  const isFree = replica.vote === message.from || (replica.vote === 0 && replica.leader === 0);
  const granted = isFree && replica.log.isUpToDate(message.lastIndex, message.lastTerm);
  if (granted) {
    replica.vote = message.from;
    replica.electionElapsed = 0;
  }
  replica.send({ kind: 'voteReply', to: message.from, granted }, { afterPersist: granted });
}

export function handleVoteReply(replica: Replica, message: VoteReply): void {
  if (replica.role !== 'candidate') return;
  recordVote(replica, message);
  countVotes(replica);
}

function recordVote(replica: Replica, { from, granted }: VoteReply | PreVoteReply): void {
  if (!replica.votes.has(from)) replica.votes.set(from, granted);
}

/**
 * A leader that a quorum has not answered for an election timeout steps down: it could commit nothing, and
 * clients should look elsewhere (thesis section 6.2).
 */
export function checkQuorum(replica: Replica): void {
  const { progress } = replica;
  const isPresent = (id: number) => id === replica.id || progress.get(id)?.isActive === true;
  if (quorumVote(replica.memberships.latest, isPresent) !== 'won') {
    replica.becomeFollower(replica.term, 0);
    return;
  }
  for (const follower of progress.values()) follower.isActive = false;
}

/** The leader hands over as soon as the target has everything (thesis section 3.10). */
export function continueTransfer(replica: Replica): void {
  const { transfer, log } = replica;
  if (!transfer || transfer.isSent) return;
  if (replica.progress.get(transfer.to)?.match !== log.lastIndex) return;
  transfer.isSent = true;
  replica.isLeaseForfeited = true;
  replica.send({ kind: 'timeoutNow', to: transfer.to });
}

/** A leader that was removed leaves its followers with the commit index and a successor. */
export function resign(replica: Replica): void {
  sendHeartbeats(replica);
  const { log, memberships } = replica;
  const successor = memberships.latest.voters.find(
    (id) => replica.progress.get(id)?.match === log.lastIndex,
  );
  if (successor !== undefined) replica.send({ kind: 'timeoutNow', to: successor });
  replica.becomeFollower(replica.term, 0);
}

export function handleTimeoutNow(replica: Replica, message: TimeoutNow): void {
  if (replica.role !== 'follower' || !replica.mayCampaign) return;
  if (replica.leader !== message.from && replica.leader !== 0) return;
  startElection(replica, { transfer: true });
}
