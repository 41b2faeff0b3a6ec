/**
 * Removing what no snapshot refers to. Alone in the repository by an exclusive lock, and in an order
 * in which a crash at any point leaves a repository that check finds whole:
 *
 * 1. blobs that stay are copied out of packs that are mostly waste, into new packs with new indexes
 * 2. new indexes of all that stays are written, 3. the old indexes are removed
 * 4. packs that no index lists any more are removed
 */
import { HoldfastError } from '@holdfast/protocol';
import type { StorageId } from '../format/ids.ts';
import { type IndexedPack, indexDocument } from '../format/index-file.ts';
import { type PackedBlob, packBytes } from '../format/pack.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import { BlobIndex, type BlobPlace } from './blob-index.ts';
import { BlobReader } from './blob-reader.ts';
import { mapInParallel } from './gate.ts';
import { listPacks, loadIndex, packKey } from './load-index.ts';
import { type RepositoryLock, withLock } from './locks.ts';
import { PackWriter } from './pack-writer.ts';
import { type Reachable, reachableBlobs } from './reachable.ts';
import type { Repository } from './repository.ts';
import { listSnapshots } from './snapshots.ts';

/** How far a prune goes. */
export interface PruneOptions {
  /** Share of a pack's bytes that may stay unused, 0 to 1; more, and the rest is copied out. */
  readonly maxUnused?: number;
  readonly dryRun?: boolean;
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
}

/** What a prune did, or would do. */
export interface PruneResult {
  readonly packsRemoved: number;
  readonly packsRewritten: number;
  readonly bytesFreed: number;
  /** Bytes that stay although nothing refers to them. */
  readonly bytesUnused: number;
}

const MAX_UNUSED = 0.05;

interface Plan {
  /** Packs that stay as they are. */
  readonly keep: IndexedPack[];
  /** Blobs to copy, of packs that then go. */
  readonly copy: BlobPlace[];
  readonly rewrite: StorageId[];
  /** Packs with nothing of use, listed or not. */
  readonly remove: StorageId[];
  bytesUnused: number;
}

function makePlan(
  index: BlobIndex,
  used: Reachable,
  stored: Iterable<StorageId>,
  maxUnused: number,
): Plan {
  const plan: Plan = { keep: [], copy: [], rewrite: [], remove: [], bytesUnused: 0 };
  // A blob that lies in two packs is of use in the first only.
  const isOfUse = (blob: BlobPlace): boolean =>
    (blob.type === 'tree' ? used.trees : used.data).has(blob.id) &&
    index.find(blob.id, blob.type)?.pack === blob.pack;
  for (const { id: pack, blobs } of index.byPack()) {
    const useful = blobs.filter(isOfUse);
    const total = sealedBytes(blobs);
    const unused = total - sealedBytes(useful);
    if (useful.length === 0) plan.remove.push(pack);
    else if (unused > total * maxUnused) {
      plan.rewrite.push(pack);
      plan.copy.push(...useful);
    } else {
      plan.keep.push({ id: pack, blobs });
      plan.bytesUnused += unused;
    }
  }
  for (const pack of stored) if (!index.hasPack(pack)) plan.remove.push(pack);
  return plan;
}

function sealedBytes(blobs: readonly PackedBlob[]): number {
  return blobs.reduce((sum, { length }) => sum + length, 0);
}

/** Copies blobs into packs of an index of their own. */
async function copyOut(
  repository: Repository,
  index: BlobIndex,
  { copy, signal }: { copy: readonly BlobPlace[]; signal: AbortSignal },
): Promise<BlobIndex> {
  const fresh = new BlobIndex();
  const reader = new BlobReader(repository, index, signal);
  const writer = new PackWriter(repository, fresh, { signal });
  try {
    await mapInParallel(copy, BACKUP_LIMITS.blobsInFlightMax, async ({ id, type }) => {
      await writer.addKnown(type, id, await reader.read(id, type));
    });
    await writer.finish();
  } catch (error) {
    await writer.abandon();
    throw error;
  }
  return fresh;
}

/** Writes indexes of all that stays and removes the old ones. */
export async function replaceIndexes(
  repository: Repository,
  old: readonly StorageId[],
  { packs, lock }: { packs: readonly IndexedPack[]; lock: RepositoryLock },
): Promise<void> {
  const written = new Set<StorageId>();
  let group: IndexedPack[] = [];
  let blobs = 0;
  const write = async (): Promise<void> => {
    if (group.length > 0) written.add(await repository.save('index', indexDocument(group)));
    group = [];
    blobs = 0;
  };
  for (const pack of packs) {
    group.push(pack);
    blobs += pack.blobs.length;
    if (blobs >= BACKUP_LIMITS.indexBlobs) await write();
  }
  await write();
  for (const id of old) {
    if (written.has(id)) continue;
    lock.assertHeld();
    await repository.store.delete(`index/${id}`);
  }
}

async function pruneLocked(
  repository: Repository,
  options: PruneOptions,
  { lock, signal }: { lock: RepositoryLock; signal: AbortSignal },
): Promise<PruneResult> {
  const snapshots = await listSnapshots(repository, signal);
  const oldIndexes = await repository.ids('index', signal);
  const index = await loadIndex(repository, signal);
  const stored = await listPacks(repository, signal);
  const problems: string[] = [];
  const report = (problem: string): number => problems.push(problem);
  const used = await reachableBlobs(repository, index, { snapshots, report, signal });
  for (const id of index.packs()) if (!stored.has(id)) report(`the pack ${id} is gone`);
  if (problems.length > 0)
    throw new HoldfastError('CORRUPT', `nothing was pruned: ${problems[0]}; run verify`, {
      detail: { problems: problems.slice(0, 20) },
    });
  const plan = makePlan(index, used, stored.keys(), options.maxUnused ?? MAX_UNUSED);
  const gone = [...plan.remove, ...plan.rewrite];
  const before = gone.reduce((sum, id) => sum + (stored.get(id) ?? 0), 0);
  const counts = { packsRemoved: plan.remove.length, packsRewritten: plan.rewrite.length };
  const { bytesUnused } = plan;
  if (options.dryRun === true)
    return { ...counts, bytesFreed: before - packBytes(plan.copy), bytesUnused };
  if (gone.length === 0) return { ...counts, bytesFreed: 0, bytesUnused };
  const fresh = await copyOut(repository, index, { copy: plan.copy, signal });
  const copied = [...fresh.byPack()];
  const indexesNow = new Set([...oldIndexes, ...(await repository.ids('index', signal))]);
  await replaceIndexes(repository, [...indexesNow], { packs: [...plan.keep, ...copied], lock });
  const staying = new Set(copied.map(({ id }) => id));
  for (const id of gone) {
    // The same blobs in the same order under the same IV do not happen; but never remove what stays.
    if (staying.has(id)) continue;
    lock.assertHeld();
    await repository.store.delete(packKey(id), signal);
  }
  const after = copied.reduce((sum, { blobs }) => sum + packBytes(blobs), 0);
  return { ...counts, bytesFreed: before - after, bytesUnused };
}

/** Removes what no snapshot refers to. Refuses, with CORRUPT, to touch a repository that is damaged. */
export async function prune(
  repository: Repository,
  options: PruneOptions = {},
): Promise<PruneResult> {
  const { signal, lockWaitMs: waitMs = 0 } = options;
  const lock = { exclusive: true, waitMs, ...(signal ? { signal } : {}) };
  return withLock(repository, lock, (held, both) =>
    pruneLocked(repository, options, { lock: held, signal: both }),
  );
}
