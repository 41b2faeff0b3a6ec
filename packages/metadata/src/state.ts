/**
 * The seam to whatever keeps a shard's records: an ordered map from byte strings to byte strings.
 * Keys are compared as unsigned bytes. Contract tests: memory-state.test.ts.
 */

/** Point reads. */
export interface StateReader {
  /** The value of a key, staged changes included. The caller must not change the bytes. */
  get(key: Uint8Array): Uint8Array | undefined;
}

/** What `apply` needs: no scans, so that an engine without synchronous iterators can serve it. */
export interface StateWriter extends StateReader {
  /** The state may keep `value`; the caller does not change it afterwards. */
  put(key: Uint8Array, value: Uint8Array): void;
  /** Without effect when the key is absent. */
  delete(key: Uint8Array): void;
}

/** Range reads, for listings and background work. May see settled state only. */
export interface StateScanner {
  /** At most `limit` entries of [from, toExclusive) in ascending order of their keys. */
  scan(
    from: Uint8Array,
    toExclusive: Uint8Array,
    limit: number,
  ): AsyncIterable<[Uint8Array, Uint8Array]>;
}

/** What views and background planners need. */
export type StateSource = StateReader & StateScanner;
