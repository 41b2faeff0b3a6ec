import { crc32 } from 'node:zlib';
import { checkCrc, decodeHead, FRAME, FRAME_BYTES, type FrameHead } from './frame.ts';

/** Takes what a {@link FrameReader} finds. */
export interface FrameSink {
  /** A whole, checked frame of any type but segment. The payload may be a view of what arrived. */
  frame(head: FrameHead, payload: Buffer): void;
  /**
   * Where the bytes of a segment belong: exactly `head.payloadBytes` of them; undefined when nobody
   * wants them any more. They are written there as they arrive, before they are checked.
   */
  place(head: FrameHead): Uint8Array | undefined;
  /** A segment has arrived whole and matches its checksum. */
  filled(head: FrameHead): void;
}

/** A segment that is arriving. */
interface Filling {
  readonly head: FrameHead;
  readonly place: Uint8Array | undefined;
  bytes: number;
  crc: number;
}

/** Cuts a stream of bytes into checked frames; bytes of bodies are copied once, to where they belong. */
export class FrameReader {
  readonly #sink: FrameSink;
  #parts: Buffer[] = [];
  #bytes = 0;
  #head: FrameHead | undefined;
  #filling: Filling | undefined;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Takes what arrived. Throws CORRUPT or ENOTSUP at a bad frame: the stream is then useless. */
  push(part: Buffer): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    while (this.#step());
  }

  /** One step further; false when more bytes are needed. */
  #step(): boolean {
    if (this.#filling !== undefined) return this.#fill(this.#filling);
    if (this.#head === undefined) {
      if (this.#bytes < FRAME_BYTES) return false;
      const head = decodeHead(this.#take(FRAME_BYTES));
      if (head.type === FRAME.segment)
        this.#filling = { head, place: this.#sink.place(head), bytes: 0, crc: 0 };
      else this.#head = head;
      return true;
    }
    if (this.#bytes < this.#head.payloadBytes) return false;
    const head = this.#head;
    const payload = this.#take(head.payloadBytes);
    checkCrc(head, crc32(payload));
    this.#head = undefined;
    this.#sink.frame(head, payload);
    return true;
  }

  #fill(filling: Filling): boolean {
    const { head, place } = filling;
    while (filling.bytes < head.payloadBytes) {
      const part = this.#parts[0];
      if (part === undefined) return false;
      const piece = part.subarray(0, head.payloadBytes - filling.bytes);
      filling.crc = crc32(piece, filling.crc);
      place?.set(piece, filling.bytes);
      filling.bytes += piece.length;
      this.#drop(part, piece.length);
    }
    checkCrc(head, filling.crc);
    this.#filling = undefined;
    if (place !== undefined) this.#sink.filled(head);
    return true;
  }

  /** The first `count` bytes; a view when they lie in one part, else joined. */
  #take(count: number): Buffer {
    const first = this.#parts[0] ?? Buffer.alloc(0);
    if (first.length >= count) {
      this.#drop(first, count);
      return first.subarray(0, count);
    }
    const whole = Buffer.allocUnsafe(count);
    for (let at = 0; at < count; ) {
      const part = this.#parts[0] as Buffer;
      const copied = part.copy(whole, at, 0, count - at);
      this.#drop(part, copied);
      at += copied;
    }
    return whole;
  }

  /** Forgets the first bytes of the first part. */
  #drop(part: Buffer, count: number): void {
    this.#bytes -= count;
    if (count === part.length) this.#parts.shift();
    else this.#parts[0] = part.subarray(count);
  }
}
