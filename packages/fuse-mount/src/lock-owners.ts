import { HoldfastError, type NodeReference } from '@holdfast/protocol';
import { LineJournal } from './line-journal.ts';

/**
 * Who may hold fcntl(2) locks. The kernel tells of every close(2) by whom it is, since that ends all
 * locks of the process on the file; but nearly no close has a lock to end, and only a true one is
 * worth a command of the cluster. Kept in a journal, as locks outlive the daemon.
 */
export class LockOwners {
  readonly #owners = new Set<string>();
  readonly #journal: LineJournal | undefined;

  /** As for OpenHandles. */
  constructor(path?: string) {
    if (path === undefined) return;
    this.#journal = new LineJournal(path);
    for (const line of this.#journal.load()) this.#apply(line);
    this.#journal.rewrite(this.#lines());
  }

  /** To be called before a lock is asked for: a daemon that is killed in between must not forget it. */
  locking(node: NodeReference, owner: string): void {
    const key = keyOf(node, owner);
    if (this.#owners.has(key)) return;
    this.#owners.add(key);
    this.#journal?.append(`+${key}`);
  }

  /** Whether the owner may hold a lock on the node. */
  mayHold(node: NodeReference, owner: string): boolean {
    return this.#owners.has(keyOf(node, owner));
  }

  /** The owner's locks on the node have been given up. */
  released(node: NodeReference, owner: string): void {
    const key = keyOf(node, owner);
    if (!this.#owners.delete(key)) return;
    this.#journal?.retract(`-${key}`, () => this.#lines());
  }

  /** Closes the journal; what is on disk stays. */
  close(): void {
    this.#journal?.close();
  }

  #lines(): string[] {
    return [...this.#owners].map((key) => `+${key}`);
  }

  #apply(line: string): void {
    if (!/^[+-]\d+ \d+ \d+$/.test(line)) {
      const message = `'${line.slice(0, 40)}' is no line of a journal of locks; unmount and mount again`;
      throw new HoldfastError('CORRUPT', message);
    }
    if (line.startsWith('+')) this.#owners.add(line.slice(1));
    else this.#owners.delete(line.slice(1));
  }
}

function keyOf(node: NodeReference, owner: string): string {
  return `${node.volume} ${node.ino} ${owner}`;
}
