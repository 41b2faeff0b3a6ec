import {
  type AttributeChange,
  type Attributes,
  aclBitOf,
  BESIDE_DELEGATION,
  type CreateOptions,
  type FileSystem,
  HoldfastError,
  type InodeNumber,
  type Invalidation,
  type ListedEntry,
  type LockRequest,
  type NodeAnswer,
  type NodeReference,
  type Operation,
  type OperationAnswer,
  type RequestContext,
  ROOT_INODE,
  type SpaceAnswer,
  type VolumeNumber,
  type XattrOptions,
} from '@holdfast/protocol';
import type { Session } from '../session/session.ts';
import type { Volumes } from '../volumes.ts';
import { addressOf, type FileData } from './file-data.ts';
import { waitForLock } from './locks.ts';
import { OpenFiles } from './open-files.ts';
import { contentsChangedBy } from './touched.ts';
import { isRoot, ROOT_NODE, VolumeList } from './volume-list.ts';
import { VolumeMetadata } from './volume-metadata.ts';

/** Inodes that a volume without an inode quota is said to have room for. */
const INODES_UNLIMITED = 2 ** 32;

/** What {@link ClusterFileSystem} works with. */
export interface ClusterFileSystemOptions {
  readonly session: Session;
  readonly volumes: Volumes;
  readonly data: FileData;
  /** Bytes of the cluster that a volume without quota may count on: [total, free], after replication. */
  readonly clusterSpace: () => Promise<{ totalBytes: number; freeBytes: number }>;
  readonly close: () => Promise<void>;
}

/**
 * The namespace over a cluster. Every call asks the shard that leads the volume, so that what has
 * returned on one host is seen by the next operation on any other (P3); only while this session
 * holds a volume's delegation may what was learned of it be believed without asking.
 */
export class ClusterFileSystem implements FileSystem {
  readonly #session: Session;
  readonly #data: FileData;
  readonly #metadata: VolumeMetadata;
  readonly #list: VolumeList;
  readonly #options: ClusterFileSystemOptions;
  readonly #open = new OpenFiles();
  readonly #listeners: ((what: Invalidation) => Promise<void>)[] = [];
  /** Files on which this session may hold POSIX locks: only their close has to tell the shard. */
  readonly #locked = new Set<string>();

  constructor(options: ClusterFileSystemOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#data = options.data;
    this.#metadata = new VolumeMetadata(options.session, options.volumes, (volume) =>
      this.#forget(volume),
    );
    this.#list = new VolumeList(
      options.volumes,
      async (volume, context) =>
        (await this.#metadata.lookAt(volume, ROOT_INODE, context)).attributes,
    );
  }

  async lookup(parent: NodeReference, name: string, context: RequestContext): Promise<NodeAnswer> {
    if (isRoot(parent)) return this.#list.lookup(name, context);
    const volume = await this.#metadata.volume(parent, context);
    const found = await this.#metadata.lookUp(volume, { parent: parent.ino, name }, context);
    if (found === undefined) throw new HoldfastError('ENOENT');
    return found;
  }

  async getAttributes(node: NodeReference, context: RequestContext): Promise<NodeAnswer> {
    if (isRoot(node)) return this.#list.answer();
    const volume = await this.#metadata.volume(node, context);
    return this.#metadata.lookAt(volume, node.ino, context);
  }

  async setAttributes(
    node: NodeReference,
    change: AttributeChange,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    const ticket = this.#metadata.ticket(node.volume);
    if (isRoot(node)) throw new HoldfastError('EPERM', 'the list of volumes has fixed attributes');
    const answer = await this.#change(
      node,
      { op: 'set-attributes', ino: node.ino, ...change },
      context,
    );
    return this.#metadata.answer(node.volume, attributesOf(answer), ticket);
  }

  async readDirectory(
    node: NodeReference,
    cookie: number,
    count: number,
    context: RequestContext,
  ): Promise<{ entries: readonly ListedEntry[]; end: boolean }> {
    if (isRoot(node)) return this.#list.read(cookie, count, context);
    const volume = await this.#metadata.volume(node, context);
    return this.#metadata.list(volume, { ino: node.ino, after: cookie, count }, context);
  }

  async parentOf(node: NodeReference, context: RequestContext): Promise<NodeReference> {
    if (isRoot(node) || node.ino === ROOT_INODE) return ROOT_NODE;
    const volume = await this.#metadata.volume(node, context);
    const view = { view: 'parent', ino: node.ino } as const;
    const { parent } = await this.#session.view(addressOf(volume), view, context.signal);
    return { volume: node.volume, ino: parent };
  }

  async readLink(node: NodeReference, context: RequestContext): Promise<string> {
    const volume = await this.#metadata.volume(node, context);
    const view = { view: 'read-link', ino: node.ino } as const;
    return (await this.#session.view(addressOf(volume), view, context.signal)).target;
  }

  async create(
    parent: NodeReference,
    name: string,
    options: CreateOptions,
    context: RequestContext,
  ): Promise<NodeAnswer & { created: boolean }> {
    const ticket = this.#metadata.ticket(parent.volume);
    if (isRoot(parent)) {
      if (options.kind !== 'directory')
        throw new HoldfastError('EPERM', 'the list of volumes holds only volumes');
      return { ...(await this.#list.make(name, options.mode, context)), created: true };
    }
    const { uid, gid } = context;
    const operation: Operation = { op: 'create', parent: parent.ino, name, uid, gid, ...options };
    const answer = await this.#change(parent, operation, context);
    return {
      ...this.#metadata.answer(parent.volume, attributesOf(answer), ticket),
      created: answer.created ?? true,
    };
  }

  async link(
    node: NodeReference,
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    const ticket = this.#metadata.ticket(parent.volume);
    refuseAcross(node.volume, parent.volume);
    const answer = await this.#change(
      parent,
      { op: 'link', ino: node.ino, parent: parent.ino, name },
      context,
    );
    return this.#metadata.answer(parent.volume, attributesOf(answer), ticket);
  }

  async unlink(parent: NodeReference, name: string, context: RequestContext): Promise<void> {
    if (isRoot(parent))
      throw new HoldfastError('EISDIR', 'a volume is removed with rmdir or holdfast volume rm');
    const answer = await this.#change(parent, { op: 'unlink', parent: parent.ino, name }, context);
    this.#orphaned(parent.volume, answer);
  }

  async removeDirectory(
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<void> {
    if (isRoot(parent)) return this.#list.remove(name);
    await this.#change(parent, { op: 'rmdir', parent: parent.ino, name }, context);
  }

  async rename(
    from: { parent: NodeReference; name: string },
    to: { parent: NodeReference; name: string },
    flag: 'replace' | 'noreplace' | 'exchange',
    context: RequestContext,
  ): Promise<void> {
    refuseAcross(from.parent.volume, to.parent.volume);
    if (isRoot(from.parent)) throw new HoldfastError('EPERM', 'volumes cannot be renamed');
    const operation: Operation = {
      op: 'rename',
      parent: from.parent.ino,
      name: from.name,
      newParent: to.parent.ino,
      newName: to.name,
      flag,
    };
    this.#orphaned(from.parent.volume, await this.#change(from.parent, operation, context));
  }

  async open(
    node: NodeReference,
    options: { write: boolean; truncate: boolean },
    context: RequestContext,
  ): Promise<void> {
    this.#open.opened(node); // counted first: an orphan notice in between must see it
    try {
      if (options.truncate)
        await this.setAttributes(node, { size: 0, killPrivileges: true }, context);
      else if (!this.#metadata.isHeld(node.volume)) await this.getAttributes(node, context);
    } catch (error) {
      this.#open.closed(node);
      throw error instanceof HoldfastError && error.code === 'ENOENT'
        ? new HoldfastError('ESTALE', error.message, { cause: error })
        : error;
    }
  }

  reopen(node: NodeReference): void {
    this.#open.opened(node);
    this.#locked.add(`${node.volume}/${node.ino}`); // the daemon before may have taken locks
  }

  async release(node: NodeReference): Promise<void> {
    if (!this.#open.isOpen(node)) this.#locked.delete(`${node.volume}/${node.ino}`);
    if (this.#open.closed(node)) await this.#releaseOrphans(node.volume, [node.ino]);
  }

  async read(
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    return this.#data.read(
      await this.#metadata.volume(node, context),
      node,
      offset,
      length,
      context,
    );
  }

  async write(
    node: NodeReference,
    offset: number,
    bytes: Uint8Array,
    options: { append: boolean; killPrivileges: boolean },
    context: RequestContext,
  ): Promise<void> {
    const era = this.#session.era(node.volume);
    const volume = await this.#metadata.volume(node, context);
    const commit = (operation: Operation): Promise<OperationAnswer> =>
      this.#metadata.execute(volume, operation, context, era);
    await this.#data.write(volume, node, offset, bytes, { ...options, commit }, context);
  }

  async flush(node: NodeReference, lockOwner: string): Promise<void> {
    if (!this.#locked.has(`${node.volume}/${node.ino}`) || lockOwner === '') return;
    await this.releaseLocks(node, 'posix', lockOwner);
  }

  /** Writes are durable when they return: nothing is left to do. */
  async sync(): Promise<void> {}

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
    const operation: Operation = { op: 'fallocate', ino: node.ino, ...options };
    await this.#change(node, operation, context);
  }

  async seek(
    node: NodeReference,
    offset: number,
    whence: 'data' | 'hole',
    context: RequestContext,
  ): Promise<number> {
    const volume = await this.#metadata.volume(node, context);
    const view = { view: 'seek', ino: node.ino, offset, whence } as const;
    return (await this.#session.view(addressOf(volume), view, context.signal)).offset;
  }

  async getXattr(node: NodeReference, name: string, context: RequestContext): Promise<Uint8Array> {
    if (isRoot(node)) throw new HoldfastError('ENODATA');
    const volume = await this.#metadata.volume(node, context);
    // The kernel asks for the ACL of whatever it judges: mostly there is none.
    const bit = aclBitOf(name);
    const known = bit === 0 ? undefined : this.#metadata.known(volume.number, node.ino);
    if (known !== undefined && ((known.acls ?? 0) & bit) === 0) throw new HoldfastError('ENODATA');
    const view = { view: 'xattr', ino: node.ino, name } as const;
    return (await this.#session.view(addressOf(volume), view, context.signal)).value;
  }

  async listXattrs(node: NodeReference, context: RequestContext): Promise<readonly string[]> {
    if (isRoot(node)) return [];
    const volume = await this.#metadata.volume(node, context);
    const view = { view: 'xattr-names', ino: node.ino } as const;
    return (await this.#session.view(addressOf(volume), view, context.signal)).names;
  }

  async setXattr(
    node: NodeReference,
    name: string,
    value: Uint8Array,
    options: XattrOptions,
    context: RequestContext,
  ): Promise<void> {
    await this.#change(node, { op: 'set-xattr', ino: node.ino, name, value, ...options }, context);
  }

  async removeXattr(node: NodeReference, name: string, context: RequestContext): Promise<void> {
    await this.#change(node, { op: 'remove-xattr', ino: node.ino, name }, context);
  }

  async testLock(
    node: NodeReference,
    lock: LockRequest,
    context: RequestContext,
  ): Promise<LockRequest | undefined> {
    const volume = await this.#metadata.volumeBeside(node, context);
    const view = { view: 'test-lock', ino: node.ino, lock } as const;
    return (await this.#session.view(addressOf(volume), view, context.signal)).conflict;
  }

  async setLock(
    node: NodeReference,
    lock: LockRequest,
    options: { wait: boolean },
    context: RequestContext,
  ): Promise<void> {
    const operation: Operation = { op: 'set-lock', ino: node.ino, lock };
    if (lock.family === 'posix' && lock.type !== 'unlock')
      this.#locked.add(`${node.volume}/${node.ino}`);
    if (!options.wait) await this.#change(node, operation, context);
    else {
      await waitForLock(async () => {
        await this.#change(node, operation, this.#session.internalContext());
      }, context);
    }
  }

  async releaseLocks(node: NodeReference, family: 'posix' | 'flock', owner: string): Promise<void> {
    await this.#change(
      node,
      { op: 'release-locks', ino: node.ino, family, owner },
      this.#session.internalContext(),
    );
  }

  async space(node: NodeReference, context: RequestContext): Promise<SpaceAnswer> {
    const cluster = await this.#options.clusterSpace();
    if (isRoot(node))
      return { ...cluster, totalInodes: INODES_UNLIMITED, freeInodes: INODES_UNLIMITED };
    const volume = await this.#metadata.volumeBeside(node, context);
    const used = await this.#session.view(addressOf(volume), { view: 'space' }, context.signal);
    const totalBytes = used.quotaBytes === 0 ? used.usedBytes + cluster.freeBytes : used.quotaBytes;
    const totalInodes = used.quotaInodes === 0 ? INODES_UNLIMITED : used.quotaInodes;
    return {
      totalBytes,
      freeBytes: Math.max(0, Math.min(totalBytes - used.usedBytes, cluster.freeBytes)),
      totalInodes,
      freeInodes: Math.max(0, totalInodes - used.usedInodes),
    };
  }

  answered(requestId: number): void {
    this.#session.answered(requestId);
  }

  resumed(isUnderWay: (requestId: number) => boolean): void {
    this.#session.resumed(isUnderWay);
  }

  isBelieved(volume: VolumeNumber): boolean {
    return this.#metadata.isHeld(volume);
  }

  onInvalidate(listener: (what: Invalidation) => Promise<void>): void {
    this.#listeners.push(listener);
  }

  /** A shard says that these inodes lost their last name; those not open here are let go. */
  orphansAnnounced(volume: VolumeNumber, inos: readonly InodeNumber[]): void {
    const free = this.#open.orphaned(volume, inos);
    if (free.length > 0) void this.#releaseOrphans(volume, free);
  }

  async close(): Promise<void> {
    await this.#options.close();
  }

  #orphaned(volume: VolumeNumber, answer: OperationAnswer): void {
    if (answer.orphan !== undefined) this.orphansAnnounced(volume, [answer.orphan]);
  }

  /** The shard announces again what it was not told in time, so a failure here only delays. */
  async #releaseOrphans(volume: VolumeNumber, inos: readonly InodeNumber[]): Promise<void> {
    try {
      const node = { volume, ino: ROOT_INODE };
      await this.#change(node, { op: 'release-orphans', inos }, this.#session.internalContext());
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  async #change(
    node: NodeReference,
    operation: Operation,
    context: RequestContext,
  ): Promise<OperationAnswer> {
    if (isRoot(node)) throw new HoldfastError('EPERM', 'the list of volumes holds only volumes');
    // It may be about a file that was open before a rollback which is heard of in between.
    const era = this.#session.era(node.volume);
    const volume = BESIDE_DELEGATION.has(operation.op)
      ? await this.#metadata.volumeBeside(node, context)
      : await this.#metadata.volume(node, context);
    const ino = contentsChangedBy(operation);
    const act = (): Promise<OperationAnswer> =>
      this.#metadata.execute(volume, operation, context, era);
    if (ino === undefined) return act();
    return this.#data.changing({ volume: node.volume, ino }, act);
  }

  /** Drops what the kernel and the contents' cache believe about a volume. */
  async #forget(volume: VolumeNumber): Promise<void> {
    this.#data.forget(volume);
    await Promise.all(this.#listeners.map((listener) => listener({ what: 'volume', volume })));
  }

  /** Whether what was learned of a volume may be believed now. */
  isHeld(volume: VolumeNumber): boolean {
    return this.#metadata.isHeld(volume);
  }

  /** Another session is about to change a volume of which we hold a delegation. */
  recalled(volume: VolumeNumber): void {
    this.#metadata.recalled(volume);
  }

  /** A volume was rolled back: what is open there is void, and nothing learned of it holds. */
  async rolledBack(volume: VolumeNumber): Promise<void> {
    this.#open.forgetOrphans(volume);
    for (const key of this.#locked) if (key.startsWith(`${volume}/`)) this.#locked.delete(key);
    // At once: from now on no handle of before is good for anything.
    for (const listener of this.#listeners) void listener({ what: 'handles', volume });
    await this.#metadata.rolledBack(volume);
  }

  /** The session was fenced and replaced. */
  fenced(): void {
    this.#metadata.fenced();
  }
}

function attributesOf(answer: OperationAnswer): Attributes {
  if (answer.attributes === undefined)
    throw new HoldfastError('INTERNAL', 'an answer without attributes');
  return answer.attributes;
}

function refuseAcross(a: VolumeNumber, b: VolumeNumber): void {
  if (a !== b) throw new HoldfastError('EXDEV');
}
