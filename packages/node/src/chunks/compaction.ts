import type { HoldfastError } from '@holdfast/protocol';
import { pause } from '../waiting.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { RECORD_ALIGNMENT, recordBytes } from './record.ts';
import { type Found, scanSegment } from './scan.ts';
import type { SegmentFiles } from './segment-files.ts';
import { compactionCandidate, type SegmentSpace } from './segment-space.ts';
import type { SegmentWriter } from './segment-writer.ts';

/** What {@link Compaction} works with. */
export interface CompactionParts {
  readonly files: SegmentFiles;
  readonly index: ChunkIndex;
  readonly space: SegmentSpace;
  readonly writer: SegmentWriter;
  readonly onError: (error: unknown) => void;
  /** Bytes per second that are moved. */
  readonly bytesPerSecond: number;
}

/** Gives back the space of dead records: what still lives in a segment is written anew, then it is deleted. */
export class Compaction {
  readonly #parts: CompactionParts;
  /** Segments that damage keeps, and their live bytes then: tried again when those have changed. */
  readonly #kept = new Map<number, number>();
  readonly #stop = new AbortController();
  #turn: Promise<unknown> = Promise.resolve();
  #isDue = false;

  constructor(parts: CompactionParts) {
    this.#parts = parts;
  }

  /** Compacts in the background whatever is dead enough. */
  soon(): void {
    if (this.#isDue || this.#stop.signal.aborted) return;
    this.#isDue = true;
    void this.#all();
  }

  async #all(): Promise<void> {
    try {
      while (!this.#stop.signal.aborted && (await this.#onceOrWait()));
    } catch (error) {
      this.#parts.onError(error);
    } finally {
      this.#isDue = false;
    }
  }

  /** When writers fill the queue of the disk, it is their turn; when others fill the disk, theirs to go. */
  async #onceOrWait(): Promise<boolean> {
    try {
      return await this.once();
    } catch (error) {
      const { code } = error as Partial<HoldfastError>;
      if (code !== 'OVERLOADED' && code !== 'ENOSPC') throw error;
      await pause(CHUNK_STORE_LIMITS.compactionRetryMs, this.#stop.signal);
      return true;
    }
  }

  /** Compacts the deadest segment; false when none is dead enough. One at a time. */
  once(): Promise<boolean> {
    const turn = this.#turn.then(() => this.#compact());
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Ends after the records under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#turn;
  }

  async #compact(): Promise<boolean> {
    const { files, index, space, writer } = this.#parts;
    const segment = compactionCandidate(
      space,
      writer.segment,
      CHUNK_STORE_LIMITS.deadFraction,
      (number, live) => this.#kept.get(number) !== live,
    );
    if (segment === undefined) return false;
    const { records } = await files.use(segment, (file) => scanSegment(file, 0, () => {}));
    await this.#moveAll(segment, records);
    if (this.#stop.signal.aborted) return false;
    await this.#forgetGraves(segment, records);
    // Damaged records cannot be moved: they stay until repair has written their chunks anew.
    const { live } = space.of(segment);
    const isEmpty =
      live === 0 && records.every(({ head }) => index.get(head.chunk)?.segment !== segment);
    if (!isEmpty) {
      this.#kept.set(segment, live);
      return true;
    }
    await index.write([], { sync: true });
    await files.remove(segment);
    space.forget(segment);
    this.#kept.delete(segment);
    await this.#settleVictims(segment);
    await index.forgetSegment(segment);
    return true;
  }

  async #moveAll(segment: number, records: readonly Found[]): Promise<void> {
    let group: Found[] = [];
    let bytes = 0;
    for (const record of records) {
      if (!this.#isNeeded(segment, record)) continue;
      group.push(record);
      bytes += recordBytes(record.head.length);
      if (bytes < CHUNK_STORE_LIMITS.moveBytes && group.length < CHUNK_STORE_LIMITS.moveRecords)
        continue;
      await this.#move(segment, group);
      await this.#breathe(bytes);
      if (this.#stop.signal.aborted) return;
      group = [];
      bytes = 0;
    }
    await this.#move(segment, group);
  }

  async #move(segment: number, records: readonly Found[]): Promise<void> {
    const { files, writer } = this.#parts;
    await Promise.all(
      records.map(async ({ head, offset }) => {
        const bytes = Buffer.allocUnsafe(head.length);
        await files.use(segment, (file) =>
          file.read(bytes, 0, head.length, offset + RECORD_ALIGNMENT),
        );
        // The checksums travel in the head: bytes that rotted since the scan stay recognisable.
        await writer.append({ head, bytes, movedFrom: segment });
      }),
    );
  }

  /** A tombstone matters as long as an older segment may hold the chunk's record. */
  #isNeeded(segment: number, { head, offset, isWhole }: Found): boolean {
    const { index, space } = this.#parts;
    if (head.kind === 'chunk') {
      const place = index.get(head.chunk);
      return isWhole && place?.segment === segment && place.offset === offset;
    }
    const grave = index.grave(head.chunk);
    return grave?.segment === segment && grave.victim !== segment && space.has(grave.victim);
  }

  /** Of tombstones that were not moved. */
  async #forgetGraves(segment: number, records: readonly Found[]): Promise<void> {
    const { index, space } = this.#parts;
    const chunks = records
      .filter(({ head }) => head.kind !== 'chunk')
      .map(({ head }) => head.chunk);
    for (const { victim } of await index.forgetGraves(segment, chunks)) {
      // Already counted as dead when its victim is gone: see settleVictims.
      if (space.has(victim)) space.died(segment, recordBytes(0));
    }
  }

  /** Tombstones whose chunk's record is no more anywhere need not be kept from now on. */
  async #settleVictims(segment: number): Promise<void> {
    const { index, space } = this.#parts;
    for await (const [, grave] of index.graves()) {
      if (grave.victim === segment && space.has(grave.segment))
        space.died(grave.segment, recordBytes(0));
    }
  }

  async #breathe(bytes: number): Promise<void> {
    await pause((bytes / this.#parts.bytesPerSecond) * 1000, this.#stop.signal);
  }
}
