/** What clients, operators and bad luck do. */
import { EMPTY_MEMBERSHIP, isJoint, isVoter } from '@holdfast/raft';
import { TICK } from './clock.ts';
import { type Ground, SimNode } from './node.ts';
import type { Random } from './random.ts';
import { ACTIONS, type Action } from './settings.ts';

export class Workload {
  readonly #ground: Ground;
  readonly #random: Random;
  readonly #nodes: Map<number, SimNode>;
  #proposals = 0;
  /** No more faults and changes: proposals and reads only. */
  isOver = false;
  #isStopped = false;
  /** No proposals before. */
  #quietUntil = 0;
  /** No other mischief before: a plot of several steps is under way. */
  #plotUntil = 0;

  constructor(ground: Ground, random: Random, nodes: Map<number, SimNode>) {
    this.#ground = ground;
    this.#random = random;
    this.#nodes = nodes;
    for (const action of ACTIONS) this.#schedule(action);
  }

  #schedule(action: Action): void {
    const mean = this.#ground.settings.every[action];
    if (mean === Number.POSITIVE_INFINITY) return;
    this.#ground.clock.after(1 + this.#random.around(mean), () => {
      if (this.#isStopped) return;
      const isClient = action === 'propose' || action === 'read';
      if (this.isOver && !isClient) return;
      if (isClient || this.#ground.clock.now >= this.#plotUntil) this.#acts[action]();
      this.#schedule(action);
    });
  }

  /** Nothing more at all. */
  stop(): void {
    this.#isStopped = true;
  }

  readonly #acts: Readonly<Record<Action, () => void>> = {
    propose: () => this.#propose(),
    read: () => this.#read(),
    changeMembership: () => this.#changeMembership(),
    transfer: () => this.#transfer(),
    campaign: () => this.#onAny((node) => node.group.campaign()),
    compact: () => this.#anyNode().compact(this.#random.between(0, 20)),
    unreachable: () => {
      const { id } = this.#anyNode();
      this.#onAny((node) => node.group.reportUnreachable(id));
    },
    crash: () => this.#crash(this.#victim()),
    restart: () => this.#random.pick([...this.#nodes.values()]).restart(),
    crashAll: () => {
      for (const node of this.#nodes.values()) this.#crash(node);
    },
    pause: () => this.#victim().pause(this.#random.around(10 * TICK)),
    cut: () => this.#cut(),
    mend: () => this.#ground.network.mend(),
    coup: () => this.#coup(),
    lateTransfer: () => this.#lateTransfer(),
    lonelyChange: () => this.#lonelyChange(),
  };

  #anyNode(): SimNode {
    return this.#random.pick([...this.#nodes.values()]);
  }

  /** Faults that hit the leader are the interesting ones. */
  #victim(): SimNode {
    const leader = this.#leaders()[0];
    return leader && this.#random.chance(0.5) ? leader : this.#anyNode();
  }

  #leaders(): SimNode[] {
    return [...this.#nodes.values()].filter(
      (node) => node.isUp && node.group.status().role === 'leader',
    );
  }

  #onAny(run: (node: SimNode) => void): void {
    const node = this.#anyNode();
    node.do(() => run(node));
  }

  /** On one that believes it leads: there may be several. */
  #onLeader(run: (node: SimNode) => void): void {
    const leaders = this.#leaders();
    if (leaders.length === 0) return;
    const node = this.#random.pick(leaders);
    node.do(() => run(node));
  }

  #propose(): void {
    if (this.#ground.clock.now < this.#quietUntil) return;
    for (let burst = this.#random.pick([1, 1, 1, 5]); burst > 0; burst -= 1) {
      this.#proposals += 1;
      const data = new Uint8Array(this.#random.pick([4, 4, 60]));
      new DataView(data.buffer).setUint32(0, this.#proposals);
      this.#onLeader((node) => {
        const answer = node.group.propose(data);
        this.#ground.observer.trace(node.id, 'index' in answer ? 'proposes' : answer.code);
      });
    }
  }

  #read(): void {
    this.#onLeader((node) => this.#readAt(node));
  }

  #readAt(node: SimNode): void {
    const { observer } = this.#ground;
    const context = observer.reads.ask();
    const answer = node.group.readIndex(context);
    observer.trace(node.id, answer === 'accepted' ? 'asks' : answer.code, context);
  }

  #transfer(): void {
    const { id } = this.#anyNode();
    this.#onLeader((node) => {
      if (node.group.transferLeadership(id) === 'accepted') this.#ground.observer.count('transfer');
    });
  }

  #changeMembership(): void {
    this.#onLeader((node) => {
      const { membership } = node.group.status();
      if (isJoint(membership)) return;
      const voters = new Set(membership.voters);
      const learners = new Set(membership.learners);
      for (let steps = this.#random.pick([1, 1, 2, 3]); steps > 0; steps -= 1) {
        this.#mutate(voters, learners);
      }
      const target = { voters: [...voters], learners: [...learners] };
      if ('index' in node.group.proposeMembership(target)) this.#ground.observer.count('change');
    });
  }

  #mutate(voters: Set<number>, learners: Set<number>): void {
    const random = this.#random;
    const members = [...voters, ...learners];
    switch (random.pick(['add', 'promote', 'demote', 'remove'])) {
      case 'add': {
        const id = this.#newcomer();
        if (id !== undefined) (random.chance(0.7) ? learners : voters).add(id);
        break;
      }
      case 'promote':
        for (const id of [...learners].slice(0, 1)) {
          learners.delete(id);
          voters.add(id);
        }
        break;
      case 'demote': {
        const id = random.pick([...voters]);
        if (id !== undefined && voters.delete(id)) learners.add(id);
        break;
      }
      default: {
        const id = random.pick(members);
        voters.delete(id);
        learners.delete(id);
      }
    }
  }

  /** A replica nobody knows yet, with an empty disk. */
  #newcomer(): number | undefined {
    const id = this.#nodes.size + 1;
    if (id > this.#ground.settings.replicasMax) return undefined;
    const node = new SimNode(id, EMPTY_MEMBERSHIP, this.#ground, this.#random.fork());
    this.#nodes.set(id, node);
    return id;
  }

  #crash(node: SimNode): void {
    if (!node.isUp) return;
    node.crash();
    this.#ground.observer.onCrash(node);
    this.#ground.observer.count('crash');
  }

  /** One of: two halves; one replica alone; one direction of some links. */
  #cut(): void {
    const { network } = this.#ground;
    const first = this.#victim().id;
    const others = [...this.#nodes.keys()].filter((id) => id !== first);
    const ids = [first, ...this.#random.shuffled(others)];
    const size = this.#random.chance(0.5) ? 1 : this.#random.between(1, ids.length);
    const [inside, outside] = [ids.slice(0, size), ids.slice(size)];
    const direction = this.#random.pick(['both', 'both', 'in', 'out']);
    for (const a of inside) {
      for (const b of outside) {
        if (direction !== 'in') network.cut(a, b);
        if (direction !== 'out') network.cut(b, a);
      }
    }
    this.#ground.observer.count('cut');
  }

  /**
   * The leader keeps just enough followers while the others lose sight of it and want an election; then it
   * loses those too, perhaps through a restart. Its lease must end before they elect another. Quiet
   * until then, or the others' logs would not be good enough.
   */
  #coup(): void {
    const leader = this.#leaders()[0];
    if (!leader) return;
    const { voters } = leader.group.status().membership;
    const others = this.#random.shuffled(voters.filter((id) => id !== leader.id));
    const faithful = others.splice(0, Math.floor(voters.length / 2));
    const { network, settings, observer, clock } = this.#ground;
    network.mend();
    for (const id of others) this.#separate(leader.id, id);
    observer.count('coup');
    const patience =
      this.#random.between(settings.electionTicks, 3 * settings.electionTicks) * TICK;
    this.#quietUntil = clock.now + patience;
    this.#plotUntil = this.#quietUntil + 2 * settings.electionTicks * TICK;
    clock.after(patience, () => {
      if (this.isOver) return;
      for (const id of faithful) {
        network.cut(leader.id, id);
        // Else what it said before still arrives.
        if (this.#random.chance(0.7)) network.cut(id, leader.id);
        if (this.#random.chance(0.5)) this.#crashBriefly(this.#nodes.get(id)!);
      }
      this.#readOften(leader, 2 * settings.electionTicks);
    });
  }

  #crashBriefly(node: SimNode): void {
    this.#crash(node);
    this.#ground.clock.after(this.#random.around(TICK), () => node.restart());
  }

  #separate(a: number, b: number): void {
    this.#ground.network.cut(a, b);
    this.#ground.network.cut(b, a);
  }

  /** The word to campaign is held up until the leader has long given up the transfer. */
  #lateTransfer(): void {
    const leader = this.#leaders()[0];
    const target = this.#anyNode();
    if (!leader || leader === target) return;
    const { network, settings, clock } = this.#ground;
    network.mend();
    const late = settings.electionTicks + this.#random.between(4, 10);
    this.#quietUntil = clock.now + late * TICK;
    this.#plotUntil = this.#quietUntil + settings.electionTicks * TICK;
    clock.after(3 * TICK, () => {
      leader.do(() => {
        if (leader.group.transferLeadership(target.id) !== 'accepted') return;
        this.#ground.observer.count('lateTransfer');
        network.clog(leader.id, target.id);
      });
    });
    clock.after(late * TICK, () => {
      network.open(leader.id, target.id);
      if (this.isOver) return;
      for (const id of this.#nodes.keys()) if (id !== leader.id) network.cut(id, leader.id);
      this.#readOften(leader, settings.electionTicks);
    });
  }

  /**
   * A leader that nobody hears wants to be the only voter. The others go on without it; it must not be
   * elected by the new half of its joint membership alone.
   */
  #lonelyChange(): void {
    const leader = this.#leaders()[0];
    if (!leader) return;
    const { network, settings, observer, clock } = this.#ground;
    network.mend();
    for (const id of this.#nodes.keys()) if (id !== leader.id) this.#separate(leader.id, id);
    this.#plotUntil = clock.now + 5 * settings.electionTicks * TICK;
    leader.do(() => {
      const { voters, learners } = leader.group.status().membership;
      const others = [...voters, ...learners].filter((id) => id !== leader.id);
      const answer = leader.group.proposeMembership({ voters: [leader.id], learners: others });
      if ('index' in answer) observer.count('lonelyChange');
    });
  }

  /** Five reads a tick at one node, and writes wherever they are taken. */
  #readOften(node: SimNode, ticks: number): void {
    for (let i = 0; i < 5 * ticks; i += 1) {
      this.#ground.clock.after((i * TICK) / 5, () => {
        node.do(() => this.#readAt(node));
        this.#propose();
      });
    }
  }
}

/** Could the living alone elect a leader, whichever membership is in force at any replica? */
export function isQuorumWithout(nodes: Iterable<SimNode>, lost: SimNode): boolean {
  for (const node of nodes) {
    const { membership } = node.group.status();
    for (const half of [membership.voters, membership.votersOutgoing]) {
      const alive = half.filter((id) => id !== lost.id).length;
      if (isVoter(membership, lost.id) && alive <= half.length / 2) return false;
    }
  }
  return true;
}
