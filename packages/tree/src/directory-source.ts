/** A plain directory as a tree to read. */
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { ByteRange, Xattr } from './entry.ts';
import { bytesOf, withDirectory } from './open-directory.ts';
import type { SourceEntry, SourceFile, TreeSource } from './source.ts';
import { getXattr, listXattrs, NO_DATA, nextData } from './system-calls.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, S_IFMT } = constants;

const KINDS: Readonly<Record<number, FileKind>> = {
  [constants.S_IFREG]: 'file',
  [constants.S_IFDIR]: 'directory',
  [constants.S_IFLNK]: 'symlink',
  [constants.S_IFIFO]: 'fifo',
  [constants.S_IFSOCK]: 'socket',
  [constants.S_IFCHR]: 'char',
  [constants.S_IFBLK]: 'block',
};

function failed(error: unknown, path: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const options = { cause: error, detail: { path } };
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP')
    return new HoldfastError('NOT_FOUND', `${path} is gone`, options);
  if (code === 'EACCES' || code === 'EPERM')
    return new HoldfastError('FORBIDDEN', `may not read ${path}`, options);
  return new HoldfastError('DISK_FAILED', `cannot read ${path}: ${String(error)}`, options);
}

class DirectoryFile implements SourceFile {
  readonly size: number;
  readonly #handle: FileHandle;
  readonly #isSparse: boolean;

  constructor(handle: FileHandle, stats: BigIntStats) {
    this.#handle = handle;
    this.size = Number(stats.size);
    this.#isSparse = stats.blocks * 512n < stats.size;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(into, 0, into.length, offset);
    return bytesRead;
  }

  async dataRanges(): Promise<readonly ByteRange[] | undefined> {
    if (!this.#isSparse) return undefined;
    const ranges: ByteRange[] = [];
    for (let at = 0; at < this.size; ) {
      const found = nextData(this.#handle.fd, at);
      if (found === NO_DATA) break;
      // A file system that knows no holes: all is data.
      if (typeof found === 'number') return undefined;
      ranges.push({ offset: found.start, length: found.end - found.start });
      at = found.end;
    }
    return ranges;
  }

  async changedRanges(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** A {@link TreeSource} over a directory of this host. Never follows a symbolic link below it. */
export class DirectorySource implements TreeSource {
  readonly #root: string;

  /** `root`: absolute path. */
  constructor(root: string) {
    this.#root = Buffer.from(root).toString('latin1');
  }

  root(): Promise<SourceEntry> {
    return this.#at('', (path) => entryAt(path, ''));
  }

  async *list(path: string): AsyncIterable<SourceEntry> {
    const names = await this.#inside(path, (directory) =>
      readdir(bytesOf(directory), { encoding: 'latin1' }),
    );
    for (const name of names) {
      try {
        yield await this.#at(path === '' ? name : `${path}/${name}`, (at) => entryAt(at, name));
      } catch (error) {
        // Removed since the directory was read: as if it had never been there.
        if (error instanceof HoldfastError && error.code === 'NOT_FOUND') continue;
        throw error;
      }
    }
  }

  xattrs(path: string): Promise<readonly Xattr[]> {
    return this.#at(path, async (full) => {
      const names = listXattrs(full);
      if (typeof names === 'number') return [];
      return names.flatMap((name) => {
        const value = getXattr(full, name);
        return typeof value === 'number' ? [] : [{ name, value }];
      });
    });
  }

  open(path: string, entry: SourceEntry): Promise<SourceFile> {
    return this.#at(path, async (full) => {
      // O_NONBLOCK: should the file have become a fifo, the open must not wait for a writer.
      const handle = await open(bytesOf(full), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      const stats = await handle.stat({ bigint: true });
      if (stats.isFile() && stats.ino === entry.inode) return new DirectoryFile(handle, stats);
      await handle.close();
      throw new HoldfastError('NOT_FOUND', `${path} was replaced meanwhile`, { detail: { path } });
    });
  }

  /** Runs a step with the path of an entry whose directory was reached without following links. */
  async #at<T>(path: string, step: (full: string) => Promise<T>): Promise<T> {
    const slash = path.lastIndexOf('/');
    const name = path === '' ? '.' : path.slice(slash + 1);
    try {
      return await withDirectory(this.#root, path.slice(0, Math.max(0, slash)), (directory) =>
        step(`${directory}/${name}`),
      );
    } catch (error) {
      throw failed(error, path);
    }
  }

  async #inside<T>(path: string, step: (directory: string) => Promise<T>): Promise<T> {
    try {
      return await withDirectory(this.#root, path, step);
    } catch (error) {
      throw failed(error, path);
    }
  }
}

async function entryAt(path: string, name: string): Promise<SourceEntry> {
  const stats = await lstat(bytesOf(path), { bigint: true });
  const kind = KINDS[Number(stats.mode) & S_IFMT] ?? 'file';
  const isDevice = kind === 'char' || kind === 'block';
  const target = kind === 'symlink' ? await readlink(bytesOf(path), { encoding: 'latin1' }) : '';
  return {
    name,
    kind,
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    mtimeNs: stats.mtimeNs,
    atimeNs: stats.atimeNs,
    ctimeNs: stats.ctimeNs,
    inode: stats.ino,
    deviceId: stats.dev,
    links: Number(stats.nlink),
    size: kind === 'file' ? Number(stats.size) : 0,
    rdev: isDevice ? stats.rdev : 0n,
    target,
  };
}
