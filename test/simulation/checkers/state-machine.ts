import type { LogIndex, ReplicaId } from '@holdfast/raft';
import { CheckFailed } from './check.ts';

/**
 * If a replica has applied an entry at an index, no other ever applies another there (Raft paper,
 * figure 3, "State Machine Safety"): one hash of the state for each index.
 */
export class StateMachineEquality {
  readonly #hashes = new Map<LogIndex, number>();

  applied(id: ReplicaId, index: LogIndex, hash: number): void {
    const known = this.#hashes.get(index);
    if (known === undefined) this.#hashes.set(index, hash);
    else if (known !== hash) {
      throw new CheckFailed('state machine equality', `${id} has another state at index ${index}`);
    }
  }

  /** Highest index that anyone applied. */
  get count(): number {
    return this.#hashes.size;
  }
}
