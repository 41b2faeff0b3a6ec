/** Backups, prunes and verifications by schedule: handed out to workers by whoever leads the system shard. */
import type { ClusterState } from '@holdfast/placement';
import {
  HoldfastError,
  JOB_TIMES,
  type JobClaim,
  type JobName,
  type JobOrder,
  type JobRuns,
  jobKey,
  type RepositoryRecord,
  type RunEnd,
  type RunProgress,
  type RunReport,
  type VolumeRecord,
} from '@holdfast/protocol';
import { chooseJob, dueJob, type JobChoice, retryPauseMs, Schedule } from '@holdfast/schedule';
import type { Registry as MetricsRegistry } from 'prom-client';
import { Rounds } from '../shards/rounds.ts';
import type { Log } from '../telemetry/log.ts';
import { withDeadline } from '../waiting.ts';
import { BackupJobMetrics } from './backup-job-metrics.ts';
import type { Registry } from './registry.ts';
import type { VolumeSnapshots } from './snapshots.ts';

/** Milliseconds between looks for workers that fell silent. */
const LOOK_MS = 1_000;
/** Milliseconds for a look whether a volume is half filled; until it is looked at again. */
const FILLING_MS = 2_000;
const WAIT_MS = 5_000;
/** Milliseconds after which a job that no worker asked for any more is not said to wait. */
const FORGET_WAITS_MS = 60_000;
/** Schedules kept as they were read; there are few different ones. */
const PARSED_MAX = 1_024;

/** What {@link BackupJobs} works with. */
export interface BackupJobsOptions {
  readonly registry: Pick<Registry, 'isLeader' | 'assertLeader' | 'applied' | 'read' | 'execute'>;
  /** Milliseconds since the epoch: what schedules are read with. */
  readonly now: () => number;
  /** Milliseconds that only grow: what tells of silence. */
  readonly clock: () => number;
  readonly metrics: MetricsRegistry;
  readonly log: Log;
  readonly snapshots: Pick<VolumeSnapshots, 'whyHalf'>;
  /** Milliseconds between looks; 1000. */
  readonly lookMs?: number;
}

/** A run that a worker has, and how far it says that it is. */
export interface RunStatus {
  readonly host: string;
  /** ISO 8601. */
  readonly since: string;
  readonly progress?: RunProgress;
}

/** A job's schedule as `holdfast status` shows it. Times are ISO 8601. */
export interface JobStatus {
  readonly schedule: string;
  /** When the next run is due; in the past when it waits for a worker. */
  readonly nextAt?: string;
  readonly doneAt?: string;
  readonly running?: RunStatus;
  /** Tries that failed since the last run that was done. */
  readonly failures: number;
  readonly failedAt?: string;
  readonly failure?: string;
  /** When it is tried again. */
  readonly retryAt?: string;
  /** What it waits for: the volume is half filled. */
  readonly waits?: string;
}

/** A repository that is known by name, as `holdfast status` shows it. */
export interface RepositoryStatus {
  readonly name: string;
  readonly place: string;
  readonly prune?: JobStatus;
  readonly verify?: JobStatus;
  readonly verification?: RepositoryRecord['lastVerification'];
}

/** A job of the registry with all that is known of it. */
interface Job extends JobChoice {
  readonly name: JobName;
  readonly key: string;
  readonly runs: JobRuns;
  readonly schedule: Schedule;
}

interface Lease {
  readonly claim: JobClaim;
  heardMs: number;
  progress?: RunProgress;
}

/** Runs on every peer; acts only where the system shard is led. What is to last is in the registry. */
export class BackupJobs {
  readonly #options: BackupJobsOptions;
  readonly #rounds = new Rounds((signal) => this.#round(signal));
  /** By key of the job. A leader that is new to it takes every claim as just heard of. */
  readonly #leases = new Map<string, Lease>();
  /** Jobs whose volumes were half filled when they were last looked at, by key. */
  readonly #waits = new Map<string, { readonly why: string; readonly atMs: number }>();
  readonly #parsed = new Map<string, Schedule>();
  readonly #metrics: BackupJobMetrics;
  /** Two workers that ask at once are served one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: BackupJobsOptions) {
    this.#options = options;
    this.#metrics = new BackupJobMetrics(options.metrics, {
      volumes: () => this.#shownVolumes(),
      repositories: () => this.repositories(),
    });
  }

  start(): void {
    this.#rounds.start();
  }

  /** Resolves when what is under way has ended. */
  async close(): Promise<void> {
    await this.#rounds.stop();
  }

  /**
   * Hands a run out that is due; undefined when there is none for this host. A worker that has one of which it
   * does not know (it is not among `running`, keys of jobs) is told of that one again: an answer was lost.
   */
  async take(
    worker: string,
    host: string,
    running: readonly string[],
  ): Promise<JobOrder | undefined> {
    const mine = this.#turn.then(() => this.#take(worker, host, running));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #take(
    worker: string,
    host: string,
    running: readonly string[],
  ): Promise<JobOrder | undefined> {
    const { registry, now, clock, log } = this.#options;
    const state = await registry.read();
    const jobs = this.#jobs(state, now());
    const lost = jobs.find(
      ({ runs, key }) => runs.claim?.worker === worker && !running.includes(key),
    );
    if (lost?.runs.claim !== undefined) return orderOf(state, lost, lost.runs.claim.due);
    const job = await this.#choose(state, jobs, host);
    if (job?.dueMs === undefined) return undefined;
    const due = new Date(job.dueMs).toISOString();
    await registry.execute({ op: 'begin-job', job: job.name, due, worker, host });
    const claim = { due, worker, host, since: new Date(now()).toISOString() };
    this.#leases.set(job.key, { claim, heardMs: clock() });
    log.info({ event: 'backup.job.begun', job: job.key, due, host });
    return orderOf(registry.applied(), job, due);
  }

  /** The next job for a host; backups of volumes that are half filled wait, and nothing waits for them. */
  async #choose(state: ClusterState, jobs: readonly Job[], host: string): Promise<Job | undefined> {
    for (let left = jobs; ; ) {
      const job = chooseJob(left, host);
      const volume = job?.name.kind === 'backup' ? state.volume(job.name.volume) : undefined;
      if (job === undefined || volume === undefined) return job;
      const why = await this.#whyWaits(job.key, volume);
      if (why === undefined) return job;
      left = left.filter((one) => one !== job);
    }
  }

  async #whyWaits(key: string, volume: VolumeRecord): Promise<string | undefined> {
    const { clock, snapshots, log } = this.#options;
    const known = this.#waits.get(key);
    if (known !== undefined && clock() - known.atMs < WAIT_MS) return known.why;
    const look = withDeadline(`volume '${volume.name}'`, FILLING_MS, () =>
      snapshots.whyHalf(volume),
    );
    // Where nobody can tell, the backup will.
    const why = await look.catch(() => undefined);
    if (why === undefined) this.#waits.delete(key);
    else {
      if (known === undefined) log.info({ event: 'backup.job.waits', job: key, reason: why });
      this.#waits.set(key, { why, atMs: clock() });
    }
    return why;
  }

  /** A worker lives, and says how far it is. Answers the keys of jobs that are its no more. */
  async renew(worker: string, reports: readonly RunReport[]): Promise<readonly string[]> {
    const { registry, clock } = this.#options;
    const state = await registry.read();
    const claims = new Map(this.#jobs(state, 0).map(({ key, runs }) => [key, runs.claim] as const));
    return reports.flatMap(({ job, due, progress }) => {
      const key = jobKey(job);
      const claim = claims.get(key);
      if (claim?.worker !== worker || claim.due !== due) return [key];
      this.#leases.set(key, { claim, heardMs: clock(), ...(progress && { progress }) });
      return [];
    });
  }

  /**
   * A run is done or, with a reason, is not, or `waits` for a volume that is half filled. CONFLICT when it is
   * the worker's no more.
   */
  async end(
    worker: string,
    { job, due }: RunReport,
    { failure, waits = false }: RunEnd = {},
  ): Promise<void> {
    const { registry, log } = this.#options;
    registry.assertLeader();
    const why = { ...(failure !== undefined && { failure }), ...(waits && { waits }) };
    await registry.execute({ op: 'end-job', job, due, worker, ...why });
    this.#leases.delete(jobKey(job));
    const kind = { kind: job.kind };
    if (waits) this.#waits.delete(jobKey(job));
    else if (failure === undefined) this.#metrics.runs.inc(kind);
    else this.#metrics.failures.inc(kind);
    log.info({ event: 'backup.job.ended', job: jobKey(job), due, ...why });
  }

  /** The schedule of a volume's backups, where it is run. */
  ofVolume({ policy, backupRuns, number }: VolumeRecord): JobStatus | undefined {
    const status = this.#statusOf(policy.backupSchedule, backupRuns);
    const waits = this.#waits.get(jobKey({ kind: 'backup', volume: number }))?.why;
    return status === undefined || waits === undefined ? status : { ...status, waits };
  }

  /** The repositories known by name, where the system shard is led. */
  repositories(): readonly RepositoryStatus[] {
    const { registry } = this.#options;
    if (!registry.isLeader) return [];
    return registry.applied().repositories.map((known) => {
      const { name, place, lastVerification: verification } = known;
      const prune = this.#statusOf(known.pruneSchedule, known.pruneRuns);
      const verify = this.#statusOf(known.verifySchedule, known.verifyRuns);
      return {
        name,
        place,
        ...(prune !== undefined && { prune }),
        ...(verify !== undefined && { verify }),
        ...(verification !== undefined && { verification }),
      };
    });
  }

  #shownVolumes(): readonly { readonly volume: string; readonly status: JobStatus }[] {
    const { registry } = this.#options;
    if (!registry.isLeader) return [];
    return [...registry.applied().volumes].flatMap(({ record }) => {
      const status = this.ofVolume(record);
      return status === undefined ? [] : [{ volume: record.name, status }];
    });
  }

  #statusOf(text: string | undefined, runs: JobRuns | undefined): JobStatus | undefined {
    const schedule = text === undefined ? undefined : this.#parse(text);
    if (schedule === undefined || runs === undefined) return undefined;
    const { claim, doneAt, failures, failedAt, failure } = runs;
    const nowMs = this.#options.now();
    const waiting = dueJob(schedule, { ...progressOf(runs), failures: 0 }, nowMs);
    const nextMs = claim === undefined && waiting !== undefined ? waiting : schedule.next(nowMs);
    const progress = claim === undefined ? undefined : this.#progress(claim);
    const retryMs = failedAt === undefined ? 0 : Date.parse(failedAt) + retryPauseMs(failures);
    const isRetried = failedAt !== undefined && claim === undefined && failures > 0;
    return {
      schedule: schedule.text,
      ...(nextMs !== undefined && { nextAt: new Date(nextMs).toISOString() }),
      ...(doneAt !== undefined && { doneAt }),
      ...(claim !== undefined && {
        running: { host: claim.host, since: claim.since, ...(progress && { progress }) },
      }),
      failures,
      ...(failedAt !== undefined && { failedAt }),
      ...(failure !== undefined && { failure }),
      ...(isRetried && { retryAt: new Date(retryMs).toISOString() }),
    };
  }

  #progress({ worker, due }: JobClaim): RunProgress | undefined {
    const lease = this.#leases
      .values()
      .find(({ claim }) => claim.worker === worker && claim.due === due);
    return lease?.progress;
  }

  async #round(signal: AbortSignal): Promise<number> {
    const { registry, log } = this.#options;
    try {
      if (registry.isLeader) await this.#voidSilent(signal);
      else {
        this.#leases.clear();
        this.#waits.clear();
      }
    } catch (error) {
      // Lost leadership or quorum: the next round, or the next leader, does it.
      log.debug({ event: 'backup.jobs.round.failed', error });
    }
    return this.#options.lookMs ?? LOOK_MS;
  }

  /** Takes jobs from workers that were not heard of, so that others may have them. */
  async #voidSilent(signal: AbortSignal): Promise<void> {
    const { registry, clock, log } = this.#options;
    const claimed = this.#jobs(registry.applied(), 0).filter(({ isTaken }) => isTaken);
    const keys = new Set(claimed.map(({ key }) => key));
    for (const key of this.#leases.keys()) if (!keys.has(key)) this.#leases.delete(key);
    for (const [key, { atMs }] of this.#waits)
      if (clock() - atMs > FORGET_WAITS_MS) this.#waits.delete(key);
    for (const { name, key, runs } of claimed) {
      const { claim } = runs;
      if (claim === undefined || signal.aborted || !registry.isLeader) continue;
      const lease = this.#leases.get(key);
      if (lease?.claim.worker !== claim.worker || lease.claim.due !== claim.due) {
        this.#leases.set(key, { claim, heardMs: clock() });
        continue;
      }
      if (clock() - lease.heardMs <= JOB_TIMES.claimMs) continue;
      const { due, worker, host } = claim;
      await registry.execute({ op: 'void-claim', job: name, due, worker });
      this.#metrics.silenced.inc();
      log.warn({ event: 'backup.job.silent', job: key, due, host });
    }
  }

  /** All jobs that have a schedule. `nowMs`: 0 when it does not matter which are due. */
  #jobs(state: ClusterState, nowMs: number): readonly Job[] {
    const known = new Map(state.repositories.map((one) => [one.name, one] as const));
    const backups = [...state.volumes].flatMap(({ record, removal }) => {
      const { policy, backupRuns, number, state: at } = record;
      const { backupSchedule, backupRepository = '' } = policy;
      const repository = known.get(backupRepository);
      if (at !== 'ready' || removal !== undefined || repository === undefined) return [];
      const name = { kind: 'backup', volume: number } as const;
      return this.#jobOf({ name, repository, text: backupSchedule, runs: backupRuns }, nowMs);
    });
    const upkeep = [...known.values()].flatMap((repository) => {
      const { name, pruneSchedule, pruneRuns, verifySchedule, verifyRuns } = repository;
      const prune = { kind: 'prune', repository: name } as const;
      const verify = { kind: 'verify', repository: name } as const;
      return [
        ...this.#jobOf({ name: prune, repository, text: pruneSchedule, runs: pruneRuns }, nowMs),
        ...this.#jobOf({ name: verify, repository, text: verifySchedule, runs: verifyRuns }, nowMs),
      ];
    });
    return [...backups, ...upkeep];
  }

  #jobOf(
    of: {
      readonly name: JobName;
      readonly repository: RepositoryRecord;
      readonly text: string | undefined;
      readonly runs: JobRuns | undefined;
    },
    nowMs: number,
  ): readonly Job[] {
    const { name, repository, text, runs } = of;
    const schedule = text === undefined ? undefined : this.#parse(text);
    if (schedule === undefined || runs === undefined) return [];
    const dueMs = nowMs === 0 ? undefined : dueJob(schedule, progressOf(runs), nowMs);
    return [
      {
        name,
        key: jobKey(name),
        runs,
        schedule,
        repository: repository.name,
        hosts: repository.hosts,
        isAlone: name.kind === 'prune',
        isTaken: runs.claim !== undefined,
        dueMs,
      },
    ];
  }

  #parse(text: string): Schedule | undefined {
    try {
      const schedule = this.#parsed.get(text) ?? Schedule.parse(text);
      if (this.#parsed.size >= PARSED_MAX) this.#parsed.clear();
      this.#parsed.set(text, schedule);
      return schedule;
    } catch (error) {
      // Written by a newer version: whoever understands it runs it.
      this.#options.log.warn({ event: 'schedule.unreadable', schedule: text, error });
      return undefined;
    }
  }
}

function progressOf({ since, due, askedAt, failures, failedAt }: JobRuns) {
  return {
    sinceMs: Date.parse(since),
    ...(due !== undefined && { doneMs: Date.parse(due) }),
    ...(askedAt !== undefined && { askedMs: Date.parse(askedAt) }),
    failures,
    ...(failedAt !== undefined && { failedMs: Date.parse(failedAt) }),
  };
}

/** All that a worker needs for a run. NOT_FOUND when what it is about went meanwhile. */
function orderOf(state: ClusterState, { name, repository }: Job, due: string): JobOrder {
  const access = state.repositoryAccess(repository);
  const all = [...state.volumes].map(({ record }) => record);
  const volume = name.kind === 'backup' ? state.volume(name.volume) : undefined;
  if (access === undefined || (name.kind === 'backup' && volume === undefined))
    throw new HoldfastError('NOT_FOUND', `what ${jobKey(name)} is about is gone`);
  const isThere = (record: VolumeRecord): boolean => record.policy.backupRepository === repository;
  const volumes = name.kind === 'prune' ? all.filter(isThere) : [];
  return { job: name, due, ...access, ...(volume !== undefined && { volume }), volumes };
}
