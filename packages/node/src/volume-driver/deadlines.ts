import { HoldfastError } from '@holdfast/protocol';

/**
 * The answer of `work`, or DEADLINE after `limitMs`. `work` is told by its signal; when it goes on all
 * the same, its late answer is dropped.
 */
export async function withDeadline<T>(
  what: string,
  limitMs: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new HoldfastError('DEADLINE', `no answer within ${limitMs / 1000} s: ${what}`));
      abort.abort();
    }, limitMs);
  });
  try {
    return await Promise.race([work(abort.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

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
