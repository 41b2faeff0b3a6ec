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
}

export const CALM_NETWORK: NetworkFaults = {
  lossProbability: 0,
  repeatProbability: 0,
  delayMean: 10,
  lateProbability: 0,
  lateMean: 0,
};

/** A message and what travels with it out of band (the state of a snapshot). */
export interface Packet {
  readonly message: Message;
  readonly state?: number;
}

export class Network {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #deliver: (packet: Packet) => void;
  faults: NetworkFaults;
  /** Directed links that carry nothing, as `from * 1000 + to`. */
  #cut = new Set<number>();

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
    const { from, to } = packet.message;
    this.#clock.after(1 + this.#random.around(mean), () => {
      if (!this.isCut(from, to)) this.#deliver(packet);
    });
  }

  isCut(from: ReplicaId, to: ReplicaId): boolean {
    return this.#cut.has(from * 1000 + to);
  }

  /** From now on nothing goes from `from` to `to`. */
  cut(from: ReplicaId, to: ReplicaId): void {
    this.#cut.add(from * 1000 + to);
  }

  /** Every link carries again. */
  mend(): void {
    this.#cut.clear();
  }
}
