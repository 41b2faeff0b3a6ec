/**
 * What one replica of one group knows, the change from role to role, and the outbox. The rules that
 * decide when to change are in election.ts and replication.ts.
 */
import { HoldfastError } from '@holdfast/protocol';
import { assert } from './assert.ts';
import { RaftLog } from './log.ts';
import { decodeMembership, isVoter, MembershipHistory } from './membership.ts';
import type { Message, Outgoing } from './messages.ts';
import { type GroupOptions, type GroupSettings, settingsOf } from './options.ts';
import type { Progress } from './progress.ts';
import { ReadRounds } from './read-index.ts';
import type { Role } from './ready.ts';
import type { Entry, HardState, LogIndex, ReplicaId, SnapshotMeta, Term } from './storage.ts';

/** A leadership transfer under way at the leader. */
export interface Transfer {
  readonly to: ReplicaId;
  ticks: number;
  /** The target was told to campaign. */
  isSent: boolean;
}

export class Replica {
  readonly id: ReplicaId;
  readonly settings: GroupSettings;
  readonly log: RaftLog;
  readonly memberships: MembershipHistory;
  readonly #random: () => number;

  term: Term;
  vote: ReplicaId;
  role: Role = 'follower';
  leader: ReplicaId = 0;
  /** Term and vote as the disk is known to have them. */
  durable: { term: Term; vote: ReplicaId };

  /** Ticks since start; only differences count. */
  now = 0;
  /** Ticks since the last sign of a leader, vote given, or campaign; of a leader: since the quorum check. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** In [electionTicks, 2 * electionTicks), drawn anew with every change of role. */
  electionTimeout = 0;
  /**
   * Ticks since this replica last let a leader believe in it. Unlike electionElapsed it survives
   * changes of term: the lease of the old leader does not end because we heard of a new term.
   */
  leaderElapsed: number;

  /** Answers to the campaign under way. */
  votes = new Map<ReplicaId, boolean>();
  /** Candidate: own vote is not durable yet and hence not counted. */
  isSelfVotePending = false;

  /** Leader only: every other member. */
  progress = new Map<ReplicaId, Progress>();
  readonly reads = new ReadRounds();
  transfer: Transfer | undefined;
  /** A target was told to campaign in this term: that word may arrive at any time, so no lease any more. */
  isLeaseForfeited = false;
  /** Leader: bytes of own proposals that are not committed, per entry, oldest first. */
  uncommitted: { index: LogIndex; bytes: number }[] = [];
  uncommittedBytes = 0;

  outbox: Message[] = [];
  outboxAfterPersist: Message[] = [];

  constructor(options: GroupOptions) {
    const { id, storage, hardState, applied } = options;
    this.id = id;
    this.settings = settingsOf(options);
    this.#random = options.random;
    checkRecovered(options);
    this.durable = { term: hardState?.term ?? 0, vote: hardState?.vote ?? 0 };
    ({ term: this.term, vote: this.vote } = this.durable);
    this.log = new RaftLog(storage, hardState?.commit ?? 0, applied);
    this.memberships = new MembershipHistory(storage.firstIndex() - 1, options.membership);
    // A torn write may leave entries and lose the hard state that came with them. Nobody has seen us in
    // their term, so we enter it as if we heard of it now.
    if (this.log.lastTerm > this.term) [this.term, this.vote] = [this.log.lastTerm, 0];
    this.#readMemberships();
    // Before the crash we may have let a leader believe in us: keep quiet as long as that binds.
    this.leaderElapsed = this.term === 0 ? this.settings.electionTicks : 0;
    this.#drawTimeout();
  }

  #readMemberships(): void {
    const chunkBytes = 1024 * 1024;
    for (let at = this.log.firstIndex; at <= this.log.lastIndex; ) {
      const entries = this.log.slice(at, this.log.lastIndex + 1, chunkBytes);
      assert(entries !== 'compacted' && entries.length > 0, 'the log cannot be read at start');
      for (const entry of entries) this.adoptMembership(entry);
      at += entries.length;
    }
  }

  /** An entry was appended; a membership takes effect with that. */
  adoptMembership(entry: Entry): void {
    if (entry.kind !== 'membership') return;
    this.memberships.append(entry.index, decodeMembership(entry.data));
    this.memberships.forgetBelow(Math.min(this.log.firstIndex - 1, this.log.applied));
  }

  /** True while an election must not be helped: a leader may count on our silence for its lease. */
  get isBoundToLeader(): boolean {
    return this.role === 'leader' || this.leaderElapsed < this.settings.electionTicks;
  }

  /** May this replica be elected, by the memberships it knows? */
  get mayCampaign(): boolean {
    const { latest, latestIndex, previous } = this.memberships;
    if (isVoter(latest, this.id)) return true;
    // Removed by an entry that is not known to be committed. If only removed voters have it, nobody
    // else can win: without them the group would stand still (thesis section 4.2.2).
    return latestIndex > this.log.commit && previous !== undefined && isVoter(previous, this.id);
  }

  /** A sign of the leader of our term. */
  hearLeader(from: ReplicaId): void {
    assert(this.role !== 'leader' || from === this.id, 'two leaders in one term', {
      from,
      term: this.term,
    });
    assert(this.leader === 0 || this.leader === from, 'two leaders in one term', {
      from,
      term: this.term,
    });
    if (this.role !== 'follower') this.becomeFollower(this.term, from);
    this.leader = from;
    this.electionElapsed = 0;
    this.leaderElapsed = 0;
  }

  becomeFollower(term: Term, leader: ReplicaId): void {
    assert(term >= this.term, 'the term would go back', { term, from: this.term });
    if (term > this.term) this.#enterTerm(term);
    this.#changeRole('follower');
    this.leader = leader;
  }

  becomePreCandidate(): void {
    assert(this.role !== 'leader', 'a leader does not campaign');
    this.#changeRole('preCandidate');
    this.leader = 0;
  }

  becomeCandidate(): void {
    assert(this.role !== 'leader', 'a leader does not campaign');
    this.#enterTerm(this.term + 1);
    this.#changeRole('candidate');
    this.leader = 0;
    this.vote = this.id;
    this.isSelfVotePending = true;
  }

  /** `progress` is of every other member. */
  becomeLeader(progress: Map<ReplicaId, Progress>): void {
    assert(this.role === 'candidate', 'only a candidate becomes leader', { role: this.role });
    assert(this.durable.term === this.term, 'a leader must not forget its term in a crash');
    this.#changeRole('leader');
    this.leader = this.id;
    this.progress = progress;
    this.isLeaseForfeited = false;
  }

  #enterTerm(term: Term): void {
    this.term = term;
    this.vote = 0;
    // Words of an earlier term are of no use to anyone, and a confirmation among them would be of
    // entries that may be replaced before they were ever written.
    this.outbox = [];
    this.outboxAfterPersist = [];
  }

  #changeRole(role: Role): void {
    if (this.role === 'leader') {
      // The lease ended with the leadership: nobody else's vote is bound by ours.
      this.leaderElapsed = this.settings.electionTicks;
      this.reads.reset();
    }
    this.role = role;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.votes = new Map();
    this.isSelfVotePending = false;
    this.progress = new Map();
    this.transfer = undefined;
    this.uncommitted = [];
    this.uncommittedBytes = 0;
    this.#drawTimeout();
  }

  #drawTimeout(): void {
    const { electionTicks } = this.settings;
    const drawn = this.#random();
    assert(drawn >= 0 && drawn < 1, 'random() must be in [0, 1)', { drawn });
    this.electionTimeout = electionTicks + Math.floor(drawn * electionTicks);
  }

  /**
   * Sends when that is safe: a message shows the sender's term only when a crash cannot take the term
   * back, and what depends on more than that says so by `afterPersist`.
   */
  send(message: Outgoing, options: { term?: Term; afterPersist?: boolean } = {}): void {
    const term = options.term ?? this.term;
    const full = { ...message, from: this.id, term } as Message;
    const showsTerm = options.term === undefined && this.durable.term !== this.term;
    if (options.afterPersist || showsTerm) this.outboxAfterPersist.push(full);
    else this.outbox.push(full);
  }

  /** A snapshot replaces log and memberships. */
  restore(snapshot: SnapshotMeta): void {
    this.log.restore(snapshot);
    this.memberships.reset(snapshot.index, snapshot.membership);
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.commit };
  }
}

/** What the disk gave back must fit together; if not, data that was durable is gone. */
function checkRecovered({ storage, hardState, applied }: GroupOptions): void {
  const [first, last] = [storage.firstIndex(), storage.lastIndex()];
  const commit = hardState?.commit ?? 0;
  if (commit > last || applied > last || applied < first - 1) {
    throw new HoldfastError(
      'CORRUPT',
      'raft: the log does not reach what was committed or applied',
      {
        detail: { first, last, commit, applied },
      },
    );
  }
}
