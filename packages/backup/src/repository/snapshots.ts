/** Reading the snapshots of a repository. */
import { HoldfastError } from '@holdfast/protocol';
import type { StorageId } from '../format/ids.ts';
import { type Snapshot, snapshotOf } from '../format/snapshot.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import { mapInParallel } from './gate.ts';
import type { Repository } from './repository.ts';

/** One snapshot. NOT_FOUND when it was forgotten. */
export async function readSnapshot(repository: Repository, id: StorageId): Promise<Snapshot> {
  return snapshotOf(await repository.load('snapshots', id), id);
}

/** Every snapshot, oldest first. One that is forgotten meanwhile is left out. */
export async function listSnapshots(
  repository: Repository,
  signal?: AbortSignal,
): Promise<Snapshot[]> {
  const ids = await repository.ids('snapshots', signal);
  const snapshots = await mapInParallel(ids, BACKUP_LIMITS.loadsMax, async (id) => {
    try {
      return await readSnapshot(repository, id);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  });
  return snapshots
    .filter((snapshot) => snapshot !== undefined)
    .toSorted((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
}

/**
 * The snapshot that a text names: an id, the beginning of one, or `latest` (of a host or path where
 * given). NOT_FOUND, or EINVAL when several begin so.
 */
export async function findSnapshot(
  repository: Repository,
  name: string,
  filter: { readonly hostname?: string; readonly path?: string } = {},
): Promise<Snapshot> {
  const all = (await listSnapshots(repository)).filter(
    ({ hostname, paths }) =>
      (filter.hostname === undefined || hostname === filter.hostname) &&
      (filter.path === undefined || paths.includes(filter.path)),
  );
  const found = name === 'latest' ? all.slice(-1) : all.filter(({ id }) => id.startsWith(name));
  const [snapshot] = found;
  if (snapshot === undefined) throw new HoldfastError('NOT_FOUND', `no snapshot ${name}`);
  if (found.length > 1)
    throw new HoldfastError('EINVAL', `several snapshots begin with ${name}; give more digits`);
  return snapshot;
}
