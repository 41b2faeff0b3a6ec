import type { Extent, NodeReference, VolumeNumber } from '@holdfast/protocol';

/** Bytes of a file whose extents are fetched and kept together; with inline bytes they fit one answer. */
export const WINDOW_BYTES = 2 * 2 ** 20;
/** Files of which extents are kept; the longest unused is dropped first. */
const FILES_MAX = 4_096;
/** Inline bytes that are kept in all. */
const INLINE_BYTES_MAX = 64 * 2 ** 20;

/** The extents of one window of a file, and how long the file is. */
export interface Window {
  readonly size: number;
  readonly extents: readonly Extent[];
}

interface CachedFile {
  readonly windows: Map<number, Window>;
  inlineBytes: number;
}

/** A window that is being fetched; it is not kept when the file changes meanwhile. */
interface Fetch {
  isStale: boolean;
}

/**
 * Where the bytes of files are, as far as known: only to be used for volumes whose delegation is
 * held, and dropped for a file with each change of it, from before the change until after.
 */
export class ExtentCache {
  readonly #files = new Map<string, CachedFile>();
  readonly #changing = new Map<string, number>();
  readonly #fetching = new Map<string, Set<Fetch>>();
  #inlineBytes = 0;

  /** The window of a file that holds an offset. */
  get(node: NodeReference, offset: number): Window | undefined {
    const key = keyOf(node);
    const file = this.#files.get(key);
    if (file === undefined) return undefined;
    this.#files.delete(key);
    this.#files.set(key, file);
    return file.windows.get(Math.floor(offset / WINDOW_BYTES));
  }

  /** Fetches a window and keeps it, unless the file was changed meanwhile. */
  async fetch(node: NodeReference, offset: number, ask: () => Promise<Window>): Promise<Window> {
    const key = keyOf(node);
    const fetch: Fetch = { isStale: this.#changing.has(key) };
    const others = this.#fetching.get(key) ?? new Set();
    this.#fetching.set(key, others.add(fetch));
    try {
      const window = await ask();
      if (!fetch.isStale) this.#put(node, offset, window);
      return window;
    } finally {
      others.delete(fetch);
      if (others.size === 0) this.#fetching.delete(key);
    }
  }

  /** Runs a change of a file's contents; nothing from before or during it is kept. */
  async changing<T>(node: NodeReference, change: () => Promise<T>): Promise<T> {
    const key = keyOf(node);
    this.#changing.set(key, (this.#changing.get(key) ?? 0) + 1);
    this.#outdate(key);
    try {
      return await change();
    } finally {
      const left = (this.#changing.get(key) ?? 1) - 1;
      if (left === 0) this.#changing.delete(key);
      else this.#changing.set(key, left);
      this.#outdate(key);
    }
  }

  /** Forgets a file; what is being fetched of it is not kept. */
  outdate(node: NodeReference): void {
    this.#outdate(keyOf(node));
  }

  /** Forgets all files of a volume. */
  forget(volume: VolumeNumber): void {
    for (const key of [...this.#files.keys(), ...this.#fetching.keys()]) {
      if (key.startsWith(`${volume}/`)) this.#outdate(key);
    }
  }

  #put(node: NodeReference, offset: number, window: Window): void {
    const key = keyOf(node);
    let file = this.#files.get(key);
    if (file === undefined) {
      file = { windows: new Map(), inlineBytes: 0 };
      this.#files.set(key, file);
    }
    const inlineBytes = window.extents.reduce(
      (sum, { source }) => sum + (source.kind === 'inline' ? source.bytes.length : 0),
      0,
    );
    file.windows.set(Math.floor(offset / WINDOW_BYTES), window);
    file.inlineBytes += inlineBytes;
    this.#inlineBytes += inlineBytes;
    for (const other of this.#files.keys()) {
      if (other === key || (this.#files.size <= FILES_MAX && this.#inlineBytes <= INLINE_BYTES_MAX))
        return;
      this.#drop(other);
    }
  }

  #outdate(key: string): void {
    for (const fetch of this.#fetching.get(key) ?? []) fetch.isStale = true;
    this.#drop(key);
  }

  #drop(key: string): void {
    const file = this.#files.get(key);
    if (file === undefined) return;
    this.#inlineBytes -= file.inlineBytes;
    this.#files.delete(key);
  }
}

function keyOf(node: NodeReference): string {
  return `${node.volume}/${node.ino}`;
}
