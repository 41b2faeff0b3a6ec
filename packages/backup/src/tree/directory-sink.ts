/**
 * Restores into a plain directory. Every step goes through the descriptor of the directory it
 * happens in (`/proc/self/fd/N/name`, openat(2) in effect) and never follows a symbolic link, so
 * that neither names nor links of a hostile snapshot, nor of who else may write there, lead out.
 */
import { constants } from 'node:fs';
import {
  chmod,
  type FileHandle,
  lchown,
  link,
  lstat,
  mkdir,
  open,
  symlink,
  unlink,
} from 'node:fs/promises';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { TreeNode, Xattr } from '../format/tree.ts';
import type { SinkDirectory, SinkFile, TreeSink } from './sink.ts';
import { makeNode, setTimes, setXattr } from './system-calls.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = constants;

const TYPE_BITS: Readonly<Partial<Record<FileKind, number>>> = {
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
  char: constants.S_IFCHR,
  block: constants.S_IFBLK,
};

/** Told of an attribute that could not be set: owner, mode, xattr or time. */
export type AttributeProblem = (name: string, what: string, error: unknown) => void;

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function failed(error: unknown, name: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = codeOf(error);
  const options = { cause: error, detail: { name } };
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new HoldfastError('ENOSPC', 'the target of the restore is full', options);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new HoldfastError('FORBIDDEN', `may not write ${name}`, options);
  return new HoldfastError('DISK_FAILED', `cannot write ${name}: ${String(error)}`, options);
}

async function guarded<T>(name: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw failed(error, name);
  }
}

/** Paths are latin1 text; Node takes bytes. */
function bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** The kind of what has a name, if anything has. */
async function existing(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(bytes(path));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Makes room for something that is not a directory. A directory in the way is not removed. */
async function clear(path: string, name: string): Promise<void> {
  const found = await existing(path);
  if (found === undefined) return;
  if (found.isDirectory())
    throw new HoldfastError(
      'EEXIST',
      `a directory stands where ${name} belongs; remove it or restore elsewhere`,
    );
  await unlink(bytes(path));
}

class Attributes {
  readonly #problem: AttributeProblem;

  constructor(problem: AttributeProblem) {
    this.#problem = problem;
  }

  /** Owner first (it clears set-id bits and capabilities), times last. `chmod` is not used on links. */
  async set(path: string, node: TreeNode, chmod?: (mode: number) => Promise<void>): Promise<void> {
    const { name, uid, gid, mode, xattrs, atimeNs, mtimeNs } = node;
    await this.#attempt(name, 'owner', () => lchown(bytes(path), uid, gid));
    if (chmod !== undefined) await this.#attempt(name, 'mode', () => chmod(mode));
    for (const xattr of xattrs) this.#xattr(path, name, xattr);
    const times = setTimes(path, atimeNs, mtimeNs);
    if (times < 0) this.#problem(name, 'times', new HoldfastError('EINVAL', `errno ${-times}`));
  }

  #xattr(path: string, name: string, xattr: Xattr): void {
    const result = setXattr(path, xattr.name, xattr.value);
    if (result >= 0) return;
    this.#problem(name, `xattr ${xattr.name}`, new HoldfastError('ENOTSUP', `errno ${-result}`));
  }

  async #attempt(name: string, what: string, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#problem(name, what, error);
    }
  }
}

class OpenFile implements SinkFile {
  readonly isNew: boolean;
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #node: TreeNode;
  readonly #attributes: Attributes;

  constructor(
    handle: FileHandle,
    isNew: boolean,
    where: { path: string; node: TreeNode; attributes: Attributes },
  ) {
    this.#handle = handle;
    this.isNew = isNew;
    this.#path = where.path;
    this.#node = where.node;
    this.#attributes = where.attributes;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, offset)).bytesRead;
  }

  async write(data: Uint8Array, offset: number): Promise<void> {
    await guarded(this.#node.name, async () => {
      for (let done = 0; done < data.length; ) {
        const { bytesWritten } = await this.#handle.write(data, done, undefined, offset + done);
        done += bytesWritten;
      }
    });
  }

  async finish(): Promise<void> {
    try {
      await guarded(this.#node.name, () => this.#handle.truncate(this.#node.size));
      await this.#attributes.set(this.#path, this.#node, (mode) => this.#handle.chmod(mode));
    } finally {
      await this.#handle.close();
    }
  }

  async abandon(): Promise<void> {
    await this.#handle.close();
  }
}

class OpenDirectory implements SinkDirectory {
  readonly #handle: FileHandle;
  readonly #root: OpenDirectory | undefined;
  readonly #attributes: Attributes;

  constructor(handle: FileHandle, attributes: Attributes, root?: OpenDirectory) {
    this.#handle = handle;
    this.#attributes = attributes;
    this.#root = root;
  }

  directory(node: TreeNode): Promise<SinkDirectory> {
    return guarded(node.name, async () => {
      const path = this.#at(node.name);
      const found = await existing(path);
      if (found !== undefined && !found.isDirectory()) await unlink(bytes(path));
      if (!found?.isDirectory()) await mkdir(bytes(path), 0o700);
      return this.enter(node.name);
    });
  }

  /** An existing directory below this one. */
  async enter(name: string): Promise<OpenDirectory> {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    const handle = await open(bytes(this.#at(name)), flags);
    return new OpenDirectory(handle, this.#attributes, this.#root ?? this);
  }

  file(node: TreeNode): Promise<SinkFile | undefined> {
    return guarded(node.name, async () => {
      const path = this.#at(node.name);
      const found = await existing(path);
      // A file with other names is never written in place: it would change under those names too.
      if (found?.isFile() && (await this.#isComplete(path, node))) {
        await this.#attributes.set(path, node, (mode) => chmodName(path, mode));
        return undefined;
      }
      const isReusable = found?.isFile() === true && Number(found.nlink) === 1;
      if (!isReusable) await clear(path, node.name);
      const flags = O_RDWR | O_NOFOLLOW | (isReusable ? 0 : O_CREAT | O_EXCL);
      const handle = await open(bytes(path), flags, 0o600);
      const attributes = this.#attributes;
      return new OpenFile(handle, !isReusable, { path, node, attributes });
    });
  }

  async special(node: TreeNode): Promise<void> {
    await guarded(node.name, async () => {
      const path = this.#at(node.name);
      await clear(path, node.name);
      if (node.kind === 'symlink') {
        await symlink(bytes(node.target), bytes(path));
        return this.#attributes.set(path, node);
      }
      const type = TYPE_BITS[node.kind] ?? 0;
      const result = makeNode(path, type | 0o600, node.rdev);
      if (result < 0) throw new HoldfastError('FORBIDDEN', `mknod: errno ${-result}`);
      return this.#attributes.set(path, node, (mode) => chmodName(path, mode));
    });
  }

  async link(node: TreeNode, names: readonly string[]): Promise<void> {
    await guarded(node.name, async () => {
      const path = this.#at(node.name);
      let parent: OpenDirectory = this.#root ?? this;
      const opened: OpenDirectory[] = [];
      try {
        for (const name of names.slice(0, -1)) {
          parent = await parent.enter(name);
          opened.push(parent);
        }
        const source = parent.#at(names.at(-1) ?? '');
        const [found, wanted] = [await existing(path), await existing(source)];
        if (found !== undefined && found.ino === wanted?.ino && found.dev === wanted.dev) return;
        await clear(path, node.name);
        await link(bytes(source), bytes(path));
      } finally {
        for (const directory of opened) await directory.finish();
      }
    });
  }

  async finish(node?: TreeNode): Promise<void> {
    const self = `/proc/self/fd/${this.#handle.fd}/.`;
    try {
      if (node === undefined) return;
      await this.#attributes.set(self, node, (mode) => this.#handle.chmod(mode));
    } finally {
      await this.#handle.close();
    }
  }

  #at(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  /** The times are set last, so a file of the right size and time was finished. */
  async #isComplete(path: string, node: TreeNode): Promise<boolean> {
    const found = await lstat(bytes(path), { bigint: true });
    return found.size === BigInt(node.size) && found.mtimeNs === node.mtimeNs;
  }
}

/** open(2): a descriptor that names an inode and opens nothing. Not among Node's constants. */
const O_PATH = 0o10000000;

/** chmod(2) of just this inode: opening a device has effects, O_PATH has none. */
async function chmodName(path: string, mode: number): Promise<void> {
  const handle = await open(bytes(path), O_PATH | O_NOFOLLOW);
  try {
    await chmod(`/proc/self/fd/${handle.fd}`, mode);
  } finally {
    await handle.close();
  }
}

/** A {@link TreeSink} over a directory of this host, made when it is missing. */
export class DirectorySink implements TreeSink {
  readonly #root: string;
  readonly #attributes: Attributes;

  /** `root`: absolute path. Without `onAttributeProblem` such problems pass silently. */
  constructor(root: string, onAttributeProblem: AttributeProblem = () => {}) {
    this.#root = root;
    this.#attributes = new Attributes(onAttributeProblem);
  }

  root(): Promise<SinkDirectory> {
    return guarded(this.#root, async () => {
      await mkdir(this.#root, { recursive: true, mode: 0o700 });
      const handle = await open(this.#root, O_RDONLY | O_DIRECTORY);
      return new OpenDirectory(handle, this.#attributes);
    });
  }
}
