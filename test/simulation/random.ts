/** Seeded random numbers: the same seed gives the same world, on every machine. */

/** sfc32 (Chris Doty-Humphrey's small fast counter), seeded through splitmix32. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    let state = seed | 0;
    const mix = () => {
      state = (state + 0x9e3779b9) | 0;
      let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return z ^ (z >>> 15);
    };
    [this.#a, this.#b, this.#c] = [mix(), mix(), mix()];
    for (let i = 0; i < 12; i += 1) this.#next32();
  }

  #next32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  /** Uniform in [0, 1). */
  unit = (): number => this.#next32() / 0x1_0000_0000;

  /** Uniform integer in [low, high]. */
  between(low: number, high: number): number {
    return low + Math.floor(this.unit() * (high - low + 1));
  }

  /** True with that probability. */
  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  /** One of the values; there must be one. */
  pick<T>(values: readonly T[]): T {
    return values[Math.floor(this.unit() * values.length)]!;
  }

  /** Exponential with that mean, a whole number. */
  around(mean: number): number {
    return Math.floor(-Math.log(1 - this.unit()) * mean);
  }

  /** In random order; a copy. */
  shuffled<T>(values: readonly T[]): T[] {
    const copy = [...values];
    for (let i = copy.length - 1; i > 0; i -= 1) {
      const j = this.between(0, i);
      [copy[i], copy[j]] = [copy[j]!, copy[i]!];
    }
    return copy;
  }

  /** An independent stream. */
  fork(): Random {
    return new Random(this.#next32());
  }
}
