/** What was started, to be stopped in the reverse order. */
import type { Log } from './telemetry/log.ts';
import { withDeadline } from './waiting.ts';

/** Milliseconds that a part has to stop: whoever ends the peer will not wait for ever, and nothing durable depends on it. */
const STOP_MS_MAX = 10_000;

/** A stack of parts that run. */
export class Teardown {
  readonly #parts: { readonly name: string; readonly stop: () => Promise<void> | void }[] = [];
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** The part runs now. */
  add(name: string, stop: () => Promise<void> | void): void {
    this.#parts.push({ name, stop });
  }

  /** Stops all, the last one first. A part that fails to stop, or does not in time, is reported and does not keep the others. */
  async unwind(): Promise<void> {
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      try {
        await withDeadline(part.name, STOP_MS_MAX, async () => part.stop());
      } catch (error) {
        this.#log.warn({ event: 'part.stop.failed', part: part.name, error });
      }
    }
  }
}
