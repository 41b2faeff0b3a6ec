/** A few replicas in one process whose every step a test decides: nothing moves by itself. */
import { RaftGroup } from '../group.ts';
import { EMPTY_MEMBERSHIP, type Membership } from '../membership.ts';
import type { Message } from '../messages.ts';
import type { GroupOptions } from '../options.ts';
import type { Ready } from '../ready.ts';
import type { Entry, ReplicaId } from '../storage.ts';
import { MemoryLog } from './memory-log.ts';

/** Bytes of a text. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Text of an entry's data. */
function textOf(entry: Entry): string {
  return new TextDecoder().decode(entry.data);
}

export class TestReplica {
  readonly id: ReplicaId;
  readonly #options: Partial<GroupOptions>;
  /** What the driver has written; `durable` follows when it is flushed. */
  view: MemoryLog;
  durable: MemoryLog;
  group!: RaftGroup;
  /** Taken and not flushed. */
  underWay: Ready[] = [];
  /** Texts applied, in order. */
  applied: string[] = [];
  appliedIndex = 0;
  /** What it draws: replica 1 waits for electionTicks, the next for a tenth more, and so on. */
  random: number;

  constructor(id: ReplicaId, membership: Membership, options: Partial<GroupOptions> = {}) {
    this.id = id;
    this.#options = options;
    this.random = ((id - 1) % 10) / 10;
    this.durable = new MemoryLog(membership);
    this.view = this.durable.copy();
    this.start();
  }

  /** Starts (again) from what is durable. */
  start(): void {
    this.view = this.durable.copy();
    this.underWay = [];
    this.group = new RaftGroup({
      id: this.id,
      storage: this.view,
      membership: this.durable.base.membership,
      hardState: this.durable.hardState,
      applied: this.appliedIndex,
      random: () => this.random,
      leaseReads: false,
      ...this.#options,
    });
  }

  /** Takes a Ready and writes it, without flushing; the rest is up to the caller. */
  take(): Ready {
    const ready = this.group.ready();
    this.view.put(ready);
    this.underWay.push(ready);
    this.apply(ready.committed);
    return ready;
  }

  /** Flushes everything written; messages that waited for that. */
  flush(): Message[] {
    const messages: Message[] = [];
    for (const ready of this.underWay.splice(0)) {
      this.durable.put(ready);
      if (ready.snapshot) this.appliedIndex = ready.snapshot.index;
      this.group.advance(ready);
      messages.push(...ready.messagesAfterPersist);
    }
    return messages;
  }

  apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.kind === 'normal' && entry.data.length > 0) this.applied.push(textOf(entry));
      this.appliedIndex = entry.index;
      this.group.applied(entry.index);
    }
  }

  /** Compacts up to `index`, which must be applied. */
  compact(index: number): void {
    const membership = this.group.membershipAt(index);
    this.view.compact(index, membership);
    this.durable.compact(index, membership);
  }
}

export class TestCluster {
  readonly replicas = new Map<ReplicaId, TestReplica>();
  readonly #options: Partial<GroupOptions>;
  /** Sent and not delivered, oldest first. */
  inFlight: Message[] = [];
  readonly #cut = new Set<string>();
  /** Called with every Ready taken by {@link settle}. */
  onReady: (replica: TestReplica, ready: Ready) => void = () => {};
  /** Called with every message before it is delivered by {@link settle}. */
  onMessage: (message: Message) => void = () => {};

  constructor(membership: Membership, options: Partial<GroupOptions> = {}) {
    this.#options = options;
    for (const id of [...membership.voters, ...membership.learners]) this.add(id, membership);
  }

  /** A new replica; without a membership it waits to be told. */
  add(id: ReplicaId, membership: Membership = EMPTY_MEMBERSHIP): TestReplica {
    const replica = new TestReplica(id, membership, this.#options);
    this.replicas.set(id, replica);
    return replica;
  }

  at(id: ReplicaId): TestReplica {
    const replica = this.replicas.get(id);
    if (!replica) throw new RangeError(`no replica ${id}`);
    return replica;
  }

  /** Nothing passes between the two until {@link mend}. */
  cut(a: ReplicaId, b: ReplicaId): void {
    this.#cut.add(`${a} ${b}`).add(`${b} ${a}`);
  }

  /** Cuts one off from all others. */
  isolate(id: ReplicaId): void {
    for (const other of this.replicas.keys()) if (other !== id) this.cut(id, other);
  }

  mend(): void {
    this.#cut.clear();
  }

  /** Delivers one message, unless its link is cut; snapshots arrive at once, and their success too. */
  deliver(message: Message): boolean {
    const target = this.replicas.get(message.to);
    const isCut = this.#cut.has(`${message.from} ${message.to}`);
    if (message.kind === 'installSnapshot') {
      this.at(message.from).group.reportSnapshot(message.to, !isCut);
    }
    if (!target || isCut) return false;
    target.group.step(message);
    return true;
  }

  /** Takes and flushes every Ready and delivers every message until all are silent. */
  settle(): void {
    for (let turns = 0; turns < 10_000; turns += 1) {
      if (!this.#turn()) return;
    }
    throw new RangeError('the cluster does not come to rest');
  }

  #turn(): boolean {
    let isBusy = this.inFlight.length > 0;
    for (const replica of this.replicas.values()) {
      if (replica.underWay.length > 0) this.inFlight.push(...replica.flush());
      if (!replica.group.hasReady()) continue;
      isBusy = true;
      const ready = replica.take();
      this.onReady(replica, ready);
      this.inFlight.push(...ready.messages, ...replica.flush());
    }
    for (const message of this.inFlight.splice(0)) {
      this.onMessage(message);
      this.deliver(message);
    }
    return isBusy;
  }

  /** Ticks one replica. */
  tick(id: ReplicaId, count = 1): void {
    for (let i = 0; i < count; i += 1) this.at(id).group.tick();
  }

  /** Ticks all, settling after each. */
  tickAll(count = 1): void {
    for (let i = 0; i < count; i += 1) {
      for (const { group } of this.replicas.values()) group.tick();
      this.settle();
    }
  }

  /** Makes `id` leader of a cluster at rest. */
  elect(id: ReplicaId): TestReplica {
    const replica = this.at(id);
    replica.group.campaign();
    this.settle();
    if (replica.group.status().role !== 'leader') throw new RangeError(`${id} was not elected`);
    return replica;
  }

  /** Proposes at `id` and settles. */
  propose(id: ReplicaId, text: string): void {
    const answer = this.at(id).group.propose(bytes(text));
    if (!('index' in answer)) throw new RangeError(`${id} refuses: ${answer.code}`);
    this.settle();
  }
}
