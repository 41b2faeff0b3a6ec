/** Volumes that are filled from backups: who does it, and how far it is. */
import {
  BACKUP_SOURCE_MAX,
  type BackupSource,
  backupSourceText,
  RESTORE_TROUBLE_MAX,
  type RestoreProgress,
  restoreText,
  type VolumeRecord,
  type VolumeRestore,
} from '@holdfast/protocol';
import type { RegistryResult } from './cluster-commands.ts';
import { checkNodeName, checkVolumeName } from './cluster-names.ts';
import type { ChangeOf } from './cluster-nodes.ts';
import type { ClusterRecords, StoredVolume } from './cluster-records.ts';
import { done, refuse } from './registry-results.ts';

type Asked = NonNullable<ChangeOf<'create-volume'>['restore']>;

/** What a volume that is to be filled begins with. `time`: ISO 8601. */
export function beginRestore(
  { source, withPolicy }: Asked,
  asked: VolumeRestore['asked'],
  time: string,
): VolumeRestore {
  return { source, state: 'restoring', since: time, withPolicy, asked };
}

/** What is wrong with the wish to fill a volume; undefined when nothing is. */
export function refuseSource(
  records: ClusterRecords,
  { restore, from, policy }: ChangeOf<'create-volume'>,
): RegistryResult | undefined {
  if (restore === undefined) return undefined;
  const { source } = restore;
  if (from !== undefined)
    return refuse('BAD_REQUEST', 'a volume is a clone or made from a backup, not both');
  const isOdd =
    checkVolumeName(source.volume) !== undefined ||
    checkVolumeName(source.backup) !== undefined ||
    backupSourceText(source).length > BACKUP_SOURCE_MAX;
  const fixed = (['uid', 'gid', 'mode'] as const).filter((key) => policy[key] !== undefined);
  if (fixed.length > 0)
    return refuse(
      'BAD_REQUEST',
      `the root of a volume made from a backup has the owner and mode of then: leave out ${fixed.join(', ')}, and use chown and chmod on it`,
    );
  if (isOdd)
    return refuse('BAD_REQUEST', 'a backup is named REPOSITORY:VOLUME or REPOSITORY:VOLUME@BACKUP');
  if (records.repositories.has(source.repository)) return undefined;
  return refuse(
    'NOT_FOUND',
    `the cluster knows no repository '${source.repository}'; see 'holdfast backup repo add'`,
  );
}

/** Whether two volumes are made from the same, or neither from any. */
export function sameSource(a: BackupSource | undefined, b: BackupSource | undefined): boolean {
  return a?.repository === b?.repository && a?.volume === b?.volume && a?.backup === b?.backup;
}

/** The record of a volume whose restore failed and is asked for again. */
export function restoreAgain(record: VolumeRecord, time: string): VolumeRecord | undefined {
  const { restore } = record;
  if (restore?.state !== 'failed') return undefined;
  const { trouble: _trouble, ...rest } = restore;
  return { ...record, restore: { ...rest, state: 'restoring', since: time } };
}

/** Why nobody may attach or clone a volume that is not filled yet; undefined when they may. */
export function whyNotFilled({ name, restore }: VolumeRecord): string | undefined {
  if (restore === undefined || restore.state === 'done') return undefined;
  const why = restore.trouble === undefined ? '' : ` (${restore.trouble})`;
  return `volume '${name}' is not complete: ${restoreText(restore)} from ${backupSourceText(restore.source)}${why}`;
}

/** See the change's own description; likewise below. `time` is the command's, ISO 8601. */
export function claimRestore(
  records: ClusterRecords,
  { volume: number, by, host, until }: ChangeOf<'claim-restore'>,
  time: string,
): RegistryResult {
  const volume = records.volumes.get(number);
  if (volume === undefined) return refuse('NOT_FOUND', `there is no volume number ${number}`);
  const { restore, name, state } = volume.record;
  if (restore?.state !== 'restoring' || state !== 'ready' || volume.removal !== undefined)
    return refuse('CONFLICT', `volume '${name}' is not being restored`);
  const wrong = checkNodeName(host);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const { claim } = restore;
  if (claim !== undefined && claim.by !== by && claim.until > time)
    return refuse('CONFLICT', `volume '${name}' is being restored by ${claim.host}`, { ...claim });
  return put(records, volume, { ...restore, claim: { by, host, until } });
}

export function noteRestore(
  records: ClusterRecords,
  change: ChangeOf<'note-restore'>,
): RegistryResult {
  const held = heldBy(records, change);
  if ('refusal' in held) return held.refusal;
  const { volume, restore, claim } = held;
  const { until, backupId, progress, isComplete, trouble } = change;
  const wrong = checkNote(change);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const { trouble: before, ...rest } = restore;
  const told = trouble ?? before ?? '';
  return put(records, volume, {
    ...rest,
    claim: { ...claim, until },
    ...(backupId !== undefined && { backupId }),
    ...(progress !== undefined && { progress }),
    ...(isComplete !== undefined && { isComplete }),
    ...(told !== '' && { trouble: told.slice(0, RESTORE_TROUBLE_MAX) }),
  });
}

export function endRestore(
  records: ClusterRecords,
  change: ChangeOf<'end-restore'>,
  time: string,
): RegistryResult {
  const held = heldBy(records, change);
  if ('refusal' in held) return held.refusal;
  const { volume, restore } = held;
  const { outcome, trouble } = change;
  const { claim: _claim, trouble: before, ...rest } = restore;
  const told = outcome === 'done' ? undefined : (trouble ?? before);
  const since = outcome === 'left' ? restore.since : time;
  return put(records, volume, {
    ...rest,
    state: outcome === 'left' ? 'restoring' : outcome,
    since,
    ...(told !== undefined && { trouble: told.slice(0, RESTORE_TROUBLE_MAX) }),
  });
}

function put(
  records: ClusterRecords,
  volume: StoredVolume,
  restore: VolumeRestore,
): RegistryResult {
  const record = { ...volume.record, restore };
  records.putVolume({ ...volume, record });
  return done({ volume: record });
}

type Held =
  | { readonly refusal: RegistryResult }
  | {
      readonly volume: StoredVolume;
      readonly restore: VolumeRestore;
      readonly claim: NonNullable<VolumeRestore['claim']>;
    };

/** An expired claim that nobody else took is still its owner's. */
function heldBy(
  records: ClusterRecords,
  { volume: number, by }: { readonly volume: VolumeRecord['number']; readonly by: string },
): Held {
  const volume = records.volumes.get(number);
  const restore = volume?.record.restore;
  if (volume === undefined || volume.removal !== undefined)
    return { refusal: refuse('NOT_FOUND', `volume number ${number} is gone, or being removed`) };
  const claim = restore?.claim;
  if (restore === undefined || claim === undefined || claim.by !== by)
    return {
      refusal: refuse('CONFLICT', `volume '${volume.record.name}' is restored by somebody else`),
    };
  return { volume, restore, claim };
}

function checkNote({ backupId, progress }: ChangeOf<'note-restore'>): string | undefined {
  if (backupId !== undefined && !/^[0-9a-f]{64}$/.test(backupId))
    return 'the id of a backup has 64 hexadecimal digits';
  const isCount = (value: number | undefined): boolean =>
    value === undefined || (Number.isSafeInteger(value) && value >= 0);
  const counts: (keyof RestoreProgress)[] = ['files', 'bytes', 'filesExpected', 'bytesExpected'];
  const odd = counts.find((key) => !isCount(progress?.[key]));
  return odd === undefined ? undefined : `${odd} is a whole number, 0 or more`;
}
