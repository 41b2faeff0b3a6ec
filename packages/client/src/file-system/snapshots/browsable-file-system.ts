import {
  type AttributeChange,
  type CreateOptions,
  type FileSystem,
  HoldfastError,
  type Invalidation,
  type ListedEntry,
  type LockRequest,
  type NodeAnswer,
  type NodeReference,
  type RequestContext,
  ROOT_INODE,
  ROOT_VOLUME,
  SNAPSHOT_NUMBERS_FROM,
  SNAPSHOTS_INODE,
  SNAPSHOTS_NAME,
  type SpaceAnswer,
  type VolumeNumber,
  type XattrOptions,
} from '@holdfast/protocol';
import { type ReadOnlyPlace, readOnly } from './read-only-place.ts';
import { SnapshotNumbers } from './snapshot-numbers.ts';

/** One name in a directory. */
interface Place {
  readonly parent: NodeReference;
  readonly name: string;
}

/**
 * The present of the volumes and, below `.snapshots` in the root of each, their snapshots, read-only.
 *
 * The name is hidden from listings, lest whoever copies, counts or empties a volume goes through all
 * its snapshots, and lest a new volume does not look empty. It cannot be made; where a volume has a
 * `.snapshots` of its own, from before the name had a meaning, that one is shown like any other, and
 * can be renamed or removed: then the snapshots are there.
 */
export class BrowsableFileSystem implements FileSystem {
  readonly #live: FileSystem;
  readonly #list: ReadOnlyPlace;
  readonly #trees: ReadOnlyPlace;

  /** Puts together the present, the directories of snapshots, and what is below them. */
  constructor(options: {
    readonly live: FileSystem;
    readonly list: ReadOnlyPlace;
    readonly trees: ReadOnlyPlace;
  }) {
    this.#live = options.live;
    this.#list = options.list;
    this.#trees = options.trees;
  }

  /** Where a node is that cannot be changed; undefined: in the present. */
  #past(node: NodeReference): ReadOnlyPlace | undefined {
    if (SnapshotNumbers.isSnapshot(node.volume)) return this.#trees;
    return node.ino === SNAPSHOTS_INODE ? this.#list : undefined;
  }

  /** The present, if that is where all nodes are. EROFS. */
  #changeable(...nodes: readonly NodeReference[]): FileSystem {
    if (nodes.some((node) => this.#past(node) !== undefined)) throw readOnly();
    return this.#live;
  }

  /** Whether a name is the directory of snapshots, and not an entry of the volume's own. */
  async #isReserved({ parent, name }: Place, context: RequestContext): Promise<boolean> {
    if (name !== SNAPSHOTS_NAME || !isVolumeRoot(parent)) return false;
    return (await this.#own({ parent, name }, context)) === undefined;
  }

  async #refuseReserved(place: Place, context: RequestContext): Promise<void> {
    if (!(await this.#isReserved(place, context))) return;
    throw new HoldfastError('EEXIST', `'${SNAPSHOTS_NAME}' is where a volume shows its snapshots`);
  }

  /** An entry of a volume itself. */
  async #own({ parent, name }: Place, context: RequestContext): Promise<NodeAnswer | undefined> {
    try {
      return await this.#live.lookup(parent, name, context);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async lookup(parent: NodeReference, name: string, context: RequestContext): Promise<NodeAnswer> {
    const past = this.#past(parent);
    if (past !== undefined) return past.lookup(parent, name, context);
    if (name !== SNAPSHOTS_NAME || !isVolumeRoot(parent)) {
      return this.#live.lookup(parent, name, context);
    }
    const list = { volume: parent.volume, ino: SNAPSHOTS_INODE };
    return (await this.#own({ parent, name }, context)) ?? this.#list.getAttributes(list, context);
  }

  async getAttributes(node: NodeReference, context: RequestContext): Promise<NodeAnswer> {
    return (this.#past(node) ?? this.#live).getAttributes(node, context);
  }

  async setAttributes(
    node: NodeReference,
    change: AttributeChange,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    return this.#changeable(node).setAttributes(node, change, context);
  }

  async readDirectory(
    node: NodeReference,
    cookie: number,
    count: number,
    context: RequestContext,
  ): Promise<{ entries: readonly ListedEntry[]; end: boolean }> {
    return (this.#past(node) ?? this.#live).readDirectory(node, cookie, count, context);
  }

  async parentOf(node: NodeReference, context: RequestContext): Promise<NodeReference> {
    return (this.#past(node) ?? this.#live).parentOf(node, context);
  }

  async readLink(node: NodeReference, context: RequestContext): Promise<string> {
    return (this.#past(node) ?? this.#live).readLink(node, context);
  }

  async create(
    parent: NodeReference,
    name: string,
    options: CreateOptions,
    context: RequestContext,
  ): Promise<NodeAnswer & { created: boolean }> {
    const live = this.#changeable(parent);
    await this.#refuseReserved({ parent, name }, context);
    return live.create(parent, name, options, context);
  }

  async link(
    node: NodeReference,
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    const live = this.#changeable(parent);
    if (this.#past(node) !== undefined) throw new HoldfastError('EXDEV');
    await this.#refuseReserved({ parent, name }, context);
    return live.link(node, parent, name, context);
  }

  async unlink(parent: NodeReference, name: string, context: RequestContext): Promise<void> {
    const live = this.#changeable(parent);
    if (await this.#isReserved({ parent, name }, context)) throw new HoldfastError('EISDIR');
    await live.unlink(parent, name, context);
  }

  async removeDirectory(
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<void> {
    const live = this.#changeable(parent);
    if (await this.#isReserved({ parent, name }, context)) throw inUse();
    await live.removeDirectory(parent, name, context);
  }

  async rename(
    from: { parent: NodeReference; name: string },
    to: { parent: NodeReference; name: string },
    flag: 'replace' | 'noreplace' | 'exchange',
    context: RequestContext,
  ): Promise<void> {
    const live = this.#changeable(from.parent, to.parent);
    if (await this.#isReserved(from, context)) throw inUse();
    await this.#refuseReserved(to, context);
    await live.rename(from, to, flag, context);
  }

  async open(
    node: NodeReference,
    options: { write: boolean; truncate: boolean },
    context: RequestContext,
  ): Promise<void> {
    const past = this.#past(node);
    if (past === undefined) return this.#live.open(node, options, context);
    if (options.write || options.truncate) throw readOnly();
    await past.confirm(node, context);
  }

  reopen(node: NodeReference, options: { write: boolean }): void {
    if (this.#past(node) === undefined) this.#live.reopen(node, options);
  }

  async release(node: NodeReference, options: { write: boolean }): Promise<void> {
    if (this.#past(node) === undefined) await this.#live.release(node, options);
  }

  async read(
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    return (this.#past(node) ?? this.#live).read(node, offset, length, context);
  }

  async write(
    node: NodeReference,
    offset: number,
    bytes: Uint8Array,
    options: { append: boolean; killPrivileges: boolean },
    context: RequestContext,
  ): Promise<void> {
    await this.#changeable(node).write(node, offset, bytes, options, context);
  }

  async flush(node: NodeReference, lockOwner: string, context: RequestContext): Promise<void> {
    if (this.#past(node) === undefined) await this.#live.flush(node, lockOwner, context);
  }

  async sync(
    node: NodeReference,
    options: { dataOnly: boolean },
    context: RequestContext,
  ): Promise<void> {
    if (this.#past(node) === undefined) await this.#live.sync(node, options, context);
  }

  async allocate(
    node: NodeReference,
    options: {
      mode: 'allocate' | 'punch' | 'zero';
      keepSize: boolean;
      offset: number;
      length: number;
    },
    context: RequestContext,
  ): Promise<void> {
    await this.#changeable(node).allocate(node, options, context);
  }

  async seek(
    node: NodeReference,
    offset: number,
    whence: 'data' | 'hole',
    context: RequestContext,
  ): Promise<number> {
    return (this.#past(node) ?? this.#live).seek(node, offset, whence, context);
  }

  async getXattr(node: NodeReference, name: string, context: RequestContext): Promise<Uint8Array> {
    return (this.#past(node) ?? this.#live).getXattr(node, name, context);
  }

  async listXattrs(node: NodeReference, context: RequestContext): Promise<readonly string[]> {
    return (this.#past(node) ?? this.#live).listXattrs(node, context);
  }

  async setXattr(
    node: NodeReference,
    name: string,
    value: Uint8Array,
    options: XattrOptions,
    context: RequestContext,
  ): Promise<void> {
    await this.#changeable(node).setXattr(node, name, value, options, context);
  }

  async removeXattr(node: NodeReference, name: string, context: RequestContext): Promise<void> {
    await this.#changeable(node).removeXattr(node, name, context);
  }

  async testLock(
    node: NodeReference,
    lock: LockRequest,
    context: RequestContext,
  ): Promise<LockRequest | undefined> {
    // Only locks for reading are granted there.
    if (this.#past(node) !== undefined) return undefined;
    return this.#live.testLock(node, lock, context);
  }

  /** In a snapshot a lock for reading is always granted, for nobody writes; one for writing is EROFS. */
  async setLock(
    node: NodeReference,
    lock: LockRequest,
    options: { wait: boolean },
    context: RequestContext,
  ): Promise<void> {
    if (this.#past(node) === undefined) return this.#live.setLock(node, lock, options, context);
    if (lock.type === 'write') throw readOnly();
  }

  async releaseLocks(node: NodeReference, family: 'posix' | 'flock', owner: string): Promise<void> {
    if (this.#past(node) === undefined) await this.#live.releaseLocks(node, family, owner);
  }

  async space(node: NodeReference, context: RequestContext): Promise<SpaceAnswer> {
    return (this.#past(node) ?? this.#live).space(node, context);
  }

  answered(requestId: number): void {
    this.#live.answered(requestId);
  }

  resumed(isUnderWay: (requestId: number) => boolean): void {
    this.#live.resumed(isUnderWay);
  }

  isBelieved(volume: VolumeNumber): boolean {
    return volume >= SNAPSHOT_NUMBERS_FROM || this.#live.isBelieved(volume);
  }

  onInvalidate(listener: (what: Invalidation) => Promise<void>): void {
    this.#live.onInvalidate(listener);
  }

  async close(): Promise<void> {
    await this.#live.close();
  }
}

function isVolumeRoot({ volume, ino }: NodeReference): boolean {
  return ino === ROOT_INODE && volume !== ROOT_VOLUME;
}

function inUse(): HoldfastError {
  return new HoldfastError('EBUSY', `'${SNAPSHOTS_NAME}' is where a volume shows its snapshots`);
}
