import { checkPayload, decodeHead, FRAME_BYTES, type FrameHead } from './frame.ts';

/** Cuts a stream of bytes into checked frames. */
export class FrameReader {
  readonly #onFrame: (head: FrameHead, payload: Buffer) => void;
  #parts: Buffer[] = [];
  #bytes = 0;
  #head: FrameHead | undefined;

  constructor(onFrame: (head: FrameHead, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  /** Takes what arrived. Throws CORRUPT or ENOTSUP at a bad frame: the stream is then useless. */
  push(part: Buffer): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    for (;;) {
      if (this.#head === undefined) {
        if (this.#bytes < FRAME_BYTES) return;
        this.#head = decodeHead(this.#take(FRAME_BYTES));
      }
      if (this.#bytes < this.#head.payloadBytes) return;
      const head = this.#head;
      const payload = this.#take(head.payloadBytes);
      checkPayload(head, payload);
      this.#head = undefined;
      this.#onFrame(head, payload);
    }
  }

  /** The first `count` bytes; a view when they lie in one part, else joined. */
  #take(count: number): Buffer {
    this.#bytes -= count;
    const first = this.#parts[0] ?? Buffer.alloc(0);
    if (first.length >= count) {
      if (first.length === count) this.#parts.shift();
      else this.#parts[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const whole = Buffer.allocUnsafe(count);
    let at = 0;
    while (at < count) {
      const part = this.#parts[0] as Buffer;
      const copied = part.copy(whole, at, 0, count - at);
      at += copied;
      if (copied === part.length) this.#parts.shift();
      else this.#parts[0] = part.subarray(copied);
    }
    return whole;
  }
}
