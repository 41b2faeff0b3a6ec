import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, readdir, statfs, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { syncDirectory } from '../membership/durable-files.ts';

/** An open file of the write-ahead log. Errors are those of node:fs, with their `code`. */
export interface LogFile {
  /** Writes all of `parts` one after the other from `position`; not durable. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>;
  /** Reads exactly `length` bytes; rejects when the file ends earlier. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** As `read`, on the spot: for the rare look that cannot wait. */
  readSync(position: number, length: number): Uint8Array;
  /** fdatasync(2): what was written is durable when it resolves. */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/**
 * What the write-ahead log needs of a directory. The simulator's disk is another implementation;
 * a crash keeps what was synced and any subset of what was not.
 */
export interface LogDisk {
  /** Names the place, to see that it is used once. */
  readonly place: string;
  list(): Promise<string[]>;
  /** Bytes that may still be used. */
  freeBytes(): Promise<number>;
  /** Creates a file of `length` zero bytes, durable with its name when it resolves; no file on failure. */
  create(name: string, length: number): Promise<LogFile>;
  open(name: string): Promise<LogFile>;
  /** Removes a file; the removal is durable when it resolves. */
  remove(name: string): Promise<void>;
}

const ZERO_BYTES = new Uint8Array(1024 * 1024);

class DirectoryFile implements LogFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    let at = position;
    let rest = parts.filter((part) => part.length > 0);
    while (rest.length > 0) {
      // writev(2) takes at most IOV_MAX (1024) buffers and may write fewer bytes than asked.
      const { bytesWritten } = await this.#handle.writev(rest.slice(0, 1024), at);
      at += bytesWritten;
      rest = withoutPrefix(rest, bytesWritten);
    }
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(
        bytes,
        filled,
        length - filled,
        position + filled,
      );
      if (bytesRead === 0) throw endsEarly();
      filled += bytesRead;
    }
    return bytes;
  }

  readSync(position: number, length: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const bytesRead = readSync(
        this.#handle.fd,
        bytes,
        filled,
        length - filled,
        position + filled,
      );
      if (bytesRead === 0) throw endsEarly();
      filled += bytesRead;
    }
    return bytes;
  }

  async sync(): Promise<void> {
    await this.#handle.datasync();
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

function endsEarly(): Error {
  return Object.assign(new RangeError('the file ends early'), { code: 'EOF' });
}

function withoutPrefix(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  const rest: Uint8Array[] = [];
  for (const part of parts) {
    if (skip >= part.length) skip -= part.length;
    else {
      rest.push(skip === 0 ? part : part.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

/** The disk seam over a real directory, which must exist. */
export function directoryDisk(path: string): LogDisk {
  return {
    place: resolve(path),
    list: () => readdir(path),
    async freeBytes() {
      const { bavail, bsize } = await statfs(path);
      return bavail * bsize;
    },
    async create(name, length) {
      const handle = await open(join(path, name), 'wx+', 0o600);
      try {
        // Zeros are written, not only reserved: fdatasync then has no block to convert or allocate.
        for (let at = 0; at < length; at += ZERO_BYTES.length) {
          await handle.write(ZERO_BYTES, 0, Math.min(ZERO_BYTES.length, length - at), at);
        }
        if ((await handle.stat()).size !== length) {
          throw Object.assign(new RangeError('the disk took fewer bytes'), { code: 'ENOSPC' });
        }
        await handle.sync();
        await syncDirectory(path);
      } catch (error) {
        await handle.close();
        await unlink(join(path, name));
        throw error;
      }
      return new DirectoryFile(handle);
    },
    async open(name) {
      return new DirectoryFile(await open(join(path, name), 'r+'));
    },
    async remove(name) {
      await unlink(join(path, name));
      await syncDirectory(path);
    },
  };
}
