/** A store that sends and fetches no faster than it is told: backups must not starve their volumes. */
import type { ByteRange, PutOptions, Store, StoredObject } from './store.ts';

/** Bytes per second; absent: no limit. */
export interface Bandwidth {
  readonly sendBytesPerSecond?: number;
  readonly fetchBytesPerSecond?: number;
}

/** What a limit takes from outside. */
export interface BandwidthSurroundings {
  readonly nowMs: () => number;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** One direction: each request waits until the ones before it have paid for their bytes. */
class Lane {
  readonly #bytesPerMs: number;
  readonly #surroundings: BandwidthSurroundings;
  /** When the bytes that were promised so far have passed. */
  #freeAtMs = 0;

  constructor(bytesPerSecond: number, surroundings: BandwidthSurroundings) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#surroundings = surroundings;
  }

  /** Takes the lane for so many bytes; milliseconds until they may pass. */
  claim(bytes: number): number {
    const now = this.#surroundings.nowMs();
    const startMs = Math.max(now, this.#freeAtMs);
    this.#freeAtMs = startMs + bytes / this.#bytesPerMs;
    return startMs - now;
  }

  async pass(bytes: number, signal?: AbortSignal): Promise<void> {
    const waitMs = this.claim(bytes);
    if (waitMs > 0) await this.#surroundings.sleep(waitMs, signal);
  }
}

function lane(limit: number | undefined, surroundings: BandwidthSurroundings): Lane | undefined {
  return limit === undefined ? undefined : new Lane(limit, surroundings);
}

/** Wraps a store. Limits hold over all who share the wrapper, averaged over a pack or a window. */
export function limitBandwidth(
  store: Store,
  bandwidth: Bandwidth,
  surroundings: BandwidthSurroundings,
): Store {
  const sending = lane(bandwidth.sendBytesPerSecond, surroundings);
  const fetching = lane(bandwidth.fetchBytesPerSecond, surroundings);
  return {
    put: async (key: string, bytes: Uint8Array, options?: PutOptions) => {
      await sending?.pass(bytes.length, options?.signal);
      return store.put(key, bytes, options);
    },
    get: async (key: string, range?: ByteRange, signal?: AbortSignal) => {
      await fetching?.pass(range?.length ?? 0, signal);
      const bytes = await store.get(key, range, signal);
      // Without a range the length is known only now: who comes next waits for it.
      if (range === undefined) fetching?.claim(bytes.length);
      return bytes;
    },
    size: (key: string, signal?: AbortSignal) => store.size(key, signal),
    list: (folder: string, signal?: AbortSignal): AsyncIterable<StoredObject> =>
      store.list(folder, signal),
    delete: (key: string, signal?: AbortSignal) => store.delete(key, signal),
  };
}

/** Parts of a second in which a limited stream goes on: what is sent at once is no more than one holds. */
const PARTS_OF_SECOND = 10;

/** A stream that goes on no faster. `bytesPerSecond`: 1 or more. Rejects when the signal aborts. */
export async function* limitStream(
  bytes: AsyncIterable<Uint8Array>,
  bytesPerSecond: number,
  surroundings: BandwidthSurroundings,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const sending = new Lane(bytesPerSecond, surroundings);
  const most = Math.max(1, Math.floor(bytesPerSecond / PARTS_OF_SECOND));
  for await (const chunk of bytes)
    for (let at = 0; at < chunk.length; at += most) {
      const part = chunk.subarray(at, at + most);
      await sending.pass(part.length, signal);
      yield part;
    }
}
