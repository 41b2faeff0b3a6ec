import type { VolumeNumber } from '@holdfast/protocol';

/** What is known of one volume. */
interface Known {
  /** Rollbacks noticed here. */
  era: number;
  /** Rollbacks acknowledged. */
  acknowledged: number;
  pending: Promise<void> | undefined;
}

/** What {@link Rollbacks} works with. */
export interface RollbacksOptions {
  /** Makes void what was opened before, and drops what is believed of the volume. */
  readonly forget: (volume: VolumeNumber) => Promise<void>;
  /** Tells the shard. */
  readonly acknowledge: (volume: VolumeNumber) => Promise<unknown>;
}

/**
 * Rollbacks of volumes, as this client learns of them: by a refusal. Then what it has open there is made
 * void first and the rollback acknowledged after, so that nothing that was begun before changes what the
 * volume shows now.
 */
export class Rollbacks {
  readonly #options: RollbacksOptions;
  readonly #volumes = new Map<VolumeNumber, Known>();

  constructor(options: RollbacksOptions) {
    this.#options = options;
  }

  /** Grows with each rollback that is noticed. */
  era(volume: VolumeNumber): number {
    return this.#of(volume).era;
  }

  /** To be taken before something is sent, for {@link refused}. */
  acknowledged(volume: VolumeNumber): number {
    return this.#of(volume).acknowledged;
  }

  /**
   * What was sent after `acknowledged` was refused with ROLLED_BACK. Resolves when the rollback is
   * acknowledged: what is sent from then on is heard. An outage on the way is thrown.
   */
  async refused(volume: VolumeNumber, acknowledged: number): Promise<void> {
    const known = this.#of(volume);
    // It was sent before the acknowledgement, which has told everything there is to tell.
    if (known.acknowledged > acknowledged) return;
    known.pending ??= this.#pass(volume, known).finally(() => {
      known.pending = undefined;
    });
    await known.pending;
  }

  async #pass(volume: VolumeNumber, known: Known): Promise<void> {
    known.era += 1;
    await this.#options.forget(volume);
    await this.#options.acknowledge(volume);
    known.acknowledged += 1;
  }

  #of(volume: VolumeNumber): Known {
    let known = this.#volumes.get(volume);
    if (known === undefined) {
      known = { era: 0, acknowledged: 0, pending: undefined };
      this.#volumes.set(volume, known);
    }
    return known;
  }
}
