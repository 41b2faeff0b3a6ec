import type { JobRuns, VolumeRecord } from '@holdfast/protocol';
import { Schedule } from '@holdfast/schedule';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { addShowAndRemove, changePolicy, volumeRoute } from '../volume-schedules.ts';
import { addKeepOptions, type KeepOptions, keepText } from './backup-keep.ts';
import { backupText } from './backup-period.ts';

interface SetOptions extends KeepOptions {
  readonly repo?: string;
  readonly keepAll?: boolean;
}

/** `holdfast backup schedule …` */
export function addBackupSchedule(backup: Command): void {
  const schedule = backup
    .command('schedule')
    .description(
      'have volumes backed up by the cluster, on whatever host, and old backups forgotten',
    );
  addSet(schedule);
  schedule
    .command('run <volume>')
    .description('ask for a run of the schedule at once; see how it goes with show')
    .action(async (name: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      await admin('POST', `${volumeRoute(name)}/backup`);
      output.result({ volume: name, asked: true }, () => [`a backup of ${name} is due now`]);
    });
  addShowAndRemove(schedule, {
    show: 'show the backup schedule of a volume, what runs, what was last and what is next',
    remove: 'make no more backups by schedule; one that runs is given up, those made stay',
    without: { backupSchedule: '' },
    none: 'no backup schedule any more',
    shownOf,
    linesOf: backupScheduleLines,
  });
}

function addSet(schedule: Command): void {
  const set = schedule
    .command('set <volume> <cron>')
    .description(
      "back the volume up at these times: cron's five fields in UTC, such as '30 2 * * *', or @hourly, @daily, @weekly, @monthly",
    )
    .option(
      '--repo <name>',
      "a repository that the cluster knows (as before); see 'backup repo add'",
    );
  addKeepOptions(set)
    .option('--keep-all', 'forget none of them, as is when no rule is given')
    .action(async (name: string, cron: string, options: SetOptions, command: Command) => {
      const { admin, output } = contextOf(command);
      const { repo } = options;
      const keep = options.keepAll === true ? '' : keepText(options);
      Schedule.parse(cron); // '' would mean none, as an unset variable of a script is
      const volume = await changePolicy(admin, name, {
        backupSchedule: cron,
        ...(repo !== undefined && { backupRepository: repo }),
        ...(keep !== undefined && { backupKeep: keep }),
      });
      output.result(shownOf(volume), () => [`${name}: ${backupText(volume)}`]);
    });
}

function shownOf({ name, policy, backupRuns, lastBackup }: VolumeRecord): object {
  const { backupSchedule: schedule = '', backupRepository: repository = '', backupKeep } = policy;
  return { volume: name, schedule, repository, keep: backupKeep ?? '', ...backupRuns, lastBackup };
}

/** What a schedule of jobs has done and does, a line each. */
export function runLines(text: string, runs: JobRuns, nowMs: number): string[] {
  const { claim, doneAt, done, failures, failedAt = '-', failure = '-' } = runs;
  const nextMs = Schedule.parse(text).next(nowMs);
  return [
    `schedule:    ${text} (UTC), since ${runs.since}`,
    `last done:   ${doneAt ?? 'never'} (${done} runs)`,
    ...(claim === undefined ? [] : [`running:     on ${claim.host} since ${claim.since}`]),
    ...(failures === 0 ? [] : [`failed:      ${failures} times, last ${failedAt}: ${failure}`]),
    `next due:    ${nextMs === undefined ? 'never' : new Date(nextMs).toISOString()}`,
  ];
}

/** What `holdfast backup schedule show` prints; `nowMs` since the epoch. */
function backupScheduleLines(volume: VolumeRecord, nowMs: number): string[] {
  const { backupSchedule, backupRepository, backupKeep } = volume.policy;
  if (backupSchedule === undefined || volume.backupRuns === undefined)
    return [`${volume.name} has no backup schedule`];
  return [
    ...runLines(backupSchedule, volume.backupRuns, nowMs),
    `repository:  ${backupRepository}`,
    `keeps:       ${backupKeep ?? 'all'}`,
    `backups:     ${backupText(volume)}`,
  ];
}
