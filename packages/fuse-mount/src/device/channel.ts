import { write, writeSync, writevSync } from 'node:fs';
import { HoldfastError } from '@holdfast/protocol';
import { REPLY_HEADER_BYTES, REQUEST_BYTES_MAX } from '../kernel/abi.ts';
import { emptyReply, finishReply } from '../kernel/encode.ts';
import type { RequestHeader } from '../kernel/requests.ts';
import { DEVICE_ERRNO, readInto, setCloseOnExec, setNonBlocking } from './native.ts';
import { type Readiness, watch } from './readiness.ts';

/** Requests read before the event loop turns, so that timers and sockets have their share. */
const DRAIN_MAX = 32;
/** Notifications under way: each holds a thread of the pool and may wait for requests we answer. */
const NOTIFICATIONS_MAX = 2;

/** A reply: encoded bytes with room for the header in front, or file data to follow a header. */
export type Reply = Buffer | { readonly data: readonly Uint8Array[] };

/** A request's identity, all that a reply needs of it. */
type RequestId = Pick<RequestHeader, 'requestId' | 'isResent'>;

/** What the channel calls. */
export interface ChannelListener {
  /** One request; the bytes are the channel's and change after the call. Must not throw. */
  onRequest(bytes: Buffer): void;
  /** The connection has ended: without error because of an unmount, else by a failure of the device. */
  onEnd(error: HoldfastError | undefined): void;
}

/**
 * The open /dev/fuse of one connection. Reads drain the queue and replies are written on the same
 * thread and at once, which is what makes this cheap; notifications never are, because the kernel
 * may hold them up until we have answered something else (an unkillable deadlock otherwise).
 */
export class Channel {
  readonly #descriptor: number;
  readonly #buffer = Buffer.allocUnsafeSlow(REQUEST_BYTES_MAX);
  readonly #readiness: Readiness;
  readonly #waitingNotifications: (() => void)[] = [];
  #notifications = 0;
  #listener: ChannelListener | undefined;
  #isPaused = false;
  #isEnded = false;

  /** Takes over a descriptor of /dev/fuse that is, or will be, mounted. `readiness` is for tests of the second way. */
  constructor(descriptor: number, readiness: typeof watch = watch) {
    this.#descriptor = descriptor;
    const result = Math.min(setNonBlocking(descriptor), setCloseOnExec(descriptor));
    if (result < 0) {
      const message = `descriptor ${descriptor} is not open (errno ${-result}); the keeper must pass /dev/fuse`;
      throw new HoldfastError('EBADF', message);
    }
    this.#readiness = readiness(descriptor, this.#buffer);
  }

  /** Begins to read. */
  start(listener: ChannelListener): void {
    this.#listener = listener;
    this.#readiness.start((length) => this.#drain(length));
  }

  /** Stops reading: requests wait in the kernel, interrupts too. */
  pause(): void {
    if (this.#isPaused || this.#isEnded) return;
    this.#isPaused = true;
    this.#readiness.pause();
  }

  /** Goes on reading. */
  resume(): void {
    if (!this.#isPaused || this.#isEnded) return;
    this.#isPaused = false;
    this.#readiness.resume();
  }

  /** Stops for good. The descriptor stays open, so that the connection lives on for the next daemon. */
  close(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#readiness.close();
  }

  /**
   * Answers a request with success. False when the kernel no longer waits for it: its caller was
   * killed, the connection has ended, or it has been answered before.
   */
  reply(request: RequestId, reply: Reply): boolean {
    if (!('data' in reply)) {
      finishReply(reply, request, { errno: 0, length: reply.length });
      return this.#send(request, () => writeSync(this.#descriptor, reply));
    }
    const header = emptyReply(0);
    const length = reply.data.reduce((sum, { length }) => sum + length, REPLY_HEADER_BYTES);
    finishReply(header, request, { errno: 0, length });
    return this.#send(request, () => writevSync(this.#descriptor, [header, ...reply.data]));
  }

  /** Answers a request with a positive errno; returns as {@link reply}. */
  replyError(request: RequestId, errno: number): boolean {
    const header = emptyReply(0);
    finishReply(header, request, { errno, length: header.length });
    try {
      writeSync(this.#descriptor, header);
      return true;
    } catch (error) {
      return this.#isNotWaiting(error);
    }
  }

  /**
   * Sends a notification; resolves when the kernel has done it, which may need replies from us, so
   * it must never be awaited before a reply. Never rejects: what the kernel does not know needs no
   * notice (ENOENT), and a connection that ended has no caches.
   */
  async notify(message: Buffer): Promise<void> {
    if (this.#notifications >= NOTIFICATIONS_MAX) {
      await new Promise<void>((resolve) => this.#waitingNotifications.push(resolve));
    }
    this.#notifications += 1;
    await new Promise<void>((resolve) => {
      write(this.#descriptor, message, () => resolve());
    });
    this.#notifications -= 1;
    this.#waitingNotifications.shift()?.();
  }

  /** Sends a notification that cannot wait for us, at once: RESEND. False when the kernel does not know it. */
  notifyNow(message: Buffer): boolean {
    try {
      writeSync(this.#descriptor, message);
      return true;
    } catch {
      return false;
    }
  }

  #send(request: RequestId, writeReply: () => number): boolean {
    try {
      writeReply();
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') return this.#isNotWaiting(error);
      // The kernel found the reply malformed and may still wait: never leave it without an answer.
      return this.replyError(request, 5);
    }
  }

  #isNotWaiting(error: unknown): false {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'EPERM') return false;
    if (code === 'ECONNABORTED' || code === 'ENOTCONN' || code === 'EINVAL') return false;
    throw new HoldfastError('INTERNAL', `a reply cannot be written (${code})`, { cause: error });
  }

  #drain(firstLength: number): void {
    let length = firstLength;
    for (let turn = 0; turn < DRAIN_MAX && !this.#isEnded; turn += 1) {
      if (length === 0) length = readInto(this.#descriptor, this.#buffer);
      if (length === -DEVICE_ERRNO.EAGAIN) return;
      if (length < 0 && !(turn > 0 && isPassing(-length))) {
        this.#end(-length);
        return;
      }
      if (length > 0) this.#listener?.onRequest(this.#buffer.subarray(0, length));
      if (this.#isPaused) return;
      length = 0;
    }
  }

  #end(errno: number): void {
    this.close();
    const isUnmounted = errno === DEVICE_ERRNO.ENODEV;
    const failure = new HoldfastError('DISK_FAILED', `reading /dev/fuse failed (errno ${errno})`);
    this.#listener?.onEnd(isUnmounted ? undefined : failure);
  }
}

/** The request's caller was killed while it was being read, or a signal came: the next read may succeed. */
function isPassing(errno: number): boolean {
  return errno === DEVICE_ERRNO.ENOENT || errno === DEVICE_ERRNO.EINTR;
}
