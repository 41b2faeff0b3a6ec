/** Is everything there, and is it right? */
import { type StorageId, storageIdOf } from '../format/ids.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import type { BlobIndex, BlobPlace } from './blob-index.ts';
import { openBlob } from './blob-reader.ts';
import { mapInParallel } from './gate.ts';
import { listPacks, loadIndex, lostPacks, packKey, readPackHeader } from './load-index.ts';
import { withLock } from './locks.ts';
import { type ReportProblem, reachableBlobs } from './reachable.ts';
import type { Repository } from './repository.ts';
import { listSnapshots } from './snapshots.ts';

/** What is looked at: trees and packs, which are read whole, and the bytes of these packs. */
export interface VerifyProgress {
  readonly files: number;
  readonly bytes: number;
}

/** How much of the data is read, and who is told. */
export interface VerifyOptions {
  /**
   * `none`: only that all trees can be read and all packs are there with their lengths. A subset n of
   * m reads the packs whose turn it is: m runs with n = 1 to m read everything.
   */
  readonly readData?: 'none' | 'all' | { readonly n: number; readonly m: number };
  /** What there is to look at: told when all trees are. */
  readonly onExpected?: (expected: VerifyProgress) => void;
  readonly onProgress?: (done: VerifyProgress) => void;
  readonly withoutLock?: boolean;
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
}

/** The outcome; the repository is sound when there are no problems. */
export interface VerifyResult {
  readonly snapshots: number;
  readonly packs: number;
  readonly packsRead: number;
  readonly bytesRead: number;
  /** At most {@link PROBLEMS_MAX}, in words. */
  readonly problems: readonly string[];
}

const PROBLEMS_MAX = 1000;
/** Packs that are read at once: their memory. */
const PACKS_AT_ONCE = 2;

function isTurn(id: StorageId, readData: VerifyOptions['readData']): boolean {
  if (readData === 'all') return true;
  if (readData === undefined || readData === 'none') return false;
  return Number.parseInt(id.slice(0, 8), 16) % readData.m === readData.n % readData.m;
}

async function verifyPack(
  repository: Repository,
  id: StorageId,
  { blobs, report, signal }: { blobs: BlobPlace[]; report: ReportProblem; signal: AbortSignal },
): Promise<number> {
  const bytes = await repository.store.get(packKey(id), undefined, signal);
  if (storageIdOf(bytes) !== id) report(`pack ${id}: the bytes do not match the name`);
  for (const blob of blobs) {
    const sealed = bytes.subarray(blob.offset, blob.offset + blob.length);
    try {
      await openBlob(repository, blob, sealed);
    } catch (error) {
      report(`pack ${id}, ${blob.type} blob ${blob.id}: ${(error as Error).message}`);
    }
  }
  return bytes.length;
}

async function verifyData(
  repository: Repository,
  index: BlobIndex,
  options: {
    ids: readonly StorageId[];
    report: ReportProblem;
    signal: AbortSignal;
    onPack: (bytes: number) => void;
  },
): Promise<number> {
  const { ids, report, signal, onPack } = options;
  const wanted = new Set(ids);
  const blobs = Map.groupBy(
    [...index.entries()].filter(({ pack }) => wanted.has(pack)),
    ({ pack }) => pack,
  );
  const lengths = await mapInParallel(ids, PACKS_AT_ONCE, async (id) => {
    signal.throwIfAborted();
    try {
      const read = { blobs: blobs.get(id) ?? [], report, signal };
      const length = await verifyPack(repository, id, read);
      onPack(length);
      return length;
    } catch (error) {
      signal.throwIfAborted();
      report(`pack ${id}: ${(error as Error).message}`);
      return 0;
    }
  });
  return lengths.reduce((sum, length) => sum + length, 0);
}

/** Verifies; problems are in the result, errors only say that it could not be found out. */
export async function verify(
  repository: Repository,
  options: VerifyOptions = {},
): Promise<VerifyResult> {
  const task = async (signal: AbortSignal): Promise<VerifyResult> => {
    const problems: string[] = [];
    const report = (problem: string): void => {
      if (problems.length < PROBLEMS_MAX) problems.push(problem);
    };
    const snapshots = await listSnapshots(repository, signal, (_, problem) => report(problem));
    const index = await loadIndex(repository, signal, (_, problem) => report(problem));
    const stored = await listPacks(repository, signal);
    const lost = lostPacks(index, stored);
    for (const [id, why] of lost) report(`pack ${id}: ${why}`);
    const sound = lost.size === 0 ? index : index.without(lost);
    let done: VerifyProgress = { files: 0, bytes: 0 };
    const count = (bytes: number): void => {
      done = { files: done.files + 1, bytes: done.bytes + bytes };
      options.onProgress?.(done);
    };
    await reachableBlobs(repository, sound, { snapshots, report, signal, onTree: () => count(0) });
    const turn = sound.packs().filter((id) => isTurn(id, options.readData));
    const bytes = turn.reduce((sum, id) => sum + (stored.get(id) ?? 0), 0);
    options.onExpected?.({ files: done.files + turn.length, bytes });
    await mapInParallel(turn, BACKUP_LIMITS.loadsMax, async (id) => {
      await readPackHeader(repository, id, stored.get(id) ?? 0, signal).catch((error: unknown) =>
        report(`pack ${id}: ${(error as Error).message}`),
      );
    });
    const bytesRead = await verifyData(repository, index, {
      ids: turn,
      report,
      signal,
      onPack: count,
    });
    const counts = { snapshots: snapshots.length, packs: stored.size, packsRead: turn.length };
    return { ...counts, bytesRead, problems };
  };
  const { signal, lockWaitMs: waitMs = 0 } = options;
  if (options.withoutLock === true) return task(signal ?? new AbortController().signal);
  const lock = { exclusive: false, waitMs, ...(signal ? { signal } : {}) };
  return withLock(repository, lock, (_, both) => task(both));
}
