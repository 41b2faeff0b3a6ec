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
      if (this.isOver && action !== 'propose' && action !== 'read') return;
      this.#acts[action]();
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
    this.#onLeader((node) => {
      const { observer } = this.#ground;
      const context = observer.reads.ask();
      const answer = node.group.readIndex(context);
      observer.trace(node.id, answer === 'accepted' ? 'asks' : answer.code, context);
    });
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
