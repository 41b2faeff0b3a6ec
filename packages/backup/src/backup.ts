/** A backup: a source tree into packs, indexes and one snapshot. */
import { HoldfastError } from '@holdfast/protocol';
import type { SourceEntry, TreeSource, Xattr } from '@holdfast/tree';
import { Chunker, gearTable } from './format/chunker.ts';
import { type StorageId, storageIdOf } from './format/ids.ts';
import { type Snapshot, type SnapshotFacts, snapshotDocument } from './format/snapshot.ts';
import { encodeTree, type TreeNode } from './format/tree.ts';
import { BACKUP_LIMITS } from './limits.ts';
import type { BlobIndex } from './repository/blob-index.ts';
import { BlobReader } from './repository/blob-reader.ts';
import { Gate } from './repository/gate.ts';
import { knownBlobs, type ReportDamage } from './repository/known-blobs.ts';
import { withLock } from './repository/locks.ts';
import { PackWriter, type WrittenCounts } from './repository/pack-writer.ts';
import type { Repository } from './repository/repository.ts';
import { distrustedSnapshots, listSnapshots } from './repository/snapshots.ts';
import { filePieces, type KnownBlob } from './tree/file-pieces.ts';

/** A small file that is added to the root of the snapshot (the policy of a volume, for example). */
export interface ExtraFile {
  /** Names below the root, at least a folder and a file: `.holdfast/volume.json`. */
  readonly path: string;
  readonly content: Uint8Array;
}

/** What a backup is of and how it is kept. */
export interface BackupOptions {
  /** What is backed up; where it depends on the parent that was chosen: how it is found. */
  readonly source: TreeSource | ((parent: Snapshot | undefined) => Promise<TreeSource>);
  /** Where the tree appears in the snapshot, absolute: `/volumes/pg`. */
  readonly path: string;
  readonly hostname?: string;
  readonly tags?: readonly string[];
  readonly timeNs?: bigint;
  /** `undefined`: the latest of the same host and path; `null`: none. */
  readonly parent?: Snapshot | null;
  readonly extra?: readonly ExtraFile[];
  readonly programVersion?: string;
  /** Keep the times of access; else that of the change of data stands for it, as in restic, so that reading a directory makes no new tree. */
  readonly withAtime?: boolean;
  /** Milliseconds to wait for a lock that stands in the way. */
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
  /** Told of entries that could not be read and are left out; without it the first one ends the backup. */
  readonly onProblem?: (path: string, error: unknown) => void;
  /** Told, in words, of damage to the repository: all is read then, and what is lost is sent again. */
  readonly onDamage?: ReportDamage;
  readonly onProgress?: (counts: BackupCounts) => void;
  /** Awaited when all is written but the snapshot: what it throws leaves the repository without one. */
  readonly beforeSnapshot?: () => Promise<void>;
}

/** Counts while a backup runs and when it is done. */
export interface BackupCounts {
  files: number;
  directories: number;
  /** Files whose content was taken from the parent without reading. */
  unchangedFiles: number;
  /** Directories that were taken from the parent without listing. */
  unchangedSubtrees: number;
  /** Sum of the sizes of files. */
  totalBytes: number;
  bytesRead: number;
  /** Bytes of files that are dealt with, of files in work too, of those with several names once. */
  bytesDone: number;
  problems: number;
}

/** The outcome of a backup. */
export interface BackupResult {
  readonly snapshot: Snapshot;
  readonly counts: BackupCounts;
  readonly written: WrittenCounts;
  /** Packs of a killed backup whose blobs were used. */
  readonly adoptedPacks: number;
}

/** The blobs of a file, and what they add up to. */
interface FileContent {
  readonly content: readonly StorageId[];
  readonly size: number;
}

/** Wraps a promise, so that it can be handed around without being awaited. */
interface Pending<T> {
  readonly done: Promise<T>;
}

function pending<T>(done: Promise<T>): Pending<T> {
  // The walk awaits it later, or not at all when another entry failed first.
  done.catch(() => {});
  return { done };
}

class BackupRun {
  readonly counts: BackupCounts = {
    files: 0,
    directories: 0,
    unchangedFiles: 0,
    unchangedSubtrees: 0,
    totalBytes: 0,
    bytesRead: 0,
    bytesDone: 0,
    problems: 0,
  };
  readonly #options: BackupOptions;
  readonly #source: TreeSource;
  readonly #index: BlobIndex;
  readonly #reader: BlobReader;
  readonly #writer: PackWriter;
  readonly #chunker: Chunker;
  readonly #signal: AbortSignal;
  readonly #files = new Gate(BACKUP_LIMITS.filesMax);
  readonly #links = new Map<string, Promise<FileContent>>();
  readonly #zeroIds = new Map<number, StorageId>();

  constructor(
    repository: Repository,
    options: BackupOptions,
    parts: { source: TreeSource; index: BlobIndex; writer: PackWriter; signal: AbortSignal },
  ) {
    this.#options = options;
    this.#source = parts.source;
    this.#index = parts.index;
    this.#writer = parts.writer;
    this.#signal = parts.signal;
    this.#reader = new BlobReader(repository, parts.index, parts.signal);
    const { chunkBytesMin: min, chunkBytesAverage: average, chunkBytesMax: max } = BACKUP_LIMITS;
    const gear = gearTable(repository.config.chunkerPolynomial);
    this.#chunker = new Chunker(gear, { min, average, max });
  }

  /** The root tree of the snapshot: the source below its path, and the extra files. */
  async root(parent: Snapshot | undefined): Promise<StorageId> {
    const names = namesOf(this.#options.path);
    const entry = await this.#source.root();
    const known = parent === undefined ? undefined : await this.#knownAt(parent.tree, names);
    const { done } = await this.#directory('', { ...entry, name: names.at(-1) ?? '' }, known);
    let node = await done;
    if (names.length === 0) return this.#rootTree(node, await this.#extra(entry));
    for (const name of names.slice(0, -1).reverse())
      node = await this.#wrapper(name, [node], entry);
    return this.#writer.add('tree', encodeTree([node, ...(await this.#extra(entry))]));
  }

  async #rootTree(node: TreeNode, extra: readonly TreeNode[]): Promise<StorageId> {
    if (node.subtree === undefined) throw new HoldfastError('INTERNAL', 'a root without a tree');
    if (extra.length === 0) return node.subtree;
    throw new HoldfastError('EINVAL', 'extra files need a path for the source other than /');
  }

  async #knownAt(tree: StorageId, names: readonly string[]): Promise<TreeNode | undefined> {
    let node: TreeNode | undefined;
    let at: StorageId | undefined = tree;
    for (const name of names) {
      if (at === undefined || !this.#index.has(at, 'tree')) return undefined;
      node = (await this.#reader.readTree(at)).find((child) => child.name === name);
      at = node?.subtree;
    }
    return node;
  }

  async #wrapper(name: string, children: TreeNode[], like: SourceEntry): Promise<TreeNode> {
    const subtree = await this.#writer.add('tree', encodeTree(children));
    const own = { name, kind: 'directory', mode: 0o755, uid: 0, gid: 0, inode: 0n } as const;
    return { ...this.#nodeOf({ ...like, ...own, links: 1 }, []), subtree };
  }

  async #extra(like: SourceEntry): Promise<TreeNode[]> {
    const byFolder = Map.groupBy(this.#options.extra ?? [], ({ path }) => namesOf(path)[0] ?? '');
    return Promise.all(
      [...byFolder].map(async ([folder, files]) => {
        const nodes = files.map(async ({ path, content }) => {
          const [, name, ...deeper] = namesOf(path);
          if (name === undefined || deeper.length > 0)
            throw new HoldfastError('EINVAL', 'an extra file lies in one folder: folder/file');
          const id = await this.#writer.add('data', content);
          const own = { name, kind: 'file', mode: 0o600, uid: 0, gid: 0, inode: 0n } as const;
          const node = this.#nodeOf({ ...like, ...own, links: 1, size: content.length }, []);
          return { ...node, content: content.length > 0 ? [id] : [] };
        });
        return this.#wrapper(folder, await Promise.all(nodes), like);
      }),
    );
  }

  /** Walks a directory; resolves when it was listed, the inner promise when its tree is written. */
  async #directory(
    path: string,
    entry: SourceEntry,
    known: TreeNode | undefined,
  ): Promise<Pending<TreeNode>> {
    const knownTree = known?.kind === 'directory' ? known.subtree : undefined;
    const isKnown = knownTree !== undefined && this.#index.has(knownTree, 'tree');
    if (isKnown && isUnchanged(entry, known)) {
      this.counts.unchangedSubtrees++;
      return pending(Promise.resolve({ ...known, name: entry.name }));
    }
    const xattrs = await this.#source.xattrs(path, entry);
    this.counts.directories++;
    const before = new Map(
      isKnown
        ? (await this.#reader.readTree(knownTree)).map((node) => [node.name, node] as const)
        : [],
    );
    const children: Pending<TreeNode | undefined>[] = [];
    await this.#attempt(path, async () => {
      for await (const child of this.#source.list(path, entry)) {
        this.#signal.throwIfAborted();
        const childPath = path === '' ? child.name : `${path}/${child.name}`;
        const node = await this.#attempt(childPath, () =>
          this.#child(childPath, child, before.get(child.name)),
        );
        if (node !== undefined) children.push(node);
      }
    });
    return pending(this.#closeDirectory(this.#nodeOf(entry, xattrs), children));
  }

  async #closeDirectory(
    node: TreeNode,
    children: readonly Pending<TreeNode | undefined>[],
  ): Promise<TreeNode> {
    const nodes = await Promise.all(children.map(({ done }) => done));
    const tree = encodeTree(nodes.filter((child) => child !== undefined));
    return { ...node, subtree: await this.#writer.add('tree', tree) };
  }

  async #child(
    path: string,
    entry: SourceEntry,
    known: TreeNode | undefined,
  ): Promise<Pending<TreeNode | undefined>> {
    if (entry.kind === 'directory') return this.#directory(path, entry, known);
    if (isUnchanged(entry, known) && this.#knownBlobs(known) !== undefined) {
      this.#countFile(known);
      return pending(Promise.resolve({ ...known, name: entry.name }));
    }
    if (entry.kind !== 'file')
      return pending(Promise.resolve(this.#nodeOf(entry, await this.#source.xattrs(path, entry))));
    // Entered here, so that the walk does not run ahead of the files.
    await this.#files.enter();
    const task = this.#attempt(path, () => this.#file(path, entry, known));
    return pending(task.finally(() => this.#files.leave()));
  }

  /** A file that is taken from the parent as it is. */
  #countFile({ kind, size }: TreeNode): void {
    if (kind !== 'file') return;
    this.counts.files++;
    this.counts.unchangedFiles++;
    this.counts.totalBytes += size;
    this.counts.bytesDone += size;
    this.#options.onProgress?.(this.counts);
  }

  /** Runs a step; with `onProblem` a failure of the source leaves the entry out. */
  async #attempt<T>(path: string, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      const isSource = error instanceof HoldfastError && SOURCE_PROBLEMS.has(error.code);
      const { onProblem } = this.#options;
      if (!isSource || onProblem === undefined || this.#signal.aborted) throw error;
      this.counts.problems++;
      onProblem(path, error);
      return undefined;
    }
  }

  async #file(path: string, entry: SourceEntry, known: TreeNode | undefined): Promise<TreeNode> {
    const xattrs = await this.#source.xattrs(path, entry);
    const { content, size } = await this.#content(path, entry, known);
    this.counts.files++;
    this.counts.totalBytes += size;
    this.#options.onProgress?.(this.counts);
    return { ...this.#nodeOf(entry, xattrs), content, size };
  }

  async #content(
    path: string,
    entry: SourceEntry,
    known: TreeNode | undefined,
  ): Promise<FileContent> {
    // What another file had under this name says nothing of what changed in this one.
    const blobs = entry.inode === known?.inode ? this.#knownBlobs(known) : undefined;
    if (blobs !== undefined && known !== undefined && isSame(entry, known)) {
      this.counts.unchangedFiles++;
      this.counts.bytesDone += known.size;
      return { content: known.content, size: known.size };
    }
    const link = entry.links > 1 ? `${entry.deviceId}:${entry.inode}` : undefined;
    const linked = link === undefined ? undefined : this.#links.get(link);
    if (linked !== undefined) return linked;
    const read = this.#read(path, entry, blobs);
    if (link !== undefined && this.#links.size < BACKUP_LIMITS.linksMax)
      this.#links.set(link, read);
    return read;
  }

  /** The parent's blobs of a node, if all are still there. */
  #knownBlobs(known: TreeNode): KnownBlob[] | undefined {
    const blobs: KnownBlob[] = [];
    for (const id of known.content) {
      const length = this.#reader.lengthOf(id);
      if (length === undefined) return undefined;
      blobs.push({ id, length });
    }
    return blobs;
  }

  async #read(
    path: string,
    entry: SourceEntry,
    known: readonly KnownBlob[] | undefined,
  ): Promise<FileContent> {
    const file = await this.#source.open(path, entry);
    try {
      const content: StorageId[] = [];
      const writes: Promise<unknown>[] = [];
      let size = 0;
      for await (const piece of filePieces(file, this.#chunker, known)) {
        this.#signal.throwIfAborted();
        if (piece.what === 'known') {
          content.push(piece.id);
          size += piece.length;
          this.counts.bytesDone += piece.length;
          continue;
        }
        const bytes = piece.what === 'bytes' ? piece.bytes : undefined;
        const length = bytes?.length ?? (piece.what === 'zeros' ? piece.length : 0);
        size += length;
        this.counts.bytesDone += length;
        this.#options.onProgress?.(this.counts);
        if (bytes !== undefined) this.counts.bytesRead += length;
        const id = bytes === undefined ? this.#zeroId(length) : storageIdOf(bytes);
        content.push(id);
        if (this.#index.has(id, 'data')) continue;
        const write = this.#writer.addKnown('data', id, bytes ?? new Uint8Array(length));
        write.catch(() => {});
        // Two blobs of a file on their way at once: one is compressed while the next is read.
        writes.push(write);
        if (writes.length > 1) await writes.shift();
      }
      await Promise.all(writes);
      return { content, size };
    } finally {
      await file.close();
    }
  }

  #nodeOf(entry: SourceEntry, xattrs: readonly Xattr[]): TreeNode {
    const atimeNs = this.#options.withAtime === true ? entry.atimeNs : entry.mtimeNs;
    return nodeOf({ ...entry, atimeNs }, xattrs);
  }

  #zeroId(length: number): StorageId {
    const known = this.#zeroIds.get(length);
    if (known !== undefined) return known;
    const id = storageIdOf(new Uint8Array(length));
    if (length === BACKUP_LIMITS.chunkBytesMax) this.#zeroIds.set(length, id);
    return id;
  }
}

/** Codes by which a source says that one entry cannot be read. */
const SOURCE_PROBLEMS: ReadonlySet<string> = new Set(['NOT_FOUND', 'FORBIDDEN', 'DISK_FAILED']);

function namesOf(path: string): string[] {
  const names = Buffer.from(path).toString('latin1').split('/');
  return names.filter((name) => name !== '' && name !== '.');
}

function nodeOf(entry: SourceEntry, xattrs: readonly Xattr[]): TreeNode {
  const { name, kind, mode, uid, gid, mtimeNs, atimeNs, ctimeNs } = entry;
  const { inode, deviceId, links, size, rdev, target } = entry;
  const times = { mtimeNs, atimeNs, ctimeNs };
  const identity = { inode, deviceId, links };
  return {
    name,
    kind,
    mode,
    uid,
    gid,
    ...times,
    ...identity,
    size,
    rdev,
    target,
    xattrs,
    content: [],
  };
}

/** Whether a node may be taken from the parent as it is, but for its name. */
function isUnchanged(entry: SourceEntry, known: TreeNode | undefined): known is TreeNode {
  const isIt = known !== undefined && known.kind === entry.kind && known.inode === entry.inode;
  return isIt && entry.unchanged === 'all';
}

function isSame(entry: SourceEntry, known: TreeNode): boolean {
  if (entry.unchanged === 'content') return true;
  return (
    entry.size === known.size &&
    entry.mtimeNs === known.mtimeNs &&
    entry.ctimeNs === known.ctimeNs &&
    entry.inode === known.inode
  );
}

async function parentOf(
  repository: Repository,
  options: BackupOptions,
  hostname: string,
): Promise<Snapshot | undefined> {
  if (options.parent !== undefined) return options.parent ?? undefined;
  const all = await listSnapshots(repository, options.signal, () => {}); // verify tells of them
  const distrusted = await distrustedSnapshots(repository, options.signal);
  return all.findLast(
    (snapshot) =>
      !distrusted.has(snapshot.id) &&
      snapshot.hostname === hostname &&
      snapshot.paths.includes(options.path),
  );
}

/**
 * Backs a tree up. The snapshot is written last, when all that it refers to is durable: a kill at
 * any point leaves a repository that check finds whole, and packs that the next backup uses.
 */
export async function backup(
  repository: Repository,
  options: BackupOptions,
): Promise<BackupResult> {
  const own = repository.surroundings;
  const hostname = options.hostname ?? own.hostname;
  const lockOptions = {
    exclusive: false,
    waitMs: options.lockWaitMs ?? 0,
    ...(options.signal ? { signal: options.signal } : {}),
  };
  return withLock(repository, lockOptions, async (lock, signal) => {
    const { index, isDamaged, adoptedPacks } = await knownBlobs(repository, options, signal);
    // Where blobs were lost the parent may refer to them: all is read, and sent if it is not there.
    const parent = isDamaged ? undefined : await parentOf(repository, options, hostname);
    const writer = new PackWriter(repository, index, { signal });
    let run: BackupRun;
    let tree: StorageId;
    let written: WrittenCounts;
    try {
      const { source: given } = options;
      const source = typeof given === 'function' ? await given(parent) : given;
      run = new BackupRun(repository, options, { source, index, writer, signal });
      tree = await run.root(parent);
      written = await writer.finish();
    } catch (error) {
      // The lock is given up behind this: nothing may still be on its way then.
      await writer.abandon();
      throw error;
    }
    await options.beforeSnapshot?.();
    lock.assertHeld();
    const facts: SnapshotFacts = {
      timeNs: options.timeNs ?? BigInt(own.nowMs()) * 1_000_000n,
      tree,
      paths: [options.path],
      hostname,
      username: own.username,
      uid: own.uid,
      gid: own.gid,
      tags: options.tags ?? [],
      ...(parent === undefined ? {} : { parent: parent.id }),
      ...(options.programVersion === undefined ? {} : { programVersion: options.programVersion }),
    };
    const id = await repository.save('snapshots', snapshotDocument(facts), signal);
    return { snapshot: { ...facts, id }, counts: run.counts, written, adoptedPacks };
  });
}
