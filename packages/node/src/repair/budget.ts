/** How much repair may do at a time, so that clients come first. */

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

/** Items and bytes in flight: whoever would exceed either waits, in order. */
export class Budget {
  readonly #items: number;
  readonly #bytes: number;
  readonly #waiting: Waiting[] = [];
  #itemsUsed = 0;
  #bytesUsed = 0;

  /** Both at least 1. One item of more bytes than there are is let through alone. */
  constructor(limits: { readonly items: number; readonly bytes: number }) {
    this.#items = limits.items;
    this.#bytes = limits.bytes;
  }

  /** Runs the action as soon as there is room for it. */
  async spend<T>(bytes: number, action: () => Promise<T>): Promise<T> {
    if (this.#waiting.length > 0 || !this.#fits(bytes))
      await new Promise<void>((go) => this.#waiting.push({ bytes, go }));
    else this.#take(bytes);
    try {
      return await action();
    } finally {
      this.#itemsUsed -= 1;
      this.#bytesUsed -= bytes;
      this.#letIn();
    }
  }

  #letIn(): void {
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined || !this.#fits(first.bytes)) return;
      this.#waiting.shift();
      this.#take(first.bytes);
      first.go();
    }
  }

  #fits(bytes: number): boolean {
    if (this.#itemsUsed === 0) return true;
    return this.#itemsUsed < this.#items && this.#bytesUsed + bytes <= this.#bytes;
  }

  #take(bytes: number): void {
    this.#itemsUsed += 1;
    this.#bytesUsed += bytes;
  }
}

/** Spreads bytes over time: no more than a rate, but for a first second's worth. */
export class Pace {
  readonly #bytesPerMs: number;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  /** Infinity: no limit. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000;
  }

  /** Milliseconds to wait at `nowMs` before so many more bytes may pass; they count as passed. */
  delayMs(bytes: number, nowMs: number): number {
    const startMs = Math.max(this.#freeAtMs, nowMs - 1_000);
    this.#freeAtMs = startMs + bytes / this.#bytesPerMs;
    return Math.max(0, this.#freeAtMs - nowMs);
  }
}

/** Does something with each item, `limit` at a time, until `isOver`. Rejects with the first failure, all ended. */
export async function forEachOf<T>(
  items: readonly T[],
  limit: number,
  action: (item: T) => Promise<void>,
  isOver: () => boolean,
): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    while (next < items.length && failures.length === 0 && !isOver()) {
      const item = items[next++] as T;
      await action(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
}
