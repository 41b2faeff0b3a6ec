import {
  backupSourceText,
  HoldfastError,
  parseBackupSource,
  restoreText,
  type VolumeOrigin,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import { parsePeriod } from '@holdfast/schedule';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { bytesText, table } from '../output.ts';
import { parseCount, parseLimit, parseMode } from '../sizes.ts';
import { listSnapshots } from '../snapshots.ts';
import { backupText } from './backup-period.ts';
import { snapshotLines } from './snapshot.ts';
import { scheduleText } from './snapshot-schedule.ts';
import { addVolumeArchive } from './volume-archive.ts';
import { addVolumeFill } from './volume-fill.ts';
import { addVolumeRelease } from './volume-release.ts';
import { addVolumeStream } from './volume-stream.ts';

/** Shards are numbered in 16 bits. */
const SHARD_MAX = 65_534;

interface CreateOptions {
  readonly size?: number;
  readonly inodes?: number;
  readonly replicas?: number;
  readonly minReplicas?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mode?: number;
  readonly snapshotSchedule?: string;
  readonly snapshotKeep?: string;
  readonly backupPeriod?: number;
  readonly backupRepository?: string;
  readonly backupSchedule?: string;
  readonly backupKeep?: string;
  readonly from?: string;
  readonly fromBackup?: string;
  readonly withoutPolicy?: boolean;
  readonly shard?: number;
}

/** `holdfast volume …` */
export function addVolume(program: Command): void {
  const volume = program
    .command('volume')
    .description('create, list, inspect, export, import, send, receive and remove volumes');
  addCreate(volume);
  addVolumeArchive(volume);
  addVolumeStream(volume);
  addVolumeRelease(volume);
  addVolumeFill(volume);
  volume
    .command('ls')
    .description('list the volumes')
    .action(async (_options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const { volumes } = await admin<{ volumes: VolumeRecord[] }>('GET', '/v1/volumes');
      output.result(volumes, () =>
        table(['NAME', 'SHARD', 'REPLICAS', 'QUOTA', 'STATE', 'USED ON'], volumes.map(row)),
      );
    });
  volume
    .command('inspect <name>')
    .description('show one volume, with its snapshots')
    .action(async (name: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const path = `/v1/volumes/${encodeURIComponent(name)}`;
      const { volume: found } = await admin<{ volume: VolumeRecord }>('GET', path);
      const snapshots = await listSnapshots(admin, name, {
        isMeasured: true,
        onProgress: (line) => output.progress(line),
      });
      output.result({ ...found, snapshots }, () => [
        ...describe(found),
        `snapshots:   ${snapshots.length || 'none'}`,
        ...snapshotLines(snapshots),
      ]);
    });
  volume
    .command('rm <name>')
    .description('remove a volume; refused while it is used or not empty')
    .option('--force', 'remove what is in it too, and its snapshots')
    .action(async (name: string, options: { force?: boolean }, command: Command) => {
      const { admin, output } = contextOf(command);
      const query = options.force === true ? '?force=true' : '';
      await admin('DELETE', `/v1/volumes/${encodeURIComponent(name)}${query}`);
      output.result({ removed: name }, () => [`volume ${name} removed`]);
    });
}

/** When a volume is snapshotted and backed up. */
function withSchedules(command: Command): Command {
  return command
    .option(
      '--snapshot-schedule <cron>',
      "when snapshots are made: cron's five fields in UTC, such as '0 * * * *', or @hourly, @daily, @weekly, @monthly",
    )
    .option(
      '--snapshot-keep <rule>',
      'which of those stay (default hourly=24,daily=7,weekly=4,monthly=12)',
    )
    .option(
      '--backup-period <period>',
      'within which a backup has to succeed, such as 24h or 7d, else health is a warning',
      parsePeriod,
    )
    .option(
      '--backup-repository <name>',
      "where it is backed up by schedule: a repository that the cluster knows, see 'backup repo add'",
    )
    .option('--backup-schedule <cron>', 'when, as --snapshot-schedule (default @daily)')
    .option(
      '--backup-keep <rule>',
      'which of those backups stay, such as daily=7,weekly=5,within=1m (default all)',
    );
}

function addCreate(volume: Command): void {
  const create = volume
    .command('create <name>')
    .description('create a volume; success when it exists with the same options')
    .option('--size <size>', 'quota in bytes, such as 10G; none by default', parseLimit)
    .option('--inodes <count>', 'quota of inodes', parseCount('--inodes', 1, 2 ** 40 - 1))
    .option(
      '--replicas <count>',
      'copies of the data, 1 to 7 (default 3)',
      parseCount('--replicas', 1, 7),
    )
    .option(
      '--min-replicas <count>',
      'durable copies that an fsync waits for',
      parseCount('--min-replicas', 1, 7),
    )
    .option('--uid <id>', "owner of the volume's root", parseCount('--uid', 0, 2 ** 32 - 2))
    .option('--gid <id>', "group of the volume's root", parseCount('--gid', 0, 2 ** 32 - 2))
    .option(
      '--from <volume@snapshot>',
      'as a clone: at once, sharing what neither changes, with the options of that volume',
    )
    .option(
      '--from-backup <repository:volume[@backup]>',
      'filled with a backup, the latest or one by its id or the name of its snapshot; of a repository that the cluster knows by name, or a place with the password in the environment',
    )
    .option(
      '--without-policy',
      'with --from-backup: leave the quota, replicas and schedules of then',
    )
    .option(
      '--shard <number>',
      'shard that keeps its metadata; by default one with few volumes, for a clone mostly that of the snapshot',
      parseCount('--shard', 1, SHARD_MAX),
    )
    .option('--mode <octal>', "mode of the volume's root (default 0755)", parseMode);
  withSchedules(create).action(async (name: string, options: CreateOptions, command: Command) => {
    if (options.fromBackup !== undefined) return createFromBackup(name, options, command);
    const { admin, output } = contextOf(command);
    const { volume: made } = await admin<{ volume: VolumeRecord }>('POST', '/v1/volumes', {
      name,
      policy: policyOf(options),
      ...(options.from !== undefined && { from: options.from }),
      ...(options.shard !== undefined && { shard: options.shard }),
    });
    output.result(made, () => [
      `volume ${made.name} is ready (number ${made.number}, shard ${made.shard})`,
    ]);
  });
}

async function createFromBackup(
  name: string,
  options: CreateOptions,
  command: Command,
): Promise<void> {
  const source = parseBackupSource(options.fromBackup ?? '');
  const fixed = (['uid', 'gid', 'mode'] as const).filter((key) => options[key] !== undefined);
  if (options.from !== undefined || fixed.length > 0)
    throw new HoldfastError(
      'BAD_REQUEST',
      `with --from-backup leave out ${options.from === undefined ? `${fixed.map((key) => `--${key}`).join(', ')}: the root has owner and mode of then` : '--from'}`,
    );
  const { createRestored } = await import('./volume-from-backup.ts');
  const policy = policyOf(options);
  const withPolicy = options.withoutPolicy !== true;
  await createRestored(contextOf(command), { name, source, policy, withPolicy });
}

function policyOf(options: CreateOptions): Partial<VolumePolicy> {
  const policy: Record<string, number | string | undefined> = {
    quotaBytes: options.size,
    quotaInodes: options.inodes,
    replicas: options.replicas,
    minReplicas: options.minReplicas,
    uid: options.uid,
    gid: options.gid,
    mode: options.mode,
    snapshotSchedule: options.snapshotSchedule,
    snapshotKeep: options.snapshotKeep,
    backupPeriodMs: options.backupPeriod,
    backupRepository: options.backupRepository,
    backupSchedule: options.backupSchedule,
    backupKeep: options.backupKeep,
  };
  return Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined));
}

function originText({ volumeName, snapshot, shard }: VolumeOrigin): string {
  const where = shard === undefined ? '' : `, in shard ${shard}`;
  return `${volumeName}@${snapshot}${where}`;
}

function describe(volume: VolumeRecord): string[] {
  const { name, number, shard, createdAt, attachedTo, policy, from } = volume;
  const facts = {
    name,
    number: String(number),
    shard: String(shard),
    state: stateText(volume),
    created: createdAt,
    ...(volume.restore !== undefined && { 'made from': backupSourceText(volume.restore.source) }),
    ...(volume.restore?.trouble !== undefined && { trouble: volume.restore.trouble }),
    ...(from !== undefined && { 'clone of': originText(from) }),
    'used on': attachedTo.join(', ') || 'no host',
    replicas: `${policy.replicas}, of which an fsync waits for ${policy.minReplicas}`,
    'size limit': bytesText(policy.quotaBytes, 'none'),
    'inode limit': policy.quotaInodes === 0 ? 'none' : String(policy.quotaInodes),
    root: `uid ${policy.uid}, gid ${policy.gid}, mode 0${policy.mode.toString(8)}`,
    schedule: scheduleText(volume),
    backups: backupText(volume),
  };
  return Object.entries(facts).map(([fact, value]) => `${`${fact}:`.padEnd(13)}${value}`);
}

function stateText({ state, restore }: VolumeRecord): string {
  const isFilled = restore === undefined || restore.state === 'done';
  return state === 'ready' && !isFilled ? restoreText(restore) : state;
}

function row(volume: VolumeRecord): string[] {
  return [
    volume.name,
    String(volume.shard),
    String(volume.policy.replicas),
    bytesText(volume.policy.quotaBytes, 'none'),
    stateText(volume),
    volume.attachedTo.join(',') || '-',
  ];
}
