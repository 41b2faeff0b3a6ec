/** A network that loses, repeats, delays, reorders and cuts; everything but forges. */
import type { Message, ReplicaId } from '@holdfast/raft';
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** How bad it is. Times in units of the clock. */
export interface NetworkFaults {
  readonly lossProbability: number;
  readonly repeatProbability: number;
  /** Exponential, so that messages overtake each other. */
  readonly delayMean: number;
  /** Some messages are very late: words of a time long gone. */
  readonly lateProbability: number;
  readonly lateMean: number;
  /** Some directions of some links are always slow. */
  readonly isUneven: boolean;
}

export const CALM_NETWORK: NetworkFaults = {
  lossProbability: 0,
  repeatProbability: 0,
  delayMean: 10,
  lateProbability: 0,
  lateMean: 0,
  isUneven: false,
};

/** A message and what travels with it out of band (the state of a snapshot). */
export interface Packet {
  readonly message: Message;
  readonly state?: number;
}

function linkOf(from: ReplicaId, to: ReplicaId): number {
  return from * 1000 + to;
}

export class Network {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #deliver: (packet: Packet) => void;
  faults: NetworkFaults;
  /** Directed links that carry nothing, by `linkOf`. */
  #cut = new Set<number>();
  /** How much slower each directed link is, drawn at its first use. */
  #slowness = new Map<number, number>();
  /** Directed links that hold what is sent until they are opened. */
  #clogged = new Map<number, Packet[]>();

  constructor(clock: Clock, random: Random, deliver: (packet: Packet) => void) {
    this.#clock = clock;
    this.#random = random;
    this.#deliver = deliver;
    this.faults = CALM_NETWORK;
  }

  send(packet: Packet): void {
    const { lossProbability, repeatProbability } = this.faults;
    if (this.#random.chance(lossProbability)) return;
    this.#carry(packet);
    if (this.#random.chance(repeatProbability)) this.#carry(packet);
  }

  #carry(packet: Packet): void {
    const { delayMean, lateProbability, lateMean } = this.faults;
    const mean = this.#random.chance(lateProbability) ? lateMean : delayMean;
    const link = linkOf(packet.message.from, packet.message.to);
    this.#clock.after(1 + this.#random.around(mean * this.#slownessOf(link)), () => {
      const held = this.#clogged.get(link);
      if (held) held.push(packet);
      else if (!this.#cut.has(link)) this.#deliver(packet);
    });
  }

  #slownessOf(link: number): number {
    if (!this.faults.isUneven) return 1;
    const known = this.#slowness.get(link);
    if (known !== undefined) return known;
    const drawn = this.#random.pick([0.3, 1, 1, 1, 10]);
    this.#slowness.set(link, drawn);
    return drawn;
  }

  /** From now on nothing goes from `from` to `to`. */
  cut(from: ReplicaId, to: ReplicaId): void {
    this.#cut.add(linkOf(from, to));
  }

  /** From now on what goes from `from` to `to` waits until {@link open}. */
  clog(from: ReplicaId, to: ReplicaId): void {
    const link = linkOf(from, to);
    if (!this.#clogged.has(link)) this.#clogged.set(link, []);
  }

  /** What was held on the link arrives, and it carries again. */
  open(from: ReplicaId, to: ReplicaId): void {
    const link = linkOf(from, to);
    const held = this.#clogged.get(link) ?? [];
    this.#clogged.delete(link);
    for (const packet of held) this.#deliver(packet);
  }

  /** Every link carries again; what was held is lost. */
  mend(): void {
    this.#cut.clear();
    this.#clogged.clear();
  }
}
