import { HoldfastError, LIMITS, type NodeNumber, type ShardId } from '@holdfast/protocol';
import {
  EMPTY_MEMBERSHIP,
  type GroupStatus,
  type InstallSnapshot,
  type Membership,
  membershipOf,
} from '@holdfast/raft';
import type { GroupLog } from './group-log.ts';
import type { CompactionLimits } from './log-compaction.ts';
import { MembershipChange } from './membership-change.ts';
import type { GroupMessage } from './raft-codec.ts';
import type { RaftTransport } from './raft-transport.ts';
import { ShardReplica } from './replica.ts';
import type {
  LeaderChange,
  ShardCallOptions,
  ShardHost,
  ShardMembers,
  StateMachine,
} from './shard-host.ts';
import { SnapshotSender } from './snapshot-sender.ts';
import { SnapshotSpool } from './snapshot-spool.ts';
import type { Wal } from './wal.ts';
import { corrupt } from './wal-recovery.ts';

/** Time as the driver sees it. */
export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** Calls again and again; the answer ends it. */
  every(ms: number, call: () => void): () => void;
}

/** The machine's clock. */
const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  every(ms, call) {
    const timer = setInterval(call, ms);
    return () => clearInterval(timer);
  },
};

/** What is counted; see metrics.ts. */
export interface ConsensusObserver {
  proposed(shard: ShardId, seconds: number): void;
  applied(shard: ShardId, entries: number, seconds: number): void;
  readBarrier(shard: ShardId, seconds: number): void;
}

/** Options of {@link ConsensusDriver}. */
export interface DriverOptions {
  readonly self: NodeNumber;
  readonly wal: Wal;
  readonly transport: RaftTransport;
  /** Where incoming snapshots are kept until they are installed. */
  readonly spoolDirectory: string;
  /** What must stop the process: nothing is sent or written any more. Called once. */
  readonly onFatal: (error: unknown) => void;
  readonly clock?: Clock;
  /** Uniform in [0, 1): spreads elections. */
  readonly random?: () => number;
  /** Milliseconds of one tick, the time between heartbeats. 100. */
  readonly tickMs?: number;
  /** Ticks without a leader before an election, up to twice that. 10. */
  readonly electionTicks?: number;
  /** Answer reads from the leader's lease, without asking anyone: see GroupOptions. False. */
  readonly leaseReads?: boolean;
  readonly compaction?: Partial<CompactionLimits>;
  /** Proposals in flight of one shard. 4096. */
  readonly proposalsMax?: number;
  /** Milliseconds that a proposal or a read waits. LIMITS.operationWaitMs. */
  readonly waitMs?: number;
  readonly observer?: ConsensusObserver;
}

const DEFAULT_COMPACTION: CompactionLimits = {
  everyEntries: 8192,
  everyBytes: 32 * 1024 * 1024,
  tailEntries: 4096,
  tailBytes: 16 * 1024 * 1024,
};
/** Ticks made up for at once when the process was held up: more would only bring on elections. */
const LATE_TICKS_MAX = 2;
const NO_OBSERVER: ConsensusObserver = { proposed() {}, applied() {}, readBarrier() {} };

type Settings = Required<Omit<DriverOptions, 'compaction'>> & {
  readonly compaction: CompactionLimits;
};

/** Runs all groups of a process over one log and one transport. */
export class ConsensusDriver implements ShardHost {
  readonly #options: Settings;
  readonly #replicas = new Map<ShardId, ShardReplica>();
  readonly #awake = new Set<ShardReplica>();
  readonly #listeners = new Set<(change: LeaderChange) => void>();
  readonly #spool: SnapshotSpool;
  readonly #sender: SnapshotSender;
  /** Groups for which a snapshot is coming in. */
  readonly #incoming = new Set<ShardId>();
  readonly #stopTicks: () => void;
  #lastTick: number;
  #isScheduled = false;
  #isStopped = false;

  constructor(options: DriverOptions) {
    this.#options = {
      clock: SYSTEM_CLOCK,
      random: Math.random,
      tickMs: 100,
      electionTicks: 10,
      leaseReads: false,
      proposalsMax: 4096,
      waitMs: LIMITS.operationWaitMs,
      observer: NO_OBSERVER,
      ...options,
      compaction: { ...DEFAULT_COMPACTION, ...options.compaction },
    };
    const { clock, tickMs, transport, spoolDirectory } = this.#options;
    this.#spool = new SnapshotSpool(spoolDirectory);
    this.#sender = new SnapshotSender(transport, (replica) => this.#wake(replica));
    this.#lastTick = clock.now();
    this.#stopTicks = clock.every(tickMs, () => this.#tick());
    transport.start({
      messages: (_from, messages) => this.#receive(messages),
      unreachable: (node) => this.#unreachable(node),
      snapshot: (begin, stream) => this.#takeSnapshot(begin, stream),
    });
  }

  #tick(): void {
    const { clock, tickMs, leaseReads } = this.#options;
    const due = Math.floor((clock.now() - this.#lastTick) / tickMs);
    this.#lastTick += due * tickMs;
    // A lease must see all the time that has passed; an election timeout rather not.
    const ticks = leaseReads ? due : Math.min(due, LATE_TICKS_MAX);
    this.#guard(() => {
      for (const replica of this.#replicas.values()) {
        for (let i = 0; i < ticks; i += 1) replica.tick();
        this.#awake.add(replica);
      }
    });
    this.#turn();
  }

  #wake(replica: ShardReplica): void {
    this.#awake.add(replica);
    if (this.#isScheduled || this.#isStopped) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  /** One pass over all groups that have something to do: their writes share a flush, their messages a frame. */
  #turn(): void {
    if (this.#isStopped) return;
    this.#guard(() => {
      const awake = [...this.#awake];
      this.#awake.clear();
      for (const replica of awake) replica.turn();
    });
  }

  /** An error inside consensus is a bug or a broken disk: the process must not go on. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#fatal(error);
    }
  }

  #fatal(error: unknown): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stopTicks();
    for (const replica of this.#replicas.values()) void replica.close();
    this.#options.onFatal(error);
  }

  #receive(messages: readonly GroupMessage[]): void {
    if (this.#isStopped) return;
    this.#guard(() => {
      for (const { group, message } of messages) {
        const replica = this.#replicas.get(group as ShardId);
        // Snapshots come with their bytes, never in a frame.
        if (replica === undefined || message.kind === 'installSnapshot') continue;
        replica.step(message);
        this.#awake.add(replica);
      }
    });
    this.#turn();
  }

  #unreachable(node: NodeNumber): void {
    for (const replica of this.#replicas.values()) replica.group.reportUnreachable(node);
  }

  async #takeSnapshot(begin: GroupMessage, stream: AsyncIterable<Uint8Array>): Promise<void> {
    const shard = begin.group as ShardId;
    const replica = this.#replicas.get(shard);
    const message = begin.message as InstallSnapshot;
    if (replica === undefined || this.#incoming.has(shard) || this.#isStopped) {
      throw new HoldfastError('CONFLICT', 'the snapshot cannot be taken now');
    }
    this.#incoming.add(shard);
    let installed: Promise<void>;
    try {
      const spooled = await this.#spool.store(shard, message.snapshot, stream);
      installed = replica.offer(message, spooled);
    } catch (error) {
      this.#incoming.delete(shard);
      throw error;
    }
    // The sender need not wait for it. When it fails the spool stays: then it tells, at the next start,
    // that the state is ahead of the log.
    installed
      .then(() => this.#spool.remove(shard))
      .catch(() => {})
      .finally(() => this.#incoming.delete(shard));
  }

  async openShard(
    shard: ShardId,
    machine: StateMachine,
    members: readonly NodeNumber[] | 'join',
  ): Promise<void> {
    if (this.#replicas.has(shard)) {
      throw new HoldfastError('INTERNAL', `shard ${shard} is open already`);
    }
    const membership = members === 'join' ? EMPTY_MEMBERSHIP : membershipOf(members);
    const log = await this.#openLog(shard, machine, membership);
    const replica = this.#replica(shard, machine, log);
    this.#replicas.set(shard, replica);
    // A group of one need not wait for a leader that cannot come.
    replica.group.campaign();
    this.#wake(replica);
  }

  async #openLog(shard: ShardId, machine: StateMachine, membership: Membership): Promise<GroupLog> {
    const { wal } = this.#options;
    const log = wal.groups.get(shard) ?? (await wal.create(shard, membership));
    const meta = await this.#spool.find(shard);
    if (
      meta !== undefined &&
      meta.index === machine.applied &&
      log.term(meta.index) !== meta.term
    ) {
      // The crash came after the state was replaced and before the log was.
      await wal.append({ group: shard, restart: meta, mustSync: true });
    }
    await this.#spool.remove(shard);
    const [first, last] = [log.firstIndex(), log.lastIndex()];
    if (machine.applied < first - 1 || machine.applied > last) {
      throw corrupt(`log and state of shard ${shard} do not fit together`, {
        applied: machine.applied,
        first,
        last,
      });
    }
    return log;
  }

  #replica(shard: ShardId, machine: StateMachine, log: GroupLog): ShardReplica {
    const { self, wal, electionTicks, leaseReads, random, compaction } = this.#options;
    const { proposalsMax, waitMs, clock, transport, observer } = this.#options;
    const replica: ShardReplica = new ShardReplica({
      shard,
      self,
      log,
      machine,
      wal,
      electionTicks,
      leaseReads,
      random,
      compaction,
      proposalsMax,
      waitMs,
      now: () => clock.now(),
      send: (message) => transport.send({ group: shard, message }),
      sendSnapshot: (message) => this.#sender.send(replica, message),
      onLeader: (change) => {
        for (const listener of this.#listeners) listener(change);
      },
      wake: () => this.#wake(replica),
      onFatal: (error) => this.#fatal(error),
      onApplied: (entries, seconds) => observer.applied(shard, entries, seconds),
    });
    return replica;
  }

  async closeShard(shard: ShardId): Promise<void> {
    const replica = this.#replicas.get(shard);
    this.#replicas.delete(shard);
    if (replica !== undefined) this.#awake.delete(replica);
    await replica?.close();
  }

  async dropShard(shard: ShardId): Promise<void> {
    if (this.#replicas.has(shard)) throw new HoldfastError('INTERNAL', `shard ${shard} is open`);
    await this.#options.wal.drop(shard);
  }

  #find(shard: ShardId): ShardReplica {
    const replica = this.#replicas.get(shard);
    if (this.#isStopped) throw new HoldfastError('SHUTTING_DOWN');
    if (replica !== undefined) return replica;
    throw new HoldfastError('NOT_LEADER', `shard ${shard} has no replica here`, {
      detail: { leader: 0 },
    });
  }

  async propose(shard: ShardId, data: Uint8Array, o: ShardCallOptions = {}): Promise<unknown> {
    const began = performance.now();
    const result = await this.#find(shard).propose(data, o.signal);
    this.#options.observer.proposed(shard, (performance.now() - began) / 1000);
    return result;
  }

  async readBarrier(shard: ShardId, o: ShardCallOptions = {}): Promise<void> {
    const began = performance.now();
    await this.#find(shard).readBarrier(o.signal);
    this.#options.observer.readBarrier(shard, (performance.now() - began) / 1000);
  }

  leaderOf(shard: ShardId): NodeNumber | 0 {
    return this.#replicas.get(shard)?.leader ?? 0;
  }

  isLeader(shard: ShardId): boolean {
    return this.#replicas.get(shard)?.isLeader ?? false;
  }

  status(shard: ShardId): GroupStatus | undefined {
    return this.#replicas.get(shard)?.group.status();
  }

  /** Proposals in flight of each shard. */
  *proposals(): Generator<readonly [ShardId, number]> {
    for (const [shard, replica] of this.#replicas) yield [shard, replica.proposalCount];
  }

  shards(): readonly ShardId[] {
    return [...this.#replicas.keys()];
  }

  async changeMembers(
    shard: ShardId,
    members: ShardMembers,
    o: ShardCallOptions = {},
  ): Promise<void> {
    const replica = this.#find(shard);
    const { clock, waitMs } = this.#options;
    const deadline = clock.now() + waitMs;
    const isOver = () => o.signal?.aborted === true || clock.now() > deadline;
    await new MembershipChange(replica, () => this.#wake(replica), isOver).run(members);
  }

  async transfer(shard: ShardId, to: NodeNumber): Promise<void> {
    const replica = this.#find(shard);
    const { clock, tickMs, electionTicks } = this.#options;
    const deadline = clock.now() + 2 * tickMs * electionTicks;
    const isOver = () => clock.now() > deadline;
    await new MembershipChange(replica, () => this.#wake(replica), isOver).transfer(to);
  }

  onLeader(listener: (change: LeaderChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A group's old entries hold up the log: see WalOptions.onPinned. */
  compactNow(shard: ShardId): void {
    this.#replicas.get(shard)?.compact({ tailEntries: 0, tailBytes: 0 });
  }

  /** Stops all groups. The log is the caller's to close, the transport too. */
  async close(): Promise<void> {
    this.#isStopped = true;
    this.#stopTicks();
    this.#sender.close();
    await Promise.all([...this.#replicas.values()].map((replica) => replica.close()));
    this.#replicas.clear();
  }
}
