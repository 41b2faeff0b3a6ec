import { stat, statfs } from 'node:fs/promises';
import { HoldfastError } from '@holdfast/protocol';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { SegmentSpace } from './segment-space.ts';
import type { SegmentWriter } from './segment-writer.ts';

/** Bytes of a chunk store: all that it may use, what is free of them, what records take. */
export interface StoreSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly usedBytes: number;
}

interface Look {
  readonly atMs: number;
  readonly totalBytes: number;
  readonly diskFreeBytes: number;
  /** Free on the disk, and set aside for the growing segment. */
  readonly freeBytes: number;
  /** What the writer had appended then. */
  readonly appendedBytes: number;
}

/** Keeps writes within the disk and the capacity, with a reserve for the log and the metadata. */
export class Room {
  readonly #directory: string;
  readonly #parts: { files: SegmentFiles; space: SegmentSpace; writer: SegmentWriter };
  readonly #bounds: { readonly capacityBytes: number; readonly reserveBytes: number };
  #look: Look | undefined;
  #looking: Promise<Look> | undefined;

  constructor(
    directory: string,
    parts: { files: SegmentFiles; space: SegmentSpace; writer: SegmentWriter },
    bounds: { readonly capacityBytes: number; readonly reserveBytes: number },
  ) {
    this.#directory = directory;
    this.#parts = parts;
    this.#bounds = bounds;
  }

  async space(): Promise<StoreSpace> {
    const { writer, space } = this.#parts;
    const { capacityBytes, reserveBytes } = this.#bounds;
    const look = await this.#recentLook();
    const usedBytes = space.totalBytes;
    const written = writer.appendedBytes - look.appendedBytes + writer.pendingBytes;
    const onDisk = look.freeBytes - written - reserveBytes;
    const allowed = capacityBytes === 0 ? onDisk : capacityBytes - usedBytes - writer.pendingBytes;
    return {
      totalBytes: capacityBytes === 0 ? look.totalBytes : Math.min(capacityBytes, look.totalBytes),
      freeBytes: Math.max(0, Math.min(onDisk, allowed)),
      usedBytes,
    };
  }

  /** Throws ENOSPC when a record of so many bytes has no room. */
  async check(bytes: number): Promise<void> {
    if ((await this.space()).freeBytes >= bytes) return;
    // There may be room again since: nothing is refused on an old look.
    this.#look = undefined;
    if ((await this.space()).freeBytes >= bytes) return;
    throw new HoldfastError(
      'ENOSPC',
      `the chunk store in ${this.#directory} has no room left; add a disk or a peer, or delete data`,
    );
  }

  /**
   * Throws ENOSPC when others have filled the disk so far that nothing must be written at all, not
   * even what gives space back: the index has to grow by it.
   */
  async checkFloor(): Promise<void> {
    const floor = this.#bounds.reserveBytes * CHUNK_STORE_LIMITS.floorFraction;
    if ((await this.#recentLook()).diskFreeBytes >= floor) return;
    this.#look = undefined;
    if ((await this.#recentLook()).diskFreeBytes >= floor) return;
    throw new HoldfastError('ENOSPC', `the disk of ${this.#directory} is full; free some of it`);
  }

  async #recentLook(): Promise<Look> {
    const now = performance.now();
    if (this.#look !== undefined && now - this.#look.atMs <= CHUNK_STORE_LIMITS.spaceValidMs)
      return this.#look;
    this.#looking ??= this.#lookAgain(now).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookAgain(atMs: number): Promise<Look> {
    const { files, writer } = this.#parts;
    const { bavail, blocks, bsize } = await statfs(this.#directory);
    const { segment } = writer;
    const setAside = (await stat(files.path(segment))).blocks * 512;
    // No await from here: the writer's figures belong together.
    const ahead = segment === writer.segment ? Math.max(0, setAside - writer.offset) : 0;
    this.#look = {
      atMs,
      totalBytes: blocks * bsize,
      diskFreeBytes: bavail * bsize,
      freeBytes: bavail * bsize + ahead,
      appendedBytes: writer.appendedBytes,
    };
    return this.#look;
  }
}
