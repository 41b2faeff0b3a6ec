import {
  findSnapshot,
  findSnapshotId,
  forget,
  forgetSnapshots,
  listSnapshots,
  type ReportDamaged,
  type Repository,
  type Snapshot,
} from '@holdfast/backup';
import { HoldfastError, parseSnapshotName } from '@holdfast/protocol';
import type { Command } from 'commander';
import type { TakeSnapshot } from '../backup-hold.ts';
import { noteBackup, totalsOf, untold } from '../backup-notes.ts';
import { openPlace, type PlaceOptions, withPlace } from '../backup-place.ts';
import { backupVolume, type VolumeBackup, volumePath } from '../backup-volume.ts';
import { between, type CommandOptions, withCommands } from '../command-options.ts';
import { connectToCluster, contextOf } from '../context.ts';
import { bytesText, table, timeText } from '../output.ts';
import { Warnings } from '../warnings.ts';
import { addKeepOptions, collected, type KeepOptions, retentionOf, tagsOf } from './backup-keep.ts';
import { addPeriod } from './backup-period.ts';
import { addRepository } from './backup-repository.ts';
import { addRestore } from './backup-restore.ts';
import { addBackupSchedule } from './backup-schedule.ts';
import { addPrune, addUnlock, addVerify, pruneRepository } from './backup-upkeep.ts';
import { damaged, ID_SHOWN, lockWait, working } from './backup-work.ts';
import { addWorker } from './backup-worker.ts';

/** `holdfast backup …` */
export function addBackup(program: Command): void {
  const backup = program
    .command('backup')
    .description(
      'back volumes up into restic repositories, in a directory, on S3 or Azure, and restore',
    );
  addRepository(backup);
  addCreate(backup);
  addList(backup);
  addRestore(backup);
  addVerify(backup);
  addForget(backup);
  addPrune(backup);
  addUnlock(backup);
  addPeriod(backup);
  addBackupSchedule(backup);
  addWorker(backup);
}

interface BackupOptions {
  readonly tag?: readonly string[];
  readonly force?: boolean;
}

function refuseCommands({ name }: { readonly name?: string }, { pre, post }: CommandOptions): void {
  if (name === undefined || (pre === undefined && post === undefined)) return;
  throw new HoldfastError(
    'BAD_REQUEST',
    `snapshot '${name}' is taken already: --pre and --post are for a backup of now, or for 'holdfast snapshot create'`,
  );
}

function addCreate(backup: Command): void {
  withCommands(withPlace(backup.command('create <volume[@snapshot]>')), 'there is no backup')
    .description(
      'back up a volume as it is now, or as it was at a snapshot; only what changed since the last one is read and sent',
    )
    .option('--force', 'read everything, whatever an earlier backup has')
    .option('--tag <tag>', 'a tag of the backup; may be given several times', collected)
    .action(
      async (
        text: string,
        options: PlaceOptions & CommandOptions & BackupOptions,
        command: Command,
      ) => {
        const { dataDirectory, output } = contextOf(command);
        const of = parseSnapshotName(text);
        refuseCommands(of, options);
        const request = {
          ...of,
          tags: options.tag ?? [],
          isForced: options.force ?? false,
          lockWaitMs: lockWait(options),
        };
        const { repository, place } = await openPlace(options, dataDirectory);
        const result = await working(output, `backup of ${text}`, options, async (report) => {
          const startedMs = performance.now();
          const client = await connectToCluster(dataDirectory);
          try {
            const onProgress = report.onDone;
            const { volume } = of;
            const { signal } = report;
            const take: TakeSnapshot = (step) =>
              between(options, { volume, signal: () => signal }, step);
            const result = await backupVolume(
              client,
              repository,
              { ...request, take },
              {
                ...report,
                onDamage: (problem) =>
                  report.onNotice(
                    `${problem}; everything is read, and what is lost is sent again; then run 'holdfast backup repo repair'`,
                  ),
                onProgress: ({ files, bytesDone }) => onProgress({ files, bytes: bytesDone }),
              },
            );
            const tookMs = performance.now() - startedMs;
            const done = { volume: of.volume, result, tookMs };
            await noteBackup(client, place, done).catch(untold(output));
            return result;
          } finally {
            await client.close();
          }
        });
        output.result(backupValue(of.volume, result), () => backupLines(text, result));
      },
    );
}

function backupValue(volume: string, result: VolumeBackup): unknown {
  const { snapshot, counts, written } = result;
  return {
    id: snapshot.id,
    volume,
    time: timeText(snapshot.timeNs),
    ...totalsOf(result),
    looked: {
      files: counts.files - counts.unchangedFiles,
      directories: counts.directories,
    },
    bytesRead: counts.bytesRead,
    bytesAdded: written.plainBytes,
    bytesSent: written.packedBytes,
    ...(snapshot.parent === undefined ? {} : { parent: snapshot.parent }),
  };
}

function backupLines(text: string, result: VolumeBackup): string[] {
  const { snapshot, counts, written } = result;
  const { files, unchangedFiles, bytes } = totalsOf(result);
  return [
    `backup ${snapshot.id.slice(0, ID_SHOWN)} of ${text} is complete: ${files} files, ${bytesText(bytes)}`,
    `${unchangedFiles} files were unchanged; ${bytesText(counts.bytesRead)} read, ${bytesText(written.packedBytes)} sent`,
  ];
}

function snapshotValue(snapshot: Snapshot): unknown {
  const { id, hostname, paths, tags, parent } = snapshot;
  return {
    id,
    time: timeText(snapshot.timeNs),
    host: hostname,
    paths,
    tags,
    ...(parent && { parent }),
  };
}

function snapshotRow(snapshot: Snapshot): string[] {
  const { id, paths, hostname, tags } = snapshot;
  return [
    id.slice(0, ID_SHOWN),
    timeText(snapshot.timeNs),
    paths.join(' '),
    hostname,
    tags.join(' '),
  ];
}

const COLUMNS = ['ID', 'TIME', 'PATH', 'HOST', 'TAGS'] as const;

function addList(backup: Command): void {
  withPlace(backup.command('ls'))
    .description('list the backups of a repository, oldest first')
    .option('--volume <name>', 'only those of this volume')
    .action(async (options: PlaceOptions & { readonly volume?: string }, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { volume } = options;
      const { repository } = await openPlace(options, dataDirectory);
      const warnings = new Warnings(output);
      const all = await listSnapshots(repository, undefined, damaged(warnings));
      warnings.end();
      const found = all.filter(
        ({ paths }) => volume === undefined || paths.includes(volumePath(volume)),
      );
      output.result(found.map(snapshotValue), () => table(COLUMNS, found.map(snapshotRow)));
    });
}

interface ForgetCommandOptions extends PlaceOptions, KeepOptions {
  readonly volume?: string;
  readonly tag?: string;
  readonly dryRun?: boolean;
  readonly prune?: boolean;
}

function addForget(backup: Command): void {
  const forgetting = withPlace(backup.command('forget [ids...]')).description(
    'forget backups by id, or all but those that a rule keeps, for each host and path on its own; prune gives their space back',
  );
  addKeepOptions(forgetting)
    .option('--volume <name>', 'only backups of this volume')
    .option('--tag <tags>', 'only backups that have this tag, or all of these: a,b')
    .option('-n, --dry-run', 'only say what would be forgotten')
    .option('--prune', 'give the space back at once')
    .action(async (ids: string[], options: ForgetCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const policy = retentionOf(options);
      if (ids.length > 0 === Object.keys(policy).length > 0)
        throw new HoldfastError(
          'BAD_REQUEST',
          'give ids of backups, or a rule such as --keep-daily 7; without either all would go',
        );
      const { repository } = await openPlace(options, dataDirectory);
      const warnings = new Warnings(output);
      const onDamaged = damaged(warnings);
      const { removed, kept } =
        ids.length > 0
          ? await forgetIds(repository, ids, { ...options, onDamaged })
          : await forget(repository, {
              onDamaged,
              policy,
              ...(options.volume === undefined ? {} : { path: volumePath(options.volume) }),
              ...(options.tag === undefined ? {} : { tags: tagsOf(options.tag) }),
              dryRun: options.dryRun === true,
              lockWaitMs: lockWait(options),
            });
      warnings.end();
      const isPruned = options.prune === true && options.dryRun !== true;
      const pruned = isPruned ? await pruneRepository(repository, options) : undefined;
      const facts = { removed: removed.map(removedValue), kept: kept.map(snapshotValue) };
      output.result({ ...facts, ...(pruned === undefined ? {} : { pruned }) }, () => [
        ...(removed.length === 0 ? [] : table(COLUMNS, removed.map(removedRow))),
        `${removed.length} ${options.dryRun ? 'would be forgotten' : 'forgotten'}, ${kept.length} kept`,
        ...(pruned === undefined ? [] : [`${bytesText(pruned.bytesFreed)} given back`]),
      ]);
    });
}

/** A backup that was forgotten; of one that was damaged nothing else is known. */
type Removed = Snapshot | Pick<Snapshot, 'id'>;

function removedValue(removed: Removed): unknown {
  return 'tree' in removed ? snapshotValue(removed) : removed;
}

function removedRow(removed: Removed): string[] {
  return 'tree' in removed ? snapshotRow(removed) : [removed.id.slice(0, ID_SHOWN), 'damaged'];
}

async function idOf(repository: Repository, name: string): Promise<string> {
  if (name === 'latest') return (await findSnapshot(repository, name)).id;
  return findSnapshotId(repository, name);
}

async function forgetIds(
  repository: Repository,
  ids: readonly string[],
  options: ForgetCommandOptions & { readonly onDamaged: ReportDamaged },
): Promise<{ readonly removed: readonly Removed[]; readonly kept: readonly Snapshot[] }> {
  const gone = new Set<string>();
  for (const id of ids) gone.add(await idOf(repository, id));
  const known = await listSnapshots(repository, undefined, (id, problem) => {
    if (!gone.has(id)) options.onDamaged(id, problem);
  });
  const kept = known.filter(({ id }) => !gone.has(id));
  const removed = [...gone].map((id) => known.find((snapshot) => snapshot.id === id) ?? { id });
  if (options.dryRun !== true)
    await forgetSnapshots(repository, [...gone], { lockWaitMs: lockWait(options) });
  return { removed, kept };
}
