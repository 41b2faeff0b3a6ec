import type { Entry, LogIndex, Term } from '@holdfast/raft';
import type { GroupLog } from './group-log.ts';
import type { StateMachine } from './shard-host.ts';

/** What is kept of a log though the state has it, for followers that are a little behind. */
export interface CompactionTail {
  readonly tailEntries: number;
  readonly tailBytes: number;
}

/** How much of a log is kept and when it is cut. */
export interface CompactionLimits extends CompactionTail {
  /** Entries beyond the tail that bring on the next compaction. */
  readonly everyEntries: number;
  /** Bytes of entries applied since the last one that do. */
  readonly everyBytes: number;
}

/** Options of {@link LogCompaction}. */
export interface LogCompactionOptions {
  readonly log: GroupLog;
  readonly machine: StateMachine;
  readonly limits: CompactionLimits;
  readonly appliedInGroup: () => LogIndex;
  /** Entries up to `index` may go. */
  readonly cut: (index: LogIndex, term: Term) => void;
  readonly onError: (error: unknown) => void;
}

/** Cuts one replica's log when it has grown, once its state is durable without what is cut. */
export class LogCompaction {
  readonly #options: LogCompactionOptions;
  #isRunning = false;
  #bytes = 0;

  constructor(options: LogCompactionOptions) {
    this.#options = options;
  }

  /** Entries were applied, up to `index`. */
  applied(index: LogIndex, entries: readonly Entry[]): void {
    for (const { data } of entries) this.#bytes += data.byteLength;
    const { limits, log } = this.#options;
    const kept = index - log.snapshot().index;
    if (kept >= limits.everyEntries + limits.tailEntries || this.#bytes >= limits.everyBytes) {
      this.compact(limits);
    }
  }

  /** Makes the state durable, then cuts all but the tail. One at a time; its errors are fatal. */
  compact(tail: CompactionTail): void {
    const { machine, onError } = this.#options;
    if (this.#isRunning || machine.flushed === undefined) return;
    this.#isRunning = true;
    this.#bytes = 0;
    machine
      .flushed()
      .then((durable) => {
        this.#isRunning = false;
        this.#cut(durable, tail);
      })
      .catch(onError);
  }

  #cut(durable: LogIndex, { tailEntries, tailBytes }: CompactionTail): void {
    const { log, appliedInGroup, cut } = this.#options;
    const highest = Math.min(durable, appliedInGroup());
    let index = Math.min(highest, log.lastIndex() - tailEntries);
    if (log.bytesAbove(index) > tailBytes) index = highest;
    const term = log.term(index);
    if (index >= log.firstIndex() && typeof term === 'number') cut(index, term);
  }
}
