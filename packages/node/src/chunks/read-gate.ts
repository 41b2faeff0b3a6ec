import { HoldfastError } from '@holdfast/protocol';

interface Waiting {
  readonly bytes: number;
  readonly letIn: () => void;
}

/** Bytes that may be in memory at a time: whoever would exceed them waits, first come, first served. */
class Bytes {
  readonly #max: number;
  readonly #waiting = new Set<Waiting>();
  #used = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Throws EINTR when the signal comes first. One of more than there are gets in alone. */
  take(bytes: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(new HoldfastError('EINTR'));
    if (this.#waiting.size === 0 && this.#fits(bytes)) {
      this.#used += bytes;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(waiting);
        reject(new HoldfastError('EINTR'));
        this.#letIn();
      };
      const letIn = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const waiting = { bytes, letIn };
      this.#waiting.add(waiting);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#letIn();
  }

  #letIn(): void {
    for (const waiting of this.#waiting) {
      if (!this.#fits(waiting.bytes)) return;
      this.#waiting.delete(waiting);
      this.#used += waiting.bytes;
      waiting.letIn();
    }
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#max;
  }
}

/** Bounds of {@link ReadGate}, in bytes. */
export interface ReadLimits {
  /** Of one reader: it cannot take all, however slowly it takes what it asked for. */
  readonly readerBytesMax: number;
  readonly totalBytesMax: number;
}

/** Keeps what was read from disk and not yet sent within bounds, for each reader and in all. */
export class ReadGate {
  readonly #limits: ReadLimits;
  readonly #total: Bytes;
  readonly #readers = new WeakMap<object, Bytes>();

  constructor(limits: ReadLimits) {
    this.#limits = limits;
    this.#total = new Bytes(limits.totalBytesMax);
  }

  /** Resolves when so many bytes may be read; the answer must be called when they are sent. Throws EINTR. */
  async enter(reader: object, bytes: number, signal: AbortSignal): Promise<() => void> {
    const own = this.#readers.get(reader) ?? new Bytes(this.#limits.readerBytesMax);
    this.#readers.set(reader, own);
    await own.take(bytes, signal);
    try {
      await this.#total.take(bytes, signal);
    } catch (error) {
      own.give(bytes);
      throw error;
    }
    return () => {
      own.give(bytes);
      this.#total.give(bytes);
    };
  }
}
