/** Work done beside each other, in bounds, of which the first failure counts. */
export class Steps {
  readonly #max: number;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #count = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  /**
   * Begins a step under a key when there is room. `after`: keys that must be done before it starts;
   * they were begun before, so that none waits for ever. Throws the failure of any earlier step.
   */
  async begin(key: string, step: () => Promise<void>): Promise<void> {
    while (this.#count >= this.#max)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.check();
    this.#count += 1;
    const done = step()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#count -= 1;
        if (this.#underWay.get(key) === done) this.#underWay.delete(key);
        this.#waiting.shift()?.();
      });
    this.#underWay.set(key, done);
  }

  /** Resolves when nothing is under way under a key. */
  async settled(key: string): Promise<void> {
    await this.#underWay.get(key);
    this.check();
  }

  /** What is under way under a key, if anything. */
  underWay(key: string): Promise<void> | undefined {
    return this.#underWay.get(key);
  }

  /** Resolves when nothing is under way at all, whatever failed. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay.values());
  }

  /** Throws the first failure. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
