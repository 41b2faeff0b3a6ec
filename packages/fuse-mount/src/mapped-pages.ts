import type { NodeReference } from '@holdfast/protocol';

/** Milliseconds for which the kernel may keep pages of which no change would be told. */
export const UNPROTECTED_MS_MAX = 1_000;

/** What {@link MappedPages} works with. */
export interface MappedPagesOptions {
  /** Whether what is read of a volume now stays right until its pages are dropped by an invalidation. */
  readonly isBelieved: (node: NodeReference) => boolean;
  /** Has the kernel write back and drop the pages of a file; rejects when it cannot be told. */
  readonly drop: (node: NodeReference) => Promise<void>;
  /** Told when that failed in the background. */
  readonly onFailure: (error: unknown) => void;
}

interface Unprotected {
  readonly node: NodeReference;
  readonly timer: NodeJS.Timeout;
}

/**
 * Pages that the kernel took into its cache for mapped files (mmap(2)) while nobody would have told us
 * of another host's change. They go after UNPROTECTED_MS_MAX, and before that whenever a program could expect
 * to see the others' changes: at open, at a lock, at msync and fsync. Reads past the page cache need none
 * of this, nor pages under a delegation, which are dropped when it is recalled.
 */
export class MappedPages {
  readonly #options: MappedPagesOptions;
  readonly #unprotected = new Map<string, Unprotected>();

  constructor(options: MappedPagesOptions) {
    this.#options = options;
  }

  /** Reads for the kernel's page cache; what it brings is dropped in time, unless it is protected. */
  async pageIn<T>(node: NodeReference, read: () => Promise<T>): Promise<T> {
    const wasBelieved = this.#options.isBelieved(node);
    const data = await read();
    if (!wasBelieved || !this.#options.isBelieved(node)) this.suspect(node);
    return data;
  }

  /** The kernel may have pages of this file that nobody protects. */
  suspect(node: NodeReference): void {
    const key = keyOf(node);
    // The pages come only after our reply: what is already on its way to be dropped may miss them.
    clearTimeout(this.#unprotected.get(key)?.timer);
    const timer = setTimeout(() => {
      this.refresh(node).catch(this.#options.onFailure);
    }, UNPROTECTED_MS_MAX);
    timer.unref();
    this.#unprotected.set(key, { node, timer });
  }

  /** Resolves when the kernel has no unprotected pages of this file any more; it reads them anew. */
  async refresh(node: NodeReference): Promise<void> {
    const key = keyOf(node);
    const known = this.#unprotected.get(key);
    if (known === undefined) return;
    clearTimeout(known.timer);
    this.#unprotected.delete(key);
    try {
      await this.#options.drop(node);
    } catch (error) {
      this.suspect(node);
      throw error;
    }
  }

  /** Stops the timers; the pages are the business of the next daemon. */
  close(): void {
    for (const { timer } of this.#unprotected.values()) clearTimeout(timer);
    this.#unprotected.clear();
  }
}

function keyOf({ volume, ino }: NodeReference): string {
  return `${volume}/${ino}`;
}
