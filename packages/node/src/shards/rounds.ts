/** Does a round; answers after how many milliseconds the next is due. Does not reject. */
export type Round = (signal: AbortSignal) => Promise<number>;

/** Rounds of background work, one after the other, while started. */
export class Rounds {
  readonly #round: Round;
  #stopper: AbortController | undefined;
  #wake: () => void = () => {};
  #isAwake = false;
  #done: Promise<void> = Promise.resolve();

  constructor(round: Round) {
    this.#round = round;
  }

  /** Begins, after what a stop before has left under way. */
  start(): void {
    this.#stopper?.abort();
    const stopper = new AbortController();
    this.#stopper = stopper;
    this.#wake();
    this.#done = this.#done.then(() => this.#loop(stopper.signal));
  }

  /** The signal of the round under way is aborted at once; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stopper?.abort();
    this.#stopper = undefined;
    this.#wake();
    await this.#done;
  }

  /** The next round begins without waiting, after the one under way if there is one. */
  wake(): void {
    this.#isAwake = true;
    this.#wake();
  }

  async #loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#isAwake = false;
      const ms = await this.#round(signal);
      if (!signal.aborted && !this.#isAwake) await this.#pause(ms);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
