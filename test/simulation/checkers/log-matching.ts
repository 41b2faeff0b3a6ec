import type { LogIndex, ReplicaId, Term } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

/**
 * If two logs contain an entry with the same index and term, they are identical in all entries up to
 * that index (Raft paper, figure 3, "Log Matching"). Identity is by the hash of the log's prefix.
 */
export class LogMatching {
  readonly #prefixes = new Map<number, { hash: number; id: ReplicaId }>();

  holds(id: ReplicaId, index: LogIndex, term: Term, hash: number): void {
    const place = term * 1_000_000 + index;
    const known = this.#prefixes.get(place);
    if (known === undefined) this.#prefixes.set(place, { hash, id });
    else if (known.hash !== hash) {
      throw new CheckFailed(
        'log matching',
        `${known.id} and ${id} differ at or before index ${index} of term ${term}`,
      );
    }
  }
}
