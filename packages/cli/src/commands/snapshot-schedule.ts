import type { VolumeRecord } from '@holdfast/protocol';
import { Schedule } from '@holdfast/schedule';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { addShowAndRemove, changePolicy } from '../volume-schedules.ts';

/** `holdfast snapshot schedule …` */
export function addSchedule(snapshot: Command): void {
  const schedule = snapshot
    .command('schedule')
    .description('have snapshots of a volume made by a schedule, and removed by a rule');
  schedule
    .command('set <volume> <cron>')
    .description(
      "make snapshots at these times: cron's five fields in UTC, such as '0 * * * *', or @hourly, @daily, @weekly, @monthly",
    )
    .option(
      '--keep <rule>',
      'which of them stay, such as hourly=24,daily=7 (as before; at first hourly=24,daily=7,weekly=4,monthly=12)',
    )
    .action(async (name: string, cron: string, options: { keep?: string }, command: Command) => {
      const { admin, output } = contextOf(command);
      const { keep } = options;
      Schedule.parse(cron); // '' would mean none, as an unset variable of a script is
      const policy = { snapshotSchedule: cron, ...(keep !== undefined && { snapshotKeep: keep }) };
      const volume = await changePolicy(admin, name, policy);
      output.result(shownOf(volume), () => [`${name}: ${scheduleText(volume)}`]);
    });
  addShowAndRemove(schedule, {
    show: 'show the schedule of a volume, what it made last and when it is next due',
    remove: 'make no more snapshots by a schedule; those that were made stay',
    without: { snapshotSchedule: '' },
    none: 'no snapshot schedule any more',
    shownOf,
    linesOf,
  });
}

function shownOf({ name, policy, snapshotRuns }: VolumeRecord): object {
  const { snapshotSchedule: schedule = '', snapshotKeep: keep = '' } = policy;
  return { volume: name, schedule, keep, ...snapshotRuns };
}

/** A volume's schedule in one line. */
export function scheduleText({ policy, snapshotRuns }: VolumeRecord): string {
  const { snapshotSchedule: schedule, snapshotKeep: keep } = policy;
  if (schedule === undefined) return 'no scheduled snapshots';
  const last = snapshotRuns?.made === undefined ? 'none yet' : `last @${snapshotRuns.made}`;
  return `snapshots at '${schedule}' UTC, keeps ${keep ?? 'all'}; ${last}`;
}

/** What `holdfast snapshot schedule show` prints; `nowMs` since the epoch. */
export function linesOf(volume: VolumeRecord, nowMs: number): string[] {
  const { snapshotSchedule, snapshotKeep } = volume.policy;
  if (snapshotSchedule === undefined) return [`${volume.name} has no snapshot schedule`];
  const { made, madeAt, since = '' } = volume.snapshotRuns ?? {};
  const nextMs = Schedule.parse(snapshotSchedule).next(nowMs);
  return [
    `schedule:  ${snapshotSchedule} (UTC), since ${since}`,
    `keeps:     ${snapshotKeep ?? 'all'}`,
    `last:      ${made === undefined ? 'none yet' : `@${made}, made at ${madeAt ?? '-'}`}`,
    `next due:  ${nextMs === undefined ? 'never' : new Date(nextMs).toISOString()}`,
  ];
}
