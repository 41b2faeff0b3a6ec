/**
 * Making a damaged repository whole again, as far as it can be: alone in it by an exclusive lock, and
 * in an order in which a crash at any point loses nothing that could be read before.
 *
 * 1. of packs that are damaged, the blobs that are right are copied into new packs
 * 2. new indexes list what there is: packs that only damaged or missing indexes listed, too
 * 3. the old indexes are removed, 4. the damaged packs are
 *
 * What is lost then is in no index any more, and the backups of before are no parents any more: the next
 * one of each volume reads everything, and sends what is lost if it is still there.
 */
import { HoldfastError } from '@holdfast/protocol';
import { type StorageId, storageIdOf } from '../format/ids.ts';
import type { BlobIndex, BlobPlace } from './blob-index.ts';
import { openBlob } from './blob-reader.ts';
import { mapInParallel } from './gate.ts';
import { listPacks, loadIndex, lostPacks, packKey, unlistedPacks } from './load-index.ts';
import { type RepositoryLock, withLock } from './locks.ts';
import { PackWriter } from './pack-writer.ts';
import { replaceIndexes } from './prune.ts';
import type { Repository } from './repository.ts';
import { distrustSnapshots } from './snapshots.ts';

/** How far a repair looks. */
export interface RepairOptions {
  /** Reads every pack, to find those of which bytes are wrong. */
  readonly readData?: boolean;
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
}

/** What was wrong; nothing was when all are 0, and nothing was changed then. */
export interface RepairResult {
  /** Indexes that could not be read. */
  readonly indexesDamaged: number;
  /** Packs that no index listed and that one lists now. */
  readonly packsFound: number;
  /** Packs that an index listed and that are gone. */
  readonly packsGone: number;
  /** Packs that were cut off or had wrong bytes, and that were removed. */
  readonly packsDamaged: number;
  /** Blobs that were copied out of these. */
  readonly blobsSaved: number;
  /** Blobs that no pack has any more. */
  readonly blobsLost: number;
}

/** Packs that are read at once: their memory. */
const PACKS_AT_ONCE = 2;

type Blobs = readonly BlobPlace[];

/** The blobs of a pack that are right, one after the other; `false` for each that is not. */
async function* soundBlobs(
  repository: Repository,
  { id, blobs }: { readonly id: StorageId; readonly blobs: Blobs },
  signal: AbortSignal,
): AsyncGenerator<{ readonly blob: BlobPlace; readonly plaintext: Uint8Array } | false> {
  const bytes = await repository.store.get(packKey(id), undefined, signal);
  if (storageIdOf(bytes) !== id) yield false;
  for (const blob of blobs) {
    let plaintext: Uint8Array;
    try {
      const sealed = bytes.subarray(blob.offset, blob.offset + blob.length);
      plaintext = await openBlob(repository, blob, sealed);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'CORRUPT') throw error;
      yield false;
      continue;
    }
    yield { blob, plaintext };
  }
}

/** Packs of which some bytes are wrong. */
async function wrongPacks(
  repository: Repository,
  packs: readonly { readonly id: StorageId; readonly blobs: Blobs }[],
  signal: AbortSignal,
): Promise<StorageId[]> {
  const wrong: StorageId[] = [];
  await mapInParallel(packs, PACKS_AT_ONCE, async (pack) => {
    for await (const sound of soundBlobs(repository, pack, signal)) {
      if (sound !== false) continue;
      wrong.push(pack.id);
      break;
    }
  });
  return wrong;
}

/** Copies what is right out of damaged packs; the index learns where it is now. How many blobs. */
async function save(
  repository: Repository,
  rest: BlobIndex,
  {
    damaged,
    signal,
  }: { readonly damaged: readonly { id: StorageId; blobs: Blobs }[]; readonly signal: AbortSignal },
): Promise<number> {
  const writer = new PackWriter(repository, rest, { signal });
  let saved = 0;
  try {
    for (const pack of damaged) {
      for await (const sound of soundBlobs(repository, pack, signal)) {
        if (sound === false) continue;
        const { id, type } = sound.blob;
        if (await writer.addKnown(type, id, sound.plaintext)) saved++;
      }
    }
    await writer.finish();
  } catch (error) {
    await writer.abandon();
    throw error;
  }
  return saved;
}

async function repairLocked(
  repository: Repository,
  { readData = false }: RepairOptions,
  { lock, signal }: { readonly lock: RepositoryLock; readonly signal: AbortSignal },
): Promise<RepairResult> {
  let indexesDamaged = 0;
  const index = await loadIndex(repository, signal, () => indexesDamaged++);
  const stored = await listPacks(repository, signal);
  const found = await unlistedPacks(repository, index, stored, signal);
  for (const pack of found) index.add(pack);
  const lost = lostPacks(index, stored);
  const whole = [...index.byPack()].filter(({ id }) => !lost.has(id));
  for (const id of readData ? await wrongPacks(repository, whole, signal) : [])
    lost.set(id, 'wrong bytes');
  const damaged = [...index.byPack()].filter(({ id }) => lost.has(id) && stored.has(id));
  const rest = index.without(lost);
  const blobsSaved = await save(repository, rest, { damaged, signal });
  const missing = new Set<string>();
  for (const { pack, id, type } of lost.size === 0 ? [] : index.entries())
    if (lost.has(pack) && !rest.has(id, type)) missing.add(`${type}:${id}`);
  // Before it is forgotten what was lost: backups that took it for granted hand it on to no other.
  if (missing.size > 0)
    await distrustSnapshots(repository, await repository.ids('snapshots', signal), signal);
  if (indexesDamaged + found.length + lost.size > 0) {
    const old = await repository.ids('index', signal);
    await replaceIndexes(repository, old, { packs: [...rest.byPack()], lock });
  }
  for (const { id } of damaged) {
    lock.assertHeld();
    await repository.store.delete(packKey(id), signal);
  }
  return {
    indexesDamaged,
    packsFound: found.length,
    packsGone: lost.size - damaged.length,
    packsDamaged: damaged.length,
    blobsSaved,
    blobsLost: missing.size,
  };
}

/**
 * Repairs: afterwards the indexes say what there is, and verify tells which backups lack something.
 * EBUSY while others work in the repository.
 */
export async function repair(
  repository: Repository,
  options: RepairOptions = {},
): Promise<RepairResult> {
  const { signal, lockWaitMs: waitMs = 0 } = options;
  const lock = { exclusive: true, waitMs, ...(signal ? { signal } : {}) };
  return withLock(repository, lock, (held, both) =>
    repairLocked(repository, options, { lock: held, signal: both }),
  );
}
