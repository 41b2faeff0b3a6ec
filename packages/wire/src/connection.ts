import type { TLSSocket } from 'node:tls';
import {
  decode,
  encode,
  fromWireError,
  HoldfastError,
  toWireError,
  type WireError,
} from '@holdfast/protocol';
import { FRAME, type FrameHead } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import type { PeerIdentity } from './identity.ts';
import { WIRE_LIMITS } from './limits.ts';
import { Outbox } from './outbox.ts';

/** One call as the serving side sees it. */
export interface WireRequest {
  readonly method: string;
  readonly header: unknown;
  readonly body: Uint8Array;
  readonly peer: PeerIdentity;
  readonly connection: WireConnection;
  /** Aborted when the caller gives up or its connection ends. */
  readonly signal: AbortSignal;
}

export interface WireAnswer {
  readonly header: unknown;
  readonly body?: Uint8Array | readonly Uint8Array[];
}

/** A message whose body is still arriving. */
interface Arriving {
  readonly head: FrameHead;
  readonly payload: Buffer;
  readonly body: Buffer;
  filled: number;
}

interface PendingCall {
  readonly resolve: (answer: { header: unknown; body: Uint8Array }) => void;
  readonly reject: (error: HoldfastError) => void;
}

interface Options {
  readonly socket: TLSSocket;
  readonly peer: PeerIdentity;
  /** Serves a request; absent on the calling side. */
  readonly serve?: (request: WireRequest) => Promise<WireAnswer>;
  readonly onNotice?: (method: string, header: unknown) => void;
}

/** One end of an established connection: calls, answers and notices over frames. */
export class WireConnection {
  readonly peer: PeerIdentity;
  readonly #options: Options;
  readonly #socket: TLSSocket;
  readonly #outbox: Outbox;
  readonly #reader: FrameReader;
  readonly #calls = new Map<number, PendingCall>();
  readonly #serving = new Map<number, AbortController>();
  readonly #arriving = new Map<number, Arriving>();
  readonly #closeListeners: (() => void)[] = [];
  readonly #heartbeat: NodeJS.Timeout;
  #nextId = 1;
  #heldBytes = 0;
  #heardAt = performance.now();
  #failure: HoldfastError | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.peer = options.peer;
    this.#socket = options.socket;
    this.#outbox = new Outbox(options.socket);
    this.#reader = new FrameReader((head, payload) => this.#frame(head, payload));
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (part: Buffer) => this.#data(part));
    this.#socket.on('error', (cause) => this.#fail('UNREACHABLE', cause.message, cause));
    this.#socket.on('close', () => this.#fail('UNREACHABLE', 'the connection ended'));
    this.#heartbeat = setInterval(() => this.#beat(), WIRE_LIMITS.pingAfterMs / 2);
    this.#heartbeat.unref();
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /** Calls under way here plus requests being served. */
  get busy(): number {
    return this.#calls.size + this.#serving.size;
  }

  /** Told once, when the connection is no more. */
  onClose(listener: () => void): void {
    if (this.#failure === undefined) this.#closeListeners.push(listener);
    else listener();
  }

  /** Sends a one-way message; lost when the connection ends. */
  notify(method: string, header: unknown): void {
    if (this.isOpen) void this.#outbox.send(FRAME.notice, 0, encode({ method, header }));
  }

  /**
   * Calls the other side. The body belongs to the connection until the call is over. Throws the
   * other side's error, UNREACHABLE when the connection ends first (whether it took effect is then
   * unknown), DEADLINE, EINTR by the signal.
   */
  call(
    method: string,
    header: unknown,
    options: {
      body?: Uint8Array | readonly Uint8Array[];
      signal?: AbortSignal;
      deadlineMs: number;
    },
  ): Promise<{ header: unknown; body: Uint8Array }> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (options.signal?.aborted === true) return Promise.reject(new HoldfastError('EINTR'));
    const id = this.#nextId++ & 0x7fffffff;
    return new Promise((resolve, reject) => {
      const giveUp = (error: HoldfastError): void => {
        this.#outbox.drop(id);
        void this.#outbox.send(FRAME.cancel, id, EMPTY);
        finish();
        reject(error);
      };
      const onAbort = (): void => giveUp(new HoldfastError('EINTR'));
      const timer = setTimeout(() => {
        giveUp(
          new HoldfastError(
            'DEADLINE',
            `${method}: no answer within ${Math.round(options.deadlineMs)} ms`,
          ),
        );
      }, options.deadlineMs);
      const finish = (): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
        this.#calls.delete(id);
      };
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.#calls.set(id, {
        resolve: (answer) => {
          finish();
          resolve(answer);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      });
      void this.#outbox.send(
        FRAME.request,
        id,
        encode({ method, header }),
        bodyParts(options.body),
      );
    });
  }

  /** Ends the connection once what is under way is done, or after a while in any case. */
  async close(): Promise<void> {
    const deadline = performance.now() + WIRE_LIMITS.drainMs;
    while (this.#serving.size > 0 && this.isOpen && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.#fail('UNREACHABLE', 'the connection was closed');
  }

  #data(part: Buffer): void {
    this.#heardAt = performance.now();
    try {
      this.#reader.push(part);
    } catch (error) {
      const known =
        error instanceof HoldfastError
          ? error
          : new HoldfastError('INTERNAL', String(error), { cause: error });
      this.#fail(known.code === 'CORRUPT' ? 'CORRUPT' : 'UNREACHABLE', known.message, error);
    }
  }

  #frame(head: FrameHead, payload: Buffer): void {
    switch (head.type) {
      case FRAME.segment:
        this.#segment(head, payload);
        return;
      case FRAME.ping:
        void this.#outbox.send(FRAME.pong, 0, EMPTY);
        return;
      case FRAME.pong:
        return;
      case FRAME.cancel:
        this.#cancelled(head.id);
        return;
      default:
        this.#message(head, payload);
    }
  }

  #message(head: FrameHead, payload: Buffer): void {
    if (head.bodyBytes === 0) {
      this.#complete(head, payload, Buffer.alloc(0));
      return;
    }
    if (this.#arriving.size >= WIRE_LIMITS.requestsMax)
      throw new HoldfastError('CORRUPT', 'too many bodies at once');
    this.#arriving.set(head.id, {
      head,
      payload,
      body: Buffer.allocUnsafeSlow(head.bodyBytes),
      filled: 0,
    });
    this.#hold(head.bodyBytes);
  }

  #segment(head: FrameHead, payload: Buffer): void {
    const arriving = this.#arriving.get(head.id);
    if (arriving === undefined) return; // of a body that was cancelled
    if (arriving.filled + payload.length > arriving.body.length) {
      throw new HoldfastError('CORRUPT', 'a body is longer than announced');
    }
    payload.copy(arriving.body, arriving.filled);
    arriving.filled += payload.length;
    if (arriving.filled < arriving.body.length) return;
    this.#arriving.delete(head.id);
    this.#complete(arriving.head, arriving.payload, arriving.body);
  }

  #complete(head: FrameHead, payload: Buffer, body: Buffer): void {
    if (head.type === FRAME.request) {
      void this.#serve(head.id, payload, body);
      return;
    }
    this.#release(body.length);
    if (head.type === FRAME.notice) {
      const { method, header } = decode<{ method: string; header: unknown }>(payload);
      this.#options.onNotice?.(method, header);
      return;
    }
    const call = this.#calls.get(head.id);
    if (call === undefined) return; // given up meanwhile
    if (head.type === FRAME.failure) call.reject(fromWireError(decode<WireError>(payload)));
    else call.resolve({ header: decode(payload), body });
  }

  async #serve(id: number, payload: Buffer, body: Buffer): Promise<void> {
    const controller = new AbortController();
    try {
      const { serve } = this.#options;
      if (serve === undefined) throw new HoldfastError('ENOSYS', 'this end serves no calls');
      if (this.#serving.size >= WIRE_LIMITS.requestsMax) throw new HoldfastError('OVERLOADED');
      this.#serving.set(id, controller);
      const { method, header } = decode<{ method: string; header: unknown }>(payload);
      const { peer } = this;
      const answer = await serve({
        method,
        header,
        body,
        peer,
        connection: this,
        signal: controller.signal,
      });
      if (this.isOpen && !controller.signal.aborted) {
        await this.#outbox.send(FRAME.response, id, encode(answer.header), bodyParts(answer.body));
      }
    } catch (error) {
      if (this.isOpen) void this.#outbox.send(FRAME.failure, id, encode(toWireError(error)));
    } finally {
      this.#serving.delete(id);
      this.#release(body.length);
    }
  }

  #cancelled(id: number): void {
    const arriving = this.#arriving.get(id);
    if (arriving !== undefined) {
      this.#arriving.delete(id);
      this.#release(arriving.body.length);
    }
    this.#serving.get(id)?.abort();
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes;
    if (
      this.#options.serve !== undefined &&
      this.#heldBytes > WIRE_LIMITS.heldBytesMax &&
      this.#arriving.size <= 1
    ) {
      this.#socket.pause();
    }
  }

  #release(bytes: number): void {
    this.#heldBytes -= bytes;
    if (this.#socket.isPaused() && this.#heldBytes <= WIRE_LIMITS.heldBytesMax)
      this.#socket.resume();
  }

  #beat(): void {
    const silentMs = performance.now() - this.#heardAt;
    // A paused socket is silent by our own doing.
    if (this.#socket.isPaused()) this.#heardAt = performance.now();
    else if (silentMs > WIRE_LIMITS.deadAfterMs) this.#fail('UNREACHABLE', 'the peer is silent');
    else if (silentMs > WIRE_LIMITS.pingAfterMs) void this.#outbox.send(FRAME.ping, 0, EMPTY);
  }

  #fail(code: 'UNREACHABLE' | 'CORRUPT', message: string, cause?: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = new HoldfastError(code, message, cause === undefined ? {} : { cause });
    clearInterval(this.#heartbeat);
    this.#outbox.close();
    for (const call of [...this.#calls.values()]) call.reject(this.#failure);
    for (const controller of this.#serving.values()) controller.abort();
    this.#arriving.clear();
    this.#socket.destroy();
    for (const listener of this.#closeListeners.splice(0)) listener();
  }
}

const EMPTY = new Uint8Array(0);

function bodyParts(body: Uint8Array | readonly Uint8Array[] | undefined): readonly Uint8Array[] {
  if (body === undefined) return [];
  return body instanceof Uint8Array ? [body] : body;
}
