import type { InlineFile, InodeOfShard } from '@holdfast/metadata';
import type { InlineLimits } from './limits.ts';

/** The present, on two clocks. */
export interface Moment {
  /** Milliseconds on a clock that never goes back. */
  readonly ms: number;
  /** Nanoseconds since the epoch. */
  readonly ns: bigint;
}

/** What was seen of a file that is being written. */
interface Look {
  /** The content version then; settled when this look is old enough. */
  readonly version: number;
  readonly atMs: number;
}

/**
 * Tells which bytes of a file have been left alone long enough. Of a file that did not change for so
 * long these are all; of one that is being written, what was there at a look so long ago: a page that
 * a database writes again and again is always younger.
 */
export class Settling {
  readonly #limits: Pick<InlineLimits, 'settleMs' | 'filesRemembered'>;
  readonly #looks = new Map<string, Look>();

  constructor(limits: Pick<InlineLimits, 'settleMs' | 'filesRemembered'>) {
    this.#limits = limits;
  }

  /** Pieces up to this content version have settled; 0: none has since this was asked before. */
  settledUpTo(
    { volume, ino }: InodeOfShard,
    { contentVersion, ctimeNs }: InlineFile,
    now: Moment,
  ): number {
    const key = `${volume}/${ino}`;
    const { settleMs, filesRemembered } = this.#limits;
    if (now.ns - ctimeNs >= BigInt(settleMs) * 1_000_000n) {
      this.#looks.delete(key);
      return contentVersion;
    }
    const last = this.#looks.get(key);
    if (last !== undefined && now.ms - last.atMs < settleMs) return 0;
    this.#looks.delete(key);
    this.#looks.set(key, { version: contentVersion, atMs: now.ms });
    if (this.#looks.size > filesRemembered) {
      for (const oldest of this.#looks.keys()) {
        this.#looks.delete(oldest);
        break;
      }
    }
    return last?.version ?? 0;
  }

  /** Forgets everything: what came meanwhile was not seen. */
  clear(): void {
    this.#looks.clear();
  }
}
