import type { InodeNumber, NodeReference, VolumeNumber } from '@holdfast/protocol';

/** Which inodes this client holds open, and which of them have lost their last name meanwhile. */
export class OpenFiles {
  readonly #open = new Map<string, number>();
  readonly #orphans = new Set<string>();

  static #key(volume: VolumeNumber, ino: InodeNumber): string {
    return `${volume}/${ino}`;
  }

  /** Counts one more open. */
  opened(node: NodeReference): void {
    const key = OpenFiles.#key(node.volume, node.ino);
    this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
  }

  /** Counts one less; true when this was the last and the inode is an orphan, to be released now. */
  closed(node: NodeReference): boolean {
    const key = OpenFiles.#key(node.volume, node.ino);
    const count = (this.#open.get(key) ?? 0) - 1;
    if (count > 0) {
      this.#open.set(key, count);
      return false;
    }
    this.#open.delete(key);
    return this.#orphans.delete(key);
  }

  /** The volume was rolled back: its orphans of before are gone. */
  forgetOrphans(volume: VolumeNumber): void {
    for (const key of this.#orphans) if (key.startsWith(`${volume}/`)) this.#orphans.delete(key);
  }

  isOpen(node: NodeReference): boolean {
    return this.#open.has(OpenFiles.#key(node.volume, node.ino));
  }

  /** Takes a shard's word that inodes are orphans; answers those that are not open here. */
  orphaned(volume: VolumeNumber, inos: readonly InodeNumber[]): InodeNumber[] {
    return inos.filter((ino) => {
      const key = OpenFiles.#key(volume, ino);
      if (!this.#open.has(key)) return true;
      this.#orphans.add(key);
      return false;
    });
  }
}
