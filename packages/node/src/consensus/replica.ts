import { HoldfastError, type NodeNumber, type ShardId } from '@holdfast/protocol';
import {
  type Entry,
  type InstallSnapshot,
  type LogIndex,
  type Message,
  RaftGroup,
  type Ready,
  type SnapshotMeta,
} from '@holdfast/raft';
import type { GroupLog } from './group-log.ts';
import { type CompactionLimits, type CompactionTail, LogCompaction } from './log-compaction.ts';
import type { AppliedEntry, LeaderChange, StateMachine } from './shard-host.ts';
import type { SpooledSnapshot } from './snapshot-spool.ts';
import { ProposalWaiters, ReadWaiters, type Waiter, waiter } from './waiters.ts';
import type { Wal } from './wal.ts';

/** What one replica works with; shared by all of a process. */
export interface ReplicaOptions {
  readonly shard: ShardId;
  readonly self: NodeNumber;
  readonly log: GroupLog;
  readonly machine: StateMachine;
  readonly wal: Wal;
  readonly electionTicks: number;
  readonly leaseReads: boolean;
  readonly random: () => number;
  readonly compaction: CompactionLimits;
  readonly proposalsMax: number;
  readonly waitMs: number;
  readonly now: () => number;
  readonly send: (message: Message) => void;
  readonly sendSnapshot: (message: InstallSnapshot) => void;
  readonly onLeader: (change: LeaderChange) => void;
  /** There is something to do: `turn` should be called soon. */
  readonly wake: () => void;
  readonly onFatal: (error: unknown) => void;
  readonly onApplied: (entries: number, seconds: number) => void;
}

/** Milliseconds after a lost leadership until proposals in flight are told as unknown. */
const LOST_WAIT_MS = 3000;

/** One group on this peer: does what its Readies ask for, in the order that keeps Raft's promises. */
export class ShardReplica {
  readonly #options: ReplicaOptions;
  readonly group: RaftGroup;
  readonly #proposals = new ProposalWaiters();
  readonly #reads = new ReadWaiters();
  readonly #compaction: LogCompaction;
  /** Highest index that the state machine shows. */
  #applied: LogIndex;
  /** Readies handed to the log and not advanced. */
  #underWay = 0;
  #tail: Promise<void> = Promise.resolve();
  #settling: Promise<void> | undefined;
  #isInstalling = false;
  #spooled: SpooledSnapshot | undefined;
  #isClosed = false;
  #leader: NodeNumber | 0 = 0;
  #isLeader = false;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    const { log, machine, self, electionTicks, random, leaseReads, wal } = options;
    this.#applied = machine.applied;
    this.group = new RaftGroup({
      id: self,
      storage: log,
      membership: log.snapshot().membership,
      hardState: log.hardState.term > 0 ? log.hardState : undefined,
      applied: machine.applied,
      electionTicks,
      random,
      leaseReads,
      limits: { entryBytesMax: Math.min(8 * 1024 * 1024, wal.entryBytesMax) },
    });
    this.#compaction = new LogCompaction({
      log,
      machine,
      limits: options.compaction,
      // What the group has not been told as applied may still be read from the log.
      appliedInGroup: () => (this.#isInstalling ? 0 : this.group.status().applied),
      cut: (index, term) => {
        const membership = this.group.membershipAt(index);
        if (!this.#isClosed) wal.compact(options.shard, { index, term, membership });
      },
      onError: (error) => this.#fail(error),
    });
  }

  get shard(): ShardId {
    return this.#options.shard;
  }

  get leader(): NodeNumber | 0 {
    return this.#leader;
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  get applied(): LogIndex {
    return this.#applied;
  }

  /** Proposals in flight. */
  get proposalCount(): number {
    return this.#proposals.count;
  }

  get machine(): StateMachine {
    return this.#options.machine;
  }

  /** See ShardHost.propose. */
  propose(data: Uint8Array, signal: AbortSignal | undefined): Promise<unknown> {
    const { wal, proposalsMax, now, waitMs, wake } = this.#options;
    if (this.#isClosed) return Promise.reject(shuttingDown());
    if (wal.isFull) {
      return Promise.reject(
        new HoldfastError('ENOSPC', 'the disk of the write-ahead log is full; make room on it'),
      );
    }
    if (this.#proposals.count >= proposalsMax) {
      return Promise.reject(new HoldfastError('OVERLOADED'));
    }
    const proposed = this.group.propose(data);
    if ('code' in proposed) return Promise.reject(this.#refusal(proposed.code));
    const caller: Waiter<unknown> = waiter(signal);
    this.#proposals.add(proposed, caller, now() + waitMs);
    wake();
    return caller.promise;
  }

  #refusal(code: 'not-leader' | 'overloaded' | 'too-large'): HoldfastError {
    if (code === 'overloaded') return new HoldfastError('OVERLOADED');
    if (code === 'not-leader') return this.notLeader();
    return new HoldfastError('BAD_REQUEST', 'the entry is larger than the log takes');
  }

  /** NOT_LEADER with who leads. */
  notLeader(): HoldfastError {
    return new HoldfastError('NOT_LEADER', undefined, { detail: { leader: this.#leader } });
  }

  /** See ShardHost.readBarrier. */
  readBarrier(signal: AbortSignal | undefined): Promise<void> {
    if (this.#isClosed) return Promise.reject(shuttingDown());
    const caller: Waiter<void> = waiter(signal);
    this.#reads.add(caller);
    this.#options.wake();
    return caller.promise;
  }

  tick(): void {
    this.group.tick();
    const now = this.#options.now();
    this.#proposals.expire(now, this.#isLeader);
    this.#reads.expire(now);
  }

  /** A peer's message; what a correct peer would not send is dropped. */
  step(message: Message): void {
    if (this.#isClosed) return;
    try {
      this.group.step(message);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'BAD_REQUEST') throw error;
    }
  }

  /**
   * A whole snapshot is on disk: tells the group, which may have no use for it any more. Resolves when
   * the snapshot has been installed or is not needed.
   */
  offer(message: InstallSnapshot, spooled: SpooledSnapshot): Promise<void> {
    if (this.#isClosed || this.#isInstalling) {
      return Promise.reject(new HoldfastError('CONFLICT', 'another snapshot is being installed'));
    }
    this.#spooled = spooled;
    this.step(message);
    this.turn();
    this.#spooled = undefined;
    return this.#tail;
  }

  /** Does all that is to be done now. */
  turn(): void {
    if (this.#isClosed) return;
    if (this.#reads.isGathering) this.#beginRead();
    while (!this.#isInstalling && this.group.hasReady()) this.#handle(this.group.ready());
  }

  #beginRead(): void {
    const context = this.#reads.begin(this.#options.now() + this.#options.waitMs);
    const answer = this.group.readIndex(context);
    if (answer !== 'accepted') this.#reads.drop(context, this.#refusal(answer.code));
  }

  #handle(ready: Ready): void {
    if (ready.softState) this.#tellLeader();
    this.#send(ready.messages);
    for (const { context, index } of ready.readStates) this.#reads.confirmed(context, index);
    for (const context of ready.readsDropped) this.#reads.drop(context, this.notLeader());
    if (ready.snapshot) this.#install(ready, ready.snapshot);
    else this.#persist(ready);
    this.#apply(ready.committed);
    this.#reads.applied(this.#applied);
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.kind === 'installSnapshot') this.#options.sendSnapshot(message);
      else this.#options.send(message);
    }
  }

  #tellLeader(): void {
    const { role, leader, term } = this.group.status();
    const wasLeader = this.#isLeader;
    this.#isLeader = role === 'leader';
    this.#leader = leader as NodeNumber | 0;
    if (wasLeader && !this.#isLeader) this.#proposals.hurry(this.#options.now() + LOST_WAIT_MS);
    const { shard, onLeader } = this.#options;
    onLeader({ shard, leader: this.#leader, isLeader: this.#isLeader, term });
  }

  /** Hands entries and hard state to the log; what waits for the disk goes out when it has it. */
  #persist(ready: Ready): void {
    const { wal, shard } = this.#options;
    const { entries, hardState, mustSync } = ready;
    const written = wal.append({
      group: shard,
      entries,
      mustSync,
      ...(hardState && { hardState }),
    });
    // A failed log tells by itself; here it only matters that the group is not advanced.
    written.catch(() => {});
    if (!mustSync && this.#underWay === 0) this.#advance(ready);
    else this.#after(mustSync ? written : this.#tail, ready);
  }

  #after(done: Promise<void>, ready: Ready): void {
    this.#underWay += 1;
    this.#tail = Promise.all([this.#tail, done]).then(() => {
      this.#underWay -= 1;
      if (this.#isClosed) return;
      this.#advance(ready);
      // At once, not in the next turn of the event loop: what follows are answers that clients wait for.
      this.turn();
    });
    this.#tail.catch((error: unknown) => this.#fail(error));
  }

  #advance(ready: Ready): void {
    this.group.advance(ready);
    this.#send(ready.messagesAfterPersist);
  }

  /** Replaces the state, then the log; the group is not asked for more until both are durable. */
  #install(ready: Ready, meta: SnapshotMeta): void {
    const spooled = this.#spooled;
    if (spooled?.meta.index !== meta.index || spooled.meta.term !== meta.term) {
      throw new HoldfastError('INTERNAL', 'raft wants a snapshot installed that did not arrive');
    }
    this.#isInstalling = true;
    this.#after(this.#replaceState(spooled, ready), ready);
  }

  async #replaceState(spooled: SpooledSnapshot, ready: Ready): Promise<void> {
    const { machine, wal, shard } = this.#options;
    await this.#tail;
    await this.#settling;
    await machine.install(spooled.meta, spooled.read());
    await wal.append({
      group: shard,
      restart: spooled.meta,
      entries: ready.entries,
      mustSync: true,
      ...(ready.hardState && { hardState: ready.hardState }),
    });
    this.#applied = spooled.meta.index;
    this.#proposals.skipped(this.#applied);
    this.#isInstalling = false;
  }

  #apply(committed: readonly Entry[]): void {
    const last = committed.at(-1);
    if (last === undefined) return;
    const began = performance.now();
    const entries: AppliedEntry[] = committed.filter(
      ({ kind, data }) => kind === 'normal' && data.byteLength > 0,
    );
    const results = entries.length === 0 ? [] : this.#options.machine.apply(entries);
    this.#applied = last.index;
    let next = 0;
    for (const entry of committed) {
      const isApplied = entries[next]?.index === entry.index;
      this.#proposals.applied(entry.index, entry.term, isApplied ? results[next] : undefined);
      if (isApplied) next += 1;
    }
    this.#options.onApplied(committed.length, (performance.now() - began) / 1000);
    this.#settle(last.index);
    this.#compaction.applied(this.#applied, committed);
  }

  /** The group hands out no more than a bounded amount until the machine has room again. */
  #settle(index: LogIndex): void {
    const settling = this.#options.machine.settled().then(() => {
      if (this.#isClosed) return;
      this.group.applied(index);
      this.#options.wake();
    });
    this.#settling = settling;
    settling.catch((error: unknown) => this.#fail(error));
  }

  /** See LogCompaction.compact. */
  compact(tail: CompactionTail): void {
    if (!this.#isClosed) this.#compaction.compact(tail);
  }

  /** Meta for a snapshot of the state as it is now. */
  snapshotMeta(): SnapshotMeta {
    const index = this.#applied;
    const term = this.#options.log.term(index);
    if (typeof term !== 'number') {
      throw new HoldfastError('INTERNAL', 'the term of an applied entry is gone');
    }
    return { index, term, membership: this.group.membershipAt(index) };
  }

  #fail(error: unknown): void {
    if (!this.#isClosed) this.#options.onFatal(error);
  }

  /** Ends all that wait; nothing is sent or written any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#proposals.fail(shuttingDown());
    this.#reads.fail(shuttingDown());
    await this.#tail.catch(() => {});
    await this.#settling?.catch(() => {});
  }
}

function shuttingDown(): HoldfastError {
  return new HoldfastError('SHUTTING_DOWN');
}
