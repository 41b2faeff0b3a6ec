/**
 * The rules of "In Search of an Understandable Consensus Algorithm (Extended Version)", Ongaro and
 * Ousterhout 2014 ("paper"), and of Ongaro's dissertation "Consensus: Bridging Theory and Practice"
 * ("thesis"), one by one, in their order.
 */
import { describe, expect, it } from 'vitest';
import { membershipOf } from './membership.ts';
import type { Append, Message, MessageKind } from './messages.ts';
import type { Entry } from './storage.ts';
import { MemoryLog } from './testing/memory-log.ts';
import { bytes, TestCluster, TestReplica } from './testing/test-cluster.ts';

const THREE = membershipOf([1, 2, 3]);

const entry = (index: number, term: number): Entry => ({
  index,
  term,
  kind: 'normal',
  data: bytes(`${index}@${term}`),
});

/** Replica 1 of three, with a durable log of those terms and that hard state. */
function replicaWith(
  terms: readonly number[],
  hardState = { term: terms.at(-1) ?? 0, vote: 0, commit: 0 },
) {
  const replica = new TestReplica(1, THREE);
  replica.durable = new MemoryLog(THREE);
  replica.durable.stored = terms.map((term, i) => entry(i + 1, term));
  replica.durable.hardState = hardState.term > 0 ? hardState : undefined;
  replica.random = 0.9;
  replica.start();
  // The quiet time after a restart is over, its own timeout of 19 ticks is not.
  for (let i = 0; i < 10; i += 1) replica.group.tick();
  return replica;
}

/** Everything a replica says once all is flushed. */
function words(replica: TestReplica): Message[] {
  const said: Message[] = [];
  while (replica.group.hasReady()) said.push(...replica.take().messages, ...replica.flush());
  return said;
}

function wordsOf<K extends MessageKind>(replica: TestReplica, kind: K) {
  return words(replica).filter((message) => message.kind === kind) as Extract<
    Message,
    { kind: K }
  >[];
}

const append = (term: number, fields: Partial<Append>): Append => ({
  kind: 'append',
  from: 2,
  to: 1,
  term,
  prevIndex: 0,
  prevTerm: 0,
  entries: [],
  commit: 0,
  ...fields,
});

const vote = (term: number, lastIndex: number, lastTerm: number, from = 2): Message => ({
  kind: 'vote',
  from,
  to: 1,
  term,
  lastIndex,
  lastTerm,
  transfer: false,
});

describe('terms (paper section 5.1)', () => {
  it('a replica that sees a higher term takes it and becomes a follower', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    leader.group.step(append(7, { from: 3 }));
    expect(leader.group.status()).toMatchObject({ term: 7, role: 'follower', leader: 3, vote: 0 });
  });

  it('a message of an older term changes nothing and is answered with the term', () => {
    const replica = replicaWith([1, 3]);
    replica.group.step(append(2, { prevIndex: 1, prevTerm: 1, entries: [entry(2, 2)] }));
    expect(replica.group.status()).toMatchObject({ term: 3, lastIndex: 2, leader: 0 });
    expect(words(replica)).toMatchObject([{ kind: 'heartbeatReply', term: 3 }]);
  });
});

describe('leader election (paper section 5.2)', () => {
  it('a follower that hears nobody for an election timeout campaigns in the next term', () => {
    const cluster = new TestCluster(THREE);
    cluster.tick(1, 9);
    expect(cluster.at(1).group.status().role).toBe('follower');
    cluster.tick(1, 1);
    cluster.settle();
    expect(cluster.at(1).group.status()).toMatchObject({ role: 'leader', term: 1, vote: 1 });
  });

  it('one vote a term, first come first served, and the same answer to a repeated request', () => {
    const replica = replicaWith([]);
    replica.group.step(vote(5, 0, 0, 2));
    replica.group.step(vote(5, 0, 0, 3));
    replica.group.step(vote(5, 0, 0, 2));
    expect(wordsOf(replica, 'voteReply').map(({ to, granted }) => [to, granted])).toEqual([
      [2, true],
      [3, false],
      [2, true],
    ]);
  });

  it('a vote is remembered in a crash', () => {
    const replica = replicaWith([]);
    replica.group.step(vote(5, 0, 0, 2));
    words(replica);
    replica.start();
    for (let i = 0; i < 10; i += 1) replica.group.tick();
    replica.group.step(vote(5, 0, 0, 3));
    expect(wordsOf(replica, 'voteReply')).toMatchObject([{ to: 3, granted: false }]);
  });

  it('a candidate that hears from a leader of its term follows it', () => {
    const replica = replicaWith([1], { term: 1, vote: 0, commit: 0 });
    replica.group.campaign();
    replica.group.step({ kind: 'preVoteReply', from: 2, to: 1, term: 2, granted: true });
    words(replica);
    expect(replica.group.status()).toMatchObject({ role: 'candidate', term: 2 });
    replica.group.step(append(2, { from: 3 }));
    expect(replica.group.status()).toMatchObject({ role: 'follower', leader: 3, term: 2 });
  });

  it('a split vote is tried again in a new term', () => {
    const replica = replicaWith([]);
    replica.group.campaign();
    replica.group.step({ kind: 'preVoteReply', from: 2, to: 1, term: 1, granted: true });
    words(replica);
    expect(replica.group.status()).toMatchObject({ role: 'candidate', term: 1 });
    for (let i = 0; i < 19; i += 1) replica.group.tick();
    expect(wordsOf(replica, 'preVote')).toMatchObject([{ term: 2 }, { term: 2 }]);
  });

  it('election timeouts are drawn between one and two times the base, anew each time', () => {
    const timeouts = [0, 0.5, 0.99].map((drawn) => {
      const replica = new TestReplica(1, THREE, { random: () => drawn });
      let ticks = 0;
      for (; replica.group.status().role === 'follower'; ticks += 1) replica.group.tick();
      return ticks;
    });
    expect(timeouts).toEqual([10, 15, 19]);
  });

  it('a leader sends heartbeats before any follower would time out', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    leader.group.tick();
    expect(wordsOf(leader, 'heartbeat').map(({ to }) => to)).toEqual([2, 3]);
  });
});

describe('log replication (paper section 5.3)', () => {
  it('a leader commits what a majority holds, and followers apply what they hear is committed', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a');
    expect(leader.group.status()).toMatchObject({ lastIndex: 2, commit: 2 });
    cluster.tickAll(1);
    expect([1, 2, 3].map((id) => cluster.at(id).applied)).toEqual([['a'], ['a'], []]);
  });

  it('an entry that only the leader has is not committed', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    cluster.isolate(1);
    cluster.propose(1, 'a');
    expect(leader.group.status()).toMatchObject({ lastIndex: 2, commit: 1 });
  });

  it.each([
    ['that are missing', 3, 3, 2],
    ['of another term', 2, 3, 1],
  ])(
    'an append that follows entries %s is refused, with a hint',
    (_, prevIndex, prevTerm, hint) => {
      const replica = replicaWith([1, 2]);
      replica.group.step(append(4, { prevIndex, prevTerm: prevIndex === 2 ? 1 : prevTerm }));
      const [reply] = wordsOf(replica, 'appendReply');
      expect(reply).toMatchObject({ rejected: true, index: prevIndex, hintIndex: hint });
    },
  );

  it.each([
    ['lacks entries', [1, 1], [1, 1, 4, 4, 5]],
    ['has entries too many', [1, 1, 4, 4, 4, 4, 4], [1, 1, 4, 4, 5]],
    ['has other entries', [1, 1, 2, 2, 3, 3, 3], [1, 1, 4, 4, 5]],
  ])('a follower that %s ends up with the log of its leader (figure 7)', (_, follower, leader) => {
    const cluster = new TestCluster(membershipOf([1, 2]));
    for (const [i, terms] of [leader, follower].entries()) {
      const replica = cluster.at(i + 1);
      replica.durable.stored = terms.map((term, at) => entry(at + 1, term));
      replica.durable.hardState = { term: 5, vote: 1, commit: 0 };
      replica.start();
    }
    // 1 campaigns after 10 ticks, 2 would after 11.
    cluster.tick(2, 10);
    cluster.tick(1, 10);
    cluster.settle();
    expect(cluster.at(1).group.status()).toMatchObject({ role: 'leader', term: 6, commit: 6 });
    expect(cluster.at(2).durable.stored).toEqual(cluster.at(1).durable.stored);
    expect(cluster.at(2).durable.stored.map(({ term }) => term)).toEqual([...leader, 6]);
  });

  it('the commit index goes no further than the entries the leader is known to share', () => {
    const replica = replicaWith([1, 1, 1], { term: 2, vote: 0, commit: 0 });
    replica.group.step(append(2, { prevIndex: 1, prevTerm: 1, commit: 3 }));
    expect(replica.group.status().commit).toBe(1);
    replica.group.step(append(2, { prevIndex: 1, prevTerm: 1, entries: [entry(2, 1)], commit: 3 }));
    expect(replica.group.status().commit).toBe(2);
  });

  it('an append that was delayed and is outdated removes nothing', () => {
    const replica = replicaWith([1, 1, 1], { term: 1, vote: 0, commit: 0 });
    replica.group.step(append(1, { entries: [entry(1, 1)] }));
    expect(replica.group.status().lastIndex).toBe(3);
  });
});

describe('safety (paper section 5.4)', () => {
  it.each([
    ['a longer log of the same term', 3, 2, true],
    ['an equal log', 2, 2, true],
    ['a shorter log of a later term', 1, 3, true],
    ['a shorter log of the same term', 1, 2, false],
    ['a longer log of an earlier term', 9, 1, false],
  ])('a candidate with %s gets the vote or not (5.4.1)', (_, lastIndex, lastTerm, granted) => {
    const replica = replicaWith([1, 2]);
    replica.group.step(vote(5, lastIndex, lastTerm));
    expect(wordsOf(replica, 'voteReply')).toMatchObject([{ granted }]);
  });

  it('a leader does not commit entries of earlier terms by counting replicas (5.4.2, figure 8)', () => {
    const leader = replicaWith([1, 2]);
    leader.group.campaign();
    leader.group.step({ kind: 'preVoteReply', from: 2, to: 1, term: 3, granted: true });
    words(leader);
    leader.group.step({ kind: 'voteReply', from: 2, to: 1, term: 3, granted: true });
    words(leader);
    expect(leader.group.status()).toMatchObject({ role: 'leader', term: 3, lastIndex: 3 });
    const reply = { kind: 'appendReply', from: 2, to: 1, term: 3, rejected: false } as const;
    leader.group.step({ ...reply, index: 2, hintIndex: 0, hintTerm: 0 });
    expect(leader.group.status().commit).toBe(0);
    leader.group.step({ ...reply, index: 3, hintIndex: 0, hintTerm: 0 });
    expect(leader.group.status().commit).toBe(3);
  });

  it('a new leader learns what is committed from an entry of its own (8; thesis 6.4)', () => {
    const cluster = new TestCluster(THREE);
    cluster.elect(1);
    cluster.propose(1, 'a');
    cluster.isolate(1);
    cluster.tick(2, 11);
    cluster.tick(3, 11);
    cluster.settle();
    expect(cluster.at(2).group.status()).toMatchObject({ role: 'leader', commit: 3, lastIndex: 3 });
    expect(cluster.at(2).applied).toEqual(['a']);
  });
});

describe('crashes (paper section 5.5)', () => {
  it('a message that is repeated changes nothing more', () => {
    const replica = replicaWith([1], { term: 2, vote: 0, commit: 0 });
    const message = append(2, { prevIndex: 1, prevTerm: 1, entries: [entry(2, 2)], commit: 2 });
    for (let i = 0; i < 3; i += 1) replica.group.step(message);
    expect(replica.group.status()).toMatchObject({ lastIndex: 2, commit: 2 });
    expect(wordsOf(replica, 'appendReply').map(({ index }) => index)).toEqual([2, 2, 2]);
  });

  it('what was said before a crash holds after it', () => {
    const cluster = new TestCluster(THREE);
    cluster.elect(1);
    cluster.propose(1, 'a');
    cluster.tickAll(1);
    for (const replica of cluster.replicas.values()) replica.start();
    cluster.tickAll(20);
    const statuses = [...cluster.replicas.values()].map(({ group }) => group.status());
    expect(statuses.filter(({ role }) => role === 'leader')).toHaveLength(1);
    expect(statuses.map(({ commit }) => commit)).toEqual([3, 3, 3]);
  });
});

describe('membership changes (paper section 6, thesis chapter 4)', () => {
  it('a replica uses the latest membership in its log, committed or not', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    leader.group.proposeMembership({ voters: [1, 2, 4], learners: [] });
    expect(leader.group.status().membership).toMatchObject({
      voters: [1, 2, 4],
      votersOutgoing: [1, 2, 3],
    });
  });

  it('a joint membership commits with majorities of both halves only', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    cluster.add(4);
    cluster.add(5);
    cluster.isolate(4);
    cluster.isolate(5);
    leader.group.proposeMembership({ voters: [1, 4, 5], learners: [] });
    cluster.settle();
    expect(leader.group.status()).toMatchObject({ commit: 1, isMembershipSettled: false });
    cluster.mend();
    cluster.tickAll(3);
    expect(leader.group.status()).toMatchObject({ isMembershipSettled: true });
    expect(leader.group.status().membership).toEqual(membershipOf([1, 4, 5]));
  });

  it('the change is rolled back with the entry that brought it', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    cluster.isolate(1);
    leader.group.proposeMembership({ voters: [1], learners: [] });
    cluster.settle();
    expect(leader.group.status().membership.voters).toEqual([1]);
    cluster.tick(2, 11);
    cluster.tick(3, 11);
    cluster.settle();
    cluster.mend();
    cluster.tickAll(3);
    expect(leader.group.status().membership).toEqual(THREE);
  });

  it('a new leader completes the change of the old one', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    leader.group.proposeMembership({ voters: [2, 3], learners: [1] });
    // The joint membership reaches the others, the commitment does not reach the leader.
    const ready = leader.take();
    cluster.isolate(1);
    for (const message of ready.messages) cluster.at(message.to).group.step(message);
    cluster.tick(2, 11);
    cluster.tick(3, 11);
    cluster.settle();
    // Both halves must vote: 2 and 3 are a majority of each.
    expect(cluster.at(2).group.status()).toMatchObject({
      role: 'leader',
      isMembershipSettled: true,
      membership: membershipOf([2, 3], [1]),
    });
  });

  it('a learner receives the log but counts for nothing', () => {
    const cluster = new TestCluster(membershipOf([1], [2]));
    const leader = cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, 'a');
    expect(leader.group.status().commit).toBe(2);
    cluster.mend();
    cluster.tickAll(3);
    expect(cluster.at(2).applied).toEqual(['a']);
    cluster.tick(2, 100);
    cluster.settle();
    expect(cluster.at(2).group.status().role).toBe('follower');
  });

  it('a removed replica does not depose the leader (thesis 4.2.3)', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    cluster.isolate(3);
    leader.group.proposeMembership({ voters: [1, 2], learners: [] });
    cluster.settle();
    // Four appends later the joint membership is left, with 3 none the wiser.
    expect(leader.group.status().membership).toMatchObject({ votersOutgoing: [] });
    cluster.mend();
    for (let i = 0; i < 5; i += 1) {
      cluster.tick(3, 20);
      cluster.tick(1, 1);
      cluster.settle();
    }
    expect(leader.group.status()).toMatchObject({ role: 'leader', term: 1 });
  });

  it('a request with a higher term is passed over while a leader is there (thesis 4.2.3)', () => {
    const cluster = new TestCluster(THREE);
    cluster.elect(2);
    const follower = cluster.at(1);
    follower.group.step(vote(99, 99, 99, 3));
    expect(follower.group.status()).toMatchObject({ term: 1, leader: 2 });
    expect(words(follower)).toEqual([]);
  });
});

describe('leadership transfer (thesis section 3.10)', () => {
  it('the target may win although the voters hear the old leader', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    expect(leader.group.transferLeadership(3)).toBe('accepted');
    cluster.settle();
    expect(cluster.at(3).group.status()).toMatchObject({ role: 'leader', term: 2 });
  });

  it('the leader takes no proposals meanwhile, and gives up after an election timeout', () => {
    const cluster = new TestCluster(THREE);
    const leader = cluster.elect(1);
    cluster.isolate(3);
    leader.group.transferLeadership(3);
    expect(leader.group.propose(bytes('a'))).toEqual({ code: 'overloaded' });
    cluster.tickAll(10);
    expect(leader.group.propose(bytes('a'))).toMatchObject({ index: 2 });
  });
});

describe('linearizable reads (thesis section 6.4)', () => {
  it('wait for the leader’s first commit', () => {
    const cluster = new TestCluster(THREE, { leaseReads: true });
    const leader = cluster.at(1);
    leader.group.campaign();
    // Followers answer heartbeats, but confirm no entries.
    cluster.onMessage = (message) => {
      if (message.kind === 'append') cluster.cut(message.from, message.to);
    };
    cluster.settle();
    expect(leader.group.status()).toMatchObject({ role: 'leader', commit: 0, isLeaseValid: false });
    expect(leader.group.readIndex(1)).toBe('accepted');
    cluster.settle();
    expect(leader.group.status().readsWaiting).toBe(1);
  });

  it('a leader that was deposed without knowing answers none', () => {
    const cluster = new TestCluster(THREE);
    const old = cluster.elect(1);
    cluster.isolate(1);
    cluster.tick(2, 11);
    cluster.tick(3, 11);
    cluster.settle();
    cluster.propose(2, 'new');
    expect(old.group.status().role).toBe('leader');
    old.group.readIndex(1);
    const answers: number[] = [];
    cluster.onReady = (_, { readStates }) => answers.push(...readStates.map(({ index }) => index));
    cluster.settle();
    expect(answers).toEqual([]);
    cluster.mend();
    cluster.tickAll(1);
    expect(old.group.status()).toMatchObject({ role: 'follower', readsWaiting: 0 });
  });

  it('the lease ends before any voter that upholds it may vote', () => {
    const cluster = new TestCluster(THREE, { leaseReads: true });
    const leader = cluster.elect(1);
    cluster.isolate(1);
    let leaseTicks = 0;
    for (; leader.group.status().isLeaseValid; leaseTicks += 1) leader.group.tick();
    let boundTicks = 0;
    for (; cluster.at(2).group.status().role === 'follower'; boundTicks += 1) {
      cluster.at(2).group.tick();
    }
    expect([leaseTicks, boundTicks >= 10]).toEqual([7, true]);
  });

  it('a voter stays bound to a leader’s lease when it hears of a new term, or restarts', () => {
    const cluster = new TestCluster(THREE);
    cluster.elect(2);
    const voter = cluster.at(1);
    voter.group.step({ kind: 'preVoteReply', from: 3, to: 1, term: 5, granted: false });
    expect(voter.group.status()).toMatchObject({ term: 5, leader: 0 });
    words(voter);
    voter.group.step(vote(6, 99, 5, 3));
    expect(words(voter)).toEqual([]);
    voter.start();
    voter.group.step(vote(6, 99, 5, 3));
    expect(words(voter)).toEqual([]);
    for (let i = 0; i < 10; i += 1) voter.group.tick();
    voter.group.step(vote(6, 99, 5, 3));
    expect(wordsOf(voter, 'voteReply')).toMatchObject([{ granted: true }]);
  });
});
