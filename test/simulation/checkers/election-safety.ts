import type { ReplicaId, Term } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

/** At most one leader can be elected in a given term (Raft paper, figure 3, "Election Safety"). */
export class ElectionSafety {
  readonly #leaders = new Map<Term, ReplicaId>();

  leads(term: Term, id: ReplicaId): void {
    const known = this.#leaders.get(term);
    if (known !== undefined && known !== id) {
      throw new CheckFailed('election safety', `${known} and ${id} both lead term ${term}`);
    }
    this.#leaders.set(term, id);
  }

  /** Terms that had a leader. */
  get count(): number {
    return this.#leaders.size;
  }
}
