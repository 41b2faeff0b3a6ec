import type { StateScanner, StateWriter } from './state.ts';

/** Keys of one block at most; a full block splits into halves. */
const BLOCK_KEYS_MAX = 512;

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

/** First index in the sorted `keys` whose key is not below `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * An ordered state in memory: sorted blocks of keys beside a map of values. For tests, simulations
 * and clients; a real implementation of the seam, nothing is left out.
 */
export class MemoryState implements StateWriter, StateScanner {
  readonly #values = new Map<string, Uint8Array>();
  /** Ascending, each block ascending; no block is empty. */
  readonly #blocks: string[][] = [];

  /** Number of keys. */
  get size(): number {
    return this.#values.size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(textOf(key));
  }

  /** Keeps a copy: the encoder's results are slices of larger buffers. */
  put(key: Uint8Array, value: Uint8Array): void {
    const text = textOf(key);
    if (!this.#values.has(text)) this.#insert(text);
    this.#values.set(text, Uint8Array.from(value));
  }

  delete(key: Uint8Array): void {
    const text = textOf(key);
    if (!this.#values.delete(text)) return;
    const at = this.#blockOf(text);
    const block = this.#blocks[at] as string[];
    block.splice(lowerBound(block, text), 1);
    if (block.length === 0) this.#blocks.splice(at, 1);
  }

  async *scan(
    from: Uint8Array,
    toExclusive: Uint8Array,
    limit: number,
  ): AsyncGenerator<[Uint8Array, Uint8Array]> {
    yield* this.entries(from, toExclusive, limit);
  }

  /** As scan, in one turn. The whole state when no range is given. */
  entries(
    from: Uint8Array = new Uint8Array(),
    toExclusive?: Uint8Array,
    limit = Number.MAX_SAFE_INTEGER,
  ): [Uint8Array, Uint8Array][] {
    const end = toExclusive === undefined ? undefined : textOf(toExclusive);
    const first = textOf(from);
    const found: [Uint8Array, Uint8Array][] = [];
    let at = this.#blockOf(first);
    let index = lowerBound(this.#blocks[at] ?? [], first);
    for (; at < this.#blocks.length; at++, index = 0) {
      const block = this.#blocks[at] as string[];
      for (; index < block.length; index++) {
        const key = block[index] as string;
        if (found.length >= limit || (end !== undefined && key >= end)) return found;
        found.push([Buffer.from(key, 'latin1'), this.#values.get(key) as Uint8Array]);
      }
    }
    return found;
  }

  /** The block that holds `key`, or into which it belongs. */
  #blockOf(key: string): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#blocks[middle] as string[])[0]! <= key) low = middle + 1;
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
    block.splice(lowerBound(block, key), 0, key);
    if (block.length > BLOCK_KEYS_MAX) {
      this.#blocks.splice(at + 1, 0, block.splice(BLOCK_KEYS_MAX >>> 1));
    }
  }
}
