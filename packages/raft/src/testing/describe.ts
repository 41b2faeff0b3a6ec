/** Readies, messages and states as the text of a dialogue's trace. */
import { decodeMembership, type Membership } from '../membership.ts';
import type { Message } from '../messages.ts';
import type { Ready } from '../ready.ts';
import type { GroupStatus } from '../status.ts';
import type { Entry } from '../storage.ts';

function describeMembership(membership: Membership): string {
  const { voters, votersOutgoing, learners, learnersNext } = membership;
  const parts = [
    `voters ${voters.join(',') || 'none'}`,
    votersOutgoing.length > 0 ? `outgoing ${votersOutgoing.join(',')}` : '',
    learners.length > 0 ? `learners ${learners.join(',')}` : '',
    learnersNext.length > 0 ? `learners next ${learnersNext.join(',')}` : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}

export function describeEntry({ index, term, kind, data }: Entry): string {
  const place = `${index}@${term}`;
  if (kind === 'membership') return `${place} {${describeMembership(decodeMembership(data))}}`;
  return data.length === 0 ? `${place} no-op` : `${place} ${new TextDecoder().decode(data)}`;
}

function list(entries: readonly Entry[]): string {
  return `[${entries.map(describeEntry).join('; ')}]`;
}

export function describeMessage(message: Message): string {
  const head = `${message.from}->${message.to} ${message.kind} term ${message.term}`;
  switch (message.kind) {
    case 'preVote':
      return `${head} log ends ${message.lastIndex}@${message.lastTerm}`;
    case 'vote': {
      const wish = message.transfer ? ', by wish of the leader' : '';
      return `${head} log ends ${message.lastIndex}@${message.lastTerm}${wish}`;
    }
    case 'preVoteReply':
    case 'voteReply':
      return `${head} ${message.granted ? 'yes' : 'no'}`;
    case 'append':
      return `${head} after ${message.prevIndex}@${message.prevTerm} ${list(message.entries)} commit ${message.commit}`;
    case 'appendReply':
      return message.rejected
        ? `${head} no ${message.index}, at best ${message.hintIndex}@${message.hintTerm}`
        : `${head} holds ${message.index}`;
    case 'heartbeat':
      return `${head} round ${message.round} commit ${message.commit}`;
    case 'heartbeatReply':
      return `${head} round ${message.round}`;
    case 'installSnapshot': {
      const { index, term, membership } = message.snapshot;
      return `${head} snapshot ${index}@${term} {${describeMembership(membership)}}`;
    }
    case 'timeoutNow':
      return head;
    default:
      return message satisfies never;
  }
}

/** One line for each thing in a Ready. */
export function describeReady(ready: Ready): string[] {
  const { hardState, snapshot, softState } = ready;
  const lines: string[] = [];
  if (softState) lines.push(`${softState.role}, leader ${softState.leader || 'unknown'}`);
  if (snapshot) lines.push(`install ${snapshot.index}@${snapshot.term}`);
  if (ready.entries.length > 0) lines.push(`write ${list(ready.entries)}`);
  if (hardState) {
    lines.push(
      `hard state term ${hardState.term} vote ${hardState.vote} commit ${hardState.commit}`,
    );
  }
  if (ready.mustSync) lines.push('must be flushed');
  lines.push(...ready.messages.map((message) => `send ${describeMessage(message)}`));
  lines.push(
    ...ready.messagesAfterPersist.map((message) => `once flushed ${describeMessage(message)}`),
  );
  if (ready.committed.length > 0) lines.push(`apply ${list(ready.committed)}`);
  lines.push(...ready.readStates.map(({ context, index }) => `read ${context} at ${index}`));
  lines.push(...ready.readsDropped.map((context) => `read ${context} dropped`));
  return lines.length > 0 ? lines : ['nothing'];
}

/** State in a few lines. */
export function describeStatus(status: GroupStatus): string[] {
  const { role, leader, term, firstIndex, lastIndex, persisted, commit, applied } = status;
  const settled = status.isMembershipSettled ? '' : ', changing';
  return [
    `${role} in term ${term}, leader ${leader || 'unknown'}`,
    `log ${firstIndex}..${lastIndex}, persisted ${persisted}, commit ${commit}, applied ${applied}`,
    `${describeMembership(status.membership)}${settled}`,
    ...status.followers.map(
      ({ id, state, match, next, inflightMessages, isActive }) =>
        `${id}: ${state} match ${match} next ${next} in flight ${inflightMessages}${isActive ? '' : ' silent'}`,
    ),
  ];
}
