/**
 * The part of the protobuf wire format that raft.proto needs
 * (https://protobuf.dev/programming-guides/encoding/), for numbers below 2^53.
 */
import { HoldfastError } from '@holdfast/protocol';

const WIRE_VARINT = 0;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;
const WIRE_FIXED64 = 1;

/**
 * Writes from the end of its buffer to the front, so that the length of a nested message is known
 * when its header is due: fields of a message, and items of a list, are written last to first.
 * As proto3 has it, zero, false and empty are left out.
 */
export class ProtobufWriter {
  #buffer: Buffer;
  #at: number;

  constructor(capacity = 1024) {
    this.#buffer = Buffer.allocUnsafe(capacity);
    this.#at = capacity;
  }

  /** Bytes written. */
  get length(): number {
    return this.#buffer.length - this.#at;
  }

  /** The bytes written; the writer is spent. */
  finish(): Buffer {
    return this.#buffer.subarray(this.#at);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#at) return;
    const larger = Buffer.allocUnsafe(2 * this.#buffer.length + bytes);
    const at = larger.length - this.length;
    this.#buffer.copy(larger, at, this.#at);
    this.#buffer = larger;
    this.#at = at;
  }

  #varint(value: number): void {
    let bytes = 1;
    for (let limit = 128; value >= limit; limit *= 128) bytes += 1;
    this.#reserve(bytes);
    this.#at -= bytes;
    let rest = value;
    for (let i = 0; i < bytes; i += 1) {
      this.#buffer[this.#at + i] = (rest % 128) + (i === bytes - 1 ? 0 : 128);
      rest = Math.floor(rest / 128);
    }
  }

  #tag(field: number, wire: number): void {
    this.#varint(field * 8 + wire);
  }

  uint(field: number, value: number): void {
    if (value === 0) return;
    this.#varint(value);
    this.#tag(field, WIRE_VARINT);
  }

  bool(field: number, value: boolean): void {
    this.uint(field, value ? 1 : 0);
  }

  fixed32(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(4);
    this.#at -= 4;
    this.#buffer.writeUInt32LE(value, this.#at);
    this.#tag(field, WIRE_FIXED32);
  }

  /** Written though empty when `isPresent`: in a oneof, being there is the message. */
  bytes(field: number, value: Uint8Array, isPresent = false): void {
    if (value.length === 0 && !isPresent) return;
    this.#reserve(value.length);
    this.#at -= value.length;
    this.#buffer.set(value, this.#at);
    this.#varint(value.length);
    this.#tag(field, WIRE_BYTES);
  }

  /** A repeated number, packed. */
  uints(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.message(field, () => {
      for (const value of values.toReversed()) this.#varint(value);
    });
  }

  message(field: number, write: () => void): void {
    const before = this.length;
    write();
    this.#varint(this.length - before);
    this.#tag(field, WIRE_BYTES);
  }
}

/** One field as read: `value` of numbers, `bytes` (a view) of everything with a length. */
export interface ProtobufField {
  readonly field: number;
  readonly value: number;
  readonly bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

/** The fields of a message in their order. Throws BAD_REQUEST where the bytes are no protobuf. */
export function* readFields(bytes: Uint8Array): Generator<ProtobufField> {
  const reader = new Reader(bytes);
  while (!reader.isAtEnd) yield reader.field();
}

/** The numbers of a packed field. */
export function readPacked(bytes: Uint8Array): number[] {
  const reader = new Reader(bytes);
  const values: number[] = [];
  while (!reader.isAtEnd) values.push(reader.varint());
  return values;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i += 1) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) break;
      this.#at += 1;
      value += (byte % 128) * scale;
      if (byte < 128) {
        if (value <= Number.MAX_SAFE_INTEGER) return value;
        break;
      }
      scale *= 128;
    }
    throw malformed();
  }

  #take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed();
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  field(): ProtobufField {
    const tag = this.varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case WIRE_VARINT:
        return { field, value: this.varint(), bytes: NO_BYTES };
      case WIRE_BYTES:
        return { field, value: 0, bytes: this.#take(this.varint()) };
      case WIRE_FIXED32: {
        const four = this.#take(4);
        const value = Buffer.from(four.buffer, four.byteOffset, 4).readUInt32LE(0);
        return { field, value, bytes: NO_BYTES };
      }
      case WIRE_FIXED64:
        return { field, value: 0, bytes: this.#take(8) };
      default:
        throw malformed();
    }
  }
}

function malformed(): HoldfastError {
  return new HoldfastError('BAD_REQUEST', 'a raft message is not well-formed protobuf');
}
