/**
 * Open files. A handle is the id of the request that opened it: unique in the life of the
 * connection, and the same when the kernel sends that request again after a restart. The table is
 * kept in a journal, because the next daemon must go on counting what the kernel still holds open.
 */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import type { InodeNumber, NodeReference, VolumeNumber } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';

/** What an open file is, beyond its position, which the kernel keeps. */
export interface OpenFile {
  readonly node: NodeReference;
  readonly write: boolean;
}

/** Dead lines that a journal may have before it is written anew. */
const DEAD_LINES_MAX = 4096;

/** The open files of one connection. */
export class OpenHandles {
  readonly #files = new Map<number, OpenFile>();
  readonly #path: string | undefined;
  #descriptor: number | undefined;
  #deadLines = 0;

  /**
   * Reads the journal at `path`, if there is one, and goes on in it; without a path the table is
   * lost with the process. A last line that is cut off is as if it had never been written. Throws
   * CORRUPT for anything else that is not a journal.
   */
  constructor(path?: string) {
    this.#path = path;
    if (path === undefined) return;
    for (const line of readLines(path)) this.#apply(line);
    this.#rewrite(path);
  }

  get size(): number {
    return this.#files.size;
  }

  /** The open file behind a handle; undefined when it was never opened or has been released. */
  get(handle: number): OpenFile | undefined {
    return this.#files.get(handle);
  }

  /** Handles and files, oldest first. */
  entries(): IterableIterator<[number, OpenFile]> {
    return this.#files.entries();
  }

  /** Remembers an open; on return a killed daemon's successor will know it. */
  opened(handle: number, file: OpenFile): void {
    this.#files.set(handle, file);
    this.#append(openLine(handle, file));
  }

  /** Forgets an open. */
  closed(handle: number): void {
    if (!this.#files.delete(handle) || this.#descriptor === undefined) return;
    this.#append(`-${handle}\n`);
    this.#deadLines += 2;
    const isWorthIt = this.#deadLines > DEAD_LINES_MAX && this.#deadLines > this.#files.size;
    if (isWorthIt && this.#path !== undefined) this.#rewrite(this.#path);
  }

  /** Closes the journal; the table on disk stays. */
  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #append(line: string): void {
    if (this.#descriptor !== undefined) writeSync(this.#descriptor, line);
  }

  #apply(line: string): void {
    const match = /^(?:\+(\d+) (\d+) (\d+) ([rw])|-(\d+))$/.exec(line);
    if (match === null) {
      const message = `'${line.slice(0, 40)}' is no line of a journal of open files; unmount and mount again`;
      throw new HoldfastError('CORRUPT', message);
    }
    const [, opened, volume, ino, mode, closed] = match;
    if (closed !== undefined) {
      this.#files.delete(Number(closed));
      return;
    }
    const node = { volume: Number(volume) as VolumeNumber, ino: Number(ino) as InodeNumber };
    this.#files.set(Number(opened), { node, write: mode === 'w' });
  }

  #rewrite(path: string): void {
    this.close();
    const lines = [...this.#files].map(([handle, file]) => openLine(handle, file));
    // Written aside and renamed, so that a kill at any moment leaves the old or the new table.
    writeFileSync(`${path}.new`, lines.join(''), { mode: 0o600 });
    renameSync(`${path}.new`, path);
    this.#descriptor = openSync(path, 'a', 0o600);
    this.#deadLines = 0;
  }
}

function openLine(handle: number, { node, write }: OpenFile): string {
  return `+${handle} ${node.volume} ${node.ino} ${write ? 'w' : 'r'}\n`;
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\n').slice(0, -1);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
