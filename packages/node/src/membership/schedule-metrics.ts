import { Counter, Gauge, type Registry } from 'prom-client';
import type { ScheduleStatus } from './snapshot-schedules.ts';

/** Volumes told of one by one: a scrape must not grow without bound. */
const VOLUMES_MAX = 1_000;

/** Metrics of snapshot schedules; all but the counters are told by the leader of the system shard alone. */
export class ScheduleMetrics {
  readonly made: Counter;
  readonly failures: Counter;
  readonly removed: Counter;
  readonly held: Counter;

  /** `schedules`: those of this peer's to run, late ones first. */
  constructor(registry: Registry, schedules: () => readonly ScheduleStatus[]) {
    const counter = (name: string, help: string): Counter =>
      new Counter({ name: `holdfast_snapshot_schedule_${name}`, help, registers: [registry] });
    this.made = counter('made_total', 'Snapshots made by schedules, by this peer as the leader');
    this.failures = counter(
      'failures_total',
      'Tries of scheduled runs that made no snapshot; they are tried again',
    );
    this.removed = counter(
      'removed_total',
      'Scheduled snapshots removed because no rule keeps them',
    );
    this.held = counter(
      'held_total',
      'Removals of scheduled snapshots put off because clones or backups need them',
    );
    const gauge = (name: string, help: string, value: (one: ScheduleStatus) => number): void => {
      new Gauge({
        name: `holdfast_snapshot_schedule_${name}`,
        help,
        labelNames: ['volume'],
        registers: [registry],
        collect() {
          this.reset();
          for (const one of schedules().slice(0, VOLUMES_MAX))
            this.set({ volume: one.volume }, value(one));
        },
      });
    };
    gauge(
      'last_success_timestamp_seconds',
      'When the last scheduled snapshot of a volume was made, 0: never; from the leader of the system shard',
      ({ madeAt }) => (madeAt === undefined ? 0 : Date.parse(madeAt) / 1_000),
    );
    gauge(
      'late',
      '1 while two runs of a volume were due and are not done; from the leader of the system shard',
      ({ isLate }) => (isLate ? 1 : 0),
    );
  }
}
