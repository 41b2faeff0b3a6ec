import { duplicate, pollReadable } from './native.ts';

/** Told about a device that can be read; implemented twice because one way rests on Node's internals. */
export interface Readiness {
  /**
   * From now on `onReady` is called while the device has requests. Its argument is the length of a
   * request that lies already in the buffer given at construction; 0: none has been read yet; below
   * 0: reading failed with that negative errno.
   */
  start(onReady: (length: number) => void): void;
  /** No calls until {@link resume}; requests wait in the kernel. */
  pause(): void;
  resume(): void;
  /** Final; the descriptor stays open. */
  close(): void;
}

/** The part of a libuv pipe handle that is used. */
interface PipeHandle {
  open(descriptor: number): number;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  close(): void;
  onread: () => void;
}

interface Bindings {
  (name: 'pipe_wrap'): { Pipe: new (kind: number) => PipeHandle; constants: { SOCKET: number } };
  (name: 'stream_wrap'): { streamBaseState: Int32Array; kReadBytesOrError: number };
}

/**
 * Readiness by the event loop: a libuv pipe opened on the device reads one request and calls back.
 * Throws when this Node has no such handle any more; then use {@link PollReadiness}.
 */
export class PipeReadiness implements Readiness {
  readonly #handle: PipeHandle;
  readonly #lengthOf: () => number;

  constructor(descriptor: number, buffer: Uint8Array) {
    const binding = (process as unknown as { binding: Bindings }).binding;
    const { Pipe, constants } = binding('pipe_wrap');
    const { streamBaseState, kReadBytesOrError } = binding('stream_wrap');
    this.#lengthOf = () => streamBaseState[kReadBytesOrError] ?? 0;
    this.#handle = new Pipe(constants.SOCKET);
    // A pipe closes its descriptor, and ours must outlive it.
    const own = duplicate(descriptor);
    const result = own < 0 ? own : this.#handle.open(own);
    if (result < 0) throw new Error(`the device cannot be watched as a pipe (errno ${-result})`);
    this.#handle.useUserBuffer(buffer);
  }

  start(onReady: (length: number) => void): void {
    this.#handle.onread = () => onReady(this.#lengthOf());
    this.#handle.readStart();
  }

  pause(): void {
    this.#handle.readStop();
  }

  resume(): void {
    this.#handle.readStart();
  }

  close(): void {
    this.#handle.readStop();
    this.#handle.close();
  }
}

/** How long one poll(2) occupies a thread; bounds how late a pause or an end is noticed. */
const POLL_MS = 1000;

/** Readiness by poll(2) in a thread of the pool: a third slower, but rests on public interfaces only. */
export class PollReadiness implements Readiness {
  readonly #descriptor: number;
  #onReady: (length: number) => void = () => {};
  #isActive = false;
  #isPolling = false;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  start(onReady: (length: number) => void): void {
    this.#onReady = onReady;
    this.resume();
  }

  pause(): void {
    this.#isActive = false;
  }

  resume(): void {
    this.#isActive = true;
    if (!this.#isPolling) void this.#poll();
  }

  close(): void {
    this.#isActive = false;
  }

  async #poll(): Promise<void> {
    this.#isPolling = true;
    while (this.#isActive) {
      const ready = await pollReadable(this.#descriptor, POLL_MS);
      if (this.#isActive && ready !== 0) this.#onReady(0);
    }
    this.#isPolling = false;
  }
}

/** The best way to watch a device that this Node has. */
export function watch(descriptor: number, buffer: Uint8Array): Readiness {
  try {
    return new PipeReadiness(descriptor, buffer);
  } catch {
    return new PollReadiness(descriptor);
  }
}
