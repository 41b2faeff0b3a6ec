import { HoldfastError } from './errors.ts';

/** VOLUME or VOLUME@SNAPSHOT, as users write them. BAD_REQUEST when it is neither. */
export function parseSnapshotName(text: string): {
  readonly volume: string;
  readonly name?: string;
} {
  const [volume = '', name, ...rest] = text.split('@');
  if (volume === '' || name === '' || rest.length > 0) throw noSnapshotName(text);
  return name === undefined ? { volume } : { volume, name };
}

/** VOLUME@SNAPSHOT. BAD_REQUEST when either is missing. */
export function parseWholeSnapshotName(text: string): {
  readonly volume: string;
  readonly name: string;
} {
  const { volume, name } = parseSnapshotName(text);
  if (name === undefined) throw noSnapshotName(text);
  return { volume, name };
}

function noSnapshotName(text: string): HoldfastError {
  const shown = text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 80);
  return new HoldfastError('BAD_REQUEST', `name a snapshot as VOLUME@NAME, not '${shown}'`);
}

/** What the names of snapshots begin with that backups and exports make for themselves. */
export const BACKUP_SNAPSHOTS = 'holdfast-backup-';

/** What the name of a snapshot begins with to which a volume goes back that was receiving and did not end. */
export const RECEIVE_SNAPSHOTS = 'holdfast-receive-';

/** Name of the directory of snapshots, in the root of every volume. */
export const SNAPSHOTS_NAME = '.snapshots';

/**
 * A hidden directory in a volume's root while it receives a change from another cluster: what is there
 * is neither what was before nor what is to be.
 */
export const RECEIVING_NAME = '.holdfast-receive';

/**
 * Begins the name of a hidden directory in a volume's root in which content is built that then moves up, all
 * or nothing. It is made in an empty root: no other entry is older.
 */
export const STAGE_PREFIX = '.holdfast-import-';
/** Entries of a root, in the order in which they were made, that are looked at to find one. */
export const STAGE_AMONG = 16;
