/** Background plans that are late, lost, or done twice: leaders change at any point. */
import { planReclaim } from '@holdfast/metadata';
import type { Operation } from '@holdfast/protocol';
import type { RealShard } from './real-shard.ts';

/** Plans that some leader made, some time. */
export class Plans {
  readonly #real: RealShard;
  readonly #made: Operation[] = [];

  constructor(real: RealShard) {
    this.#real = real;
  }

  /** A leader looks for garbage. */
  async begin(count: number): Promise<void> {
    const plan = await planReclaim(this.#real.state, count);
    if (plan !== undefined) this.#made.push(plan);
  }

  /** One of the plans is carried out, however old it is; it may come again. */
  async end(index: number, again: number): Promise<void> {
    const at = index % Math.max(1, this.#made.length);
    const plan = this.#made[at];
    if (plan === undefined) return;
    await this.#real.internal(plan);
    if (again % 2 === 0) this.#made.splice(at, 1);
  }
}
