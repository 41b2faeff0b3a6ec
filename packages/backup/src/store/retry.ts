/** Trying again what may work the next time: bounded, with growing pauses of random length. */

/** How often and how long. Times in milliseconds. */
export interface RetryPolicy {
  readonly attempts: number;
  readonly firstPauseMs: number;
  readonly pauseMsMax: number;
}

/** About half a minute in all, for a store that answers 503 or not at all. */
export const RETRY_POLICY: RetryPolicy = { attempts: 8, firstPauseMs: 250, pauseMsMax: 10_000 };

/** What a retry takes from outside. */
export interface RetrySurroundings {
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** Wraps an error that another attempt may not meet; its `cause` is what is thrown in the end. */
export class TransientError extends Error {
  override readonly name = 'TransientError';
}

/** Runs `attempt` (numbered from 1) until it succeeds, fails for good, or the policy is used up. */
export async function withRetry<T>(
  attempt: (number: number) => Promise<T>,
  options: {
    readonly policy: RetryPolicy;
    readonly surroundings: RetrySurroundings;
    readonly signal?: AbortSignal;
  },
): Promise<T> {
  const { policy, surroundings, signal } = options;
  for (let number = 1; ; number++) {
    try {
      signal?.throwIfAborted();
      return await attempt(number);
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      if (number >= policy.attempts || signal?.aborted) throw error.cause;
      // Full jitter: clients that failed together do not come back together.
      const limit = Math.min(policy.pauseMsMax, policy.firstPauseMs * 2 ** (number - 1));
      await surroundings.sleep(limit * surroundings.random(), signal);
    }
  }
}
