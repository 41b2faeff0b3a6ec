/**
 * Where a repository lies: named objects, written once. Keys are relative (`data/ab/abcd…`), made
 * of the letters, digits, `-`, `_`, `.` and `/`. Errors: NOT_FOUND, UNREACHABLE, FORBIDDEN, ENOSPC,
 * CORRUPT (fewer bytes than asked for).
 */

/** Bytes of an object, [offset, offset + length). */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** An object as a listing shows it. */
export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
}

/** What a put may know beforehand. */
export interface PutOptions {
  /** SHA-256 of the bytes in hex, where the caller has it: spares a signer from hashing again. */
  readonly sha256?: string;
  readonly signal?: AbortSignal;
}

/** The seam to object stores; test/contracts of this folder hold every implementation to it. */
export interface Store {
  /**
   * Writes an object whole or not at all; durable when resolved. 'exists': one of that name was
   * there and is untouched (on stores without conditional writes two puts at once may both win).
   */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<'created' | 'exists'>;
  /** All bytes, or exactly those of the range. */
  get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Uint8Array>;
  /** Bytes of an object; `undefined` when there is none. */
  size(key: string, signal?: AbortSignal): Promise<number | undefined>;
  /** Every object below a folder (`data/`), in any order. */
  list(folder: string, signal?: AbortSignal): AsyncIterable<StoredObject>;
  /** Removes; nothing happens when it is gone already. */
  delete(key: string, signal?: AbortSignal): Promise<void>;
}
