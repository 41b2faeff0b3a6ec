import type { TLSSocket } from 'node:tls';
import { encodeHead, FRAME, type FrameType } from './frame.ts';
import { WIRE_LIMITS } from './limits.ts';
import { bodyPassed } from './young-garbage.ts';

/** A body on its way: cut into segments, of which others' messages may pass in front. */
interface Sending {
  readonly id: number;
  readonly parts: readonly Uint8Array[];
  part: number;
  offset: number;
  readonly done: () => void;
}

/** Writes frames to a socket: small messages at once, bodies in turn, a segment each. */
export class Outbox {
  readonly #socket: TLSSocket;
  readonly #bodies: Sending[] = [];
  #corked = false;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('drain', () => this.#pump());
  }

  /** Sends a message; resolves when its body has been handed to the socket and may be reused. */
  send(
    type: FrameType,
    id: number,
    payload: Uint8Array,
    parts: readonly Uint8Array[] = [],
  ): Promise<void> {
    const bodyBytes = parts.reduce((sum, part) => sum + part.length, 0);
    this.#write(encodeHead(type, id, payload, bodyBytes), payload);
    if (bodyBytes === 0) return Promise.resolve();
    bodyPassed(bodyBytes);
    return new Promise((resolve) => {
      this.#bodies.push({
        id,
        parts: parts.filter((part) => part.length > 0),
        part: 0,
        offset: 0,
        done: resolve,
      });
      this.#pump();
    });
  }

  /** Forgets a body that is not wanted any more; the receiver is told by a cancel frame. */
  drop(id: number): void {
    const index = this.#bodies.findIndex((body) => body.id === id);
    if (index >= 0) this.#bodies.splice(index, 1)[0]?.done();
  }

  /** Nothing more can be sent: whoever waits goes on. */
  close(): void {
    for (const body of this.#bodies.splice(0)) body.done();
  }

  #pump(): void {
    while (this.#bodies.length > 0 && this.#socket.writableLength < WIRE_LIMITS.unsentBytesMax) {
      const body = this.#bodies.shift() as Sending;
      if (this.#segment(body)) body.done();
      else this.#bodies.push(body); // round and round, so that none waits for another's end
    }
  }

  /** Writes one segment; true when it was the last. */
  #segment(body: Sending): boolean {
    const part = body.parts[body.part] as Uint8Array;
    const bytes = part.subarray(body.offset, body.offset + WIRE_LIMITS.segmentBytes);
    this.#write(encodeHead(FRAME.segment, body.id, bytes), bytes);
    body.offset += bytes.length;
    if (body.offset < part.length) return false;
    body.part++;
    body.offset = 0;
    return body.part === body.parts.length;
  }

  /** One system call for all that is written in this turn. */
  #write(head: Buffer, payload: Uint8Array): void {
    if (this.#socket.destroyed) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(head);
    if (payload.length > 0) this.#socket.write(payload);
  }
}
