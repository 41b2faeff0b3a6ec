import { statfs } from 'node:fs/promises';
import { HoldfastError } from '@holdfast/protocol';
import { pause } from '../waiting.ts';

/**
 * Bytes free on the disk below which no state is written: LevelDB takes nothing more after a write
 * that had no room, and rewrites several tables at a time beside it. Proposals are refused before.
 */
const FLOOR_BYTES = 16 * 2 ** 20;
/** Milliseconds between looks while there is no room. */
const RETRY_MS = 500;

/** Keeps state from being written to a disk that is full; it waits in memory and in the Raft log. */
export class DiskRoom {
  readonly #path: string;
  readonly #closed = new AbortController();

  /** `path`: any place on the disk. */
  constructor(path: string) {
    this.#path = path;
  }

  async isThere(): Promise<boolean> {
    const { bavail, bsize } = await statfs(this.#path);
    return bavail * bsize >= FLOOR_BYTES;
  }

  /** Resolves when there is room. Throws ENOSPC when there is none and `close` was called. */
  async wait(): Promise<void> {
    const { signal } = this.#closed;
    while (!(await this.isThere())) {
      if (signal.aborted)
        throw new HoldfastError('ENOSPC', `the disk of ${this.#path} is full; free some of it`);
      await pause(RETRY_MS, signal);
    }
  }

  /** Nobody waits any longer. */
  close(): void {
    this.#closed.abort();
  }
}

/** Whether a write was given up since there was no room for it. */
export function hadNoRoom(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && error.code === 'ENOSPC';
}
