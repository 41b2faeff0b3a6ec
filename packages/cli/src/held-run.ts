/** A run of a schedule that is this worker's for as long as the cluster hears of it. */
import type { ClusterClient } from '@holdfast/client';
import {
  HoldfastError,
  JOB_TIMES,
  type JobOrder,
  jobKey,
  type RunProgress,
  type RunReport,
} from '@holdfast/protocol';

/** What {@link HeldRun} works with. */
export interface HeldRunOptions {
  readonly jobs: Pick<ClusterClient['jobs'], 'renew'>;
  readonly worker: string;
  readonly order: Pick<JobOrder, 'job' | 'due'>;
  /** Milliseconds that only grow, also while the process stands still. */
  readonly clock: () => number;
}

/** Renews the claim, and aborts when it is lost: the run is another worker's then. */
export class HeldRun {
  readonly #options: HeldRunOptions;
  readonly #lost = new AbortController();
  #heardMs: number;
  #progress: RunProgress | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HeldRunOptions) {
    this.#options = options;
    this.#heardMs = options.clock();
    this.#next();
  }

  /** Aborts when the run is lost, with SESSION_EXPIRED. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  get isLost(): boolean {
    return this.#lost.signal.aborted;
  }

  /** Told with the next sign of life. */
  tell(progress: RunProgress): void {
    this.#progress = progress;
  }

  /** Asks the cluster, now. SESSION_EXPIRED when the run is another's, or nobody could be asked in time. */
  async confirm(): Promise<void> {
    await this.#renew();
    this.#lost.signal.throwIfAborted();
  }

  /** Gives no more signs of life. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #next(): void {
    this.#timer = setTimeout(() => void this.#again(), JOB_TIMES.renewMs);
  }

  async #again(): Promise<void> {
    await this.#renew();
    if (this.#timer !== undefined && !this.isLost) this.#next();
  }

  async #renew(): Promise<void> {
    const { jobs, worker, order, clock } = this.#options;
    const { job, due } = order;
    const sentMs = clock();
    const report: RunReport = {
      job,
      due,
      ...(this.#progress !== undefined && { progress: this.#progress }),
    };
    const leftMs = Math.max(1, JOB_TIMES.claimMs - (sentMs - this.#heardMs));
    try {
      const lost = await jobs.renew(worker, [report], AbortSignal.timeout(leftMs));
      if (lost.includes(jobKey(job))) this.#lose('another worker has this run now');
      else this.#heardMs = sentMs;
    } catch (error) {
      // Tried again, until the cluster must believe that nobody works here.
      if (clock() - this.#heardMs < JOB_TIMES.claimMs) return;
      this.#lose('the cluster could not be told in time that this run goes on', error);
    }
  }

  #lose(why: string, cause?: unknown): void {
    this.#lost.abort(new HoldfastError('SESSION_EXPIRED', why, { cause }));
  }
}
