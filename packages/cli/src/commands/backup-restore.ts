import {
  type Overwrite,
  PathFilter,
  type Repository,
  type RestoreCounts,
  type Snapshot,
} from '@holdfast/backup';
import { HoldfastError } from '@holdfast/protocol';
import { type Command, Option } from 'commander';
import { openPlace, type PlaceOptions, withPlace } from '../backup-place.ts';
import {
  chooseBackup,
  type RestoredVolume,
  restoreIntoVolume,
  restoreToDirectory,
  restoreToVolume,
  type WorkReport,
} from '../backup-volume.ts';
import { connectToCluster, contextOf } from '../context.ts';
import { bytesText, timeText } from '../output.ts';
import { parseRestoreTarget, type RestoreTarget } from '../restore-over.ts';
import { previewRestore } from '../restore-preview.ts';
import { policyLines } from '../restored-policy.ts';
import { parseCount, parseLimit } from '../sizes.ts';
import { collected } from './backup-keep.ts';
import { ID_SHOWN, lockWait, type SharedReport, working } from './backup-work.ts';

interface RestoreCommandOptions extends PlaceOptions {
  readonly to: string;
  readonly volume?: string;
  readonly path?: string;
  readonly overwrite?: Overwrite | true;
  readonly delete?: boolean;
  readonly force?: boolean;
  readonly skipDamaged?: boolean;
  readonly size?: number;
  readonly replicas?: number;
  readonly withoutPolicy?: boolean;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly dryRun?: boolean;
}

const OVERWRITE = ['always', 'if-changed', 'if-newer', 'never'] as const satisfies Overwrite[];

/** `holdfast backup restore` */
export function addRestore(backup: Command): void {
  withPlace(backup.command('restore <id|latest>'))
    .description(
      'restore a backup into a new or empty volume, all or nothing; or into a volume or directory as it is. The same command goes on where one was killed',
    )
    .requiredOption(
      '--to <place>',
      'the name of a volume; VOLUME:/PATH for a directory in one; or a directory of this host, told by a / in it',
    )
    .option('--volume <name>', 'with latest: of this volume')
    .option('--path <path>', 'only what lies at this path of the volume')
    .option(
      '--include <pattern>',
      "only what matches; paths count from what is restored. restic's patterns: *, ?, [a-z], ** for any directories, a / in front for the top; may be given several times",
      collected,
    )
    .option('--exclude <pattern>', 'all but what matches; may be given several times', collected)
    .option('-n, --dry-run', 'only say what would be done')
    .addOption(
      new Option(
        '--overwrite [when]',
        'into what is not empty: replace files always (reading them to see what differs), if their size or time differs (also the meaning without a word), if those of the backup are newer, or never',
      ).choices(OVERWRITE),
    )
    .option('--delete', 'remove what the backup does not have, below the directory restored to')
    .option('--force', 'into a volume that is not empty: also while hosts use it')
    .option(
      '--skip-damaged',
      'leave out files of which the repository has lost a part, naming them, and restore the rest',
    )
    .option(
      '--without-policy',
      'leave the quota, replicas and schedules of then; the defaults hold',
    )
    .option('--size <size>', 'quota of the volume in place of that of then', parseLimit)
    .option(
      '--replicas <count>',
      'copies of its data in place of those of then, 1 to 7',
      parseCount('--replicas', 1, 7),
    )
    .action(restoreHere);
}

async function restoreHere(
  id: string,
  options: RestoreCommandOptions,
  command: Command,
): Promise<void> {
  const { dataDirectory, output } = contextOf(command);
  const target = parseRestoreTarget(options.to);
  if (options.delete === true && options.overwrite === undefined)
    throw new HoldfastError(
      'BAD_REQUEST',
      '--delete is for what is not empty: say with --overwrite what becomes of what is there',
    );
  checkFilter(options);
  const { repository } = await openPlace(options, dataDirectory);
  const snapshot = await chooseBackup(repository, id, options.volume);
  const work = { repository, snapshot, target, options };
  const { counts, kept, policy } = await working(
    output,
    `restore to ${options.to}`,
    options,
    (report) => restoreTo(work, restoring(report), dataDirectory),
  ).catch((error: unknown) => {
    throw explainedDamage(error, options);
  });
  const facts = { id: snapshot.id, time: timeText(snapshot.timeNs), to: options.to, ...counts };
  const { problems } = counts;
  output.result({ ...facts, ...(kept !== undefined && { kept }), ...policy }, () => [
    restoreLine(snapshot, options, counts),
    ...policyLines(policy),
    ...(kept === undefined ? [] : [`what was there until now is kept as ${kept}`]),
  ]);
  if (problems > 0)
    throw new HoldfastError(
      'CORRUPT',
      `${problems} entries could not be restored, since the repository has lost parts of them; try them from another backup`,
    );
}

/** BAD_REQUEST for patterns that are none, or would have what they leave out removed. */
function checkFilter(options: RestoreCommandOptions): void {
  if (filterOf(options) === undefined || options.delete !== true) return;
  throw new HoldfastError(
    'BAD_REQUEST',
    '--delete would remove what --include and --exclude leave out; give one of the two',
  );
}

function filterOf({ include, exclude }: RestoreCommandOptions): PathFilter | undefined {
  if (include === undefined && exclude === undefined) return undefined;
  return new PathFilter({ ...(include && { include }), ...(exclude && { exclude }) });
}

/** Says how to get what is not damaged. */
function explainedDamage(error: unknown, { skipDamaged = false }: RestoreCommandOptions): unknown {
  const isDamage = error instanceof HoldfastError && error.code === 'CORRUPT';
  if (!isDamage || skipDamaged) return error;
  return new HoldfastError(
    'CORRUPT',
    `${error.message}; --skip-damaged restores what is not damaged`,
    { cause: error },
  );
}

interface Restored extends RestoredVolume {
  /** VOLUME@SNAPSHOT of what was there before. */
  readonly kept?: string;
}

async function restoreTo(
  {
    repository,
    snapshot,
    target,
    options,
  }: {
    readonly repository: Repository;
    readonly snapshot: Snapshot;
    readonly target: RestoreTarget;
    readonly options: RestoreCommandOptions;
  },
  report: WorkReport<RestoreCounts>,
  dataDirectory: string,
): Promise<Restored> {
  const { path, overwrite, size, replicas, force = false } = options;
  const filter = filterOf(options);
  const request = {
    snapshot,
    lockWaitMs: lockWait(options),
    isExact: options.delete === true,
    skipsDamaged: options.skipDamaged === true,
    ...(filter === undefined ? {} : { filter }),
    ...(path === undefined ? {} : { path }),
    ...(overwrite === undefined
      ? {}
      : { overwrite: overwrite === true ? 'if-changed' : overwrite }),
  } as const;
  if (options.dryRun === true) {
    const of = { request, target, dataDirectory };
    return { counts: await previewRestore(repository, of, report) };
  }
  if (target.where === 'host') {
    const { directory } = target;
    return { counts: await restoreToDirectory(repository, { ...request, directory }, report) };
  }
  const { volume, names } = target;
  const policy = {
    ...(size === undefined ? {} : { quotaBytes: size }),
    ...(replicas === undefined ? {} : { replicas }),
  };
  const client = await connectToCluster(dataDirectory);
  try {
    const isThere = (await client.volumes.get(volume)) !== undefined;
    if (names.length > 0 || (overwrite !== undefined && isThere)) {
      const over = { ...request, volume, names, force };
      const { counts, kept } = await restoreIntoVolume(client, repository, over, report);
      return { counts, kept: `${volume}@${kept}` };
    }
    const withPolicy = options.withoutPolicy !== true;
    const fill = { ...request, name: volume, policy, withPolicy, isForNew: false };
    return await restoreToVolume(client, repository, fill, report);
  } finally {
    await client.close();
  }
}

/** Files and bytes as progress shows them. */
export function restoring(report: SharedReport): WorkReport<RestoreCounts> {
  return {
    ...report,
    onProgress: ({ files, skippedFiles, bytesDone }) =>
      report.onDone({ files: files + skippedFiles, bytes: bytesDone }),
  };
}

function restoreLine(
  snapshot: Snapshot,
  { to, dryRun = false }: RestoreCommandOptions,
  counts: RestoreCounts,
): string {
  const { files, skippedFiles, removed, bytesWritten } = counts;
  const [would, stayed] = dryRun ? ['would be restored', 'would stay'] : ['is restored', 'stayed'];
  const there = skippedFiles === 0 ? '' : `, ${skippedFiles} ${stayed} as they were`;
  const gone = removed === 0 ? '' : `, ${removed} names removed`;
  return `backup ${snapshot.id.slice(0, ID_SHOWN)} ${would} to ${to}: ${files} files${there}${gone}, ${bytesText(bytesWritten)}`;
}
