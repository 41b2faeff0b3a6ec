/** What a message does to a replica: terms first, then the handler of its kind. */
import {
  continueTransfer,
  handlePreVote,
  handlePreVoteReply,
  handleTimeoutNow,
  handleVote,
  handleVoteReply,
  resign,
} from './election.ts';
import { checkMessage, type Message } from './messages.ts';
import type { Replica } from './replica.ts';
import {
  advanceCommit,
  handleAppend,
  handleAppendReply,
  handleHeartbeat,
  handleHeartbeatReply,
  handleInstallSnapshot,
  isRemovedForGood,
  leaveCommittedJoint,
} from './replication.ts';

/** See `RaftGroup.step`. */
export function stepMessage(replica: Replica, message: Message): void {
  checkMessage(message, replica.id);
  if (message.term < replica.term) {
    answerStale(replica, message);
    return;
  }
  // Neither our vote nor our term for anyone while a leader may count on us (thesis section 4.2.3).
  const isElection = message.kind === 'preVote' || message.kind === 'vote';
  const isWanted = message.kind === 'vote' && message.transfer;
  if (isElection && !isWanted && replica.isBoundToLeader) return;
  if (message.term > replica.term) followTerm(replica, message);
  dispatch(replica, message);
}

/** Someone is behind us; if it asks for something it should learn the term. */
function answerStale(replica: Replica, message: Message): void {
  const to = message.from;
  switch (message.kind) {
    case 'preVote':
      replica.send({ kind: 'preVoteReply', to, granted: false });
      return;
    case 'vote':
      replica.send({ kind: 'voteReply', to, granted: false });
      return;
    case 'append':
    case 'heartbeat':
    case 'installSnapshot':
      replica.send({ kind: 'heartbeatReply', to, round: 0 });
      return;
    default:
  }
}

/** Someone is ahead of us. */
function followTerm(replica: Replica, message: Message): void {
  switch (message.kind) {
    case 'preVote':
      return;
    case 'preVoteReply':
      if (!message.granted) replica.becomeFollower(message.term, 0);
      return;
    case 'append':
    case 'heartbeat':
    case 'installSnapshot':
      replica.becomeFollower(message.term, message.from);
      return;
    default:
      replica.becomeFollower(message.term, 0);
  }
}

function dispatch(replica: Replica, message: Message): void {
  switch (message.kind) {
    case 'preVote':
      handlePreVote(replica, message);
      break;
    case 'preVoteReply':
      handlePreVoteReply(replica, message);
      break;
    case 'vote':
      handleVote(replica, message);
      break;
    case 'voteReply':
      handleVoteReply(replica, message);
      break;
    case 'append':
      handleAppend(replica, message);
      break;
    case 'appendReply':
      if (handleAppendReply(replica, message)) afterCommit(replica);
      continueTransfer(replica);
      break;
    case 'heartbeat':
      handleHeartbeat(replica, message);
      break;
    case 'heartbeatReply':
      handleHeartbeatReply(replica, message);
      break;
    case 'installSnapshot':
      handleInstallSnapshot(replica, message);
      break;
    case 'timeoutNow':
      handleTimeoutNow(replica, message);
      break;
    default:
      message satisfies never;
  }
}

/** The leader's commit index moved: what follows for the membership. */
export function afterCommit(replica: Replica): void {
  while (leaveCommittedJoint(replica) && advanceCommit(replica));
  if (isRemovedForGood(replica)) resign(replica);
}
