/** Reading the snapshots of a repository. */
import { HoldfastError } from '@holdfast/protocol';
import type { StorageId } from '../format/ids.ts';
import { fieldsOf, listOf, textOf } from '../format/json.ts';
import { type Snapshot, snapshotOf } from '../format/snapshot.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import { mapInParallel } from './gate.ts';
import { OWN_FOLDER, type Repository } from './repository.ts';

/** Told of a snapshot file that cannot be read, in words; the others are as good as before. */
export type ReportDamaged = (id: StorageId, problem: string) => void;

/** Says that these snapshots may lack something: they are no parents of others any more. */
export async function distrustSnapshots(
  repository: Repository,
  ids: readonly StorageId[],
  signal?: AbortSignal,
): Promise<void> {
  await repository.save(OWN_FOLDER, { incompleteParents: ids }, signal);
}

/** Snapshots that were there when something was found to be lost. */
export async function distrustedSnapshots(
  repository: Repository,
  signal?: AbortSignal,
): Promise<ReadonlySet<StorageId>> {
  const documents = await mapInParallel(
    await repository.ids(OWN_FOLDER, signal),
    BACKUP_LIMITS.loadsMax,
    (id) => repository.load(OWN_FOLDER, id, signal),
  );
  const lists = documents.map(
    (document) => fieldsOf(document, OWN_FOLDER)['incompleteParents'] ?? [],
  );
  return new Set(lists.flatMap((ids) => listOf(ids, OWN_FOLDER).map((id) => textOf(id, 'an id'))));
}

/** One snapshot. NOT_FOUND when it was forgotten, CORRUPT when its file is damaged. */
export async function readSnapshot(repository: Repository, id: StorageId): Promise<Snapshot> {
  try {
    return snapshotOf(await repository.load('snapshots', id), id);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'CORRUPT') throw error;
    throw new HoldfastError(
      'CORRUPT',
      `the file of backup ${id} is damaged (${error.message}); all others can be used; 'holdfast backup forget ${id.slice(0, 8)}' removes it`,
      { cause: error, detail: { snapshot: id } },
    );
  }
}

/**
 * Every snapshot, oldest first. One that is forgotten meanwhile is left out, one that is damaged is
 * told of and left out; without `onDamaged` that is CORRUPT: for who removes what no snapshot needs.
 */
export async function listSnapshots(
  repository: Repository,
  signal?: AbortSignal,
  onDamaged?: ReportDamaged,
): Promise<Snapshot[]> {
  const ids = await repository.ids('snapshots', signal);
  const snapshots = await mapInParallel(ids, BACKUP_LIMITS.loadsMax, async (id) => {
    try {
      return await readSnapshot(repository, id);
    } catch (error) {
      const code = error instanceof HoldfastError ? error.code : undefined;
      if (code === 'NOT_FOUND') return undefined;
      if (code !== 'CORRUPT' || onDamaged === undefined) throw error;
      onDamaged(id, (error as HoldfastError).message);
      return undefined;
    }
  });
  return snapshots
    .filter((snapshot) => snapshot !== undefined)
    .toSorted((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
}

/**
 * The snapshot that a text names: an id, the beginning of one, or `latest` (of a host or path where
 * given; of those that can be read). NOT_FOUND, EINVAL when several begin so, CORRUPT when it is damaged.
 */
export async function findSnapshot(
  repository: Repository,
  name: string,
  filter: { readonly hostname?: string; readonly path?: string } = {},
): Promise<Snapshot> {
  const candidates =
    name === 'latest'
      ? await listSnapshots(repository, undefined, () => {})
      : [await readSnapshot(repository, await findSnapshotId(repository, name))];
  const snapshot = candidates.findLast(
    ({ hostname, paths }) =>
      (filter.hostname === undefined || hostname === filter.hostname) &&
      (filter.path === undefined || paths.includes(filter.path)),
  );
  if (snapshot === undefined) throw new HoldfastError('NOT_FOUND', `no snapshot ${name}`);
  return snapshot;
}

/** The id that begins so, of a snapshot that need not be readable. NOT_FOUND, EINVAL. */
export async function findSnapshotId(repository: Repository, name: string): Promise<StorageId> {
  const [id, ...others] = (await repository.ids('snapshots')).filter((known) =>
    known.startsWith(name),
  );
  if (id === undefined || name === '') throw new HoldfastError('NOT_FOUND', `no snapshot ${name}`);
  if (others.length > 0)
    throw new HoldfastError('EINVAL', `several snapshots begin with ${name}; give more digits`);
  return id;
}
