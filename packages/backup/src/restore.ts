/** A restore: a snapshot, or a path of one, into a sink. */
import { HoldfastError } from '@holdfast/protocol';
import { isSafeName, type SinkDirectory, type SinkFile, type TreeSink } from '@holdfast/tree';
import { type StorageId, storageIdOf } from './format/ids.ts';
import type { Snapshot } from './format/snapshot.ts';
import type { TreeNode } from './format/tree.ts';
import { BACKUP_LIMITS } from './limits.ts';
import type { BlobIndex } from './repository/blob-index.ts';
import { BlobReader } from './repository/blob-reader.ts';
import { Gate } from './repository/gate.ts';
import { loadIndexToRead } from './repository/load-index.ts';
import { withLock } from './repository/locks.ts';
import type { Repository } from './repository/repository.ts';
import type { PathFilter } from './tree/patterns.ts';

/** Counts while a restore runs and when it is done. */
export interface RestoreCounts {
  files: number;
  directories: number;
  /** Links, devices, fifos, sockets and further names of files. */
  others: number;
  /** Files that were complete already, or are not to be overwritten. */
  skippedFiles: number;
  /** Names that the backup does not have and that were removed, with all below them. */
  removed: number;
  /** Bytes of files written; holes and what was there already not counted. */
  bytesWritten: number;
  /** Bytes of files that are dealt with: written, there already, or holes. */
  bytesDone: number;
  /** Bytes fetched from the store. */
  bytesFetched: number;
  problems: number;
}

/** Counts of a restore that has done nothing. */
export function noneRestored(): RestoreCounts {
  const bytes = { bytesWritten: 0, bytesDone: 0, bytesFetched: 0 };
  return {
    files: 0,
    directories: 0,
    others: 0,
    skippedFiles: 0,
    removed: 0,
    ...bytes,
    problems: 0,
  };
}

/**
 * restic's words. always: whatever it is, of files the parts that differ; if-changed: files of another
 * size or time, and all else; if-newer: what is older than in the backup; never: nothing.
 */
export type Overwrite = 'always' | 'if-changed' | 'if-newer' | 'never';

/** What to restore and where. */
export interface RestoreOptions {
  readonly snapshot: Snapshot;
  readonly sink: TreeSink;
  /**
   * What of the snapshot: `/` (all), a directory whose content becomes the sink's root, or a single
   * file that is put there.
   */
  readonly path?: string;
  /** What becomes of what is there already; 'if-changed' without it. */
  readonly overwrite?: Overwrite;
  /** Removes what the backup does not have, below the directories that it has. EINVAL for a single file. */
  readonly isExact?: boolean;
  /** Which entries; paths count from what is restored. EINVAL together with `isExact`. */
  readonly filter?: PathFilter;
  /** With a sink that writes nothing: counts what would be written, and fetches no content. */
  readonly isDryRun?: boolean;
  /** Take no lock: for a store that can only be read. */
  readonly withoutLock?: boolean;
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
  /** Told of entries that cannot be restored; without it the first one ends the restore. */
  readonly onProblem?: (path: string, error: unknown) => void;
  readonly onProgress?: (counts: RestoreCounts) => void;
}

interface Pending {
  readonly done: Promise<void>;
  /** Rejects, too, when the entry was left out for a problem. */
  readonly complete: Promise<void>;
}

function pending(done: Promise<void>, complete: Promise<void> = done): Pending {
  done.catch(() => {});
  complete.catch(() => {});
  return { done, complete };
}

class RestoreRun {
  readonly counts = noneRestored();
  readonly #options: RestoreOptions;
  readonly #reader: BlobReader;
  readonly #signal: AbortSignal;
  readonly #gate = new Gate(BACKUP_LIMITS.restoresMax);
  #walks = 0;
  readonly #links = new Map<string, { names: readonly string[]; done: Promise<void> }>();
  /** Blobs of nothing but zeros that were seen, so that a hole is not decompressed again and again. */
  readonly #zeroIds = new Set<StorageId>();

  constructor(
    repository: Repository,
    options: RestoreOptions,
    parts: { index: BlobIndex; signal: AbortSignal },
  ) {
    this.#options = options;
    this.#signal = parts.signal;
    this.#reader = new BlobReader(repository, parts.index, parts.signal);
  }

  async root(): Promise<void> {
    const { snapshot, sink, path = '/', filter, isExact } = this.#options;
    if (filter !== undefined && isExact === true)
      throw new HoldfastError('EINVAL', 'what is left out would be removed: give one of the two');
    const names = Buffer.from(path)
      .toString('latin1')
      .split('/')
      .filter((name) => name !== '');
    let node: TreeNode | undefined;
    let tree: StorageId | undefined = snapshot.tree;
    for (const name of names) {
      const nodes: readonly TreeNode[] =
        tree === undefined ? [] : await this.#reader.readTree(tree);
      node = nodes.find((child) => child.name === name);
      tree = node?.subtree;
      if (node === undefined) throw new HoldfastError('NOT_FOUND', `the snapshot has no ${path}`);
    }
    const isFile = node !== undefined && node.kind !== 'directory';
    const nodes = isFile ? [node!] : tree === undefined ? [] : await this.#reader.readTree(tree);
    if (isFile && this.#options.isExact === true)
      throw new HoldfastError('EINVAL', `${path} is a file: all beside it would be removed`);
    // Of a directory of which only a part is meant, owner, mode and times stay.
    const own = isFile || filter?.isPart === true ? undefined : node;
    await this.#fillDirectory(await sink.root(), own, { nodes, names: [] });
  }

  async #fillDirectory(
    directory: SinkDirectory,
    node: TreeNode | undefined,
    { nodes, names }: { nodes: readonly TreeNode[]; names: readonly string[] },
  ): Promise<void> {
    let isComplete = false;
    try {
      await this.#children(directory, nodes, names);
      if (this.#options.isExact === true) await this.#removeOthers(directory, nodes, names);
      isComplete = true;
    } finally {
      await directory.finish(isComplete ? node : undefined);
    }
  }

  async #removeOthers(
    directory: SinkDirectory,
    nodes: readonly TreeNode[],
    names: readonly string[],
  ): Promise<void> {
    const wanted = new Set(nodes.map(({ name }) => name));
    for (const name of await directory.names()) {
      if (wanted.has(name)) continue;
      this.#signal.throwIfAborted();
      await this.#attempt([...names, name], () => directory.remove(name));
      this.counts.removed++;
    }
  }

  /** Whether what is there stays; what stands in the way of the entry goes when it may. */
  async #isKept(into: SinkDirectory, node: TreeNode): Promise<boolean> {
    const { overwrite = 'if-changed', isExact = false } = this.#options;
    const mayStay = overwrite === 'never' || overwrite === 'if-newer';
    if (!mayStay && !isExact) return false;
    const there = await into.look(node.name);
    if (there === undefined) return false;
    const areDirectories = there.kind === 'directory' && node.kind === 'directory';
    if (areDirectories) return false;
    if (overwrite === 'never') return true;
    if (overwrite === 'if-newer' && there.mtimeNs >= node.mtimeNs) return true;
    if (there.kind === 'directory' && isExact) {
      await into.remove(node.name);
      this.counts.removed++;
    }
    return false;
  }

  /** Restores entries; resolves when they are complete. */
  async #children(
    into: SinkDirectory,
    nodes: readonly TreeNode[],
    names: readonly string[],
  ): Promise<void> {
    const started: Pending[] = [];
    try {
      for (const node of nodes) {
        this.#signal.throwIfAborted();
        const path = [...names, node.name];
        const step = await this.#attempt(path, async () => {
          const meant = await this.#meant(node, path);
          return meant === 'none' ? undefined : this.#node(into, node, { path, meant });
        });
        if (step !== undefined) started.push(step);
      }
    } finally {
      await Promise.allSettled(started.map(({ done }) => done));
    }
    await Promise.all(started.map(({ done }) => done));
    this.counts.bytesFetched = this.#reader.fetchedBytes;
    this.#options.onProgress?.(this.counts);
  }

  /** What of an entry is meant; a directory in which nothing is, is not. */
  async #meant(node: TreeNode, path: readonly string[]): Promise<'whole' | 'inside' | 'none'> {
    const verdict = this.#options.filter?.judge(path) ?? 'whole';
    if (verdict !== 'inside') return verdict;
    return (await this.#holdsMeant(node, path)) ? 'inside' : 'none';
  }

  async #holdsMeant({ kind, subtree }: TreeNode, path: readonly string[]): Promise<boolean> {
    if (kind !== 'directory' || subtree === undefined) return false;
    for (const child of await this.#reader.readTree(subtree)) {
      this.#signal.throwIfAborted();
      if ((await this.#meant(child, [...path, child.name])) !== 'none') return true;
    }
    return false;
  }

  /** Begins an entry; directories are walked here, so that the walk stays in order. */
  async #node(
    into: SinkDirectory,
    node: TreeNode,
    { path, meant }: { readonly path: readonly string[]; readonly meant: 'whole' | 'inside' },
  ): Promise<Pending> {
    if (!isSafeName(node.name))
      throw new HoldfastError('CORRUPT', 'a name of the snapshot would lead out of its directory', {
        detail: { name: node.name },
      });
    if (await this.#isKept(into, node)) {
      this.counts.skippedFiles++;
      return pending(Promise.resolve());
    }
    if (node.kind === 'directory') return this.#directory(into, node, { path, meant });
    if (node.links < 2 || node.inode === 0n) return this.#begin(into, node, path);
    const identity = `${node.deviceId}:${node.inode}`;
    const first = this.#links.get(identity);
    if (first === undefined) return this.#firstOf(identity, into, { node, path });
    this.counts.others++;
    return pending(
      this.#attempt(path, async () => {
        await first.done;
        await into.link(node, first.names);
      }),
    );
  }

  /** The first name of a file with several. It is noted before anything is awaited: other directories are walked at the same time. */
  async #firstOf(
    identity: string,
    into: SinkDirectory,
    { node, path }: { node: TreeNode; path: readonly string[] },
  ): Promise<Pending> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#links.set(identity, { names: path, ...pending(promise) });
    try {
      const step = await this.#begin(into, node, path);
      step.complete.then(resolve, reject);
      return step;
    } catch (error) {
      reject(error);
      throw error;
    }
  }

  async #begin(into: SinkDirectory, node: TreeNode, path: readonly string[]): Promise<Pending> {
    if (node.kind !== 'file') {
      this.counts.others++;
      await into.special(node);
      return pending(Promise.resolve());
    }
    await this.#gate.enter();
    const complete = this.#file(into, node);
    const task = this.#attempt(path, () => complete);
    return pending(
      task.finally(() => this.#gate.leave()),
      complete,
    );
  }

  async #directory(
    into: SinkDirectory,
    node: TreeNode,
    { path, meant }: { readonly path: readonly string[]; readonly meant: 'whole' | 'inside' },
  ): Promise<Pending> {
    // Read first: a directory of which the tree is lost is not made.
    const nodes = node.subtree === undefined ? [] : await this.#reader.readTree(node.subtree);
    // One that only leads to what is meant stays as it is, if it is there.
    const there = meant === 'inside' ? await into.enter(node.name) : undefined;
    const directory = there ?? (await into.directory(node));
    if (there === undefined) this.counts.directories++;
    const own = there === undefined ? node : undefined;
    const filled = this.#fillDirectory(directory, own, { nodes, names: path });
    // A few directories are filled beside the walk, so that small ones do not wait for each other;
    // beyond that the walk itself waits, which no other walk can be waiting for.
    if (this.#walks < BACKUP_LIMITS.walksMax) {
      this.#walks++;
      return pending(filled.finally(() => this.#walks--));
    }
    await filled;
    return pending(Promise.resolve());
  }

  async #attempt<T>(path: readonly string[], step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      const { onProblem } = this.#options;
      const isFinal = error instanceof HoldfastError && FINAL.has(error.code);
      if (onProblem === undefined || isFinal || this.#signal.aborted) throw atPath(error, path);
      this.counts.problems++;
      onProblem(path.join('/'), error);
      return undefined;
    }
  }

  async #file(into: SinkDirectory, node: TreeNode): Promise<void> {
    const compare = this.#options.overwrite === 'always';
    const file = await into.file(node, { compare });
    if (file === undefined) {
      this.counts.skippedFiles++;
      this.counts.bytesDone += node.size;
      this.#options.onProgress?.(this.counts);
      return;
    }
    if (this.#options.isDryRun === true) {
      this.counts.files++;
      this.counts.bytesWritten += node.size;
      this.counts.bytesDone += node.size;
      return file.abandon();
    }
    try {
      await this.#fill(file, node);
    } catch (error) {
      await file.abandon();
      // Half a file under its name would be taken for the whole one.
      const isLeftOut = this.#options.onProblem !== undefined && isDamage(error);
      if (isLeftOut && file.isNew) await into.remove(node.name);
      throw error;
    }
    await file.finish();
    this.counts.files++;
    this.#options.onProgress?.(this.counts);
  }

  /** Blob by blob; the next ones are fetched while one is written. */
  async #fill(file: SinkFile, node: TreeNode): Promise<void> {
    const ahead: { offset: number; length: number; bytes: Promise<Uint8Array | undefined> }[] = [];
    const flush = async (): Promise<void> => {
      const next = ahead.shift();
      if (next === undefined) return;
      const bytes = await next.bytes;
      if (bytes !== undefined) {
        await file.write(bytes, next.offset);
        this.counts.bytesWritten += bytes.length;
      }
      this.counts.bytesDone += next.length;
      this.#options.onProgress?.(this.counts);
    };
    let offset = 0;
    for (const id of node.content) {
      this.#signal.throwIfAborted();
      const length = this.#reader.lengthOf(id);
      if (length === undefined)
        throw new HoldfastError('CORRUPT', `no index lists the data blob ${id}`);
      const bytes = this.#missing(file, id, offset, length);
      bytes.catch(() => {});
      ahead.push({ offset, length, bytes });
      offset += length;
      if (ahead.length > FETCH_AHEAD) await flush();
    }
    while (ahead.length > 0) await flush();
    if (offset !== node.size)
      throw new HoldfastError('CORRUPT', 'the blobs of a file do not add up to its size', {
        detail: { size: node.size, blobs: offset },
      });
  }

  /** The bytes to write at a place; `undefined` where they are there already or a hole will do. */
  async #missing(
    file: SinkFile,
    id: StorageId,
    offset: number,
    length: number,
  ): Promise<Uint8Array | undefined> {
    if (!file.isNew) {
      const there = Buffer.allocUnsafe(length);
      const count = await file.read(there, offset);
      if (count === length && storageIdOf(there) === id) return undefined;
    } else if (this.#zeroIds.has(id)) return undefined;
    const bytes = await this.#reader.read(id, 'data');
    if (!isZero(bytes)) return bytes;
    if (this.#zeroIds.size < ZERO_IDS_MAX) this.#zeroIds.add(id);
    return file.isNew ? undefined : bytes;
  }
}

function isDamage(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && error.code === 'CORRUPT';
}

/** Damage with the place where it was met; other errors are the sink's, and say theirs. */
function atPath(error: unknown, path: readonly string[]): unknown {
  if (!isDamage(error)) return error;
  if (error.detail?.['path'] !== undefined) return error;
  const text = Buffer.from(path.join('/'), 'latin1').toString('utf8');
  return new HoldfastError('CORRUPT', `${JSON.stringify(text)}: ${error.message}`, {
    cause: error,
    detail: { path: text },
  });
}

/** Blobs of one file that are fetched before the oldest of them is written. */
const FETCH_AHEAD = 3;
const ZERO_IDS_MAX = 10_000;

/** Errors that no other entry will escape. */
const FINAL: ReadonlySet<string> = new Set(['ENOSPC', 'UNREACHABLE', 'SESSION_EXPIRED']);

const ZEROS = new Uint8Array(64 * 1024);

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (Buffer.compare(part, ZEROS.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

/**
 * Restores a snapshot. May be run again after a kill: files that are complete (size and time of
 * change) are passed over, of others only blobs that differ are fetched.
 */
export async function restore(
  repository: Repository,
  options: RestoreOptions,
): Promise<RestoreCounts> {
  const task = async (signal: AbortSignal): Promise<RestoreCounts> => {
    const index = await loadIndexToRead(repository, signal);
    const run = new RestoreRun(repository, options, { index, signal });
    await run.root();
    return run.counts;
  };
  const { signal, lockWaitMs: waitMs = 0 } = options;
  if (options.withoutLock === true) return task(signal ?? new AbortController().signal);
  const lock = { exclusive: false, waitMs, ...(signal ? { signal } : {}) };
  return withLock(repository, lock, (_, held) => task(held));
}
