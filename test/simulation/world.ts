/** One seed, one world: first everything goes wrong, then nothing does and all must come together. */
import type { ReplicaId } from '@holdfast/raft';
import { CheckFailed } from './checkers/check.ts';
import { Clock, TICK } from './clock.ts';
import { CALM_NETWORK, Network } from './network.ts';
import { firstMembership, type Ground, SimNode } from './node.ts';
import { Observer } from './observer.ts';
import { Random } from './random.ts';
import { calmed, drawSettings } from './settings.ts';
import { isQuorumWithout, Workload } from './workload.ts';

/** How long faults last. */
const FAULTY_TICKS = 400;
/** How long clients go on in the healed world; time enough for any election. */
const HEALED_TICKS = 200;
/** How long it may take to work off what is left. A backlog of entries that travel one by one is slow. */
const SETTLE_TICKS_MAX = 3000;

/** How a run ended, when it ended well. */
export interface Outcome {
  /** Of every event: equal for equal seeds. */
  readonly hash: number;
  readonly terms: number;
  readonly entries: number;
  readonly reads: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** A broken promise, with what is needed to see it again. */
class SimulationFailed extends Error {
  readonly seed: number;

  constructor(seed: number, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`seed ${seed}: ${reason}\n  replay: node test/simulation/run.ts --seed ${seed} --trace`, {
      cause,
    });
    this.name = 'SimulationFailed';
    this.seed = seed;
  }
}

/** Runs one world to its end. Throws SimulationFailed. */
export function simulate(seed: number, print?: (line: string) => void): Outcome {
  try {
    return new World(seed, print).run();
  } catch (cause) {
    throw new SimulationFailed(seed, cause);
  }
}

class World {
  readonly #random: Random;
  readonly #clock = new Clock();
  readonly #observer: Observer;
  readonly #ground: Ground;
  readonly #nodes: Map<ReplicaId, SimNode>;
  readonly #workload: Workload;
  /** No clients after the faults. */
  #isSilent = false;

  constructor(seed: number, print: ((line: string) => void) | undefined) {
    this.#random = new Random(seed);
    const settings = drawSettings(this.#random.fork());
    this.#observer = new Observer(this.#clock, print);
    this.#nodes = this.#observer.nodes;
    const network = new Network(this.#clock, this.#random.fork(), (packet) =>
      this.#nodes.get(packet.message.to)?.receive(packet),
    );
    network.faults = settings.network;
    this.#ground = { clock: this.#clock, network, observer: this.#observer, settings };
    const membership = firstMembership(settings.voters);
    for (const id of membership.voters) {
      this.#nodes.set(id, new SimNode(id, membership, this.#ground, this.#random.fork()));
    }
    this.#workload = new Workload(this.#ground, this.#random.fork(), this.#nodes);
    print?.(JSON.stringify(settings));
  }

  run(): Outcome {
    this.#clock.runUntil(FAULTY_TICKS * TICK);
    this.#heal();
    const entriesBefore = this.#observer.states.count;
    if (!this.#isSilent) this.#clock.runUntil(this.#clock.now + HEALED_TICKS * TICK);
    // Enough has happened; now nothing new, and the rest must settle.
    this.#workload.stop();
    const end = this.#clock.now + SETTLE_TICKS_MAX * TICK;
    while (!this.#isConverged()) {
      if (this.#clock.now > end) throw new CheckFailed('convergence', this.#describe());
      this.#clock.runUntil(this.#clock.now + TICK);
    }
    const { elections, states, reads, counts, hash } = this.#observer;
    if (!this.#isSilent && states.count === entriesBefore)
      throw new CheckFailed('liveness', 'nothing was committed');
    return { hash, terms: elections.count, entries: states.count, reads: reads.answered, counts };
  }

  #heal(): void {
    this.#observer.trace(0, 'heal');
    this.#workload.isOver = true;
    const { network } = this.#ground;
    network.mend();
    network.faults = CALM_NETWORK;
    this.#ground.settings = calmed(this.#ground.settings);
    // Sometimes one host is gone for good: the others must do without.
    const lost = this.#random.pick([...this.#nodes.values()]);
    if (this.#random.chance(0.4) && isQuorumWithout(this.#nodes.values(), lost)) {
      lost.crash();
      lost.isLost = true;
      this.#observer.trace(lost.id, 'lost');
    }
    for (const node of this.#nodes.values()) node.restart();
    // Sometimes no client helps: what was lost must be noticed without new entries behind it.
    this.#isSilent = this.#random.chance(0.3);
    if (this.#isSilent) this.#workload.stop();
  }

  /** One leader, all its living members with its log and its state, no change half done. */
  #isConverged(): boolean {
    const up = [...this.#nodes.values()].filter((node) => node.isUp);
    const leaders = up.filter((node) => node.group.status().role === 'leader');
    if (leaders.length !== 1) return false;
    const leader = leaders[0]!;
    const { lastIndex, membership, isMembershipSettled } = leader.group.status();
    if (!isMembershipSettled || leader.state.index !== lastIndex) return false;
    const members = [...membership.voters, ...membership.learners];
    return members.every((id) => {
      const node = this.#nodes.get(id)!;
      return (
        node.isLost || (node.state.index === lastIndex && node.state.hash === leader.state.hash)
      );
    });
  }

  #describe(): string {
    const lines = [...this.#nodes.values()].map((node) => {
      const status = node.group.status();
      const life = node.isUp ? 'up' : node.isLost ? 'lost' : 'down';
      return `${life} state ${node.state.index} ${JSON.stringify(status)}`;
    });
    return `not converged after healing\n  ${lines.join('\n  ')}`;
  }
}
