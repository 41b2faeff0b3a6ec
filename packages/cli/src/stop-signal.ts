import { HoldfastError } from '@holdfast/protocol';

/** Milliseconds that a service whose work is done may be kept by what others left open. */
const LINGER_MS_MAX = 2_000;

/** Resolves at the first SIGTERM or SIGINT. */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
}

/** Aborts at the first SIGTERM or SIGINT, with EINTR and these words. */
export function stopReason(words: (signal: NodeJS.Signals) => string): AbortSignal {
  const stop = new AbortController();
  void stopSignal().then((signal) => stop.abort(new HoldfastError('EINTR', words(signal))));
  return stop.signal;
}

/** The reason that the user stopped it, in place of what came of that. */
export function whyStopped(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : error;
}

/**
 * To be called when a service has stopped: should something that nobody waits for any more (a socket,
 * a timer) keep the process, it ends all the same, and says what that was.
 */
export function endSoon(): void {
  const timer = setTimeout(() => {
    // Timers that nobody waits for any more are no news, and lose nothing.
    const kept = new Set(process.getActiveResourcesInfo());
    for (const name of ['Timeout', 'Immediate']) kept.delete(name);
    if (kept.size > 0)
      console.error(`holdfast: stopped, but kept by: ${[...kept].join(', ')}; ending now`);
    process.exit();
  }, LINGER_MS_MAX);
  timer.unref();
}
