import type { LogIndex, ReplicaId, Term } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

interface Commitment {
  readonly index: LogIndex;
  readonly hash: number;
}

/**
 * An entry committed in a term is present in the logs of the leaders of all higher terms (Raft paper,
 * figure 3, "Leader Completeness"). It is also what makes an acknowledged write durable.
 */
export class LeaderCompleteness {
  /** The furthest that the leader of each term has committed. */
  readonly #committed = new Map<Term, Commitment>();

  /** The leader of `term` has committed up to `index`; `hash` is of its log up to there. */
  commits(term: Term, index: LogIndex, hash: number): void {
    const known = this.#committed.get(term);
    if (known === undefined || index > known.index) this.#committed.set(term, { index, hash });
  }

  /** `hashAt` is of the new leader's log; undefined where it ends before, or where it was compacted. */
  leads(
    id: ReplicaId,
    term: Term,
    hashAt: (index: LogIndex) => number | 'compacted' | undefined,
  ): void {
    for (const [committedIn, { index, hash }] of this.#committed) {
      if (committedIn >= term) continue;
      const found = hashAt(index);
      if (found === 'compacted' || found === hash) continue;
      const why = found === undefined ? 'lacks' : 'has something else at';
      throw new CheckFailed(
        'leader completeness',
        `${id}, leader of term ${term}, ${why} index ${index}, committed in term ${committedIn}`,
      );
    }
  }
}
