import { HoldfastError, type RequestContext } from '@holdfast/protocol';

/** Milliseconds between tries of a waiting lock: short at first, for locks held for a moment. */
const POLL_MS_MIN = 5;
const POLL_MS_MAX = 100;

/**
 * Waits for a lock by asking again: the shard grants or refuses at once, so nothing has to be
 * remembered there for waiters, and a fenced waiter leaves no trace. Each try must be a request of
 * its own, or exactly-once would repeat the first refusal. Throws EINTR by the signal.
 */
export async function waitForLock(
  tryLock: () => Promise<void>,
  context: RequestContext,
): Promise<void> {
  let pollMs = POLL_MS_MIN;
  for (;;) {
    try {
      await tryLock();
      return;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'EAGAIN') throw error;
      if (context.signal?.aborted === true)
        throw new HoldfastError('EINTR', undefined, { cause: error });
    }
    await pause(pollMs, context.signal);
    pollMs = Math.min(pollMs * 2, POLL_MS_MAX);
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done, { once: true });
  });
  if (signal?.aborted === true) throw new HoldfastError('EINTR');
}
