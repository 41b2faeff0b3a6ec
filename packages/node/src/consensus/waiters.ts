/** Callers that wait for the log: proposals for their entry, reads for an index to be applied. */
import { HoldfastError } from '@holdfast/protocol';
import type { LogIndex, Proposed, Term } from '@holdfast/raft';

/** A promise to be settled from outside. */
export interface Waiter<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: HoldfastError): void;
}

/** A waiter that ends with EINTR when the caller gives up. */
export function waiter<T>(signal: AbortSignal | undefined): Waiter<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  if (signal === undefined) return { promise, resolve, reject };
  const abort = () => reject(new HoldfastError('EINTR'));
  const done = () => signal.removeEventListener('abort', abort);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  return {
    promise,
    resolve: (value) => {
      done();
      resolve(value);
    },
    reject: (error) => {
      done();
      reject(error);
    },
  };
}

interface WaitingProposal extends Proposed {
  readonly waiter: Waiter<unknown>;
  deadline: number;
}

/** Proposals in the order of their index. */
export class ProposalWaiters {
  #waiting: WaitingProposal[] = [];

  get count(): number {
    return this.#waiting.length;
  }

  add({ index, term }: Proposed, caller: Waiter<unknown>, deadline: number): void {
    // An entry of an earlier leadership at or above this index was truncated.
    while (this.#waiting.length > 0 && this.#waiting.at(-1)!.index >= index) {
      this.#waiting.pop()!.waiter.reject(lost());
    }
    this.#waiting.push({ index, term, waiter: caller, deadline });
  }

  /** The entry at `index` was committed with `term`, and applied with that result. */
  applied(index: LogIndex, term: Term, result: unknown): void {
    while (this.#waiting.length > 0 && this.#waiting[0]!.index <= index) {
      const first = this.#waiting.shift()!;
      if (first.index === index && first.term === term) first.waiter.resolve(result);
      else first.waiter.reject(lost());
    }
  }

  /** A snapshot took the place of entries up to `index`: what became of them cannot be told. */
  skipped(index: LogIndex): void {
    while (this.#waiting.length > 0 && this.#waiting[0]!.index <= index) {
      this.#waiting.shift()!.waiter.reject(unknown());
    }
  }

  /** Leadership is lost: what is not settled by `deadline` will be told as unknown. */
  hurry(deadline: number): void {
    for (const waiting of this.#waiting) waiting.deadline = Math.min(waiting.deadline, deadline);
  }

  /** Ends those whose time is over. */
  expire(now: number, isLeader: boolean): void {
    if (!this.#waiting.some(({ deadline }) => deadline <= now)) return;
    const error = isLeader ? new HoldfastError('NO_QUORUM') : unknown();
    const [over, left] = [[], []] as [WaitingProposal[], WaitingProposal[]];
    for (const waiting of this.#waiting) (waiting.deadline <= now ? over : left).push(waiting);
    this.#waiting = left;
    for (const { waiter: caller } of over) caller.reject(error);
  }

  /** Ends all. */
  fail(error: HoldfastError): void {
    const all = this.#waiting;
    this.#waiting = [];
    for (const { waiter: caller } of all) caller.reject(error);
  }
}

function lost(): HoldfastError {
  return new HoldfastError('NOT_LEADER', 'leadership was lost; the entry was not committed', {
    detail: { leader: 0 },
  });
}

function unknown(): HoldfastError {
  return new HoldfastError('UNKNOWN_OUTCOME', 'leadership was lost with the entry in flight', {
    detail: { leader: 0 },
  });
}

interface ReadBatch {
  readonly waiters: Waiter<void>[];
  readonly deadline: number;
  /** Known once leadership was confirmed. */
  index: LogIndex | undefined;
}

/** Reads: those of one turn share a confirmation. */
export class ReadWaiters {
  #gathering: Waiter<void>[] = [];
  readonly #batches = new Map<number, ReadBatch>();
  #context = 0;

  get count(): number {
    return this.#batches.size;
  }

  get isGathering(): boolean {
    return this.#gathering.length > 0;
  }

  add(caller: Waiter<void>): void {
    this.#gathering.push(caller);
  }

  /** Closes the batch of this turn; its context for `readIndex`. */
  begin(deadline: number): number {
    this.#context += 1;
    this.#batches.set(this.#context, { waiters: this.#gathering, deadline, index: undefined });
    this.#gathering = [];
    return this.#context;
  }

  /** The batch may be answered once `index` is applied. */
  confirmed(context: number, index: LogIndex): void {
    const batch = this.#batches.get(context);
    if (batch !== undefined) batch.index = index;
  }

  applied(index: LogIndex): void {
    for (const [context, batch] of this.#batches) {
      if (batch.index === undefined || batch.index > index) continue;
      this.#batches.delete(context);
      for (const caller of batch.waiters) caller.resolve();
    }
  }

  drop(context: number, error: HoldfastError): void {
    const batch = this.#batches.get(context);
    this.#batches.delete(context);
    for (const caller of batch?.waiters ?? []) caller.reject(error);
  }

  expire(now: number): void {
    for (const [context, batch] of this.#batches) {
      if (batch.deadline <= now) this.drop(context, new HoldfastError('NO_QUORUM'));
    }
  }

  fail(error: HoldfastError): void {
    for (const caller of this.#gathering) caller.reject(error);
    this.#gathering = [];
    for (const context of this.#batches.keys()) this.drop(context, error);
  }
}
