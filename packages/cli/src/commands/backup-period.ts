import type { JobRuns, LastBackup, LastVerification, VolumeRecord } from '@holdfast/protocol';
import { parsePeriod, periodText } from '@holdfast/schedule';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { bytesText } from '../output.ts';

/** `holdfast backup period` */
export function addPeriod(backup: Command): void {
  backup
    .command('period <volume> [period]')
    .description(
      "say within which time a backup of the volume has to succeed, such as 24h or 7d ('none': never), else health is a warning; without a period, show it",
    )
    .action(async (name: string, text: string | undefined, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const path = `/v1/volumes/${encodeURIComponent(name)}`;
      const policy = text === undefined ? undefined : { backupPeriodMs: parsePeriod(text) };
      const { volume } = await (policy === undefined
        ? admin<{ volume: VolumeRecord }>('GET', path)
        : admin<{ volume: VolumeRecord }>('PATCH', path, { policy }));
      const { lastBackup, lastVerification } = volume;
      const facts = { periodMs: volume.policy.backupPeriodMs ?? 0, lastBackup, lastVerification };
      output.result({ volume: name, ...facts }, () => [`${name}: ${backupText(volume)}`]);
    });
}

/** A volume's backups in one line. */
export function backupText(volume: VolumeRecord): string {
  const { policy, lastBackup, lastVerification, backupRuns } = volume;
  const { backupPeriodMs, backupSchedule, backupRepository } = policy;
  const wanted =
    backupPeriodMs === undefined ? 'none expected' : `one every ${periodText(backupPeriodMs)}`;
  const made =
    backupSchedule === undefined
      ? []
      : [`made at '${backupSchedule}' UTC into '${backupRepository}'`];
  return [
    ...(made.length > 0 && backupPeriodMs === undefined ? [] : [wanted]),
    ...made,
    lastText(lastBackup),
    ...verifiedText(lastVerification),
    ...runText(backupRuns),
  ].join('; ');
}

function runText(runs: JobRuns | undefined): string[] {
  const { claim, failures = 0, failure = '' } = runs ?? {};
  return [
    ...(claim === undefined ? [] : [`one runs on ${claim.host} since ${claim.since}`]),
    ...(failures === 0 ? [] : [`failed ${failures} times: ${failure}`]),
  ];
}

function lastText(last: LastBackup | undefined): string {
  if (last === undefined) return 'none yet';
  return `last of ${last.at}, ${bytesText(last.bytes)}, at ${last.repository}`;
}

function verifiedText(verification: LastVerification | undefined): string[] {
  if (verification === undefined) return [];
  const { at, readShare, problems } = verification;
  const found = problems === 0 ? 'no problems' : `${problems} problems`;
  return [`verified ${at}: ${Math.round(readShare * 100)} % read, ${found}`];
}
