import { assert } from './assert.ts';
import { checkQuorum, continueTransfer, countOwnVote, startPreVote } from './election.ts';
import {
  faultOf,
  type Membership,
  type MembershipTarget,
  sameMembership,
  toward,
} from './membership.ts';
import type { Message } from './messages.ts';
import type { GroupOptions } from './options.ts';
import type { Ready, SoftState } from './ready.ts';
import type {
  MembershipRefusal,
  NotLeader,
  Overloaded,
  Proposed,
  TooLarge,
  TransferRefusal,
} from './refusals.ts';
import { Replica } from './replica.ts';
import {
  advanceCommit,
  appendMembership,
  appendOwn,
  hasAppends,
  hasCommittedInTerm,
  isLeaseValid,
  sendAppends,
  sendHeartbeats,
} from './replication.ts';
import { type GroupStatus, isMembershipSettled, statusOf } from './status.ts';
import { afterCommit, stepMessage } from './step.ts';
import {
  ENTRY_OVERHEAD_BYTES,
  entryBytes,
  type HardState,
  type LogIndex,
  type ReplicaId,
} from './storage.ts';

/**
 * One replica of one replicated log: a value machine. Input by `step`, `tick`, `propose` and their
 * like, which return at once and do no I/O; output by `ready`; what the driver owes in return is
 * told at {@link Ready}. Not reentrant. Throws RaftBug when an invariant breaks (stop the process) and
 * BAD_REQUEST from `step` for a malformed message (drop it; nothing has changed).
 */
export class RaftGroup {
  readonly #replica: Replica;
  #readyNumber = 0;
  /** Taken and not advanced, oldest first. */
  #underWay: { number: number; hardState: HardState | undefined }[] = [];
  #hardStateOut: HardState;
  #softStateOut: SoftState;
  /** Handed out for applying and not applied: last index and bytes of each Ready. */
  #applying: { lastIndex: LogIndex; bytes: number }[] = [];
  #applyingBytes = 0;

  /** Throws CORRUPT when what the disk gave back does not fit together (see {@link GroupOptions}). */
  constructor(options: GroupOptions) {
    this.#replica = new Replica(options);
    this.#hardStateOut = options.hardState ?? { term: 0, vote: 0, commit: 0 };
    this.#softStateOut = this.#softState();
  }

  /**
   * The unit of time has passed. The driver calls it as often as its monotonic clock says, also for
   * time it slept through, and before it asks for reads: the lease counts on that.
   */
  tick(): void {
    const replica = this.#replica;
    replica.now += 1;
    replica.electionElapsed += 1;
    if (replica.role === 'leader') {
      this.#tickLeader();
      return;
    }
    replica.leaderElapsed += 1;
    if (replica.electionElapsed < replica.electionTimeout || !replica.mayCampaign) return;
    replica.electionElapsed = 0;
    this.campaign();
  }

  #tickLeader(): void {
    const replica = this.#replica;
    const { electionTicks, heartbeatTicks } = replica.settings;
    replica.heartbeatElapsed += 1;
    if (replica.transfer) {
      replica.transfer.ticks += 1;
      if (replica.transfer.ticks >= electionTicks) replica.transfer = undefined;
    }
    if (replica.electionElapsed >= electionTicks) {
      replica.electionElapsed = 0;
      checkQuorum(replica);
      if (replica.role !== 'leader') return;
    }
    if (replica.heartbeatElapsed >= heartbeatTicks) sendHeartbeats(replica);
  }

  /**
   * Starts a (pre-vote) campaign now instead of after the timeout. Does nothing when this replica
   * may not be elected, leads already, or has heard a leader too recently.
   */
  campaign(): void {
    const replica = this.#replica;
    const { voters, votersOutgoing } = replica.memberships.latest;
    const isAlone = voters.length === 1 && voters[0] === replica.id && votersOutgoing.length === 0;
    if (replica.isBoundToLeader && !isAlone) return;
    startPreVote(replica);
  }

  /** A message has arrived; in any order, any number of times. */
  step(message: Message): void {
    stepMessage(this.#replica, message);
  }

  /**
   * Appends `data` to the log if this replica leads. The buffer belongs to the group from then on. What
   * becomes of the proposal shows in `committed`: another term at that index means it was lost. When
   * leadership is lost before, the outcome is not known yet.
   */
  propose(data: Uint8Array): Proposed | NotLeader | Overloaded | TooLarge {
    const replica = this.#replica;
    const { limits } = replica.settings;
    const refusal = this.#refusal();
    if (refusal) return refusal;
    if (data.byteLength > limits.entryBytesMax) return { code: 'too-large' };
    const bytes = replica.uncommittedBytes + data.byteLength + ENTRY_OVERHEAD_BYTES;
    if (bytes > limits.uncommittedBytesMax && replica.uncommitted.length > 0) {
      return { code: 'overloaded' };
    }
    assert(data.byteLength > 0, 'a proposal must not be empty: that is how a no-op is known');
    const { index, term } = appendOwn(replica, 'normal', data);
    return { index, term };
  }

  #refusal(): NotLeader | Overloaded | undefined {
    const { role, leader, transfer } = this.#replica;
    if (role !== 'leader') return { code: 'not-leader', leader };
    return transfer ? { code: 'overloaded' } : undefined;
  }

  /**
   * Begins to change the membership to `target`: through a joint membership when voters change, which is
   * left without further ado once committed. Add a replica as a learner first and wait until its
   * `match` is near the end, or the group may stand still while it catches up. The change is complete when
   * `status().isMembershipSettled`; a new leader carries it on, or it vanishes with its entry.
   */
  proposeMembership(
    target: MembershipTarget,
  ): Proposed | NotLeader | Overloaded | MembershipRefusal {
    const replica = this.#replica;
    const refusal = this.#refusal();
    if (refusal) return refusal;
    const fault = faultOf(target);
    if (fault) return { code: 'invalid', message: fault };
    if (!isMembershipSettled(replica) || !hasCommittedInTerm(replica)) {
      return { code: 'pending-change', message: 'another change is not finished' };
    }
    const { latest } = replica.memberships;
    const next = toward(latest, target);
    if (sameMembership(next, latest)) return { code: 'unchanged', message: 'it is so already' };
    const { index, term } = appendMembership(replica, next);
    return { index, term };
  }

  /**
   * Hands leadership to a voter: brings it up to date, then tells it to campaign. Given up after `electionTicks`.
   * Proposals are refused meanwhile. See `softState` for the outcome.
   */
  transferLeadership(to: ReplicaId): 'accepted' | NotLeader | TransferRefusal {
    const replica = this.#replica;
    const { role, leader, memberships } = replica;
    if (role !== 'leader') return { code: 'not-leader', leader };
    if (to === replica.id || !memberships.latest.voters.includes(to)) {
      return { code: 'invalid-target' };
    }
    if (replica.transfer?.to === to) return 'accepted';
    replica.transfer = { to, ticks: 0, isSent: false };
    continueTransfer(replica);
    return 'accepted';
  }

  /**
   * Asks for a linearizable read. `context` comes back in `readStates` with the index that must be
   * applied before the answer, or in `readsDropped`.
   */
  readIndex(context: number): 'accepted' | NotLeader | Overloaded {
    const replica = this.#replica;
    const { role, leader, reads, settings } = replica;
    if (role !== 'leader') return { code: 'not-leader', leader };
    if (isLeaseValid(replica)) {
      reads.answer(context, replica.log.commit);
      return 'accepted';
    }
    if (reads.count >= settings.limits.readsMax) return { code: 'overloaded' };
    reads.wait(context);
    return 'accepted';
  }

  /** The connection to a follower broke, or a message to it was dropped. */
  reportUnreachable(id: ReplicaId): void {
    this.#replica.progress.get(id)?.unreachable();
  }

  /**
   * The snapshot asked for by `installSnapshot` has been delivered, or not. Must be called for every
   * such message in a Ready, sooner or later: until then the follower gets nothing.
   */
  reportSnapshot(id: ReplicaId, ok: boolean): void {
    this.#replica.progress.get(id)?.snapshotDone(ok);
  }

  /** Would `ready()` hold anything? */
  hasReady(): boolean {
    const replica = this.#replica;
    return (
      replica.log.hasUnwritten() ||
      replica.outbox.length > 0 ||
      replica.outboxAfterPersist.length > 0 ||
      replica.reads.hasOutput ||
      this.#wantsReadRound() ||
      hasAppends(replica) ||
      this.#mayApply() ||
      this.#newHardState() !== undefined ||
      this.#newSoftState() !== undefined
    );
  }

  /** All that is to be done since the last call. What the driver owes for it: {@link Ready}. */
  ready(): Ready {
    const replica = this.#replica;
    if (this.#wantsReadRound()) sendHeartbeats(replica);
    sendAppends(replica);
    this.#readyNumber += 1;
    const number = this.#readyNumber;
    const hardState = this.#newHardState();
    const softState = this.#newSoftState();
    const out = this.#hardStateOut;
    const mustFlush = hardState?.term !== out.term || hardState.vote !== out.vote;
    const { snapshot, entries } = replica.log.handOut(number);
    this.#underWay.push({ number, hardState });
    if (hardState) this.#hardStateOut = hardState;
    if (softState) this.#softStateOut = softState;
    if (snapshot) this.#forgetApplying(snapshot.index);
    const { outbox: messages, outboxAfterPersist: messagesAfterPersist } = replica;
    replica.outbox = [];
    replica.outboxAfterPersist = [];
    return {
      number,
      ...(hardState && { hardState }),
      mustSync:
        entries.length > 0 || snapshot !== undefined || (hardState !== undefined && mustFlush),
      ...(snapshot && { snapshot }),
      entries,
      messages,
      messagesAfterPersist,
      committed: this.#takeCommitted(),
      ...replica.reads.take(),
      ...(softState && { softState }),
    };
  }

  #wantsReadRound(): boolean {
    const replica = this.#replica;
    return replica.role === 'leader' && replica.reads.wantsRound && hasCommittedInTerm(replica);
  }

  #newHardState(): HardState | undefined {
    const now = this.#replica.hardState;
    const out = this.#hardStateOut;
    const isSame = now.term === out.term && now.vote === out.vote && now.commit === out.commit;
    return isSame ? undefined : now;
  }

  #softState(): SoftState {
    return { leader: this.#replica.leader, role: this.#replica.role };
  }

  #newSoftState(): SoftState | undefined {
    const now = this.#softState();
    const out = this.#softStateOut;
    return now.leader === out.leader && now.role === out.role ? undefined : now;
  }

  #mayApply(): boolean {
    const { log, settings } = this.#replica;
    return log.applying < log.applicable && this.#applyingBytes < settings.limits.applyingBytesMax;
  }

  #takeCommitted() {
    if (!this.#mayApply()) return [];
    const { log, settings } = this.#replica;
    const entries = log.takeCommitted(settings.limits.applyingBytesMax - this.#applyingBytes);
    const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
    this.#applying.push({ lastIndex: log.applying, bytes });
    this.#applyingBytes += bytes;
    return entries;
  }

  #forgetApplying(index: LogIndex): void {
    while (this.#applying.length > 0 && this.#applying[0]!.lastIndex <= index) {
      this.#applyingBytes -= this.#applying.shift()!.bytes;
    }
  }

  /**
   * Everything in `ready` is durable (its snapshot installed, its entries and hard state on disk), and so is
   * everything in the Readies before it. In order, each once.
   */
  advance(ready: Pick<Ready, 'number'>): void {
    const replica = this.#replica;
    const first = this.#underWay.shift();
    assert(first?.number === ready.number, 'advance out of order', { number: ready.number });
    replica.log.markPersisted(first.number);
    if (first.hardState) {
      const { term, vote } = first.hardState;
      replica.durable = { term, vote };
    }
    countOwnVote(replica);
    if (replica.role === 'leader' && advanceCommit(replica)) afterCommit(replica);
  }

  /** The state machine has applied every entry up to `index`. */
  applied(index: LogIndex): void {
    this.#replica.log.markApplied(index);
    this.#forgetApplying(index);
  }

  /** The membership to put into a snapshot taken at `index` (at or above `firstIndex - 1`). */
  membershipAt(index: LogIndex): Membership {
    return this.#replica.memberships.at(index);
  }

  /** How things stand; a copy. */
  status(): GroupStatus {
    return statusOf(this.#replica);
  }
}
