import { withDeadline } from '../waiting.ts';

/** Lets a few questions be asked at once, and the others wait for their turn. */
export class Turns {
  #free: number;
  readonly #waiting = new Set<() => void>();

  /** `count`: how many at once. */
  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Asks when it is its turn. DEADLINE when there is no answer within `limitMs` of the call; the turn
   * is taken until the answer really comes, not only until the caller has gone.
   */
  async take(what: string, limitMs: number, question: () => Promise<void>): Promise<void> {
    let stop = (): void => {};
    let isLate = false;
    const asked = async (): Promise<void> => {
      if (this.#free > 0) this.#free -= 1;
      else {
        await new Promise<void>((resolve) => {
          this.#waiting.add(resolve);
          stop = () => this.#waiting.delete(resolve);
        });
      }
      try {
        if (!isLate) await question();
      } finally {
        this.#pass();
      }
    };
    const answer = asked();
    answer.catch(() => {});
    try {
      await withDeadline(what, limitMs, () => answer);
    } finally {
      isLate = true;
      stop();
    }
  }

  /** Hands the turn to who has waited longest. */
  #pass(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#free += 1;
    else {
      this.#waiting.delete(next);
      next();
    }
  }
}
