/** What was started, to be stopped in the reverse order. */
import type { Log } from './telemetry/log.ts';

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
        await this.#inTime(part.name, Promise.resolve(part.stop()));
      } catch (error) {
        this.#log.warn({ event: 'part.stop.failed', part: part.name, error });
      }
    }
  }

  async #inTime(part: string, stopped: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#log.warn({ event: 'part.stop.late', part, afterMs: STOP_MS_MAX });
        resolve();
      }, STOP_MS_MAX);
    });
    stopped.catch(() => {}); // told by the race, or given up
    await Promise.race([stopped, late]);
    clearTimeout(timer);
  }
}
