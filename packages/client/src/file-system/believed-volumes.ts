import type { VolumeNumber } from '@holdfast/protocol';
import { Beliefs } from './beliefs.ts';

/** Volumes of which something is kept; of the longest unused all is forgotten. */
const VOLUMES_MAX = 32;

/** The beliefs about each volume. */
export class BelievedVolumes {
  readonly #volumes = new Map<VolumeNumber, Beliefs>();
  /** The longest unused first. */
  readonly #used = new Set<VolumeNumber>();

  /** The one object that stands for a volume as long as the process lives: changes are counted there. */
  of(volume: VolumeNumber): Beliefs {
    let beliefs = this.#volumes.get(volume);
    if (beliefs === undefined) {
      beliefs = new Beliefs();
      this.#volumes.set(volume, beliefs);
    }
    this.#used.delete(volume);
    this.#used.add(volume);
    for (const oldest of this.#used) {
      if (this.#used.size <= VOLUMES_MAX) break;
      this.#used.delete(oldest);
      this.#volumes.get(oldest)?.forget();
    }
    return beliefs;
  }

  /** Forgets all that is believed of a volume. */
  forget(volume: VolumeNumber): void {
    this.#volumes.get(volume)?.forget();
    this.#used.delete(volume);
  }
}
