import { execFile } from 'node:child_process';
import { type FileHandle, open, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const NAME = /^segment-(\d{8})$/;

interface OpenSegment {
  readonly handle: Promise<FileHandle>;
  users: number;
}

/** The segment files of a directory: opened when used, a bounded number at a time. */
export class SegmentFiles {
  readonly #directory: string;
  readonly #openMax: number;
  readonly #reserveBytes: number;
  /** In order of last use. */
  readonly #open = new Map<number, OpenSegment>();

  /** `reserveBytes`: what stays free on the disk when room for a segment is set aside. */
  constructor(directory: string, openMax: number, reserveBytes = 0) {
    this.#directory = directory;
    this.#openMax = openMax;
    this.#reserveBytes = reserveBytes;
  }

  path(segment: number): string {
    return join(this.#directory, `segment-${String(segment).padStart(8, '0')}`);
  }

  /** Numbers of the segments on disk, ascending. */
  async list(): Promise<number[]> {
    const names = await readdir(this.#directory);
    return names
      .map((name) => NAME.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
  }

  /** Makes a segment with room set aside where the file system can; durable with its name. */
  async create(segment: number, bytes: number): Promise<void> {
    const file = await open(this.path(segment), 'wx+', 0o600);
    try {
      await file.close();
      await this.#setAside(segment, bytes);
      await this.#syncNames();
    } catch (error) {
      await rm(this.path(segment), { force: true }); // or it would be in the way the next time
      throw error;
    }
  }

  /** Node has no fallocate; without the program, or without room for it, the file simply grows. */
  async #setAside(segment: number, bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#directory);
    if (bavail * bsize - bytes < this.#reserveBytes) return;
    await run('fallocate', ['--length', String(bytes), this.path(segment)]).catch(() => undefined);
  }

  /** Cuts off what lies behind an offset; room is set aside anew, as when it was made. */
  async cut(segment: number, end: number, bytes: number): Promise<void> {
    await this.use(segment, (file) => file.truncate(end));
    await this.#setAside(segment, bytes);
  }

  /** Works with a segment's file, which stays open meanwhile. */
  async use<T>(segment: number, work: (file: FileHandle) => Promise<T>): Promise<T> {
    const known = this.#open.get(segment);
    const entry = known ?? { handle: open(this.path(segment), 'r+'), users: 0 };
    entry.users++;
    this.#open.delete(segment);
    this.#open.set(segment, entry);
    this.#trim();
    try {
      return await work(await entry.handle);
    } catch (error) {
      // One that cannot be opened is tried anew next time.
      await entry.handle.catch(
        () => this.#open.get(segment) === entry && this.#open.delete(segment),
      );
      throw error;
    } finally {
      entry.users--;
    }
  }

  /** Deletes a segment; whoever reads it meanwhile fails, and looks again where its record is now. */
  async remove(segment: number): Promise<void> {
    await rm(this.path(segment), { force: true });
    // Closed behind it: opened again in between, it would hold its space.
    await this.#close(segment);
    await this.#syncNames();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((segment) => this.#close(segment)));
  }

  #trim(): void {
    let excess = this.#open.size - this.#openMax;
    for (const [segment, { users }] of this.#open) {
      if (excess <= 0) return;
      if (users > 0) continue;
      excess--;
      void this.#close(segment);
    }
  }

  async #close(segment: number): Promise<void> {
    const entry = this.#open.get(segment);
    this.#open.delete(segment);
    await (await entry?.handle.catch(() => undefined))?.close();
  }

  async #syncNames(): Promise<void> {
    const directory = await open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
