/** One simulated process: the driver that packages/node has, over simulated disk, network and time. */
import {
  type Membership,
  type Message,
  membershipOf,
  RaftGroup,
  type Ready,
  type ReplicaId,
  type SnapshotMeta,
} from '@holdfast/raft';
import { type Clock, TICK } from './clock.ts';
import { type AppliedState, type Base, LogImage, SimDisk, type Write } from './disk.ts';
import { chain } from './hash.ts';
import type { Network, Packet } from './network.ts';
import type { Observer } from './observer.ts';
import type { Random } from './random.ts';
import type { Settings } from './settings.ts';

/** What a node stands on. */
export interface Ground {
  readonly clock: Clock;
  readonly network: Network;
  readonly observer: Observer;
  /** Replaced when the world is healed. */
  settings: Settings;
}

const EMPTY: AppliedState = { index: 0, term: 0, hash: 0 };

export class SimNode {
  readonly id: ReplicaId;
  readonly #ground: Ground;
  readonly #random: Random;
  /** Length of its tick: no two clocks run alike. */
  readonly #tickUnits: number;
  group!: RaftGroup;
  disk!: SimDisk;
  /** What its state machine holds. */
  state: AppliedState = EMPTY;
  /** States that may be found after a crash, oldest first; the first one is flushed. */
  #checkpoints: AppliedState[] = [EMPTY];
  isUp = false;
  /** Gone for good. */
  isLost = false;
  /** Stopped (SIGSTOP) until then; ticks that were due come first when it goes on. */
  #pausedUntil = 0;
  #inbox: (() => void)[] = [];
  #life = 0;
  #ticksSince = 0;
  #ticks = 0;
  #isTurnSet = false;
  #isFlushing = false;
  /** A received snapshot's state, by its index. */
  #received = new Map<number, Base>();
  #toApply: Ready['committed'][number][] = [];
  #isApplying = false;

  /** Starts with an empty disk; `membership` of the first members, empty for those that join. */
  constructor(id: ReplicaId, membership: Membership, ground: Ground, random: Random) {
    this.id = id;
    this.#ground = ground;
    this.#random = random;
    const { driftMax } = ground.settings;
    this.#tickUnits = TICK * (1 + (random.unit() * 2 - 1) * driftMax);
    this.#start(new LogImage({ ...EMPTY, membership }), EMPTY);
  }

  #start(durable: LogImage, state: AppliedState): void {
    const { settings, clock } = this.#ground;
    this.#life += 1;
    this.isUp = true;
    this.state = state;
    this.#checkpoints = [state];
    this.disk = new SimDisk(durable, () => this.#snapshot());
    this.group = new RaftGroup({
      id: this.id,
      storage: this.disk,
      membership: durable.base.membership,
      hardState: durable.hardState,
      applied: state.index,
      electionTicks: settings.electionTicks,
      heartbeatTicks: settings.heartbeatTicks,
      random: this.#random.unit,
      limits: settings.limits,
      leaseReads: settings.leaseReads,
    });
    this.#ticksSince = clock.now;
    this.#ticks = 0;
    this.#later(this.#random.unit() * this.#tickUnits, () => this.#tickLoop());
    this.#setTurn();
  }

  /** Power off: memory is gone, the disk keeps what it must. */
  crash(): void {
    if (!this.isUp) return;
    const durable = this.disk.crash(this.#random);
    // A snapshot that came through brought its state with it.
    const isInstalled = durable.base.index > this.state.index;
    const state = isInstalled ? durable.base : this.#random.pick(this.#checkpoints);
    this.#life += 1;
    this.isUp = false;
    this.#inbox = [];
    this.#isTurnSet = false;
    this.#isFlushing = false;
    this.#isApplying = false;
    this.#toApply = [];
    this.#received.clear();
    this.#pausedUntil = 0;
    this.#restart = () => this.#start(durable, state);
  }

  #restart: () => void = () => {};

  restart(): void {
    if (!this.isUp && !this.isLost) this.#restart();
  }

  /** Stops the process for that long. */
  pause(units: number): void {
    if (!this.isUp || this.#isPaused) return;
    this.#pausedUntil = this.#ground.clock.now + units;
    this.#later(units, () => this.#resume());
  }

  get #isPaused(): boolean {
    return this.#pausedUntil > this.#ground.clock.now;
  }

  #resume(): void {
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const run of inbox) this.do(run);
  }

  /** Runs in this life only. */
  #later(units: number, run: () => void): void {
    const life = this.#life;
    this.#ground.clock.after(units, () => {
      if (life === this.#life) run();
    });
  }

  /** An input: waits while the process is stopped; ticks that are due come first. */
  do(run: () => void): void {
    if (!this.isUp) return;
    if (this.#isPaused) {
      this.#inbox.push(run);
      return;
    }
    this.#deliverTicks();
    run();
    this.#setTurn();
  }

  #deliverTicks(): void {
    const due = Math.floor((this.#ground.clock.now - this.#ticksSince) / this.#tickUnits);
    for (; this.#ticks < due; this.#ticks += 1) this.group.tick();
  }

  #tickLoop(): void {
    this.do(() => {});
    this.#later(this.#tickUnits, () => this.#tickLoop());
  }

  receive({ message, state }: Packet): void {
    this.do(() => {
      this.#ground.observer.trace(this.id, 'step', message.from, message.term);
      if (message.kind === 'installSnapshot') {
        const { index, term, membership } = message.snapshot;
        this.#received.set(index, { index, term, membership, hash: state! });
      }
      this.group.step(message);
    });
  }

  #setTurn(): void {
    if (this.#isTurnSet || !this.group.hasReady()) return;
    this.#isTurnSet = true;
    const { turnMean } = this.#ground.settings;
    this.#later(this.#random.around(turnMean), () => {
      this.#isTurnSet = false;
      this.do(() => this.#takeReadies());
    });
  }

  #takeReadies(): void {
    while (this.group.hasReady()) this.#handle(this.group.ready());
  }

  #handle(ready: Ready): void {
    const { observer } = this.#ground;
    for (const message of ready.messages) this.#send(message);
    const base = ready.snapshot && this.#received.get(ready.snapshot.index);
    if (ready.snapshot && !base) throw new Error('a snapshot that never came is to be installed');
    this.disk.write({ ready, base });
    observer.onReady(this, ready);
    if (base) this.#toApply = [];
    this.#toApply.push(...ready.committed);
    this.#setApply();
    if (!ready.mustSync && this.disk.writesWaiting === 1) this.#settleUnflushed(ready);
    else this.#setFlush();
  }

  /** Nothing to flush: the hard state's commit index may be lost in a crash. */
  #settleUnflushed(ready: Ready): void {
    const before = this.disk.durable.hardState;
    this.#settle();
    if (before && this.#random.chance(0.5)) {
      this.disk.durable.hardState = { ...ready.hardState, ...before };
    }
  }

  #setFlush(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    const { settings } = this.#ground;
    const isSlow = this.#random.chance(settings.slowFlushProbability);
    const mean = isSlow ? settings.slowFlushMean : settings.flushMean;
    const count = this.disk.writesWaiting;
    this.#later(this.#random.around(mean), () => {
      this.do(() => {
        this.#isFlushing = false;
        for (let i = 0; i < count; i += 1) this.#settle();
        if (!this.disk.isIdle) this.#setFlush();
      });
    });
  }

  #settle(): void {
    const { ready, base }: Write = this.disk.settle();
    if (base) {
      this.state = { index: base.index, term: base.term, hash: base.hash };
      this.#checkpoints = [this.state];
      for (const index of this.#received.keys()) {
        if (index <= base.index) this.#received.delete(index);
      }
      this.#ground.observer.onApplied(this, this.state);
    }
    this.group.advance(ready);
    for (const message of ready.messagesAfterPersist) this.#send(message);
  }

  #setApply(): void {
    if (this.#isApplying || this.#toApply.length === 0) return;
    this.#isApplying = true;
    this.#later(this.#random.around(this.#ground.settings.applyMean), () => {
      this.do(() => {
        this.#isApplying = false;
        const count = this.#random.between(1, this.#toApply.length);
        this.#apply(this.#toApply.splice(0, count));
        this.#setApply();
      });
    });
  }

  #apply(entries: Ready['committed']): void {
    let { index, hash } = this.state;
    for (const entry of entries) {
      if (entry.index !== index + 1) throw new Error(`applies ${entry.index} after ${index}`);
      index = entry.index;
      hash = chain(hash, entry);
      this.state = { index, term: entry.term, hash };
      this.#ground.observer.onApplied(this, this.state);
    }
    if (entries.length === 0) return;
    this.#checkpoints.push(this.state);
    if (this.#checkpoints.length > 8) this.#checkpoints.splice(1, 1);
    this.group.applied(index);
  }

  #send(message: Message): void {
    const { network, observer } = this.#ground;
    if (message.kind !== 'installSnapshot') network.send({ message });
    else if (this.state.index < message.snapshot.index) this.#report(message.to, false);
    else {
      // Streams what it has now, which may be newer than what the leader asked for.
      const snapshot = this.#snapshot();
      observer.count('snapshot');
      network.send({ message: { ...message, snapshot }, state: this.state.hash });
      this.#report(message.to, this.#random.chance(0.7));
    }
  }

  #report(to: ReplicaId, ok: boolean): void {
    this.#later(this.#random.around(2 * TICK), () => {
      this.do(() => this.group.reportSnapshot(to, ok));
    });
  }

  #snapshot(): SnapshotMeta {
    const { index, term } = this.state;
    return { index, term, membership: this.group.membershipAt(index) };
  }

  /** Drops the log below what is applied (and flushed with that), keeping up to `keep` entries. */
  compact(keep: number): void {
    if (!this.isUp || this.#isPaused || this.disk.isInstalling) return;
    const { view } = this.disk;
    const index = this.state.index - keep;
    if (index <= view.base.index) return;
    const { entry, hash } = view.at(index)!;
    this.#checkpoints = [this.state];
    const membership = this.group.membershipAt(index);
    this.disk.compact({ index, term: entry.term, hash, membership });
    this.#ground.observer.count('compaction');
  }
}

/** Who votes at the beginning. */
export function firstMembership(voters: number): Membership {
  return membershipOf(Array.from({ length: voters }, (_, i) => i + 1));
}
