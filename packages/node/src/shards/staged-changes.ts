/** Keys of one block at most; a full block splits into halves. */
const BLOCK_KEYS_MAX = 256;

/** One change: the new value, or undefined where the key was deleted. */
export type Change = readonly [key: string, value: Uint8Array | undefined];

/**
 * Changes that are decided and not written yet: the newest of each key. Keys are latin1 texts, which
 * sort as their bytes do. They are put in order only when someone scans.
 */
export class StagedChanges {
  readonly #changes = new Map<string, Uint8Array | undefined>();
  /** Ascending, each block ascending; none is empty. Lacks what is in `#unsorted`. */
  readonly #blocks: string[][] = [];
  #unsorted: string[] = [];
  #bytes = 0;

  /** Bytes of keys and values, all changes together, also of those that were overwritten since. */
  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#changes.size;
  }

  has(key: string): boolean {
    return this.#changes.has(key);
  }

  get(key: string): Uint8Array | undefined {
    return this.#changes.get(key);
  }

  set(key: string, value: Uint8Array | undefined): void {
    const isNew = !this.#changes.has(key);
    if (isNew) this.#unsorted.push(key);
    this.#changes.set(key, value);
    this.#bytes += key.length + (value?.length ?? 0);
  }

  all(): Iterable<Change> {
    return this.#changes;
  }

  /** Changes of [from, to) in order. */
  *between(from: string, to: string): Generator<Change> {
    this.#sort();
    for (let at = this.#blockOf(from); at < this.#blocks.length; at += 1) {
      for (const key of this.#blocks[at]!) {
        if (key >= to) return;
        if (key >= from) yield [key, this.#changes.get(key)];
      }
    }
  }

  #sort(): void {
    const fresh = this.#unsorted;
    this.#unsorted = [];
    // Many at once are sorted together with the rest; a few find their places one by one.
    if (fresh.length * 8 > this.#changes.size) {
      const all = [...this.#changes.keys()].sort();
      this.#blocks.length = 0;
      for (let at = 0; at < all.length; at += BLOCK_KEYS_MAX / 2) {
        this.#blocks.push(all.slice(at, at + BLOCK_KEYS_MAX / 2));
      }
      return;
    }
    for (const key of fresh) this.#insert(key);
  }

  #blockOf(key: string): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#blocks[middle]![0]! <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  #insert(key: string): void {
    const at = this.#blockOf(key);
    const block = this.#blocks[at];
    if (block === undefined) {
      this.#blocks.push([key]);
      return;
    }
    let low = 0;
    let high = block.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (block[middle]! < key) low = middle + 1;
      else high = middle;
    }
    block.splice(low, 0, key);
    if (block.length > BLOCK_KEYS_MAX) {
      this.#blocks.splice(at + 1, 0, block.splice(BLOCK_KEYS_MAX / 2));
    }
  }
}
