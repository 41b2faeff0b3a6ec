import { withDeadline } from '../waiting.ts';

/** Milliseconds for which work waits for the work before it; the engine gives up after 60,000. */
const TURN_MS = 30_000;

/** Runs the work of one key in the order of its arrival; different keys do not wait for each other. */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  /**
   * Resolves to the answer of `work`, which starts when all earlier work of the key has ended.
   * DEADLINE, and it never starts, when that takes longer than 30 s.
   */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const turn = withDeadline(`the calls before this one for '${key}'`, TURN_MS, () => before);
    const own = turn.then(work);
    // Also when this one gives up, those after it wait for all before it.
    const tail = Promise.allSettled([before, own]);
    this.#tails.set(key, tail);
    try {
      return await own;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
