import type { NodeReference } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import { nodeOf } from './node-id.ts';

const WORD = 2 ** 32;
const SAFE_HIGH_WORD = 2 ** 21;

/**
 * A cursor over one request's bytes. Every read is checked against the end: a request shorter than
 * its fields throws HoldfastError BAD_REQUEST, never a RangeError.
 */
export class RequestReader {
  readonly #bytes: Buffer;
  #at: number;

  /** Reads `bytes` from `start`; whatever is taken is a copy. */
  constructor(bytes: Buffer, start: number) {
    this.#bytes = bytes;
    this.#at = start;
  }

  /** Bytes that have not been read. */
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** Passes over padding. */
  skip(bytes: number): void {
    this.#take(bytes);
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }

  /** A 64-bit quantity whose every bit counts, such as a lock owner. */
  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#take(8));
  }

  /** A file offset, length or handle: throws EFBIG beyond 2^53-1, which no file here reaches. */
  safe(): number {
    const value = this.clamped();
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new HoldfastError('EFBIG', 'offsets and sizes are at most 2^53-1 bytes');
    }
    return value;
  }

  /** A 64-bit quantity, Infinity when it is beyond 2^53-1. */
  clamped(): number {
    const at = this.#take(8);
    const high = this.#bytes.readUInt32LE(at + 4);
    if (high >= SAFE_HIGH_WORD) return Number.POSITIVE_INFINITY;
    return high * WORD + this.#bytes.readUInt32LE(at);
  }

  node(): NodeReference {
    const at = this.#take(8);
    return nodeOf(this.#bytes.readUInt32LE(at), this.#bytes.readUInt32LE(at + 4));
  }

  /** Signed seconds, to be joined with {@link nanoseconds}. */
  seconds(): bigint {
    return this.#bytes.readBigInt64LE(this.#take(8));
  }

  /** A string that ends with a zero byte, one latin1 character a byte. */
  text(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw truncated();
    const text = this.#bytes.toString('latin1', this.#at, end);
    this.#at = end + 1;
    return text;
  }

  /** The next `length` bytes, copied: the request's buffer is read into again before they are used. */
  payload(length: number): Uint8Array {
    const at = this.#take(length);
    return Buffer.from(this.#bytes.subarray(at, at + length));
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#bytes.length - at) throw truncated();
    this.#at = at + bytes;
    return at;
  }
}

function truncated(): HoldfastError {
  return new HoldfastError('BAD_REQUEST', 'the kernel sent fewer bytes than the operation has');
}
