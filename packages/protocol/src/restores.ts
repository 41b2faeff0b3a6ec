/** Sources of restores as text, and their state for people. */
import type { BackupSource, VolumeRestore } from './cluster.ts';
import { HoldfastError } from './errors.ts';

/** Characters of a source, of what is told of a failure. */
export const BACKUP_SOURCE_MAX = 1_024;
export const RESTORE_TROUBLE_MAX = 512;

/** REPOSITORY:VOLUME, its latest backup, or REPOSITORY:VOLUME@BACKUP. BAD_REQUEST. */
export function parseBackupSource(text: string): BackupSource {
  const [, repository = '', volume = '', backup = 'latest'] =
    /^(.+):([a-zA-Z0-9][\w.-]*)(?:@([a-zA-Z0-9][\w.-]*))?$/.exec(text) ?? [];
  if (repository !== '' && text.length <= BACKUP_SOURCE_MAX) return { repository, volume, backup };
  throw new HoldfastError(
    'BAD_REQUEST',
    `'${text.slice(0, 80)}' names no backup: write REPOSITORY:VOLUME, or REPOSITORY:VOLUME@BACKUP with a snapshot's name or a backup's id`,
  );
}

/** The reverse of {@link parseBackupSource}. */
export function backupSourceText({ repository, volume, backup }: BackupSource): string {
  return `${repository}:${volume}${backup === 'latest' ? '' : `@${backup}`}`;
}

/** Percent of a restore that are done, rounded down; undefined while nobody knows how much there is. */
export function restoredPercent({ progress }: VolumeRestore): number | undefined {
  const { bytes = 0, bytesExpected = 0 } = progress ?? {};
  if (bytesExpected === 0) return undefined;
  return Math.min(100, Math.floor((bytes * 100) / bytesExpected));
}

/** The state of a restore that is not done, for people. */
export function restoreText(restore: VolumeRestore): string {
  if (restore.state === 'failed') return 'restore failed';
  const percent = restoredPercent(restore);
  return percent === undefined ? 'restoring' : `restoring, ${percent} %`;
}
