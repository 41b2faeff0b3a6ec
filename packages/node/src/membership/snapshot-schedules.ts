/** Scheduled snapshots: made, and removed by their rule, by whoever leads the system shard. */
import type { StoredVolume } from '@holdfast/placement';
import {
  HoldfastError,
  isFillingError,
  type ShardId,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import {
  dueRun,
  isLate,
  parseKeep,
  planRun,
  type RunPlan,
  Schedule,
  type ScheduleProgress,
  scheduledName,
} from '@holdfast/schedule';
import type { Registry as MetricsRegistry } from 'prom-client';
import { Rounds } from '../shards/rounds.ts';
import type { Log } from '../telemetry/log.ts';
import type { Registry } from './registry.ts';
import { ScheduleMetrics } from './schedule-metrics.ts';
import type { VolumeSnapshots } from './snapshots.ts';

/** Milliseconds between looks at what is due. */
const LOOK_MS = 1_000;
/** Milliseconds after which a run that failed is tried again. */
const RETRY_MS = 30_000;
/** Schedules kept as they were read; there are few different ones. */
const PARSED_MAX = 1_024;
/** Volumes worked on at once. */
const RUNS_MAX = 8;

/** What {@link SnapshotSchedules} works with. */
export interface SnapshotSchedulesOptions {
  readonly registry: Pick<Registry, 'isLeader' | 'applied' | 'read' | 'execute'>;
  readonly snapshots: Pick<VolumeSnapshots, 'list' | 'createScheduled' | 'remove' | 'isHeld'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where metrics are registered. */
  readonly metrics: MetricsRegistry;
  readonly log: Log;
  /** Milliseconds between looks at what is due; 1000. */
  readonly lookMs?: number;
}

/** A schedule as `holdfast status` shows it. Times are ISO 8601. */
export interface ScheduleStatus {
  readonly volume: string;
  readonly schedule: string;
  readonly keep: string;
  readonly nextAt?: string;
  /** The last snapshot made. */
  readonly made?: string;
  readonly madeAt?: string;
  /** Two runs were due and are not done. */
  readonly isLate: boolean;
  /** Why the last try made none, while this peer leads. */
  readonly failure?: string;
  /** What it waits for: the volume is half filled. */
  readonly waits?: string;
}

interface Failure {
  readonly message: string;
  readonly atMs: number;
  /** Nothing is wrong with it: it is not time yet. */
  readonly isWait?: boolean;
}

/** A volume's schedule, read. */
interface Scheduled {
  readonly record: VolumeRecord;
  readonly progress: ScheduleProgress;
}

/**
 * Runs on every peer; acts only where the system shard is led. A run is done when the registry has
 * noted it: until then whoever leads does it again, to the same effect.
 */
export class SnapshotSchedules {
  readonly #options: SnapshotSchedulesOptions;
  readonly #rounds = new Rounds((signal) => this.#round(signal));
  /** By volume number. */
  readonly #failures = new Map<VolumeNumber, Failure>();
  readonly #parsed = new Map<string, Schedule>();
  readonly #metrics: ScheduleMetrics;

  constructor(options: SnapshotSchedulesOptions) {
    this.#options = options;
    this.#metrics = new ScheduleMetrics(options.metrics, () => this.status());
  }

  start(): void {
    this.#rounds.start();
  }

  /** Resolves when what is under way has ended. */
  async close(): Promise<void> {
    await this.#rounds.stop();
  }

  /** All schedules where they are run, late ones first; none elsewhere. */
  status(): readonly ScheduleStatus[] {
    const { registry, now } = this.#options;
    if (!registry.isLeader) return [];
    const nowMs = now();
    const all = this.#scheduled(registry.applied().volumes).map((one) => this.#shown(one, nowMs));
    return all.sort((a, b) => Number(b.isLate) - Number(a.isLate));
  }

  #shown({ record, progress }: Scheduled, nowMs: number): ScheduleStatus {
    const { policy, snapshotRuns, name, number } = record;
    const { made, madeAt } = snapshotRuns ?? {};
    const nextMs = progress.schedule.next(nowMs);
    const { message: failure, isWait = false } = this.#failures.get(number) ?? {};
    return {
      volume: name,
      schedule: progress.schedule.text,
      keep: policy.snapshotKeep ?? '',
      ...(nextMs !== undefined && { nextAt: new Date(nextMs).toISOString() }),
      ...(made !== undefined && { made }),
      ...(madeAt !== undefined && { madeAt }),
      isLate: isLate(progress, nowMs),
      ...(failure !== undefined && (isWait ? { waits: failure } : { failure })),
    };
  }

  async #round(signal: AbortSignal): Promise<number> {
    try {
      if (this.#options.registry.isLeader) await this.#runDue(signal);
      else this.#failures.clear();
    } catch (error) {
      // Lost leadership or quorum: the next round, or the next leader, does it.
      this.#options.log.debug({ event: 'schedules.round.failed', error });
    }
    return this.#options.lookMs ?? LOOK_MS;
  }

  async #runDue(signal: AbortSignal): Promise<void> {
    const { registry } = this.#options;
    for (const number of this.#failures.keys())
      if (registry.applied().volume(number) === undefined) this.#failures.delete(number);
    if (this.#due(registry.applied().volumes).length === 0) return;
    // Who was led away long ago and does not know it yet must not act on what it last saw.
    const due = this.#due((await registry.read()).volumes);
    const out = new Map<ShardId, string>();
    for (let first = 0; first < due.length; first += RUNS_MAX) {
      if (signal.aborted || !registry.isLeader) return;
      await Promise.all(due.slice(first, first + RUNS_MAX).map((one) => this.#run(one, out)));
    }
  }

  #due(volumes: Iterable<StoredVolume>): readonly Scheduled[] {
    const nowMs = this.#options.now();
    return this.#scheduled(volumes).filter(({ record, progress }) => {
      const failedMs = this.#failures.get(record.number)?.atMs;
      // A clock that was put back must not hold a volume up.
      const isWaiting = failedMs !== undefined && Math.abs(nowMs - failedMs) < RETRY_MS;
      return !isWaiting && dueRun(progress, nowMs) !== undefined;
    });
  }

  #scheduled(volumes: Iterable<StoredVolume>): readonly Scheduled[] {
    return [...volumes].flatMap(({ record, removal }) => {
      const isFilled = record.restore === undefined || record.restore.state === 'done';
      const isThere = record.state === 'ready' && removal === undefined && isFilled;
      const progress = isThere ? this.#progressOf(record) : undefined;
      return progress === undefined ? [] : [{ record, progress }];
    });
  }

  #progressOf({ policy, snapshotRuns, name }: VolumeRecord): ScheduleProgress | undefined {
    const { snapshotSchedule: text } = policy;
    if (text === undefined || snapshotRuns === undefined) return undefined;
    try {
      const schedule = this.#parsed.get(text) ?? Schedule.parse(text);
      if (this.#parsed.size >= PARSED_MAX) this.#parsed.clear();
      this.#parsed.set(text, schedule);
      const { since, due } = snapshotRuns;
      const doneMs = due === undefined ? {} : { doneMs: Date.parse(due) };
      return { schedule, sinceMs: Date.parse(since), ...doneMs };
    } catch (error) {
      // Written by a newer version: whoever understands it runs it.
      this.#options.log.warn({ event: 'schedule.unreadable', volume: name, error });
      return undefined;
    }
  }

  /** `out`: shards that did not answer in this round, and what was said; nobody waits for them again. */
  async #run({ record, progress }: Scheduled, out: Map<ShardId, string>): Promise<void> {
    const { registry, now, log } = this.#options;
    const { name, number, shard } = record;
    const known = out.get(shard);
    if (known !== undefined) {
      this.#failures.set(number, { message: known, atMs: now() });
      return;
    }
    try {
      const plan = await this.#make({ record, progress });
      this.#failures.delete(number);
      if (plan !== undefined) await this.#removeAll(name, plan);
    } catch (error) {
      // Another leads: it does the run, and tells of it.
      if (!registry.isLeader) return;
      if (isFillingError(error)) {
        const { message } = error as HoldfastError;
        this.#failures.set(number, { message, atMs: now(), isWait: true });
        log.info({ event: 'schedule.waits', volume: name, reason: message });
        return;
      }
      this.#metrics.failures.inc();
      const message =
        error instanceof HoldfastError ? error.message : 'an internal error; see the log';
      this.#failures.set(number, { message, atMs: now() });
      if (error instanceof HoldfastError && error.kind === 'outage') out.set(shard, message);
      log.warn({ event: 'schedule.failed', volume: name, error });
    }
  }

  /** Makes the snapshot that is due and notes it. */
  async #make({ record, progress }: Scheduled): Promise<RunPlan | undefined> {
    const { snapshots, registry, now, log } = this.#options;
    const present = await snapshots.list(record.name);
    const keep = parseKeep(record.policy.snapshotKeep ?? 'last=all').policy;
    const plan = planRun(
      { ...progress, keep },
      now(),
      present.map(({ name, clones }) => ({ name, isHeld: clones > 0 })),
    );
    if (plan === undefined) return undefined;
    // Also one that a leader made who died before it had seen that it is whole.
    await snapshots.createScheduled(record, plan.dueMs);
    if (plan.create !== undefined) this.#metrics.made.inc();
    const snapshot = scheduledName(plan.dueMs);
    await registry.execute({
      op: 'note-snapshot-run',
      volume: record.number,
      schedule: progress.schedule.text,
      due: new Date(plan.dueMs).toISOString(),
      snapshot,
    });
    log.info({ event: 'schedule.run', volume: record.name, snapshot });
    return plan;
  }

  /** What cannot be removed now goes with a later run: the snapshot of this one is made. */
  async #removeAll(volume: string, { remove, held }: RunPlan): Promise<void> {
    const { snapshots, log } = this.#options;
    this.#metrics.held.inc(held.length);
    for (const name of remove) {
      try {
        if (await snapshots.isHeld(volume, name)) {
          this.#metrics.held.inc();
          continue;
        }
        await snapshots.remove(volume, name);
        this.#metrics.removed.inc();
      } catch (error) {
        const isGone = error instanceof HoldfastError && error.code === 'NOT_FOUND';
        if (!isGone) log.warn({ event: 'schedule.unremoved', volume, snapshot: name, error });
      }
    }
  }
}
