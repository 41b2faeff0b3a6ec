import type { LogIndex, ReplicaId } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

/**
 * A read sees every write that was acknowledged anywhere before the read was asked (thesis section
 * 6.4): its index is at least the highest that was known to be committed then.
 */
export class LinearizableReads {
  #committed: LogIndex = 0;
  readonly #asked = new Map<number, LogIndex>();
  #nextContext = 1;
  answered = 0;

  /** Someone knows that `index` is committed. */
  commits(index: LogIndex): void {
    this.#committed = Math.max(this.#committed, index);
  }

  /** A read is asked now; the context to give it. */
  ask(): number {
    const context = this.#nextContext;
    this.#nextContext += 1;
    this.#asked.set(context, this.#committed);
    return context;
  }

  answer(id: ReplicaId, context: number, index: LogIndex): void {
    const least = this.#asked.get(context);
    if (least === undefined) throw new CheckFailed('reads', `${id} answers a read nobody asked`);
    this.#asked.delete(context);
    this.answered += 1;
    if (index < least) {
      throw new CheckFailed(
        'linearizable reads',
        `${id} reads at ${index}, ${least} was committed`,
      );
    }
  }
}
