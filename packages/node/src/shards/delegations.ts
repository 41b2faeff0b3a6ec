import type { Command, SessionId, SessionNotice, VolumeNumber } from '@holdfast/protocol';

/** Milliseconds between recalls while the holder has not answered; one may get lost with its connection. */
const RECALL_AGAIN_MS = 1000;

interface Recall {
  readonly free: Promise<void>;
  readonly resolve: () => void;
  waiting: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Gets delegations back for sessions that need the volume. All that need the same one wait for one
 * recall; they go on when its holder gives it back or ends.
 */
export class DelegationRecalls {
  readonly #notify: (session: SessionId, notice: SessionNotice) => void;
  readonly #recalls = new Map<VolumeNumber, Recall>();

  constructor(notify: (session: SessionId, notice: SessionNotice) => void) {
    this.#notify = notify;
  }

  /** Resolves when the delegation may be free, or after `waitMs`, or when the signal says so. */
  async wait(
    volume: VolumeNumber,
    holder: SessionId,
    o: { readonly waitMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const recall = this.#recalls.get(volume) ?? this.#begin(volume, holder);
    recall.waiting += 1;
    let stop = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const timer = setTimeout(stop, Math.max(0, o.waitMs));
    o.signal?.addEventListener('abort', stop, { once: true });
    await Promise.race([recall.free, stopped]);
    clearTimeout(timer);
    o.signal?.removeEventListener('abort', stop);
    recall.waiting -= 1;
    if (recall.waiting === 0) this.#end(volume, recall);
  }

  #begin(volume: VolumeNumber, holder: SessionId): Recall {
    const { promise, resolve } = Promise.withResolvers<void>();
    const recall: Recall = { free: promise, resolve, waiting: 0, timer: undefined };
    this.#recalls.set(volume, recall);
    const tell = () => this.#notify(holder, { notice: 'recall', volume });
    recall.timer = setInterval(tell, RECALL_AGAIN_MS);
    recall.timer.unref();
    tell();
    return recall;
  }

  #end(volume: VolumeNumber, recall: Recall): void {
    clearInterval(recall.timer);
    recall.resolve();
    if (this.#recalls.get(volume) === recall) this.#recalls.delete(volume);
  }

  /** Keeps up with what was applied. */
  applied({ operation, volume }: Command): void {
    if (this.#recalls.size === 0) return;
    const { op } = operation;
    const recall = this.#recalls.get(volume);
    if (recall !== undefined && (op === 'return-delegation' || op === 'destroy-volume')) {
      this.#end(volume, recall);
    }
    if (op === 'close-session' || op === 'expire-session') this.release();
  }

  /** Lets all that wait look again: a session has ended, or leadership has. */
  release(): void {
    for (const [volume, recall] of this.#recalls) this.#end(volume, recall);
  }
}
