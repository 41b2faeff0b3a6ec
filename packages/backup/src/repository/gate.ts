/** A counting gate: at most `places` holders; others wait in order. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** `places`: > 0. */
  constructor(places: number) {
    this.#free = places;
  }

  /** Resolves when there is a place; give it back with {@link leave}. */
  async enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Gives a place back. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }

  /** Runs a task inside. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    await this.enter();
    try {
      return await task();
    } finally {
      this.leave();
    }
  }
}

/** Maps with at most `places` tasks at once; the first failure rejects, after those under way. */
export async function mapInParallel<T, R>(
  items: readonly T[],
  places: number,
  task: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) {
      try {
        results[at] = await task(items[at]!);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(
    Array.from({ length: Math.min(places, items.length) }, worker),
  );
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return results;
}
