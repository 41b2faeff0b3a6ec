import { execFile } from 'node:child_process';
import { type FileHandle, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const NAME = /^segment-(\d{8})$/;

/** The segment files of a directory: opened when used, a bounded number at a time. */
export class SegmentFiles {
  readonly #directory: string;
  readonly #openMax: number;
  /** In order of last use. */
  readonly #open = new Map<number, Promise<FileHandle>>();

  constructor(directory: string, openMax: number) {
    this.#directory = directory;
    this.#openMax = openMax;
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
    await file.close();
    // Node has no fallocate; without it (or without room for it) the file simply grows.
    await run('fallocate', ['--length', String(bytes), this.path(segment)]).catch(() => undefined);
    const directory = await open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  /** The open file; the caller does not close it. */
  async file(segment: number): Promise<FileHandle> {
    let handle = this.#open.get(segment);
    if (handle === undefined) handle = open(this.path(segment), 'r+');
    else this.#open.delete(segment);
    this.#open.set(segment, handle);
    handle.catch(() => this.#open.delete(segment));
    this.#trim();
    return handle;
  }

  async remove(segment: number): Promise<void> {
    await this.#close(segment);
    await rm(this.path(segment), { force: true });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((segment) => this.#close(segment)));
  }

  #trim(): void {
    for (const segment of this.#open.keys()) {
      if (this.#open.size <= this.#openMax) return;
      // Reads of it that have begun end on the old handle, which closes once they have.
      void this.#close(segment);
    }
  }

  async #close(segment: number): Promise<void> {
    const handle = this.#open.get(segment);
    this.#open.delete(segment);
    await (await handle?.catch(() => undefined))?.close();
  }
}
