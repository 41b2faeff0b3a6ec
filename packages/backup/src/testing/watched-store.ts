import type { ByteRange, PutOptions, Store, StoredObject } from '../store/store.ts';

/** Runs before a step of a store; what it throws, the step throws. */
export interface StoreWatch {
  readonly beforePut?: (key: string, bytes: Uint8Array) => void | Promise<void>;
  readonly afterPut?: (key: string, bytes: Uint8Array) => void | Promise<void>;
  readonly beforeGet?: (key: string, range?: ByteRange) => void | Promise<void>;
  readonly beforeDelete?: (key: string) => void | Promise<void>;
}

/** A store that lets a test see, and stop, every step of another one. */
export class WatchedStore implements Store {
  readonly #inner: Store;
  readonly #watch: StoreWatch;

  constructor(inner: Store, watch: StoreWatch) {
    this.#inner = inner;
    this.#watch = watch;
  }

  async put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<'created' | 'exists'> {
    await this.#watch.beforePut?.(key, bytes);
    const outcome = await this.#inner.put(key, bytes, options);
    await this.#watch.afterPut?.(key, bytes);
    return outcome;
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Uint8Array> {
    await this.#watch.beforeGet?.(key, range);
    return this.#inner.get(key, range, signal);
  }

  size(key: string, signal?: AbortSignal): Promise<number | undefined> {
    return this.#inner.size(key, signal);
  }

  list(folder: string, signal?: AbortSignal): AsyncIterable<StoredObject> {
    return this.#inner.list(folder, signal);
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await this.#watch.beforeDelete?.(key);
    await this.#inner.delete(key, signal);
  }
}
