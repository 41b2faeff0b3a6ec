/** A plain directory as a source of backups. */

import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { Xattr } from '../format/tree.ts';
import type { ByteRange } from '../store/store.ts';
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
    return this.#entry('', '');
  }

  async *list(path: string): AsyncIterable<SourceEntry> {
    let names: string[];
    try {
      names = await readdir(this.#bytes(path), { encoding: 'latin1' });
    } catch (error) {
      throw failed(error, path);
    }
    for (const name of names) {
      try {
        yield await this.#entry(path === '' ? name : `${path}/${name}`, name);
      } catch (error) {
        // Removed since the directory was read: as if it had never been there.
        if (error instanceof HoldfastError && error.code === 'NOT_FOUND') continue;
        throw error;
      }
    }
  }

  async xattrs(path: string): Promise<readonly Xattr[]> {
    const full = this.#latin1(path);
    const names = listXattrs(full);
    if (typeof names === 'number') return [];
    return names.flatMap((name) => {
      const value = getXattr(full, name);
      return typeof value === 'number' ? [] : [{ name, value }];
    });
  }

  async open(path: string, entry: SourceEntry): Promise<SourceFile> {
    try {
      // O_NONBLOCK: should the file have become a fifo, the open must not wait for a writer.
      const handle = await open(this.#bytes(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      const stats = await handle.stat({ bigint: true });
      if (stats.isFile() && stats.ino === entry.inode) return new DirectoryFile(handle, stats);
      await handle.close();
    } catch (error) {
      throw failed(error, path);
    }
    throw new HoldfastError('NOT_FOUND', `${path} was replaced meanwhile`, { detail: { path } });
  }

  #latin1(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }

  #bytes(path: string): Buffer {
    return Buffer.from(this.#latin1(path), 'latin1');
  }

  async #entry(path: string, name: string): Promise<SourceEntry> {
    try {
      const stats = await lstat(this.#bytes(path), { bigint: true });
      const kind = KINDS[Number(stats.mode) & S_IFMT] ?? 'file';
      const isDevice = kind === 'char' || kind === 'block';
      const target =
        kind === 'symlink' ? await readlink(this.#bytes(path), { encoding: 'latin1' }) : '';
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
    } catch (error) {
      throw failed(error, path);
    }
  }
}
