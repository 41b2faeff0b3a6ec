/** Locks of a model file: a cell for each byte of a small range, and who holds it. */
import type { LockRequest } from '@holdfast/protocol';

/** The cells: bytes 0 to 30, and one for all that follows. */
export const LOCK_CELLS = 32;

type Kind = 'read' | 'write';

/** Locks on one file; an owner is a session and its lock owner as one text. */
export class ModelLocks {
  readonly #cells: Map<string, Kind>[] = Array.from({ length: LOCK_CELLS }, () => new Map());
  readonly #flock = new Map<string, Kind>();

  #range({ family, start, end }: LockRequest): Map<string, Kind>[] {
    if (family === 'flock') return [this.#flock];
    return this.#cells.slice(start, end === Number.MAX_SAFE_INTEGER ? LOCK_CELLS : end);
  }

  /** Whether another owner stands in the way. */
  conflicts(owner: string, lock: LockRequest): boolean {
    if (lock.type === 'unlock') return false;
    return this.#range(lock).some((cell) =>
      [...cell].some(
        ([other, kind]) => other !== owner && (kind === 'write' || lock.type === 'write'),
      ),
    );
  }

  /** Takes, changes or drops a lock; false when it conflicts: a flock held before is lost then. */
  set(owner: string, lock: LockRequest): boolean {
    const cells = this.#range(lock);
    if (this.conflicts(owner, lock)) {
      if (lock.family === 'flock') this.#flock.delete(owner);
      return false;
    }
    for (const cell of cells) {
      if (lock.type === 'unlock') cell.delete(owner);
      else cell.set(owner, lock.type);
    }
    return true;
  }

  /** Drops all locks of the owners that `isDropped` names, of one family or of both. */
  drop(isDropped: (owner: string) => boolean, family?: LockRequest['family']): void {
    const cells = family === 'flock' ? [] : this.#cells;
    const flock = family === 'posix' ? [] : [this.#flock];
    for (const cell of [...cells, ...flock]) {
      for (const owner of cell.keys()) if (isDropped(owner)) cell.delete(owner);
    }
  }
}
