import {
  type AttributeChange,
  type CreateOptions,
  type FileSystem,
  HoldfastError,
  type InodeNumber,
  type Invalidation,
  type ListedEntry,
  type LockRequest,
  type NodeAnswer,
  type NodeReference,
  type RequestContext,
  type SpaceAnswer,
  type TimeStamp,
  type VolumeNumber,
  type XattrOptions,
} from '@holdfast/protocol';
import {
  attributesOf,
  InodeTable,
  type MemoryInode,
  readBytes,
  resize,
  seekIn,
  writeBytes,
  zeroBytes,
} from './memory-inodes.ts';

const VOLUME = 1 as VolumeNumber;
const ROOT = 1 as InodeNumber;
const LIST: NodeReference = { volume: 0 as VolumeNumber, ino: ROOT };
const SET_ID = 0o6000;

/**
 * A namespace of one volume, `v`, in memory: what the mount is tried against without a cluster. It
 * keeps single-copy semantics and exactly-once; permissions are the kernel's (default_permissions).
 */
export class MemoryFileSystem implements FileSystem {
  readonly #table = new InodeTable();
  readonly #answers = new Map<string, Promise<unknown>>();
  #invalidate: (what: Invalidation) => Promise<void> = async () => {};
  /** Milliseconds for which answers are valid. */
  validMs = 0;
  /** Closes that had to give up locks of their process. */
  lockReleases = 0;
  /** Milliseconds that every change takes, before or after its effect. */
  delayMs = 0;
  /** Awaited before every read of a file that has the attribute `user.hang`. */
  beforeRead: (context: RequestContext) => Promise<void> = async () => {};

  constructor() {
    this.#table.make('directory', {
      mode: 0o777,
      uid: 0,
      gid: 0,
      rdev: 0,
      target: '',
      parent: ROOT,
    });
  }

  /** Opens that have not been released, of all inodes. */
  get opens(): number {
    return [...this.#table.all.values()].reduce((sum, inode) => sum + inode.opens, 0);
  }

  /** Inodes that exist, the volume's root among them. */
  get inodes(): number {
    return this.#table.all.size;
  }

  async lookup(parent: NodeReference, name: string): Promise<NodeAnswer> {
    if (parent.volume === 0) {
      if (name !== 'v') throw new HoldfastError('ENOENT');
      return this.#answer(this.#inode({ volume: VOLUME, ino: ROOT }));
    }
    return this.#answer(this.#child(parent, name));
  }

  async getAttributes(node: NodeReference): Promise<NodeAnswer> {
    if (node.volume !== 0) return this.#answer(this.#inode(node));
    const root = attributesOf(this.#inode({ volume: VOLUME, ino: ROOT }));
    return { node: LIST, attributes: { ...root, mode: 0o755 }, validMs: 0 };
  }

  async setAttributes(
    node: NodeReference,
    change: AttributeChange,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    return this.#once('setAttributes', context, () => {
      const inode = this.#inode(node);
      if (change.size !== undefined && change.size !== inode.size) {
        resize(inode, change.size);
        inode.mtimeNs = this.#table.now();
      }
      if (change.killPrivileges === true) killPrivileges(inode);
      inode.mode = change.mode ?? inode.mode;
      inode.uid = change.uid ?? inode.uid;
      inode.gid = change.gid ?? inode.gid;
      inode.atimeNs = this.#time(change.atime, inode.atimeNs);
      inode.mtimeNs = this.#time(change.mtime, inode.mtimeNs);
      inode.ctimeNs = this.#table.now();
      return this.#answer(inode);
    });
  }

  async readDirectory(
    node: NodeReference,
    cookie: number,
    count: number,
  ): Promise<{ entries: ListedEntry[]; end: boolean }> {
    if (node.volume === 0) {
      const answer = this.#answer(this.#inode({ volume: VOLUME, ino: ROOT }));
      return { entries: cookie < 1 ? [{ ...answer, name: 'v', cookie: 1 }] : [], end: true };
    }
    const entries: ListedEntry[] = [];
    for (const [name, child] of this.#inode(node).children) {
      if (child.cookie <= cookie) continue;
      if (entries.length === count) return { entries, end: false };
      const answer = this.#answer(this.#inode({ volume: VOLUME, ino: child.ino }));
      entries.push({ ...answer, name, cookie: child.cookie });
    }
    return { entries, end: true };
  }

  async parentOf(node: NodeReference): Promise<NodeReference> {
    if (node.volume === 0 || node.ino === ROOT) return LIST;
    return { volume: VOLUME, ino: this.#inode(node).parent };
  }

  async readLink(node: NodeReference): Promise<string> {
    return this.#inode(node).target;
  }

  async create(
    parent: NodeReference,
    name: string,
    options: CreateOptions,
    context: RequestContext,
  ): Promise<NodeAnswer & { created: boolean }> {
    return this.#once('create', context, () => {
      const directory = this.#directory(parent);
      checkName(name);
      const existing = directory.children.get(name);
      if (existing !== undefined) {
        const inode = this.#inode({ volume: VOLUME, ino: existing.ino });
        if (options.exclusive || inode.kind !== 'file') throw new HoldfastError('EEXIST');
        return { ...this.#answer(inode), created: false };
      }
      const inheritsGroup = (directory.mode & 0o2000) !== 0;
      const inode = this.#table.make(options.kind, {
        ...options,
        mode: options.mode | (inheritsGroup && options.kind === 'directory' ? 0o2000 : 0),
        uid: context.uid,
        gid: inheritsGroup ? directory.gid : context.gid,
        parent: parent.ino,
      });
      this.#table.enter(directory, name, inode);
      return { ...this.#answer(inode), created: true };
    });
  }

  async link(
    node: NodeReference,
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    return this.#once('link', context, () => {
      const directory = this.#directory(parent);
      checkName(name);
      if (directory.children.has(name)) throw new HoldfastError('EEXIST');
      const inode = this.#inode(node);
      if (inode.kind === 'directory') throw new HoldfastError('EPERM');
      inode.nlink += 1;
      this.#table.enter(directory, name, inode);
      return this.#answer(inode);
    });
  }

  async unlink(parent: NodeReference, name: string, context: RequestContext): Promise<void> {
    return this.#once('unlink', context, () => {
      const inode = this.#child(parent, name);
      if (inode.kind === 'directory') throw new HoldfastError('EISDIR');
      this.#table.remove(this.#directory(parent), name, inode);
    });
  }

  async removeDirectory(
    parent: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<void> {
    return this.#once('removeDirectory', context, () => {
      const inode = this.#child(parent, name);
      if (inode.kind !== 'directory') throw new HoldfastError('ENOTDIR');
      if (inode.children.size > 0) throw new HoldfastError('ENOTEMPTY');
      this.#table.remove(this.#directory(parent), name, inode);
    });
  }

  async rename(
    from: { parent: NodeReference; name: string },
    to: { parent: NodeReference; name: string },
    flag: 'replace' | 'noreplace' | 'exchange',
    context: RequestContext,
  ): Promise<void> {
    return this.#once('rename', context, () => {
      const moved = this.#child(from.parent, from.name);
      const source = this.#directory(from.parent);
      const target = this.#directory(to.parent);
      checkName(to.name);
      const other = target.children.get(to.name);
      if (flag === 'exchange') return this.#exchange(from, to);
      if (other !== undefined) {
        if (flag === 'noreplace') throw new HoldfastError('EEXIST');
        const replaced = this.#inode({ volume: VOLUME, ino: other.ino });
        if (replaced === moved) return;
        if (replaced.kind === 'directory' && replaced.children.size > 0)
          throw new HoldfastError('ENOTEMPTY');
        this.#table.remove(target, to.name, replaced);
      }
      source.children.delete(from.name);
      this.#table.leave(source, moved);
      this.#table.enter(target, to.name, moved);
    });
  }

  async open(
    node: NodeReference,
    options: { write: boolean; truncate: boolean },
    context: RequestContext,
  ): Promise<void> {
    const inode = this.#inode(node);
    if (options.truncate)
      await this.setAttributes(node, { size: 0, killPrivileges: true }, context);
    inode.opens += 1;
  }

  reopen(node: NodeReference): void {
    this.#inode(node).opens += 1;
  }

  /** The process that counted opens is gone; its successor will say what is still open. */
  forgetOpens(): void {
    for (const inode of this.#table.all.values()) inode.opens = 0;
  }

  async release(node: NodeReference): Promise<void> {
    const inode = this.#inode(node);
    inode.opens -= 1;
    this.#table.drop(inode);
  }

  async read(
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    const inode = this.#inode(node);
    if (inode.xattrs.has('user.hang')) await this.beforeRead(context);
    const bytes = readBytes(inode, offset, length);
    // In several pieces, as they come from a cluster.
    const middle = Math.floor(bytes.length / 2);
    return [bytes.subarray(0, middle), bytes.subarray(middle)];
  }

  async write(
    node: NodeReference,
    offset: number,
    bytes: Uint8Array,
    options: { append: boolean; killPrivileges: boolean },
    context: RequestContext,
  ): Promise<void> {
    return this.#once('write', context, () => {
      const inode = this.#inode(node);
      writeBytes(inode, options.append ? inode.size : offset, bytes);
      if (options.killPrivileges) killPrivileges(inode);
      inode.mtimeNs = this.#table.now();
      inode.ctimeNs = inode.mtimeNs;
    });
  }

  async flush(node: NodeReference, lockOwner: string): Promise<void> {
    if (lockOwner === '') return;
    this.lockReleases += 1;
    await this.releaseLocks(node, 'posix', lockOwner);
  }

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
    return this.#once('allocate', context, () => {
      const inode = this.#inode(node);
      const end = options.offset + options.length;
      if (options.mode !== 'allocate') zeroBytes(inode, options.offset, end);
      if (!options.keepSize) inode.size = Math.max(inode.size, end);
    });
  }

  async seek(node: NodeReference, offset: number, whence: 'data' | 'hole'): Promise<number> {
    return seekIn(this.#inode(node), offset, whence);
  }

  async getXattr(node: NodeReference, name: string): Promise<Uint8Array> {
    const value = node.volume === 0 ? undefined : this.#inode(node).xattrs.get(name);
    if (value === undefined) throw new HoldfastError('ENODATA');
    return value;
  }

  async listXattrs(node: NodeReference): Promise<string[]> {
    return [...this.#inode(node).xattrs.keys()];
  }

  async setXattr(
    node: NodeReference,
    name: string,
    value: Uint8Array,
    { mode }: XattrOptions,
    context: RequestContext,
  ): Promise<void> {
    return this.#once('setXattr', context, () => {
      const { xattrs } = this.#inode(node);
      if (mode === 'create' && xattrs.has(name)) throw new HoldfastError('EEXIST');
      if (mode === 'replace' && !xattrs.has(name)) throw new HoldfastError('ENODATA');
      xattrs.set(name, value);
    });
  }

  async removeXattr(node: NodeReference, name: string, context: RequestContext): Promise<void> {
    return this.#once('removeXattr', context, () => {
      if (!this.#inode(node).xattrs.delete(name)) throw new HoldfastError('ENODATA');
    });
  }

  async testLock(node: NodeReference, lock: LockRequest): Promise<LockRequest | undefined> {
    return this.#inode(node).locks.find((held) => conflicts(held, lock));
  }

  /** Whole-range locks only: enough to try waiting and interruption. */
  async setLock(
    node: NodeReference,
    lock: LockRequest,
    options: { wait: boolean },
    context: RequestContext,
  ): Promise<void> {
    const inode = this.#inode(node);
    while (lock.type !== 'unlock' && inode.locks.some((held) => conflicts(held, lock))) {
      if (!options.wait) throw new HoldfastError('EAGAIN');
      await aborted(context.signal, 20);
      if (context.signal?.aborted === true) throw new HoldfastError('EINTR');
    }
    inode.locks = inode.locks.filter(
      (held) => held.owner !== lock.owner || held.family !== lock.family,
    );
    if (lock.type !== 'unlock') inode.locks.push(lock);
  }

  async releaseLocks(node: NodeReference, family: 'posix' | 'flock', owner: string): Promise<void> {
    const inode = this.#inode(node);
    inode.locks = inode.locks.filter((held) => held.family !== family || held.owner !== owner);
  }

  async space(): Promise<SpaceAnswer> {
    return { totalBytes: 2 ** 40, freeBytes: 2 ** 39, totalInodes: 2 ** 20, freeInodes: 2 ** 19 };
  }

  /** Whether all volumes are believed. */
  believed = true;

  isBelieved(): boolean {
    return this.believed;
  }

  onInvalidate(listener: (what: Invalidation) => Promise<void>): void {
    this.#invalidate = listener;
  }

  /** Tells the mount that something changed behind its back. */
  invalidate(what: Invalidation): Promise<void> {
    return this.#invalidate(what);
  }

  answered(requestId: number): void {
    for (const key of this.#answers.keys()) {
      if (key.startsWith(`${requestId} `)) this.#answers.delete(key);
    }
  }

  resumed(): void {}

  async close(): Promise<void> {}

  /** The first answer again for a request that was executed already. */
  #once<T>(method: string, { requestId }: RequestContext, run: () => T): Promise<T> {
    if (requestId === 0) return this.#slowly(run);
    const key = `${requestId} ${method}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known as Promise<T>;
    const answer = this.#slowly(run);
    this.#answers.set(key, answer);
    return answer;
  }

  /** Half of the delay before and half after the effect, so that a kill hits both. */
  async #slowly<T>(run: () => T): Promise<T> {
    if (this.delayMs === 0) return run();
    await new Promise((resolve) => setTimeout(resolve, this.delayMs / 2));
    const value = run();
    await new Promise((resolve) => setTimeout(resolve, this.delayMs / 2));
    return value;
  }

  #exchange(
    from: { parent: NodeReference; name: string },
    to: { parent: NodeReference; name: string },
  ): void {
    const [one, other] = [this.#child(from.parent, from.name), this.#child(to.parent, to.name)];
    this.#directory(from.parent).children.set(from.name, {
      ino: other.ino,
      cookie: this.#table.nextCookie(),
    });
    this.#directory(to.parent).children.set(to.name, {
      ino: one.ino,
      cookie: this.#table.nextCookie(),
    });
  }

  #answer(inode: MemoryInode): NodeAnswer {
    return {
      node: { volume: VOLUME, ino: inode.ino },
      attributes: attributesOf(inode),
      validMs: this.validMs,
    };
  }

  #inode(node: NodeReference): MemoryInode {
    const inode = node.volume === VOLUME ? this.#table.all.get(node.ino) : undefined;
    if (inode === undefined) throw new HoldfastError('ESTALE');
    return inode;
  }

  #directory(node: NodeReference): MemoryInode {
    if (node.volume === 0) throw new HoldfastError('EPERM');
    const inode = this.#inode(node);
    if (inode.kind !== 'directory') throw new HoldfastError('ENOTDIR');
    return inode;
  }

  #child(parent: NodeReference, name: string): MemoryInode {
    checkName(name);
    const child = this.#directory(parent).children.get(name);
    if (child === undefined) throw new HoldfastError('ENOENT');
    return this.#inode({ volume: VOLUME, ino: child.ino });
  }

  #time(stamp: TimeStamp | undefined, old: bigint): bigint {
    if (stamp === undefined) return old;
    return stamp === 'now' ? this.#table.now() : stamp;
  }
}

function checkName(name: string): void {
  if (name.length > 255) throw new HoldfastError('ENAMETOOLONG');
}

function killPrivileges(inode: MemoryInode): void {
  const clearsGroup = (inode.mode & 0o010) !== 0;
  inode.mode &= ~(clearsGroup ? SET_ID : 0o4000);
}

function conflicts(held: LockRequest, wanted: LockRequest): boolean {
  if (held.family !== wanted.family || held.owner === wanted.owner) return false;
  if (held.type === 'read' && wanted.type === 'read') return false;
  return held.start < wanted.end && wanted.start < held.end;
}

/** Resolves after a while or when the signal comes. */
function aborted(signal: AbortSignal | undefined, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
