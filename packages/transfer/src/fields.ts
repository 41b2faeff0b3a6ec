/** Fields of frames, one behind the other, little-endian. */
import { HoldfastError } from '@holdfast/protocol';

/** What is told when the bytes of a frame are not what they should be. */
export function damaged(why: string): HoldfastError {
  return new HoldfastError('CORRUPT', `the stream is damaged: ${why}`);
}

/** Puts fields together. */
export class FieldWriter {
  readonly #parts: Uint8Array[] = [];

  u8(value: number): this {
    return this.#number(1, (bytes) => bytes.writeUInt8(value));
  }

  u16(value: number): this {
    return this.#number(2, (bytes) => bytes.writeUInt16LE(value));
  }

  u32(value: number): this {
    return this.#number(4, (bytes) => bytes.writeUInt32LE(value));
  }

  /** A whole number below 2^53. */
  u53(value: number): this {
    return this.u64(BigInt(value));
  }

  u64(value: bigint): this {
    return this.#number(8, (bytes) => bytes.writeBigUInt64LE(value));
  }

  i64(value: bigint): this {
    return this.#number(8, (bytes) => bytes.writeBigInt64LE(value));
  }

  /** Latin1 text behind its length. */
  text(value: string): this {
    return this.u16(value.length).rest(Buffer.from(value, 'latin1'));
  }

  /** Bytes as they are. */
  rest(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    return this;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #number(length: number, write: (bytes: Buffer) => void): this {
    const bytes = Buffer.alloc(length);
    write(bytes);
    return this.rest(bytes);
  }
}

/** Takes fields apart. CORRUPT where there are too few bytes, or too many. */
export class FieldReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u8(): number {
    return this.take(1).readUInt8();
  }

  u16(): number {
    return this.take(2).readUInt16LE();
  }

  u32(): number {
    return this.take(4).readUInt32LE();
  }

  u53(): number {
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged('a number is too large');
    return Number(value);
  }

  u64(): bigint {
    return this.take(8).readBigUInt64LE();
  }

  i64(): bigint {
    return this.take(8).readBigInt64LE();
  }

  text(): string {
    return this.take(this.u16()).toString('latin1');
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw damaged('a frame is too short');
    const part = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return part;
  }

  /** All that is left. */
  rest(): Buffer {
    return this.take(this.#bytes.length - this.#at);
  }

  /** Throws unless everything was taken. */
  end(): void {
    if (this.#at < this.#bytes.length) throw damaged('a frame is too long');
  }
}
