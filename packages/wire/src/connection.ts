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
import { bodyPassed } from './young-garbage.ts';

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
  /** Must not change until `onSent`. */
  readonly body?: Uint8Array | readonly Uint8Array[];
  /** Called once when the body has been handed to the system, or will never be. */
  readonly onSent?: () => void;
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
  #nextId = 0;
  #heldBytes = 0;
  #heardAt = performance.now();
  #beatAt = performance.now();
  #isClosing = false;
  #failure: HoldfastError | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.peer = options.peer;
    this.#socket = options.socket;
    this.#outbox = new Outbox(options.socket);
    this.#reader = new FrameReader({
      frame: (head, payload) => this.#frame(head, payload),
      place: (head) => this.#place(head),
      filled: (head) => this.#filled(head),
    });
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

  /** Why the connection ended; undefined while it has not. */
  get failure(): HoldfastError | undefined {
    return this.#failure;
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
   * unknown), DEADLINE, EINTR by the signal, OVERLOADED with too many calls under way.
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
    if (this.#calls.size >= WIRE_LIMITS.requestsMax)
      return Promise.reject(new HoldfastError('OVERLOADED', 'too many calls are under way'));
    const id = this.#freeId();
    return new Promise((resolve, reject) => {
      const giveUp = (error: HoldfastError): void => {
        finish();
        void this.#outbox.send(FRAME.cancel, id, EMPTY);
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
        this.#arriving.delete(id);
        // Refused before all of it was sent: the rest is not wanted.
        this.#outbox.drop(id);
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

  /**
   * Ends the connection: what is being served is answered first, for a while at most; new requests
   * are refused SHUTTING_DOWN, our own calls fail.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    const deadline = performance.now() + WIRE_LIMITS.drainMs;
    while (this.#serving.size > 0 && this.isOpen && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (this.isOpen) await this.#flush(deadline - performance.now());
    this.#fail('UNREACHABLE', 'the connection was closed');
  }

  /** Resolves when the system has taken all that was written. */
  #flush(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, withinMs));
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.onClose(done);
      this.#socket.end(done);
    });
  }

  #freeId(): number {
    for (;;) {
      this.#nextId = (this.#nextId & 0x7fffffff) + 1;
      if (!this.#calls.has(this.#nextId)) return this.#nextId;
    }
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
    if (this.#arriving.has(head.id))
      throw new HoldfastError('CORRUPT', 'two bodies of one message');
    if (!this.#isWelcome(head)) return;
    if (this.#arriving.size >= WIRE_LIMITS.requestsMax)
      throw new HoldfastError('CORRUPT', 'too many bodies at once');
    const body = Buffer.allocUnsafeSlow(head.bodyBytes);
    this.#arriving.set(head.id, { head, payload, body, filled: 0 });
    if (head.type === FRAME.request) this.#hold(head.bodyBytes);
  }

  /** Whether a body that is announced is wanted; else its segments are passed over. */
  #isWelcome(head: FrameHead): boolean {
    if (head.type !== FRAME.request) return this.#calls.has(head.id);
    if (this.#heldBytes + head.bodyBytes <= WIRE_LIMITS.refusedBytesMax) return true;
    const refusal = new HoldfastError('OVERLOADED', 'too many bytes wait on this connection');
    void this.#outbox.send(FRAME.failure, head.id, encode(toWireError(refusal)));
    return false;
  }

  #place({ id, payloadBytes }: FrameHead): Uint8Array | undefined {
    const arriving = this.#arriving.get(id);
    if (arriving === undefined) return undefined; // cancelled or refused
    const { body, filled } = arriving;
    if (filled + payloadBytes > body.length)
      throw new HoldfastError('CORRUPT', 'a body is longer than announced');
    return body.subarray(filled, filled + payloadBytes);
  }

  #filled({ id, payloadBytes }: FrameHead): void {
    const arriving = this.#arriving.get(id);
    if (arriving === undefined) return;
    arriving.filled += payloadBytes;
    if (arriving.filled < arriving.body.length) return;
    this.#arriving.delete(id);
    bodyPassed(arriving.body.length);
    this.#complete(arriving.head, arriving.payload, arriving.body);
  }

  #complete(head: FrameHead, payload: Buffer, body: Buffer): void {
    if (head.type === FRAME.request) {
      void this.#serve(head.id, payload, body);
      return;
    }
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
    let answer: WireAnswer | undefined;
    try {
      const { serve } = this.#options;
      if (serve === undefined) throw new HoldfastError('ENOSYS', 'this end serves no calls');
      if (this.#isClosing) throw new HoldfastError('SHUTTING_DOWN');
      if (this.#serving.has(id)) throw new HoldfastError('BAD_REQUEST', 'two requests of one id');
      if (this.#serving.size >= WIRE_LIMITS.requestsMax) throw new HoldfastError('OVERLOADED');
      this.#serving.set(id, controller);
      const { method, header } = decode<{ method: string; header: unknown }>(payload);
      const { peer } = this;
      const { signal } = controller;
      answer = await serve({ method, header, body, peer, connection: this, signal });
      if (this.isOpen && !signal.aborted)
        await this.#outbox.send(FRAME.response, id, encode(answer.header), bodyParts(answer.body));
    } catch (error) {
      if (this.isOpen) void this.#outbox.send(FRAME.failure, id, encode(toWireError(error)));
    } finally {
      if (this.#serving.get(id) === controller) this.#serving.delete(id);
      this.#release(body.length);
      answer?.onSent?.();
    }
  }

  #cancelled(id: number): void {
    const arriving = this.#arriving.get(id);
    if (arriving !== undefined) {
      this.#arriving.delete(id);
      this.#release(arriving.body.length);
    }
    this.#serving.get(id)?.abort();
    this.#outbox.drop(id);
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes;
    // A body half arrived must be able to come to its end: only then is reading stopped.
    if (this.#heldBytes > WIRE_LIMITS.heldBytesMax && this.#arriving.size <= 1)
      this.#socket.pause();
  }

  #release(bytes: number): void {
    this.#heldBytes -= bytes;
    if (this.#socket.isPaused() && this.#heldBytes <= WIRE_LIMITS.heldBytesMax)
      this.#socket.resume();
  }

  #beat(): void {
    const now = performance.now();
    const isLate = now - this.#beatAt > WIRE_LIMITS.pingAfterMs;
    this.#beatAt = now;
    if (this.#socket.isPaused() || isLate) {
      // Silent by our own doing: reading is stopped, or this process could not run. Show that we live.
      this.#heardAt = now;
      void this.#outbox.send(FRAME.pong, 0, EMPTY);
      return;
    }
    const silentMs = now - this.#heardAt;
    if (silentMs > WIRE_LIMITS.deadAfterMs) this.#fail('UNREACHABLE', 'the peer is silent');
    else if (silentMs > WIRE_LIMITS.pingAfterMs) void this.#outbox.send(FRAME.ping, 0, EMPTY);
  }

  #fail(code: 'UNREACHABLE' | 'CORRUPT', message: string, cause?: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = new HoldfastError(code, message, cause === undefined ? {} : { cause });
    clearInterval(this.#heartbeat);
    this.#outbox.close();
    for (const call of this.#calls.values()) call.reject(this.#failure);
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
