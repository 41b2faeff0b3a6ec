/** Volumes into repositories of backups, and back into volumes and directories. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  type BackupCounts,
  type BackupOptions,
  type BackupResult,
  backup,
  findSnapshot,
  listSnapshots,
  noneRestored,
  type Overwrite,
  type PathFilter,
  type Repository,
  type RestoreCounts,
  restore,
  type Snapshot,
  SnapshotContent,
} from '@holdfast/backup';
import type { ClusterClient } from '@holdfast/client';
import {
  type BackupSource,
  type Snapshot as ClusterSnapshot,
  HoldfastError,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import {
  ChangedSource,
  DirectorySink,
  DrySink,
  type TreeSink,
  type TreeSource,
  VolumeSource,
} from '@holdfast/tree';
import { changeSince } from './backup-change.ts';
import { type TakeSnapshot, withBackupSnapshot } from './backup-hold.ts';
import {
  decodeRecord,
  encodeRecord,
  RECORD_BYTES_MAX,
  RECORD_PATH,
  type VolumeInBackup,
} from './backup-record.ts';
import { fillOrGoOn } from './fill-volume.ts';
import type { Expected } from './progress.ts';
import { restoreOver } from './restore-over.ts';
import { type PolicyOfThen, policyOfThen } from './restored-policy.ts';
import { whyStopped } from './stop-signal.ts';
import { attributeWarning } from './warnings.ts';

/** What long work tells while it goes on. */
export interface WorkReport<Counts> {
  readonly onExpected: (expected: Expected) => void;
  readonly onProgress: (counts: Counts) => void;
  readonly onWarning: (path: string, text: string) => void;
  readonly signal: AbortSignal;
}

/** The path under which a volume appears in backups. */
export function volumePath(name: string): string {
  return `/volumes/${name}`;
}

/** The host under which a cluster's backups appear. */
export function backupHost(clusterId: string): string {
  return `holdfast-${clusterId.slice(0, 8)}`;
}

/** What a backup is taken of. */
export interface BackupRequest {
  readonly volume: string;
  /** A snapshot that exists; one of now is made and removed without it. */
  readonly name?: string;
  readonly tags: readonly string[];
  /** Reads everything, whatever an earlier backup has. */
  readonly isForced: boolean;
  readonly lockWaitMs: number;
  /** Takes the snapshot of now, with something before and after it. */
  readonly take?: TakeSnapshot;
  /** Awaited before the backup is there; what it throws prevents it. */
  readonly beforeSnapshot?: () => Promise<void>;
}

/** A backup of a volume, and what the volume held then. */
export interface VolumeBackup extends BackupResult {
  readonly usedBytes: number;
  readonly usedInodes: number;
}

/** Hexadecimal digits of what names the stage of a restore. */
const STAGE_ID_DIGITS = 16;
/** Binds a backup to the snapshot that it was made of. */
const BASE_TAG = /^holdfast-base=(\d+)\/(\d+)$/;

/** Says which snapshot a backup was made of, when it had a name. */
function snapshotTag(name: string): string {
  return `snapshot=${name}`;
}

function baseTag({ number }: VolumeRecord, { generation }: ClusterSnapshot): string {
  return `holdfast-base=${number}/${generation}`;
}

/** The generation of the snapshot that an earlier backup of the volume was made of. */
function baseOf(parent: Snapshot | undefined, { number }: VolumeRecord): number | undefined {
  for (const tag of parent?.tags ?? []) {
    const [, volume, generation] = BASE_TAG.exec(tag) ?? [];
    if (Number(volume) === number) return Number(generation);
  }
  return undefined;
}

/**
 * Backs a volume up as it was at a snapshot. The time of the backup is that of the snapshot, its
 * host is the cluster: it does not matter which peer runs it. NOT_FOUND.
 */
export async function backupVolume(
  client: ClusterClient,
  repository: Repository,
  { volume, name, tags, isForced, lockWaitMs, take, beforeSnapshot }: BackupRequest,
  report: WorkReport<BackupCounts> & Pick<BackupOptions, 'onDamage'>,
): Promise<VolumeBackup> {
  const { onExpected, onDamage, onProgress, signal } = report;
  const record = await client.volumes.get(volume);
  if (record === undefined) throw new HoldfastError('NOT_FOUND', `there is no volume '${volume}'`);
  if (record.restore !== undefined && record.restore.state !== 'done')
    throw new HoldfastError(
      'CONFLICT',
      `volume '${volume}' is not filled yet; back it up when it is`,
      { detail: { filling: true } },
    );
  const { clusterId } = client.cluster.map;
  const { id } = repository.config;
  const of = {
    volume: record,
    repository: id,
    ...(name !== undefined && { name }),
    ...(take !== undefined && { take }),
  };
  try {
    return await withBackupSnapshot(client, of, async ({ snapshot, root, holdBase }) => {
      const { usedBytes, usedInodes } = snapshot;
      const whole = new VolumeSource(client.fileSystem(), root, { signal, device: record.number });
      const source = async (parent: Snapshot | undefined): Promise<TreeSource> => {
        const base = await holdBase(baseOf(parent, record));
        const span = { from: base?.generation ?? 0, to: snapshot.generation };
        const isUsable = base !== undefined && span.from < span.to;
        const change = isUsable ? await changeSince(client, record, span, signal) : undefined;
        if (change !== undefined) return new ChangedSource(whole, change);
        onExpected({ bytes: usedBytes, files: usedInodes });
        return whole;
      };
      const result = await backup(repository, {
        source,
        ...(isForced && { parent: null }),
        path: volumePath(volume),
        hostname: backupHost(clusterId),
        tags: [
          `volume=${volume}`,
          ...(name === undefined ? [] : [snapshotTag(name)]),
          baseTag(record, snapshot),
          ...tags,
        ],
        timeNs: snapshot.timeNs,
        extra: [{ path: RECORD_PATH, content: encodeRecord(record, snapshot) }],
        lockWaitMs,
        signal,
        ...(onDamage !== undefined && { onDamage }),
        onProgress,
        ...(beforeSnapshot === undefined ? {} : { beforeSnapshot }),
      });
      return { ...result, usedBytes, usedInodes };
    });
  } catch (error) {
    throw whyStopped(error, signal);
  }
}

/** A backup by its id, or the latest of a volume; of a repository with several, one must be named. */
export async function chooseBackup(
  repository: Repository,
  id: string,
  volume: string | undefined,
): Promise<Snapshot> {
  const filter = volume === undefined ? {} : { path: volumePath(volume) };
  if (id === 'latest' && volume === undefined) {
    const paths = new Set(
      (await listSnapshots(repository, undefined, () => {})).map(({ paths }) => paths.join(', ')),
    );
    if (paths.size > 1)
      throw new HoldfastError(
        'BAD_REQUEST',
        `the repository has backups of ${[...paths].sort().join(' and ')}; say which with --volume, or give an id`,
      );
  }
  return findSnapshot(repository, id, filter).catch((error: unknown) => {
    const isGone = error instanceof HoldfastError && error.code === 'NOT_FOUND';
    if (!isGone) throw error;
    const of = volume === undefined ? '' : ` of volume '${volume}'`;
    throw new HoldfastError(
      'NOT_FOUND',
      `the repository has no backup ${id}${of}; see 'holdfast backup ls'`,
      { cause: error },
    );
  });
}

/** The backup that a source names: an id, the latest, or the latest of a snapshot by its name. NOT_FOUND. */
export async function chooseSource(
  repository: Repository,
  { volume, backup }: Pick<BackupSource, 'volume' | 'backup'>,
): Promise<Snapshot> {
  const path = volumePath(volume);
  const named = (await listSnapshots(repository)).findLast(
    ({ paths, tags }) => paths.includes(path) && tags.includes(snapshotTag(backup)),
  );
  return named ?? chooseBackup(repository, backup, volume);
}

/** What is restored. */
export interface RestoreRequest {
  readonly snapshot: Snapshot;
  /** A path below the volume's root; all without it. */
  readonly path?: string;
  /** What becomes of what is there; without it nothing may be. */
  readonly overwrite?: Overwrite;
  /** Removes what the backup does not have. */
  readonly isExact: boolean;
  /** Which entries; paths count from what is restored. */
  readonly filter?: PathFilter;
  /** Leaves out entries that are damaged in the repository, with a warning each. */
  readonly skipsDamaged?: boolean;
  readonly lockWaitMs: number;
}

/** A backup that was looked into: what restoring it needs. */
export interface Found {
  readonly record: VolumeInBackup | undefined;
  /** From the snapshot's root. */
  readonly path: string;
}

/** Looks what a backup says of its volume, and where in it the content is. CORRUPT. */
export async function lookInto(
  repository: Repository,
  { snapshot, path = '' }: RestoreRequest,
  signal: AbortSignal,
): Promise<Found> {
  const content = await SnapshotContent.open(repository, snapshot, signal);
  const bytes = await content.file(`/${RECORD_PATH}`, RECORD_BYTES_MAX);
  const record = bytes === undefined ? undefined : decodeRecord(bytes);
  // One path: what lies there is meant, not the directories that lead to it. restic leaves these out
  // of the tree for paths that were relative.
  const [only] = snapshot.paths.length === 1 ? snapshot.paths : [];
  const isThere = only !== undefined && (await content.find(only)) !== undefined;
  const whole = isThere ? only : '/';
  const wanted = path.split('/').filter((part) => part !== '' && part !== '.');
  return { record, path: [whole.replace(/\/$/, ''), ...wanted].join('/') || '/' };
}

/** What a backup says that its volume held. */
export async function heldIn(
  repository: Repository,
  snapshot: Snapshot,
  signal: AbortSignal,
): Promise<{ readonly files: number; readonly bytes: number }> {
  const content = await SnapshotContent.open(repository, snapshot, signal);
  const bytes = await content.file(`/${RECORD_PATH}`, RECORD_BYTES_MAX);
  const { usedInodes, usedBytes } = bytes === undefined ? {} : decodeRecord(bytes);
  return { files: usedInodes ?? 0, bytes: usedBytes ?? 0 };
}

/** Restores what was found into a sink. */
export async function restoreInto(
  repository: Repository,
  sink: TreeSink,
  { request, found }: { readonly request: RestoreRequest; readonly found: Found },
  { onExpected, onProgress, onWarning, signal }: WorkReport<RestoreCounts>,
): Promise<RestoreCounts> {
  const { usedBytes: bytes, usedInodes: files } = found.record ?? {};
  const isWhole = request.path === undefined && request.filter === undefined;
  if (isWhole && bytes !== undefined)
    onExpected({ bytes, ...(files === undefined ? {} : { files }) });
  const { snapshot, lockWaitMs, overwrite, isExact, filter, skipsDamaged = false } = request;
  const onProblem = (entry: string, error: unknown): void => {
    if (!(error instanceof HoldfastError) || error.code !== 'CORRUPT') throw error;
    onWarning(entry, `is left out: ${error.message}`);
  };
  const rules = {
    isExact,
    ...(overwrite !== undefined && { overwrite }),
    ...(filter !== undefined && { filter }),
    ...(skipsDamaged && { onProblem }),
  };
  const isDryRun = sink instanceof DrySink;
  const what = { snapshot, sink, path: found.path, isDryRun };
  return restore(repository, { ...what, ...rules, lockWaitMs, signal, onProgress });
}

/** The same for every attempt to restore the same: what one of them did is of use to the next. */
function stageIdOf({ snapshot, filter }: RestoreRequest, { path }: Found): string {
  const what = JSON.stringify([snapshot.id, path, filter?.texts ?? {}]);
  return createHash('sha256').update(what).digest('hex').slice(0, STAGE_ID_DIGITS);
}

/** What was restored into a volume, and which policy came along: of one that was made. */
export interface RestoredVolume {
  readonly counts: RestoreCounts;
  readonly policy?: PolicyOfThen;
}

/**
 * Restores into a new or empty volume, all or nothing; a volume that is made gets the policy of then.
 * What an attempt that was killed or stopped, or lost the cluster or the store, has done is gone on
 * with; the counts are of this one. CONFLICT when the volume is not empty.
 */
export async function restoreToVolume(
  client: ClusterClient,
  repository: Repository,
  request: RestoreRequest & {
    readonly name: string;
    readonly policy: Partial<VolumePolicy>;
    /** Without it a volume that is made gets the defaults where nothing is asked. */
    readonly withPolicy: boolean;
    /** The volume is new, or an earlier attempt has made it. */
    readonly isForNew: boolean;
  },
  report: WorkReport<RestoreCounts>,
): Promise<RestoredVolume> {
  const { name, policy, isForNew } = request;
  try {
    const found = await lookInto(repository, request, report.signal);
    const isMade = isForNew || (await client.volumes.get(name)) === undefined;
    const ofThen =
      isMade && request.withPolicy ? await policyOfThen(client, found, policy) : undefined;
    const policyIfNew = ofThen?.policy ?? {};
    const fill = { name, policy, policyIfNew, isForNew, stageId: stageIdOf(request, found) };
    const counts = await fillOrGoOn(client, fill, report, (sink) =>
      restoreInto(repository, sink, { request, found }, report),
    );
    return { counts: counts ?? noneRestored(), ...(ofThen !== undefined && { policy: ofThen }) };
  } catch (error) {
    throw whyStopped(error, report.signal);
  }
}

/**
 * Restores into a volume as it is, or a place in it; what it was before is kept as a snapshot. Done again
 * after it was stopped it goes on: what is complete is passed over. NOT_FOUND, CONFLICT.
 */
export async function restoreIntoVolume(
  client: ClusterClient,
  repository: Repository,
  request: RestoreRequest & {
    readonly volume: string;
    readonly names: readonly string[];
    readonly force: boolean;
  },
  report: WorkReport<RestoreCounts>,
): Promise<{ readonly counts: RestoreCounts; readonly kept: string }> {
  const { volume, names, force } = request;
  const over = { volume, names, force, mayOverwrite: request.overwrite !== undefined };
  try {
    const found = await lookInto(repository, request, report.signal);
    const { result, kept } = await restoreOver(client, over, report, (sink) =>
      restoreInto(repository, sink, { request, found }, report),
    );
    return { counts: result, kept };
  } catch (error) {
    throw whyStopped(error, report.signal);
  }
}

/** Restores into a directory of this host. CONFLICT when it is not empty, unless `overwrite` is said. */
export async function restoreToDirectory(
  repository: Repository,
  request: RestoreRequest & { readonly directory: string },
  report: WorkReport<RestoreCounts>,
): Promise<RestoreCounts> {
  const directory = resolve(request.directory);
  const there = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new HoldfastError('BAD_REQUEST', `cannot restore to ${directory}: ${error.message}`);
  });
  if (there.length > 0 && request.overwrite === undefined)
    throw new HoldfastError(
      'CONFLICT',
      `${directory} is not empty; --overwrite replaces what has the same names, and goes on with a restore that was interrupted`,
    );
  const sink = new DirectorySink(directory, attributeWarning(report.onWarning));
  try {
    const found = await lookInto(repository, request, report.signal);
    return await restoreInto(repository, sink, { request, found }, report);
  } catch (error) {
    throw whyStopped(error, report.signal);
  }
}
