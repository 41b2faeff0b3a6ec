import { STREAM_LIMITS } from './limits.ts';

/**
 * Steps under way beside each other, bounded in number and bytes. What a step waits for was begun before
 * it, so that none waits for ever. The first failure is thrown to whoever comes next.
 */
export class Window {
  readonly #underWay = new Set<Promise<unknown>>();
  #bytes = 0;
  #failure: { readonly error: unknown } | undefined;

  /** Begins a step when there is room, to be done when `after` are; its result is kept from going unheard. */
  async begin<T>(
    { bytes = 0, after }: { readonly bytes?: number; readonly after: readonly Promise<unknown>[] },
    work: () => Promise<T>,
  ): Promise<Promise<T>[]> {
    while (
      this.#underWay.size >= STREAM_LIMITS.stepsMax ||
      (this.#bytes > 0 && this.#bytes + bytes > STREAM_LIMITS.stepBytesMax)
    )
      await Promise.race(this.#underWay);
    this.check();
    this.#bytes += bytes;
    const result = Promise.all(after).then(work);
    const done = result
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#underWay.delete(done);
        this.#bytes -= bytes;
      });
    this.#underWay.add(done);
    // In a list: a promise on its own would be waited for.
    return [result];
  }

  /** Resolves when nothing is under way; throws the first failure. */
  async idle(): Promise<void> {
    await this.settled();
    this.check();
  }

  /** Resolves when nothing is under way, whatever failed. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Throws the first failure. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
