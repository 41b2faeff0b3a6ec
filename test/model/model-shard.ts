/**
 * A volume as plain objects: what a POSIX file system does, written for clarity, sharing no code
 * with packages/metadata. It speaks the same operations, so that both can be given the same commands.
 */
import {
  type Attributes,
  type ExtentWrite,
  LIMITS,
  type Operation,
  type OperationAnswer,
  type TimeStamp,
} from '@holdfast/protocol';
import type { ModelContent } from './model-content.ts';
import { ModelNode } from './model-node.ts';
import { type FrozenShard, frozen, type ModelTree, withBases } from './model-snapshots.ts';
import { aclsOf, changeMode, inherit, setXattr } from './model-xattrs.ts';
import { Refused, refuse } from './refused.ts';

/** What the model says about an operation: a refusal's code, or an answer. */
export type Expected = { readonly code: string } | { readonly answer: OperationAnswer };

/** Bytes of a chunk that a test wrote. */
export type ChunkBytes = (chunk: string) => Uint8Array;

interface ModelOptions {
  readonly quotaBytes: number;
  readonly quotaInodes: number;
  readonly chunkBytes: ChunkBytes;
}

/** What a volume of the model begins with. */
export interface ModelBase {
  /** Of the whole shard. */
  readonly sessions: Set<string>;
  /** Of what it is a clone. */
  readonly snapshot?: FrozenShard;
}

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** One volume and the sessions that use it. */
export class ModelShard {
  readonly nodes: ModelNode[] = [];
  /** Of the whole shard. */
  readonly sessions: Set<string>;
  readonly holders = new Set<string>();
  /** By name, in the order in which they were made. */
  readonly snapshots = new Map<string, FrozenShard>();
  /** Snapshots that clones hold, with their names or without. */
  readonly held: FrozenShard[] = [];
  #tree: ModelTree = { base: undefined, depth: 0 };
  #generation = 1;
  readonly #options: ModelOptions;
  #session = '';
  #nowNs = 0n;

  /** An empty volume, or a clone of a snapshot. */
  constructor(options: ModelOptions, nowNs: bigint, { sessions, snapshot }: ModelBase) {
    this.#options = options;
    this.sessions = sessions;
    if (snapshot !== undefined) {
      this.nodes.push(...frozen(snapshot.nodes));
      this.#tree = { base: undefined, depth: snapshot.tree.depth + 1 };
      return;
    }
    const root = new ModelNode('directory', nowNs);
    root.ino = 1;
    root.mode = 0o755;
    root.nlink = 2;
    this.nodes.push(root);
  }

  get root(): ModelNode {
    return this.nodes[0] as ModelNode;
  }

  /** Snapshots of which something is needed: by name, by clones, or because what came after rests on them. */
  get needed(): Set<FrozenShard> {
    return withBases([...this.snapshots.values(), ...this.held, this.#tree.base]);
  }

  /** Nodes that exist. */
  get alive(): ModelNode[] {
    return this.nodes.filter(({ isDead }) => !isDead);
  }

  get usedBytes(): number {
    return this.alive.reduce((bytes, { content }) => bytes + content.allocatedBytes, 0);
  }

  /** Does an operation; the caller sets `ino` of a node that is made. */
  apply(session: string, nowNs: bigint, operation: Operation): Expected {
    this.#session = session;
    this.#nowNs = nowNs;
    try {
      return { answer: this.#perform(operation) };
    } catch (error) {
      if (error instanceof Refused) return { code: error.code };
      throw error;
    }
  }

  /** Ends a session: its locks, its delegation, and the orphans that only it held. */
  endSession(session: string): void {
    this.sessions.delete(session);
    this.holders.delete(session);
    for (const node of this.alive) {
      node.locks.drop((owner) => owner.startsWith(`${session} `));
      this.#letGo(node, session);
    }
  }

  /** What stat(2) tells. */
  attributes(node: ModelNode): Attributes {
    return {
      ino: node.ino as Attributes['ino'],
      kind: node.kind,
      mode: node.mode,
      uid: node.uid,
      gid: node.gid,
      nlink: node.nlink,
      size: node.size,
      allocatedBytes: node.content.allocatedBytes,
      rdev: node.rdev,
      atimeNs: node.atimeNs,
      mtimeNs: node.mtimeNs,
      ctimeNs: node.ctimeNs,
      birthNs: node.birthNs,
      ...(aclsOf(node) === 0 ? {} : { acls: aclsOf(node) }),
    };
  }

  /** The directory and entry of a name, for looks. */
  lookup(parent: number, name: string): ModelNode {
    const directory = this.#directory(parent);
    this.#checkName(name);
    return directory.entries.get(name) ?? refuse('ENOENT');
  }

  #perform(operation: Operation): OperationAnswer {
    const isBeside = [
      'acquire-delegation',
      'return-delegation',
      'release-orphans',
      'release-locks',
      'set-lock',
    ];
    if (!isBeside.includes(operation.op)) {
      if ([...this.holders].some((holder) => holder !== this.#session)) refuse('DELEGATED');
    }
    switch (operation.op) {
      case 'create-snapshot':
        return this.#createSnapshot(operation);
      case 'remove-snapshot': {
        const { answer } = this.snapshots.get(operation.name) ?? refuse('ENOENT');
        this.snapshots.delete(operation.name);
        const clones = this.held.filter((other) => other.answer === answer).length;
        return { snapshot: { ...answer, clones } };
      }
      case 'rollback-volume':
        return this.#rollBack(operation);
      case 'create':
        return this.#create(operation);
      case 'link':
        return this.#link(operation);
      case 'unlink':
        return this.#remove(operation, false);
      case 'rmdir':
        return this.#remove(operation, true);
      case 'rename':
        return this.#rename(operation);
      case 'set-attributes':
        return this.#setAttributes(operation);
      case 'write-extents':
        return this.#write(operation);
      case 'fallocate':
        return this.#allocate(operation);
      case 'set-xattr':
        return this.#setXattr(operation);
      case 'remove-xattr':
        return this.#removeXattr(operation);
      case 'set-lock':
        return this.#lock(operation);
      case 'release-locks':
        return this.#releaseLocks(operation);
      case 'release-orphans':
        for (const node of this.alive) {
          if (operation.inos.some((ino) => ino === node.ino)) this.#letGo(node, this.#session);
        }
        return {};
      case 'acquire-delegation': {
        this.holders.add(this.#session);
        return { delegation: { granted: true } };
      }
      case 'return-delegation':
        this.holders.delete(this.#session);
        return {};
      default:
        throw new Error(`the model does not know ${operation.op}`);
    }
  }

  #node(ino: number): ModelNode {
    const node = this.nodes.find((other) => other.ino === ino);
    return node === undefined || node.isDead ? refuse('ESTALE') : node;
  }

  #directory(ino: number): ModelNode {
    const node = this.#node(ino);
    return node.isDirectory ? node : refuse('ENOTDIR');
  }

  #namedDirectory(ino: number): ModelNode {
    const node = this.#directory(ino);
    return node.nlink === 0 ? refuse('ENOENT') : node;
  }

  #file(ino: number): ModelNode {
    const node = this.#node(ino);
    if (node.isDirectory) refuse('EISDIR');
    return node.kind === 'file' ? node : refuse('EINVAL');
  }

  #checkName(name: string): void {
    if (name.length > 255) refuse('ENAMETOOLONG');
    if (['', '.', '..'].includes(name) || /[/\0]/.test(name)) refuse('EINVAL');
  }

  #createSnapshot({ name, origin }: Of<'create-snapshot'>): OperationAnswer {
    if (!/^[a-z0-9]/.test(name)) refuse('EINVAL');
    if (this.snapshots.has(name)) refuse('EEXIST');
    const nodes = frozen(this.nodes);
    const usedBytes = nodes.reduce((bytes, { content }) => bytes + content.allocatedBytes, 0);
    const generation = this.#generation++;
    const timeNs = this.#nowNs;
    const answer = {
      name,
      generation,
      timeNs,
      usedBytes,
      usedInodes: nodes.length,
      clones: 0,
      ...(origin !== undefined && { origin }),
    };
    this.snapshots.set(name, { answer, nodes, tree: this.#tree });
    return { snapshot: answer };
  }

  #rollBack({ snapshot, keep }: Of<'rollback-volume'>): OperationAnswer {
    const base = this.snapshots.get(snapshot) ?? refuse('ENOENT');
    if (this.snapshots.has(keep)) refuse('EEXIST');
    if (base.tree.depth >= LIMITS.cloneDepthMax) refuse('EINVAL');
    const kept = this.#createSnapshot({ op: 'create-snapshot', name: keep });
    this.nodes.splice(0, this.nodes.length, ...frozen(base.nodes));
    this.#tree = { base, depth: base.tree.depth + 1 };
    this.holders.clear();
    return { created: true, ...kept };
  }

  #create(operation: Of<'create'>): OperationAnswer {
    const parent = this.#namedDirectory(operation.parent);
    this.#checkName(operation.name);
    const present = parent.entries.get(operation.name);
    if (present !== undefined) {
      const isOpen = !operation.exclusive && operation.kind === 'file' && present.kind === 'file';
      if (!isOpen) refuse('EEXIST');
      return { attributes: this.attributes(present), created: false };
    }
    if (operation.kind === 'symlink') {
      if (operation.target === '') refuse('ENOENT');
      if (operation.target.length > 4095) refuse('ENAMETOOLONG');
    }
    const { quotaInodes } = this.#options;
    if (quotaInodes > 0 && this.alive.length >= quotaInodes) refuse('EDQUOT');
    const node = new ModelNode(operation.kind, this.#nowNs);
    const isSetGroup = (parent.mode & 0o2000) !== 0;
    inherit(parent, node, operation);
    node.mode |= isSetGroup && node.isDirectory ? 0o2000 : 0;
    node.uid = operation.uid;
    node.gid = isSetGroup ? parent.gid : operation.gid;
    node.nlink = node.isDirectory ? 2 : 1;
    if (node.kind === 'symlink') node.target = operation.target;
    node.size = node.target.length;
    if (node.kind === 'char' || node.kind === 'block') node.rdev = operation.rdev;
    this.nodes.push(node);
    this.#enter(parent, operation.name, node);
    return { attributes: this.attributes(node), created: true };
  }

  #enter(parent: ModelNode, name: string, node: ModelNode): void {
    const before = parent.entries.get(name);
    parent.entries.set(name, node);
    parent.nlink += Number(node.isDirectory) - Number(before?.isDirectory ?? false);
    if (node.isDirectory) node.parent = parent;
    parent.mtimeNs = parent.ctimeNs = this.#nowNs;
  }

  #leave(parent: ModelNode, name: string, node: ModelNode): void {
    parent.entries.delete(name);
    if (node.isDirectory) parent.nlink--;
    parent.mtimeNs = parent.ctimeNs = this.#nowNs;
  }

  #link(operation: Of<'link'>): OperationAnswer {
    const parent = this.#namedDirectory(operation.parent);
    this.#checkName(operation.name);
    const node = this.#node(operation.ino);
    if (parent.entries.has(operation.name)) refuse('EEXIST');
    if (node.isDirectory) refuse('EPERM');
    if (node.nlink === 0) refuse('ENOENT');
    node.nlink++;
    node.ctimeNs = this.#nowNs;
    this.#enter(parent, operation.name, node);
    return { attributes: this.attributes(node) };
  }

  #remove({ parent, name }: Of<'unlink' | 'rmdir'>, isDirectory: boolean): OperationAnswer {
    const directory = this.#namedDirectory(parent);
    this.#checkName(name);
    const node = directory.entries.get(name) ?? refuse('ENOENT');
    if (isDirectory && !node.isDirectory) refuse('ENOTDIR');
    if (!isDirectory && node.isDirectory) refuse('EISDIR');
    if (node.entries.size > 0) refuse('ENOTEMPTY');
    this.#leave(directory, name, node);
    return this.#dropLink(node);
  }

  #dropLink(node: ModelNode): OperationAnswer {
    node.nlink = node.isDirectory ? 0 : node.nlink - 1;
    node.ctimeNs = this.#nowNs;
    const attributes = this.attributes(node);
    if (node.nlink > 0) return { attributes };
    node.holders = new Set(this.sessions);
    return { attributes, orphan: attributes.ino };
  }

  #letGo(node: ModelNode, session: string): void {
    if (node.nlink > 0) return;
    node.holders.delete(session);
    node.isDead = node.holders.size === 0;
  }

  #isInside(node: ModelNode, ancestor: ModelNode): boolean {
    for (let at = node; ; at = at.parent) {
      if (at === ancestor) return true;
      if (at === this.root) return false;
    }
  }

  #rename(operation: Of<'rename'>): OperationAnswer {
    const { name, newName, flag } = operation;
    const from = this.#namedDirectory(operation.parent);
    const to = this.#namedDirectory(operation.newParent);
    this.#checkName(name);
    this.#checkName(newName);
    const node = from.entries.get(name) ?? refuse('ENOENT');
    const target = to.entries.get(newName);
    if (flag === 'noreplace' && target !== undefined) refuse('EEXIST');
    if (flag === 'exchange' && target === undefined) refuse('ENOENT');
    if (node.isDirectory && this.#isInside(to, node)) refuse('EINVAL');
    if (target === node) {
      return { attributes: this.attributes(node), replaced: this.attributes(node) };
    }
    if (flag === 'exchange' && target !== undefined) {
      if (target.isDirectory && this.#isInside(from, target)) refuse('EINVAL');
      this.#enter(from, name, target);
      this.#enter(to, newName, node);
      node.ctimeNs = target.ctimeNs = this.#nowNs;
      return { attributes: this.attributes(node), replaced: this.attributes(target) };
    }
    if (target !== undefined) {
      if (node.isDirectory && !target.isDirectory) refuse('ENOTDIR');
      if (!node.isDirectory && target.isDirectory) refuse('EISDIR');
      if (target.entries.size > 0) refuse('ENOTEMPTY');
    }
    this.#leave(from, name, node);
    this.#enter(to, newName, node);
    node.ctimeNs = this.#nowNs;
    const attributes = this.attributes(node);
    if (target === undefined) return { attributes };
    const { attributes: replaced, orphan } = this.#dropLink(target);
    return { attributes, replaced, orphan } as OperationAnswer;
  }

  #killPrivileges(node: ModelNode): void {
    if (node.isDirectory) return;
    node.mode &= (node.mode & 0o010) === 0 ? 0o3777 : 0o1777;
  }

  #setAttributes(operation: Of<'set-attributes'>): OperationAnswer {
    const { mode, uid, gid, size, atime, mtime } = operation;
    const node = this.#node(operation.ino);
    const stamp = (time: TimeStamp): bigint => (time === 'now' ? this.#nowNs : time);
    if (size !== undefined) {
      const file = this.#file(operation.ino);
      if (size > LIMITS.fileBytesMax) refuse('EFBIG');
      if (size < file.size) file.content.clear(size, Number.POSITIVE_INFINITY);
      if (size !== file.size) file.mtimeNs = this.#nowNs;
      file.size = size;
    }
    const isChown = uid !== undefined || gid !== undefined;
    if (mode !== undefined) changeMode(node, mode);
    if (operation.killPrivileges === true || (isChown && mode === undefined)) {
      this.#killPrivileges(node);
    }
    node.uid = uid ?? node.uid;
    node.gid = gid ?? node.gid;
    if (atime !== undefined) node.atimeNs = stamp(atime);
    if (mtime !== undefined) node.mtimeNs = stamp(mtime);
    node.ctimeNs = this.#nowNs;
    return { attributes: this.attributes(node) };
  }

  #changeContent(node: ModelNode, change: (content: ModelContent) => void): void {
    const before = node.content.runs;
    const used = this.usedBytes;
    change(node.content);
    const { quotaBytes } = this.#options;
    if (quotaBytes > 0 && this.usedBytes > quotaBytes && this.usedBytes > used) {
      node.content.runs = before;
      refuse('EDQUOT');
    }
    node.mtimeNs = node.ctimeNs = this.#nowNs;
  }

  #write(operation: Of<'write-extents'>): OperationAnswer {
    const node = this.#file(operation.ino);
    const base = operation.append ? node.size : 0;
    if (operation.extents.length === 0) return { attributes: this.attributes(node) };
    const end = (extent: ExtentWrite): number => base + extent.offset + extent.length;
    if (operation.extents.some((extent) => end(extent) > LIMITS.fileBytesMax)) refuse('EFBIG');
    this.#changeContent(node, (content) => {
      for (const extent of operation.extents) this.#putExtent(content, base, extent);
    });
    node.size = Math.max(node.size, ...operation.extents.map(end));
    if (operation.killPrivileges) this.#killPrivileges(node);
    const attributes = this.attributes(node);
    return operation.append ? { attributes, offset: base } : { attributes };
  }

  #putExtent(content: ModelContent, base: number, { offset, length, source }: ExtentWrite): void {
    const from = base + offset;
    const to = from + length;
    if (source.kind === 'inline') content.put(from, to, 'inline', source.bytes);
    else if (source.kind === 'chunk') {
      const { chunk, chunkOffset } = source;
      const bytes = this.#options.chunkBytes(chunk).subarray(chunkOffset, chunkOffset + length);
      content.put(from, to, { chunk }, bytes);
    } else if (source.allocated) content.put(from, to, 'zero');
    else content.clear(from, to);
  }

  #allocate({ ino, mode, keepSize, offset, length }: Of<'fallocate'>): OperationAnswer {
    const node = this.#file(ino);
    if (length === 0) refuse('EINVAL');
    if (offset + length > LIMITS.fileBytesMax) refuse('EFBIG');
    this.#changeContent(node, (content) => {
      if (mode === 'allocate') content.fill(offset, offset + length);
      else if (mode === 'zero') content.put(offset, offset + length, 'zero');
      else content.clear(offset, offset + length);
    });
    if (!keepSize && mode !== 'punch') node.size = Math.max(node.size, offset + length);
    return { attributes: this.attributes(node) };
  }

  #setXattr(operation: Of<'set-xattr'>): OperationAnswer {
    const node = this.#node(operation.ino);
    const isNothing = setXattr(node, operation);
    if (!isNothing) node.ctimeNs = this.#nowNs;
    return { attributes: this.attributes(node) };
  }

  #removeXattr({ ino, name }: Of<'remove-xattr'>): OperationAnswer {
    const node = this.#node(ino);
    if (!node.xattrs.delete(name)) refuse('ENODATA');
    node.ctimeNs = this.#nowNs;
    return { attributes: this.attributes(node) };
  }

  #lock({ ino, lock }: Of<'set-lock'>): OperationAnswer {
    const node = this.#node(ino);
    if (lock.family === 'posix' && lock.start >= lock.end) refuse('EINVAL');
    return node.locks.set(`${this.#session} ${lock.owner}`, lock) ? {} : refuse('EAGAIN');
  }

  #releaseLocks({ ino, family, owner }: Of<'release-locks'>): OperationAnswer {
    const node = this.nodes.find((other) => other.ino === ino && !other.isDead);
    node?.locks.drop((other) => other === `${this.#session} ${owner}`, family);
    return {};
  }
}
