/** Objects as files of a directory, as restic's local backend lays them out. */
import { randomUUID } from 'node:crypto';
import { type FileHandle, link, mkdir, open, opendir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import type { ByteRange, Store, StoredObject } from './store.ts';

const SCRATCH = 'tmp';

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function refused(error: unknown, key: string): HoldfastError {
  const code = codeOf(error);
  const options = { cause: error, detail: { key } };
  if (code === 'ENOENT') return new HoldfastError('NOT_FOUND', `no object ${key}`, options);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new HoldfastError('ENOSPC', 'the directory of the repository is full', options);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new HoldfastError('FORBIDDEN', `may not touch ${key}`, options);
  return new HoldfastError('DISK_FAILED', `cannot reach ${key}: ${String(error)}`, options);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Creates what is missing of a path and flushes each name that was new. */
async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncDirectory(dirname(at));
}

async function readWhole(file: FileHandle, key: string, range?: ByteRange): Promise<Uint8Array> {
  const { offset, length } = range ?? { offset: 0, length: (await file.stat()).size };
  const bytes = Buffer.allocUnsafe(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0)
      throw new HoldfastError('CORRUPT', `${key} ends before its range`, { detail: { key } });
    filled += bytesRead;
  }
  return bytes;
}

/** A {@link Store} in a directory (made when it is missing); several hosts may share it by NFS or Holdfast. */
export class DirectoryStore implements Store {
  readonly #root: string;

  /** `root`: absolute path. */
  constructor(root: string) {
    this.#root = root;
  }

  async put(key: string, bytes: Uint8Array): Promise<'created' | 'exists'> {
    const path = join(this.#root, key);
    const scratch = join(this.#root, SCRATCH, randomUUID());
    try {
      await makeDirectory(dirname(path));
      await makeDirectory(dirname(scratch));
      const file = await open(scratch, 'wx', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      // link(2) fails where the name exists, so that no object is ever replaced.
      await link(scratch, path);
      await syncDirectory(dirname(path));
      return 'created';
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return 'exists';
      throw refused(error, key);
    } finally {
      await rm(scratch, { force: true });
    }
  }

  async get(key: string, range?: ByteRange): Promise<Uint8Array> {
    try {
      const file = await open(join(this.#root, key), 'r');
      try {
        return await readWhole(file, key, range);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw error instanceof HoldfastError ? error : refused(error, key);
    }
  }

  async size(key: string): Promise<number | undefined> {
    try {
      return (await stat(join(this.#root, key))).size;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw refused(error, key);
    }
  }

  async *list(folder: string): AsyncIterable<StoredObject> {
    let directory: Awaited<ReturnType<typeof opendir>>;
    try {
      directory = await opendir(join(this.#root, folder));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      throw refused(error, folder);
    }
    for await (const entry of directory) {
      const key = `${folder}${entry.name}`;
      if (entry.isDirectory()) yield* this.list(`${key}/`);
      else {
        const bytes = await this.size(key);
        if (bytes !== undefined) yield { key, bytes };
      }
    }
  }

  async delete(key: string): Promise<void> {
    try {
      await rm(join(this.#root, key), { force: true });
    } catch (error) {
      throw refused(error, key);
    }
  }
}
