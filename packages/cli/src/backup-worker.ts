/** Takes the runs of backup schedules that the cluster has for this host, and does them. */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { ClusterClient } from '@holdfast/client';
import {
  HoldfastError,
  isFillingError,
  type JobOrder,
  jobKey,
  type RunEnd,
} from '@holdfast/protocol';
import { HeldRun } from './held-run.ts';

/** Milliseconds between questions whether there is something to do; after one without an answer. */
const ASK_MS = 2_000;
const UNANSWERED_MS = 5_000;

/** What {@link BackupWorker} works with. */
export interface BackupWorkerOptions {
  /** Asks for runs and tells of them. */
  readonly client: ClusterClient;
  readonly dataDirectory: string;
  /** Runs at once. */
  readonly jobsMax: number;
  readonly report: (event: string, fields: Readonly<Record<string, unknown>>) => void;
  /** The worker stops: runs are given back. */
  readonly signal: AbortSignal;
}

/** Works until it is told to stop. */
export class BackupWorker {
  readonly #options: BackupWorkerOptions;
  /** Another one than that of any process before: what that had is not this one's. */
  readonly #worker = randomBytes(12).toString('hex');
  readonly #running = new Set<string>();
  #isUnanswered = false;

  constructor(options: BackupWorkerOptions) {
    this.#options = options;
  }

  /** Resolves when it was told to stop and what it did is given back. FORBIDDEN on a host that is but a client. */
  async run(): Promise<void> {
    const lanes = Array.from({ length: this.#options.jobsMax }, () => this.#lane());
    await Promise.all(lanes);
  }

  async #lane(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      const order = await this.#take();
      if (order === 'unanswered') await this.#pause(UNANSWERED_MS);
      else if (order === undefined) await this.#pause(ASK_MS);
      else await this.#run(order);
    }
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#options.signal }).catch(() => {});
  }

  async #take(): Promise<JobOrder | 'unanswered' | undefined> {
    const { client, signal, report } = this.#options;
    const as = { worker: this.#worker, host: client.cluster.identity.name };
    try {
      const order = await client.jobs.take(as, [...this.#running], signal);
      this.#isUnanswered = false;
      // Asked for by two at once: the cluster told both of the same.
      if (order === undefined || this.#running.has(jobKey(order.job))) return undefined;
      this.#running.add(jobKey(order.job));
      return order;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof HoldfastError && error.code === 'FORBIDDEN') throw error;
      if (!this.#isUnanswered) report('backup.unanswered', { error: reasonOf(error) });
      this.#isUnanswered = true;
      return 'unanswered';
    }
  }

  async #run(order: JobOrder): Promise<void> {
    const { client, report, signal } = this.#options;
    const key = jobKey(order.job);
    const clock = (): number => performance.now();
    const held = new HeldRun({ jobs: client.jobs, worker: this.#worker, order, clock });
    report('backup.begun', { job: key, due: order.due });
    try {
      const end = await this.#attempt(order, held);
      if (held.isLost) report('backup.lost', { job: key, reason: reasonOf(held.signal.reason) });
      else await this.#end(order, held, end);
      const { failure: reason, waits = false } = end;
      if (reason !== undefined)
        report(waits ? 'backup.waits' : 'backup.failed', { job: key, reason });
    } finally {
      held.close();
      this.#running.delete(key);
    }
    // What could not even begin is not taken up again at once.
    if (!signal.aborted && held.isLost) await this.#pause(ASK_MS);
  }

  /** Why the run is not done; nothing when it is. */
  async #attempt(order: JobOrder, held: HeldRun): Promise<RunEnd> {
    const { dataDirectory, signal, report } = this.#options;
    let own: ClusterClient | undefined;
    try {
      // A worker that has nothing to do needs no memory for it.
      const { doRun } = await import('./backup-runs.ts');
      own = await ClusterClient.connect({ dataDirectory });
      const both = AbortSignal.any([held.signal, signal]);
      await doRun(order, { client: own, held, signal: both, report });
      return {};
    } catch (error) {
      if (signal.aborted) return { failure: 'the worker was stopped' };
      // A volume that is half filled since it was handed out is no failure.
      const waits = isFillingError(error);
      return { failure: reasonOf(error), ...(waits && { waits }) };
    } finally {
      await own?.close().catch(() => {});
    }
  }

  /** Tells of the end until the cluster knows, or the run is lost: then another finds what was done. */
  async #end(order: JobOrder, held: HeldRun, end: RunEnd): Promise<void> {
    const { client, report } = this.#options;
    while (!held.isLost) {
      try {
        await client.jobs.end(this.#worker, order, end, held.signal);
        return;
      } catch (error) {
        const isOutage = error instanceof HoldfastError && error.kind === 'outage';
        if (!isOutage) {
          report('backup.untold', { job: jobKey(order.job), error: reasonOf(error) });
          return;
        }
        await this.#pause(ASK_MS);
      }
    }
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
