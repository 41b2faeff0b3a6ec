/**
 * Writes into a plain directory. Every step goes through the descriptor of the directory it
 * happens in (`/proc/self/fd/N/name`, openat(2) in effect) and never follows a symbolic link, so
 * that neither names nor links of a hostile archive, nor of who else may write there, lead out.
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
  readdir,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises';
import { aclBitOf, type FileKind, HoldfastError } from '@holdfast/protocol';
import type { Xattr } from './entry.ts';
import { bytesOf, O_PATH } from './open-directory.ts';
import type {
  AttributeProblem,
  EnterOptions,
  FileOptions,
  Present,
  SinkDirectory,
  SinkEntry,
  SinkFile,
  TreeSink,
} from './sink.ts';
import { isCopyName } from './stage-names.ts';
import { listXattrs, makeNode, removeXattr, setTimes, setXattr } from './system-calls.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = constants;

const TYPE_BITS: Readonly<Partial<Record<FileKind, number>>> = {
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
  char: constants.S_IFCHR,
  block: constants.S_IFBLK,
};

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function failed(error: unknown, name: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = codeOf(error);
  const options = { cause: error, detail: { name } };
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new HoldfastError('ENOSPC', 'the target is full', options);
  if (code === 'ENOENT' || code === 'ELOOP')
    return new HoldfastError(
      'NOT_FOUND',
      `${name}: a directory or file on the way is not there`,
      options,
    );
  if (code === 'ENOTDIR')
    return new HoldfastError(
      'ENOTDIR',
      `${name}: something on the way is not a directory`,
      options,
    );
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

/** The kind of what has a name, if anything has. */
async function existing(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(bytesOf(path));
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
      `a directory stands where ${name} belongs; remove it or write elsewhere`,
    );
  await unlink(bytesOf(path));
}

/**
 * A user's attributes and ACLs that an entry does not have go, those too that its directory hands down;
 * what else the system has stays as the host wants it.
 */
function dropXattrs(path: string, wanted: readonly Xattr[]): void {
  const there = listXattrs(path);
  if (typeof there === 'number') return;
  for (const name of there) {
    const isOurs = name.startsWith('user.') || aclBitOf(name) !== 0;
    const isExtra = isOurs && !wanted.some((one) => one.name === name);
    if (isExtra) removeXattr(path, name);
  }
}

class Attributes {
  readonly #problem: AttributeProblem;

  constructor(problem: AttributeProblem) {
    this.#problem = problem;
  }

  /** Owner first (it clears set-id bits and capabilities), times last. `chmod` is not used on links. */
  async set(
    path: string,
    entry: SinkEntry,
    chmod?: (mode: number) => Promise<void>,
  ): Promise<void> {
    const { name, uid, gid, mode, xattrs, atimeNs, mtimeNs } = entry;
    await this.#attempt(name, 'owner', () => lchown(bytesOf(path), uid, gid));
    if (chmod !== undefined) await this.#attempt(name, 'mode', () => chmod(mode));
    for (const xattr of xattrs) this.#xattr(path, name, xattr);
    dropXattrs(path, xattrs);
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
  readonly #entry: SinkEntry;
  readonly #attributes: Attributes;

  constructor(
    handle: FileHandle,
    isNew: boolean,
    where: { path: string; entry: SinkEntry; attributes: Attributes },
  ) {
    this.#handle = handle;
    this.isNew = isNew;
    this.#path = where.path;
    this.#entry = where.entry;
    this.#attributes = where.attributes;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, offset)).bytesRead;
  }

  async write(data: Uint8Array, offset: number): Promise<void> {
    await guarded(this.#entry.name, async () => {
      for (let done = 0; done < data.length; ) {
        const { bytesWritten } = await this.#handle.write(data, done, undefined, offset + done);
        done += bytesWritten;
      }
    });
  }

  async finish(): Promise<void> {
    try {
      await guarded(this.#entry.name, () => this.#handle.truncate(this.#entry.size));
      await this.#attributes.set(this.#path, this.#entry, (mode) => this.#handle.chmod(mode));
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
  /** Times as they were when an existing directory was entered. */
  #kept: { readonly atimeNs: bigint; readonly mtimeNs: bigint } | undefined;

  constructor(handle: FileHandle, attributes: Attributes, root?: OpenDirectory) {
    this.#handle = handle;
    this.#attributes = attributes;
    this.#root = root;
  }

  directory(entry: SinkEntry): Promise<SinkDirectory> {
    return guarded(entry.name, async () => {
      const path = this.#at(entry.name);
      const found = await existing(path);
      if (found !== undefined && !found.isDirectory()) await unlink(bytesOf(path));
      if (!found?.isDirectory()) await mkdir(bytesOf(path), 0o700);
      return this.#open(entry.name);
    });
  }

  enter(name: string, { isLook = false }: EnterOptions = {}): Promise<SinkDirectory | undefined> {
    return guarded(name, async () => {
      if ((await existing(this.#at(name))) === undefined) return undefined;
      const directory = await this.#open(name);
      if (isLook) return directory;
      const { atimeNs, mtimeNs } = await directory.#handle.stat({ bigint: true });
      directory.#kept = { atimeNs, mtimeNs };
      return directory;
    });
  }

  async #open(name: string): Promise<OpenDirectory> {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    const handle = await open(bytesOf(this.#at(name)), flags);
    return new OpenDirectory(handle, this.#attributes, this.#root ?? this);
  }

  file(
    entry: SinkEntry,
    { fresh = false, compare = false }: FileOptions = {},
  ): Promise<SinkFile | undefined> {
    return guarded(entry.name, async () => {
      const path = this.#at(entry.name);
      const found = await existing(path);
      // A file with other names is never written in place: it would change under those names too.
      const mayPass = !fresh && !compare && found?.isFile() === true;
      if (mayPass && (await this.#isComplete(path, entry))) {
        await this.#attributes.set(path, entry, (mode) => chmodName(path, mode));
        return undefined;
      }
      const isReusable = !fresh && found?.isFile() === true && Number(found.nlink) === 1;
      if (!isReusable) await clear(path, entry.name);
      const flags = O_RDWR | O_NOFOLLOW | (isReusable ? 0 : O_CREAT | O_EXCL);
      const handle = await open(bytesOf(path), flags, 0o600);
      const attributes = this.#attributes;
      return new OpenFile(handle, !isReusable, { path, entry, attributes });
    });
  }

  look(name: string): Promise<Present | undefined> {
    return guarded(name, async () => {
      const path = this.#at(name);
      if ((await existing(path)) === undefined) return undefined;
      const found = await lstat(bytesOf(path), { bigint: true });
      return { kind: kindOf(found), size: Number(found.size), mtimeNs: found.mtimeNs };
    });
  }

  names(): Promise<readonly string[]> {
    return guarded('.', async () => {
      const found = await readdir(bytesOf(this.#at('.')), { encoding: 'buffer' });
      return found.map((name) => name.toString('latin1')).filter((name) => !isCopyName(name));
    });
  }

  remove(name: string): Promise<void> {
    return guarded(name, async () => {
      const path = this.#at(name);
      const found = await existing(path);
      if (found === undefined) return;
      if (!found.isDirectory()) return unlink(bytesOf(path));
      // By descriptors all the way down: nobody can put a link in the way.
      const below = await this.#open(name);
      try {
        for (const one of await below.names()) await below.remove(one);
      } finally {
        await below.finish();
      }
      return rmdir(bytesOf(path));
    });
  }

  async special(entry: SinkEntry): Promise<void> {
    await guarded(entry.name, async () => {
      const path = this.#at(entry.name);
      await clear(path, entry.name);
      if (entry.kind === 'symlink') {
        await symlink(bytesOf(entry.target), bytesOf(path));
        return this.#attributes.set(path, entry);
      }
      const type = TYPE_BITS[entry.kind] ?? 0;
      const result = makeNode(path, type | 0o600, entry.rdev);
      if (result < 0) throw new HoldfastError('FORBIDDEN', `mknod: errno ${-result}`);
      return this.#attributes.set(path, entry, (mode) => chmodName(path, mode));
    });
  }

  async link(entry: { readonly name: string }, names: readonly string[]): Promise<void> {
    await guarded(entry.name, async () => {
      const path = this.#at(entry.name);
      let parent: OpenDirectory = this.#root ?? this;
      const opened: OpenDirectory[] = [];
      try {
        for (const name of names.slice(0, -1)) {
          parent = await parent.#open(name);
          opened.push(parent);
        }
        const source = parent.#at(names.at(-1) ?? '');
        const [found, wanted] = [await existing(path), await existing(source)];
        if (found !== undefined && found.ino === wanted?.ino && found.dev === wanted.dev) return;
        await clear(path, entry.name);
        await link(bytesOf(source), bytesOf(path));
      } finally {
        for (const directory of opened) await directory.finish();
      }
    });
  }

  async finish(entry?: SinkEntry): Promise<void> {
    const self = `/proc/self/fd/${this.#handle.fd}/.`;
    try {
      if (entry !== undefined)
        await this.#attributes.set(self, entry, (mode) => this.#handle.chmod(mode));
      else if (this.#kept !== undefined) setTimes(self, this.#kept.atimeNs, this.#kept.mtimeNs);
    } finally {
      await this.#handle.close();
    }
  }

  #at(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  /** The times are set last, so a file of the right size and time was finished. */
  async #isComplete(path: string, entry: SinkEntry): Promise<boolean> {
    const found = await lstat(bytesOf(path), { bigint: true });
    return found.size === BigInt(entry.size) && found.mtimeNs === entry.mtimeNs;
  }
}

function kindOf(stats: {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
  isBlockDevice(): boolean;
}): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  return stats.isBlockDevice() ? 'block' : 'char';
}

/** chmod(2) of just this inode: opening a device has effects, O_PATH has none. */
async function chmodName(path: string, mode: number): Promise<void> {
  const handle = await open(bytesOf(path), O_PATH | O_NOFOLLOW);
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
