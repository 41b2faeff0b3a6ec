import { HoldfastError } from '@holdfast/protocol';

/** Pauses between tries, milliseconds: short at first since an election takes a second or two. */
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 500;

/**
 * A bounded wait (P4): tries go on until the deadline, with growing pauses, and may be interrupted.
 * `limitMs` 0 waits for ever.
 */
export class BoundedWait {
  readonly #deadline: number;
  readonly #signal: AbortSignal | undefined;
  #pauseMs = PAUSE_MS_MIN;

  constructor(limitMs: number, signal?: AbortSignal) {
    this.#deadline = limitMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + limitMs;
    this.#signal = signal;
  }

  /** Milliseconds left, at least 1; capped at `capMs`. */
  remainingMs(capMs: number): number {
    return Math.max(1, Math.min(capMs, this.#deadline - performance.now()));
  }

  /** Throws EINTR when interrupted, and `cause` (the last failure) when the time is over. */
  check(cause: HoldfastError): void {
    if (this.#signal?.aborted === true) throw new HoldfastError('EINTR', undefined, { cause });
    if (performance.now() >= this.#deadline) throw cause;
  }

  /** Waits before the next try; the pause doubles up to half a second. */
  async pause(cause: HoldfastError): Promise<void> {
    this.check(cause);
    const pauseMs = this.remainingMs(this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, pauseMs);
      const signal = this.#signal;
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done, { once: true });
    });
    this.check(cause);
  }
}
