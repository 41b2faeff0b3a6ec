import { type JobOrder, type RunEnd, type RunReport, SYSTEM_SHARD } from '@holdfast/protocol';
import type { Cluster } from './cluster/cluster.ts';

/** The runs of schedules that workers do: for peers and administrators. FORBIDDEN for others. */
export class BackupJobs {
  readonly #cluster: Pick<Cluster, 'callLeader'>;

  constructor(cluster: Pick<Cluster, 'callLeader'>) {
    this.#cluster = cluster;
  }

  /** A run that is due and is this worker's from now on; undefined when there is none for its host. */
  async take(
    { worker, host }: { readonly worker: string; readonly host: string },
    running: readonly string[],
    signal?: AbortSignal,
  ): Promise<JobOrder | undefined> {
    const header = { worker, host, running };
    return (await this.#call<{ order?: JobOrder }>('take', header, signal)).order;
  }

  /** A sign of life. Answers the keys of jobs that are the worker's no more. */
  async renew(
    worker: string,
    reports: readonly RunReport[],
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    return (await this.#call<{ lost: string[] }>('renew', { worker, reports }, signal)).lost;
  }

  /**
   * Says that a run is done or, with a reason, that it is not; or that its time has not come, for the volume
   * is half filled. CONFLICT when it is the worker's no more.
   */
  async end(
    worker: string,
    { job, due }: RunReport,
    why: RunEnd = {},
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call('end', { worker, job, due, ...why }, signal);
  }

  async #call<T>(what: string, header: unknown, signal?: AbortSignal): Promise<T> {
    const method = `registry.job-${what}`;
    return (await this.#cluster.callLeader<T>(SYSTEM_SHARD, method, header, signal)).header;
  }
}
