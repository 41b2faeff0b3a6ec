import { HoldfastError, type OperationAnswer, type VolumeNumber } from '@holdfast/protocol';

/** Milliseconds for which the kernel may believe what it was told about a held volume. */
export const VALID_MS_MAX = 1_000;
/** Milliseconds after a recall before the volume is asked for again: at first, and at most. */
const COOL_MS_MIN = 2_000;
const COOL_MS_MAX = 60_000;
/** Milliseconds that a delegation must have been held for the next pause to be short again. */
const CALM_MS = 30_000;

/** What one volume's delegation is to this client. */
interface Hold {
  state: 'none' | 'acquiring' | 'held' | 'returning';
  /** Not to be asked for before. */
  askAtMs: number;
  coolMs: number;
  heldAtMs: number;
  /** Different for each time that it was granted. */
  number: number;
}

/** What {@link Delegations} works with. */
export interface DelegationsOptions {
  readonly acquire: (volume: VolumeNumber) => Promise<OperationAnswer>;
  readonly giveBack: (volume: VolumeNumber) => Promise<unknown>;
  /** Drops everything that is believed about a volume, in this process and in the kernel. */
  readonly forget: (volume: VolumeNumber) => Promise<void>;
  /** Until when the session's lease may be trusted, on the clock of `nowMs`. */
  readonly trustedUntilMs: (volume: VolumeNumber) => number;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
}

/**
 * Delegations of whole volumes: while one is held no other session can change the volume, so what was
 * learned of it may be believed without asking. Any number of hosts that only look may hold one each.
 * Another session's change has it recalled; then beliefs are dropped first and the delegation given
 * back after. Beliefs end by themselves, well before the lease does, when this process or its network
 * stands still.
 */
export class Delegations {
  readonly #options: DelegationsOptions;
  readonly #holds = new Map<VolumeNumber, Hold>();
  #grants = 0;

  constructor(options: DelegationsOptions) {
    this.#options = options;
  }

  /** Tells that the volume is in use; asks for its delegation when that is worth a try. */
  used(volume: VolumeNumber): void {
    const hold = this.#of(volume);
    if (hold.state !== 'none' || this.#options.nowMs() < hold.askAtMs) return;
    hold.state = 'acquiring';
    void this.#acquire(volume, hold);
  }

  /** To be taken before a question is sent: which hold, if any, its answer may be believed under. */
  ticket(volume: VolumeNumber): number {
    const hold = this.#holds.get(volume);
    return hold?.state === 'held' ? hold.number : 0;
  }

  /**
   * Milliseconds for which an answer about the volume may be believed; 0: not at all. With a ticket
   * only when the delegation has been held all the time since: an answer that was given before the
   * delegation was may be of the past already.
   */
  validMs(volume: VolumeNumber, ticket?: number): number {
    const hold = this.#holds.get(volume);
    if (hold?.state !== 'held' || (ticket !== undefined && ticket !== hold.number)) return 0;
    const leftMs = this.#options.trustedUntilMs(volume) - this.#options.nowMs();
    return Math.max(0, Math.min(VALID_MS_MAX, leftMs));
  }

  /** Another session is about to change the volume. */
  recalled(volume: VolumeNumber): void {
    const hold = this.#of(volume);
    if (hold.state === 'returning') return;
    hold.state = 'returning';
    const now = this.#options.nowMs();
    hold.coolMs =
      now - hold.heldAtMs > CALM_MS ? COOL_MS_MIN : Math.min(COOL_MS_MAX, hold.coolMs * 2);
    void this.#giveBack(volume, hold);
  }

  /** The session was fenced: it holds nothing any more. Answers what it has held: none of it is to be believed. */
  fenced(): readonly VolumeNumber[] {
    const volumes = [...this.#holds.keys()];
    this.#holds.clear();
    return volumes;
  }

  /** The volume's delegations have ended. */
  lost(volume: VolumeNumber): void {
    this.#holds.delete(volume);
  }

  async #acquire(volume: VolumeNumber, hold: Hold): Promise<void> {
    try {
      const { delegation } = await this.#options.acquire(volume);
      if (hold.state !== 'acquiring') return; // recalled before the answer came
      const now = this.#options.nowMs();
      hold.state = delegation?.granted === true ? 'held' : 'none';
      hold.heldAtMs = now;
      hold.number = ++this.#grants;
      hold.askAtMs = now + hold.coolMs;
    } catch (error) {
      if (hold.state === 'acquiring') hold.state = 'none';
      hold.askAtMs = this.#options.nowMs() + hold.coolMs;
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  /** An outage on the way is left to the next recall, which the shard repeats. */
  async #giveBack(volume: VolumeNumber, hold: Hold): Promise<void> {
    try {
      await this.#options.forget(volume);
      await this.#options.giveBack(volume);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    } finally {
      hold.state = 'none';
      hold.askAtMs = this.#options.nowMs() + hold.coolMs;
    }
  }

  #of(volume: VolumeNumber): Hold {
    let hold = this.#holds.get(volume);
    if (hold === undefined) {
      hold = { state: 'none', askAtMs: 0, coolMs: COOL_MS_MIN, heldAtMs: 0, number: 0 };
      this.#holds.set(volume, hold);
    }
    return hold;
  }
}
