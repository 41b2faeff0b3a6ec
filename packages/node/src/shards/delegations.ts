import type { Command, SessionId, SessionNotice, VolumeNumber } from '@holdfast/protocol';

/** Milliseconds between recalls while a holder has not answered; one may get lost with its connection. */
const RECALL_AGAIN_MS = 1000;

interface Recall {
  readonly free: Promise<void>;
  readonly resolve: () => void;
  /** Sessions that have not given their delegation back yet. */
  readonly holders: Set<SessionId>;
  waiting: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Gets delegations back for sessions that change the volume. All that change the same one wait for
 * one recall; they go on when all of its holders have given theirs back, or one has ended.
 */
export class DelegationRecalls {
  readonly #notify: (session: SessionId, notice: SessionNotice) => void;
  readonly #recalls = new Map<VolumeNumber, Recall>();

  constructor(notify: (session: SessionId, notice: SessionNotice) => void) {
    this.#notify = notify;
  }

  /** Resolves when the delegations may be back, or after `waitMs`, or when the signal says so. */
  async wait(
    volume: VolumeNumber,
    holders: readonly SessionId[],
    o: { readonly waitMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const recall = this.#recalls.get(volume) ?? this.#begin(volume);
    for (const holder of holders) this.#ask(volume, recall, holder);
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

  /** Whether someone waits to change the volume: nobody should get another delegation before. */
  isWanted(volume: VolumeNumber): boolean {
    return this.#recalls.has(volume);
  }

  #begin(volume: VolumeNumber): Recall {
    const { promise, resolve } = Promise.withResolvers<void>();
    const holders = new Set<SessionId>();
    const recall: Recall = { free: promise, resolve, holders, waiting: 0, timer: undefined };
    this.#recalls.set(volume, recall);
    recall.timer = setInterval(() => {
      for (const holder of holders) this.#notify(holder, { notice: 'recall', volume });
    }, RECALL_AGAIN_MS);
    recall.timer.unref();
    return recall;
  }

  #ask(volume: VolumeNumber, recall: Recall, holder: SessionId): void {
    if (recall.holders.has(holder)) return;
    recall.holders.add(holder);
    this.#notify(holder, { notice: 'recall', volume });
  }

  #end(volume: VolumeNumber, recall: Recall): void {
    clearInterval(recall.timer);
    recall.resolve();
    if (this.#recalls.get(volume) === recall) this.#recalls.delete(volume);
  }

  /** Keeps up with what was applied. */
  applied({ operation, volume, session }: Command): void {
    if (this.#recalls.size === 0) return;
    const { op } = operation;
    const recall = this.#recalls.get(volume);
    if (recall !== undefined && op === 'return-delegation') {
      recall.holders.delete(session);
      if (recall.holders.size === 0) this.#end(volume, recall);
    }
    if (recall !== undefined && op === 'destroy-volume') this.#end(volume, recall);
    if (op === 'close-session' || op === 'expire-session') this.release();
  }

  /** Lets all that wait look again: a session has ended, or leadership has. */
  release(): void {
    for (const [volume, recall] of this.#recalls) this.#end(volume, recall);
  }
}
