/** Volumes that are being filled from backups, as the registry knows them. */
import type { StoredVolume } from '@holdfast/placement';
import { backupSourceText, restoredPercent } from '@holdfast/protocol';

/** A volume that is not complete. */
export interface RestoreStatus {
  readonly volume: string;
  /** REPOSITORY:VOLUME[@BACKUP]. */
  readonly from: string;
  readonly state: 'restoring' | 'failed';
  /** 0 … 100; absent while nobody knows how much there is. */
  readonly percent?: number;
  /** Where it is filled, or was last; absent while nobody does it. */
  readonly host?: string;
  /** Why the last try failed. */
  readonly trouble?: string;
}

/** All of them, failed ones first. */
export function restoreStatuses(volumes: Iterable<StoredVolume>): readonly RestoreStatus[] {
  const all = [...volumes].flatMap(({ record, removal }): RestoreStatus[] => {
    const { restore, name } = record;
    if (restore === undefined || restore.state === 'done' || removal !== undefined) return [];
    const { source, state, claim, trouble } = restore;
    const percent = restoredPercent(restore);
    return [
      {
        volume: name,
        from: backupSourceText(source),
        state,
        ...(percent !== undefined && { percent }),
        ...(claim !== undefined && { host: claim.host }),
        ...(trouble !== undefined && { trouble }),
      },
    ];
  });
  return all.sort((a, b) => Number(b.state === 'failed') - Number(a.state === 'failed'));
}
