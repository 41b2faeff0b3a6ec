/**
 * Structured values as bytes: MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md)
 * with plain maps, so that equal values written by the same code are equal bytes on every replica.
 * Numbers are safe integers or doubles; 64-bit times are bigint; undefined fields must be left out.
 */
import { Packr } from 'msgpackr';

const packr = new Packr({ useRecords: false, mapsAsObjects: true });

/** Value to bytes. The caller owns the result. */
export function encode(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** Bytes to value; byte strings in it may be views of `bytes`. Throws on malformed input. */
export function decode<T>(bytes: Uint8Array): T {
  return packr.unpack(bytes) as T;
}
