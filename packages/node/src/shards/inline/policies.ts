import type { CopyPolicy } from '@holdfast/chunks';
import type { VolumeNumber, VolumeRecord } from '@holdfast/protocol';

/** Milliseconds for which the list of volumes is good enough; and before it is asked for one it lacks. */
const VALID_MS = 30_000;
const UNKNOWN_MS = 2_000;

/** What {@link VolumePolicies} works with. */
export interface VolumePoliciesOptions {
  /** All volumes of the cluster; rejects in an outage. */
  readonly list: () => Promise<readonly VolumeRecord[]>;
  /** Milliseconds on a clock that never goes back. */
  readonly nowMs: () => number;
}

/** How many copies the volumes want, as of lately. */
export class VolumePolicies {
  readonly #options: VolumePoliciesOptions;
  #known = new Map<VolumeNumber, CopyPolicy>();
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: VolumePoliciesOptions) {
    this.#options = options;
  }

  /** Undefined when there is no such volume, or it is being removed. Rejects in an outage. */
  async of(volume: VolumeNumber): Promise<CopyPolicy | undefined> {
    const ageMs = this.#options.nowMs() - this.#askedAtMs;
    if (ageMs >= (this.#known.has(volume) ? VALID_MS : UNKNOWN_MS)) await this.#ask();
    return this.#known.get(volume);
  }

  async #ask(): Promise<void> {
    const askedAtMs = this.#options.nowMs();
    const volumes = await this.#options.list();
    const ready = volumes.filter(({ state }) => state === 'ready');
    this.#known = new Map(ready.map(({ number, policy }) => [number, policy]));
    this.#askedAtMs = askedAtMs;
  }
}
