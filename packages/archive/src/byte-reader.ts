/** Bytes of a stream in the portions that a format asks for. */
import { HoldfastError } from '@holdfast/protocol';

/** Reads an endless or ending stream of chunks without keeping more than one portion. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Buffer = Buffer.alloc(0);
  #isAtEnd = false;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Up to `max` bytes, as many as are there; empty at the end. */
  async some(max: number): Promise<Buffer> {
    await this.#fill();
    const part = this.#chunk.subarray(0, max);
    this.#chunk = this.#chunk.subarray(part.length);
    return part;
  }

  /** Exactly `length` bytes; fewer only at the end. */
  async upTo(length: number): Promise<Buffer> {
    const first = await this.some(length);
    if (first.length === length) return first;
    const parts = [first];
    let left = length - first.length;
    while (left > 0) {
      const part = await this.some(left);
      if (part.length === 0) break;
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  /** Exactly `length` bytes. CORRUPT when the stream ends before. */
  async exactly(length: number, what: string): Promise<Buffer> {
    const bytes = await this.upTo(length);
    if (bytes.length < length) throw cutOff(what);
    return bytes;
  }

  /** Passes over `length` bytes. CORRUPT when the stream ends before. */
  async skip(length: number, what: string): Promise<void> {
    for (let left = length; left > 0; ) {
      const part = await this.some(left);
      if (part.length === 0) throw cutOff(what);
      left -= part.length;
    }
  }

  /** Reads to the end, so that who makes the stream can check it as a whole. */
  async drain(): Promise<void> {
    while ((await this.some(Number.MAX_SAFE_INTEGER)).length > 0);
  }

  /** Looks at the next bytes without taking them; fewer only at the end. */
  async peek(length: number): Promise<Buffer> {
    const bytes = await this.upTo(length);
    this.#chunk = Buffer.concat([bytes, this.#chunk]);
    return bytes;
  }

  /** What has not been read yet. */
  async *rest(): AsyncGenerator<Buffer> {
    for (;;) {
      const part = await this.some(Number.MAX_SAFE_INTEGER);
      if (part.length === 0) return;
      yield part;
    }
  }

  /** Ends the stream that the bytes come from. */
  async close(): Promise<void> {
    this.#isAtEnd = true;
    await this.#chunks.return?.();
  }

  async #fill(): Promise<void> {
    while (this.#chunk.length === 0 && !this.#isAtEnd) {
      const next = await this.#chunks.next();
      if (next.done === true) this.#isAtEnd = true;
      else this.#chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.length);
    }
  }
}

function cutOff(what: string): HoldfastError {
  return new HoldfastError('CORRUPT', `the archive ends in the middle of ${what}: it was cut off`);
}
