/**
 * Linearizable reads without a log entry (thesis section 6.4). A read is good at the commit index once
 * a quorum has confirmed that this leader still led after the read was asked. Two ways to know:
 * - a heartbeat round that was sent after the read came, answered by a quorum; reads that wait share
 *   one round;
 * - the lease: a round answered by a quorum binds those voters to elect nobody for `electionTicks`, so
 *   for the shorter `leaseTicks` from its sending no round is needed.
 */
import type { ReadState } from './ready.ts';
import type { LogIndex } from './storage.ts';

interface WaitingRead {
  readonly context: number;
}

interface RoundReads {
  readonly round: number;
  /** Commit index when the round was sent. */
  readonly index: LogIndex;
  readonly reads: readonly WaitingRead[];
}

/** Rounds of one leadership and the reads that ride on them. */
export class ReadRounds {
  /** Came after the last round was sent. */
  #waiting: WaitingRead[] = [];
  /** On a round that is not confirmed yet, oldest first. */
  #riding: RoundReads[] = [];
  #ridingCount = 0;
  #states: ReadState[] = [];
  #dropped: number[] = [];
  #round = 0;
  /** Confirmed rounds' successor: when each round that is not confirmed was sent; index 0 is `#confirmed + 1`. */
  #sentTicks: number[] = [];
  #confirmed = 0;
  /** Tick at which the newest confirmed round was sent. */
  #confirmedTick = Number.NEGATIVE_INFINITY;

  /** Reads that have no answer yet. */
  get count(): number {
    return this.#waiting.length + this.#ridingCount;
  }

  /** The round sent last. */
  get round(): number {
    return this.#round;
  }

  /** Reads wait and no round is on its way that would tell them to wait a little longer. */
  get wantsRound(): boolean {
    return this.#waiting.length > 0 && this.#riding.length === 0;
  }

  get hasOutput(): boolean {
    return this.#states.length > 0 || this.#dropped.length > 0;
  }

  /** A read to be confirmed by the next round. */
  wait(context: number): void {
    this.#waiting.push({ context });
  }

  /** A read whose leadership is certain now. */
  answer(context: number, index: LogIndex): void {
    this.#states.push({ context, index });
  }

  /**
   * A new round is sent at `tick`. Waiting reads ride on it, unless `commit` is undefined: the leader
   * does not know yet what is committed.
   */
  begin(tick: number, commit: LogIndex | undefined): number {
    this.#round += 1;
    this.#sentTicks.push(tick);
    if (commit !== undefined && this.#waiting.length > 0) {
      this.#riding.push({ round: this.#round, index: commit, reads: this.#waiting });
      this.#ridingCount += this.#waiting.length;
      this.#waiting = [];
    }
    return this.#round;
  }

  /** A quorum has answered `round` or later ones. */
  confirm(round: number): void {
    if (round <= this.#confirmed) return;
    this.#confirmedTick = this.#sentTicks[round - this.#confirmed - 1]!;
    this.#sentTicks.splice(0, round - this.#confirmed);
    this.#confirmed = round;
    while (this.#riding.length > 0 && this.#riding[0]!.round <= round) {
      const { index, reads } = this.#riding.shift()!;
      this.#ridingCount -= reads.length;
      for (const { context } of reads) this.#states.push({ context, index });
    }
  }

  /** Ticks since the newest confirmed round was sent. */
  confirmedAge(tick: number): number {
    return tick - this.#confirmedTick;
  }

  /** Leadership ended: unanswered reads are dropped, rounds start anew. Finished answers stay. */
  reset(): void {
    const dropped = [...this.#riding.flatMap(({ reads }) => reads), ...this.#waiting];
    this.#dropped.push(...dropped.map(({ context }) => context));
    this.#waiting = [];
    this.#riding = [];
    this.#ridingCount = 0;
    this.#sentTicks = [];
    this.#round = 0;
    this.#confirmed = 0;
    this.#confirmedTick = Number.NEGATIVE_INFINITY;
  }

  /** Answers since the last call. */
  take(): { readStates: readonly ReadState[]; readsDropped: readonly number[] } {
    const output = { readStates: this.#states, readsDropped: this.#dropped };
    this.#states = [];
    this.#dropped = [];
    return output;
  }
}
