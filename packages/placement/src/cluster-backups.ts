/** What the registry knows of the backups of volumes; the backups themselves lie elsewhere. */
import type { LastBackup, LastVerification } from '@holdfast/protocol';
import type { RegistryResult } from './cluster-commands.ts';
import type { ChangeOf } from './cluster-nodes.ts';
import type { ClusterRecords } from './cluster-records.ts';
import { changed, done, refuse, unchanged } from './registry-results.ts';

/** Characters of a repository's place. */
const PLACE_MAX = 1_024;

/** See the change's own description; likewise below. */
export function noteBackup(
  records: ClusterRecords,
  { volume: number, backup }: ChangeOf<'note-backup'>,
): RegistryResult {
  const volume = records.volumes.get(number);
  if (volume === undefined) return refuse('NOT_FOUND', `there is no volume number ${number}`);
  const wrong = checkBackup(backup);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const { lastVerification, ...rest } = volume.record;
  const { lastBackup } = rest;
  if (lastBackup !== undefined && backup.at <= lastBackup.at)
    return unchanged({ volume: volume.record });
  // A verification says nothing of what came after it; of another repository, nothing at all.
  const isSamePlace = lastBackup?.repository === backup.repository;
  const kept = isSamePlace && lastVerification !== undefined ? { lastVerification } : {};
  const record = { ...rest, ...kept, lastBackup: backup };
  records.putVolume({ ...volume, record });
  return done({ volume: record });
}

export function noteVerification(
  records: ClusterRecords,
  { repository, verification }: ChangeOf<'note-verification'>,
): RegistryResult {
  const wrong = checkVerification(verification);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const there = [...records.volumes.values()].filter(
    ({ record }) =>
      record.lastBackup?.repository === repository &&
      (record.lastVerification?.at ?? '') < verification.at,
  );
  for (const volume of there)
    records.putVolume({ ...volume, record: { ...volume.record, lastVerification: verification } });
  const known = [...records.repositories.values()].filter(
    ({ repository: { place, lastVerification } }) =>
      place === repository && (lastVerification?.at ?? '') < verification.at,
  );
  for (const access of known)
    records.putRepository({
      ...access,
      repository: { ...access.repository, lastVerification: verification },
    });
  return there.length + known.length === 0 ? unchanged() : changed();
}

function checkBackup(backup: LastBackup): string | undefined {
  const { id, at, repository } = backup;
  if (!/^[0-9a-f]{64}$/.test(id)) return 'the id of a backup has 64 hexadecimal digits';
  if (repository.length === 0 || repository.length > PLACE_MAX)
    return `the place of a repository has 1 to ${PLACE_MAX} characters`;
  const counts = ['files', 'bytes', 'bytesRead', 'bytesSent', 'tookMs'] as const;
  const odd = counts.find((key) => !(Number.isSafeInteger(backup[key]) && backup[key] >= 0));
  return checkTime(at) ?? (odd === undefined ? undefined : `${odd} is a whole number, 0 or more`);
}

function checkVerification({ at, readShare, problems }: LastVerification): string | undefined {
  if (!(readShare >= 0 && readShare <= 1)) return 'readShare is a number from 0 to 1';
  if (!(Number.isSafeInteger(problems) && problems >= 0))
    return 'problems is a whole number, 0 or more';
  return checkTime(at);
}

/** Times are compared as texts. */
function checkTime(text: string): string | undefined {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
  return time.test(text) ? undefined : 'a time is written as 2026-01-31T12:00:00.000Z';
}
