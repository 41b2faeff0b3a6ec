/** Reading all indexes, and finding packs that none of them lists. */
import { HoldfastError } from '@holdfast/protocol';
import { isStorageId, type StorageId } from '../format/ids.ts';
import { type IndexedPack, indexDocument, packsOfIndex } from '../format/index-file.ts';
import { decodePackHeader, HEADER_LENGTH_BYTES, headerLength } from '../format/pack.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import { BlobIndex } from './blob-index.ts';
import { mapInParallel } from './gate.ts';
import type { Repository } from './repository.ts';

/** The key of a pack in the store. */
export function packKey(id: StorageId): string {
  return `data/${id.slice(0, 2)}/${id}`;
}

/**
 * All of a repository's indexes. One that another process replaced meanwhile is passed over; one that is
 * damaged is told of and passed over, without `onDamaged` that is CORRUPT.
 */
export async function loadIndex(
  repository: Repository,
  signal?: AbortSignal,
  onDamaged?: (id: StorageId, problem: string) => void,
): Promise<BlobIndex> {
  const index = new BlobIndex();
  await mapInParallel(await repository.ids('index', signal), BACKUP_LIMITS.loadsMax, async (id) => {
    try {
      for (const pack of packsOfIndex(await repository.load('index', id, signal))) index.add(pack);
    } catch (error) {
      const code = error instanceof HoldfastError ? error.code : undefined;
      if (code === 'NOT_FOUND') return;
      if (code !== 'CORRUPT') throw error;
      const problem = `the index ${id} is damaged (${(error as Error).message})`;
      if (onDamaged === undefined)
        throw new HoldfastError(
          'CORRUPT',
          `${problem}; 'holdfast backup repo repair' makes it anew from the packs`,
          { cause: error },
        );
      onDamaged(id, problem);
    }
  });
  return index;
}

/**
 * All that can be read of a repository: where an index is damaged, the packs that only it listed say
 * themselves what is in them.
 */
export async function loadIndexToRead(
  repository: Repository,
  signal?: AbortSignal,
): Promise<BlobIndex> {
  let isWhole = true;
  const index = await loadIndex(repository, signal, () => {
    isWhole = false;
  });
  if (isWhole) return index;
  for (const pack of await unlistedPacks(
    repository,
    index,
    await listPacks(repository, signal),
    signal,
  ))
    index.add(pack);
  return index;
}

/** Packs that an index lists and that are gone or cut off, with what is wrong. */
export function lostPacks(
  index: BlobIndex,
  stored: ReadonlyMap<StorageId, number>,
): Map<StorageId, string> {
  const lost = new Map<StorageId, string>();
  for (const id of index.packs()) {
    const bytes = stored.get(id);
    const wanted = index.packBytes(id);
    if (bytes === undefined) lost.set(id, 'gone');
    else if (bytes < wanted) lost.set(id, `cut off, ${bytes} bytes of ${wanted}`);
  }
  return lost;
}

/** Every pack that lies in the store, with its length in bytes. */
export async function listPacks(
  repository: Repository,
  signal?: AbortSignal,
): Promise<Map<StorageId, number>> {
  const packs = new Map<StorageId, number>();
  for await (const { key, bytes } of repository.store.list('data/', signal)) {
    const id = key.slice(key.lastIndexOf('/') + 1);
    if (isStorageId(id) && key === packKey(id)) packs.set(id, bytes);
  }
  return packs;
}

/** What a pack says of itself. CORRUPT when its header is damaged. */
export async function readPackHeader(
  repository: Repository,
  id: StorageId,
  bytes: number,
  signal?: AbortSignal,
): Promise<IndexedPack> {
  const { store, key } = repository;
  const end = { offset: bytes - HEADER_LENGTH_BYTES, length: HEADER_LENGTH_BYTES };
  if (end.offset < 0) throw new HoldfastError('CORRUPT', 'a pack is shorter than its end');
  const length = headerLength(await store.get(packKey(id), end, signal), bytes);
  const sealed = await store.get(packKey(id), { offset: end.offset - length, length }, signal);
  return { id, blobs: decodePackHeader(sealed, key) };
}

/**
 * Lists packs that lie in the store but in no index, as a backup leaves them that was killed: their
 * blobs need not be sent again. Packs that are damaged are left alone. The number adopted.
 */
export async function adoptPacks(
  repository: Repository,
  index: BlobIndex,
  stored: ReadonlyMap<StorageId, number>,
  signal?: AbortSignal,
): Promise<number> {
  const adopted = await unlistedPacks(repository, index, stored, signal);
  for (let at = 0; at < adopted.length; at += BACKUP_LIMITS.indexPacks)
    await repository.save(
      'index',
      indexDocument(adopted.slice(at, at + BACKUP_LIMITS.indexPacks)),
      signal,
    );
  for (const pack of adopted) index.add(pack);
  return adopted.length;
}

/** Packs that lie in the store and in no index, by their headers; without those that are damaged. */
export async function unlistedPacks(
  repository: Repository,
  index: BlobIndex,
  stored: ReadonlyMap<StorageId, number>,
  signal?: AbortSignal,
): Promise<IndexedPack[]> {
  const unlisted = [...stored].filter(([id]) => !index.hasPack(id));
  const packs = await mapInParallel(unlisted, BACKUP_LIMITS.loadsMax, async ([id, bytes]) => {
    try {
      return await readPackHeader(repository, id, bytes, signal);
    } catch (error) {
      const isGone =
        error instanceof HoldfastError && (error.code === 'CORRUPT' || error.code === 'NOT_FOUND');
      if (isGone) return undefined;
      throw error;
    }
  });
  return packs.filter((pack) => pack !== undefined);
}
