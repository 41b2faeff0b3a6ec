import { mkdir, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ChunkId,
  HoldfastError,
  isChunkId,
  LIMITS,
  type PartitionId,
} from '@holdfast/protocol';
import type { Registry } from 'prom-client';
import { ChunkIndex, type ChunkPlace, isIndexFailure } from './chunk-index.ts';
import { Compaction } from './compaction.ts';
import { PartitionDigests } from './digests.ts';
import { Ledger } from './ledger.ts';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { ChunkMetrics } from './metrics.ts';
import { blockChecksums, matches, RECORD_ALIGNMENT, recordBytes } from './record.ts';
import { recover } from './recovery.ts';
import { Room, type StoreSpace } from './room.ts';
import { SegmentFiles } from './segment-files.ts';
import { SegmentSpace } from './segment-space.ts';
import { type Append, type Appended, farewell, isNoRoom, SegmentWriter } from './segment-writer.ts';

/** Options of {@link ChunkStore.open}. */
export interface ChunkStoreOptions {
  /** Where metrics are registered. */
  readonly registry: Registry;
  /** Bytes that chunks may take; 0: all of the disk but the reserve. */
  readonly capacityBytes?: number;
  /** For tests. */
  readonly segmentBytes?: number;
  readonly reserveBytes?: number;
  readonly moveBytesPerSecond?: number;
  readonly checkpointBytes?: number;
  /** Told of damage found, once for each place. */
  readonly onDamage?: (fields: Readonly<Record<string, unknown>>) => void;
}

/** A chunk as a listing shows it. `copies` 0: one on every replica of its partition. */
export interface ListedChunk {
  readonly chunk: ChunkId;
  readonly length: number;
  readonly copies: number;
}

const INDEX_NAME = 'index';

type SizedOptions = ChunkStoreOptions & { readonly segmentBytes: number };

interface Parts {
  readonly directory: string;
  readonly options: SizedOptions;
  readonly files: SegmentFiles;
  readonly index: ChunkIndex;
  readonly space: SegmentSpace;
  readonly digests: PartitionDigests;
  readonly damaged: Set<ChunkId>;
  readonly segment: number;
  readonly offset: number;
}

/** The chunks of one data directory: durable when written, verified when read. */
export class ChunkStore {
  /** What each partition holds, as of the last durable change. */
  readonly digests: PartitionDigests;
  readonly #parts: Parts;
  readonly #metrics: ChunkMetrics;
  readonly #writer: SegmentWriter;
  readonly #ledger: Ledger;
  readonly #room: Room;
  readonly #compaction: Compaction;
  /** Writes under way, so that a repeated one waits for the first. */
  readonly #writing = new Map<ChunkId, Promise<void>>();
  /** Deletions under way: a copy on its way must not be written behind them. */
  readonly #deleting = new Map<ChunkId, number>();
  #sinceCheckpoint = 0;
  /** What the last checkpoint could have claimed. */
  #scanned = new Map<number, number>();

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.digests = parts.digests;
    const { directory, options, files, index, space, segment, offset } = parts;
    this.#metrics = new ChunkMetrics(options.registry, {
      storedChunks: () => parts.digests.total,
      liveBytes: () => space.liveBytes,
      deadBytes: () => space.totalBytes - space.liveBytes,
      damagedChunks: () => parts.damaged.size,
      pendingBytes: () => this.#writer.pendingBytes,
    });
    this.#ledger = new Ledger(parts);
    this.#writer = new SegmentWriter({
      files,
      segmentBytes: options.segmentBytes,
      segment,
      offset,
      ready: () => this.#ready(),
      isCurrent: (append) => this.#isCurrent(append),
      onDurable: (batch) => this.#durable(batch),
      onFlush: (seconds) => this.#metrics.flushSeconds.observe(seconds),
    });
    const { capacityBytes = 0, reserveBytes = CHUNK_STORE_LIMITS.reserveBytes } = options;
    this.#room = new Room(
      directory,
      { files, space, writer: this.#writer },
      { capacityBytes, reserveBytes },
    );
    this.#compaction = new Compaction({
      files,
      index,
      space,
      writer: this.#writer,
      bytesPerSecond: options.moveBytesPerSecond ?? CHUNK_STORE_LIMITS.moveBytesPerSecond,
      onError: (error) => options.onDamage?.({ error, during: 'compaction' }),
    });
  }

  /**
   * Opens or makes a store: `segment-*` files and an index, which is made anew from the segments
   * where it is missing, behind or damaged. Throws DISK_FAILED when the directory cannot be used,
   * ENOSPC, DIRECTORY_IN_USE.
   */
  static async open(directory: string, options: ChunkStoreOptions): Promise<ChunkStore> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const segmentBytes = options.segmentBytes ?? (await suitableSegmentBytes(directory));
      const sized = { ...options, segmentBytes };
      try {
        return await ChunkStore.#recovered(directory, sized);
      } catch (error) {
        if (!isIndexFailure(error)) throw error;
        const aside = join(directory, `${INDEX_NAME}-damaged`);
        options.onDamage?.({ error, during: 'opening the index, which is made anew', aside });
        await rm(aside, { recursive: true, force: true });
        await rename(join(directory, INDEX_NAME), aside);
      }
      return await ChunkStore.#recovered(directory, sized);
    } catch (cause) {
      if (cause instanceof HoldfastError) throw cause;
      if (isNoRoom(cause))
        throw new HoldfastError('ENOSPC', `the disk of ${directory} is full; free some of it`, {
          cause,
        });
      throw new HoldfastError(
        'DISK_FAILED',
        `the chunk store in ${directory} cannot be opened: ${String(cause)}`,
        { cause },
      );
    }
  }

  static async #recovered(directory: string, options: SizedOptions): Promise<ChunkStore> {
    const { reserveBytes, segmentBytes, onDamage = () => {} } = options;
    const parts = {
      files: new SegmentFiles(
        directory,
        CHUNK_STORE_LIMITS.openFilesMax,
        reserveBytes ?? CHUNK_STORE_LIMITS.reserveBytes,
      ),
      index: await ChunkIndex.open(join(directory, INDEX_NAME)),
      space: new SegmentSpace(),
      digests: new PartitionDigests(),
      damaged: new Set<ChunkId>(),
    };
    try {
      const end = await recover({ ...parts, segmentBytes, onDamage });
      return new ChunkStore({ directory, options, ...parts, ...end });
    } catch (error) {
      await parts.files.close();
      await parts.index.close();
      throw error;
    }
  }

  /**
   * Stores a chunk (1 … LIMITS.chunkBytesMax bytes, which must not change meanwhile); durable when it
   * resolves. Again with the same bytes: success. `copies`: how many the chunk is to have, 0: one on
   * every replica of its partition. Throws CORRUPT for other bytes under a known id, CHUNK_FREED for
   * one that was deleted, ENOSPC, OVERLOADED, DISK_FAILED, BAD_REQUEST.
   */
  async write(chunk: ChunkId, bytes: Uint8Array, copies = 0): Promise<void> {
    if (!isChunkId(chunk) || bytes.length === 0 || bytes.length > LIMITS.chunkBytesMax) {
      throw new HoldfastError(
        'BAD_REQUEST',
        `a chunk has an id and 1 to ${LIMITS.chunkBytesMax} bytes`,
      );
    }
    if (!(Number.isInteger(copies) && copies >= 0 && copies <= 255))
      throw new HoldfastError('BAD_REQUEST', 'a chunk has 0 to 255 copies');
    const earlier = this.#writing.get(chunk) ?? Promise.resolve();
    const write = earlier.catch(() => undefined).then(() => this.#write(chunk, bytes, copies));
    this.#writing.set(chunk, write);
    try {
      await write;
    } finally {
      if (this.#writing.get(chunk) === write) this.#writing.delete(chunk);
    }
  }

  async #write(chunk: ChunkId, bytes: Uint8Array, copies: number): Promise<void> {
    const blocks = blockChecksums(bytes);
    const known = this.#parts.index.get(chunk);
    if (known !== undefined) {
      const isSame =
        known.length === bytes.length && known.blocks.every((crc, index) => crc === blocks[index]);
      if (!isSame)
        throw new HoldfastError('CORRUPT', `chunk ${chunk} is here already with other bytes`);
      // What is stored may have rotted: then the new copy replaces it.
      if ((await this.#sound(known, 0, known.length)) !== undefined) {
        this.#parts.damaged.delete(chunk);
        return;
      }
    }
    await this.#room.check(recordBytes(bytes.length));
    // After the last await, so that no deletion comes in between.
    if (this.#deleting.has(chunk) || this.isFreed(chunk))
      throw new HoldfastError('CHUNK_FREED', `chunk ${chunk} was deleted`);
    const head = { kind: 'chunk' as const, chunk, length: bytes.length, copies, blocks };
    await this.#writer.append({ head, bytes });
    this.#metrics.writtenBytes.inc(bytes.length);
  }

  /**
   * Bytes [offset, offset + length) of a chunk, each touched 64 KiB block verified. Throws
   * CHUNK_MISSING, CORRUPT, BAD_REQUEST when the range lies outside.
   */
  async read(
    chunk: ChunkId,
    offset: number,
    length: number,
  ): Promise<{ bytes: Uint8Array; chunkLength: number; copies: number }> {
    if (!isChunkId(chunk) || !Number.isSafeInteger(offset) || !Number.isSafeInteger(length))
      throw new HoldfastError('BAD_REQUEST', 'a read names a chunk and whole numbers of bytes');
    for (let place = this.#parts.index.get(chunk); ; ) {
      if (place === undefined)
        throw new HoldfastError('CHUNK_MISSING', `chunk ${chunk} is not here`);
      if (!(offset >= 0 && length >= 0 && offset + length <= place.length)) {
        throw new HoldfastError(
          'BAD_REQUEST',
          `bytes ${offset} + ${length} lie outside the ${place.length} of chunk ${chunk}`,
        );
      }
      const bytes = await this.#sound(place, offset, length);
      if (bytes !== undefined) {
        this.#metrics.readBytes.inc(length);
        return { bytes, chunkLength: place.length, copies: place.copies };
      }
      // Compaction moves records under readers, and repair replaces them: then look there.
      const now = this.#parts.index.get(chunk);
      if (now?.segment === place.segment && now.offset === place.offset)
        throw this.#damage(chunk, place);
      place = now;
    }
  }

  /** Bytes of a chunk; undefined when it is not here. */
  length(chunk: ChunkId): number | undefined {
    return this.#parts.index.get(chunk)?.length;
  }

  /** Whether the chunk was deleted here not long ago: it must not be brought back. */
  isFreed(chunk: ChunkId): boolean {
    return this.#parts.index.grave(chunk)?.kind === 'tombstone';
  }

  /**
   * Forgets chunks that the cluster has freed, durably, and for as long as their tombstones last
   * refuses them; those not here, too, as a copy may be on its way.
   */
  async delete(chunks: readonly ChunkId[]): Promise<void> {
    for (const chunk of chunks) this.#deleting.set(chunk, (this.#deleting.get(chunk) ?? 0) + 1);
    try {
      const present = chunks.filter((chunk) => !this.isFreed(chunk));
      await Promise.all(present.map((chunk) => this.#writer.append(farewell(chunk, 'tombstone'))));
    } finally {
      for (const chunk of chunks) {
        const others = (this.#deleting.get(chunk) ?? 1) - 1;
        if (others === 0) this.#deleting.delete(chunk);
        else this.#deleting.set(chunk, others);
      }
    }
    this.#compaction.soon();
  }

  /** Forgets chunks that other peers keep now, durably; they may come back. Unknown ones are passed over. */
  async release(chunks: readonly ChunkId[]): Promise<void> {
    const known = chunks.filter((chunk) => this.#parts.index.get(chunk) !== undefined);
    await Promise.all(known.map((chunk) => this.#writer.append(farewell(chunk, 'departure'))));
    this.#compaction.soon();
  }

  /** Up to `count` chunks of a partition after an id ('' from the start), in order of their ids. */
  async list(
    partition: PartitionId,
    after: ChunkId | '',
    count: number,
  ): Promise<{ chunks: ListedChunk[]; end: boolean }> {
    const chunks = await this.#parts.index.list(partition, after, count + 1);
    return { chunks: chunks.slice(0, count), end: chunks.length <= count };
  }

  /** Chunks of which this store's copy is known to be bad, up to a bound. */
  get damaged(): ReadonlySet<ChunkId> {
    return this.#parts.damaged;
  }

  /** Bytes of the disk that chunks may use in all, that are free, and that records take. */
  space(): Promise<StoreSpace> {
    return this.#room.space();
  }

  /** Rewrites the live records of the deadest segment, if one is dead enough; resolves when done. One at a time. */
  compact(): Promise<boolean> {
    return this.#compaction.once();
  }

  async close(): Promise<void> {
    await this.#compaction.close();
    await this.#writer.settled();
    try {
      await this.#checkpoint();
    } catch (error) {
      // What the index does not know is read from the segments at the next start.
      this.#parts.options.onDamage?.({ error, during: 'closing' });
    } finally {
      await this.#parts.files.close();
      await this.#parts.index.close();
    }
  }

  /** The bytes, when they match their checksums. */
  async #sound(place: ChunkPlace, offset: number, length: number): Promise<Uint8Array | undefined> {
    const block = LIMITS.checksumBlockBytes;
    const first = Math.floor(offset / block);
    const from = first * block;
    const to = Math.min(place.length, Math.ceil((offset + length) / block) * block);
    const bytes = Buffer.allocUnsafe(Math.max(0, to - from));
    const at = place.offset + RECORD_ALIGNMENT + from;
    try {
      const { bytesRead } = await this.#parts.files.use(place.segment, (file) =>
        file.read(bytes, 0, bytes.length, at),
      );
      if (bytesRead !== bytes.length || !matches(bytes, place.blocks, first)) return undefined;
    } catch {
      return undefined; // a bad sector, or a segment that compaction has removed
    }
    return bytes.subarray(offset - from, offset - from + length);
  }

  #damage(chunk: ChunkId, place: ChunkPlace): HoldfastError {
    const { damaged, options } = this.#parts;
    if (!damaged.has(chunk) && damaged.size < CHUNK_STORE_LIMITS.damagedMax) {
      damaged.add(chunk);
      options.onDamage?.({ chunk, segment: place.segment, offset: place.offset });
    }
    this.#metrics.corruptBlocks.inc();
    return new HoldfastError('CORRUPT', `chunk ${chunk} does not match its checksum`);
  }

  #isCurrent({ head, movedFrom }: Append): boolean {
    const { index } = this.#parts;
    const there = head.kind === 'chunk' ? index.get(head.chunk) : index.grave(head.chunk);
    return there?.segment === movedFrom;
  }

  /** What is durable and could not be entered comes first; and nothing, when the disk is full. */
  async #ready(): Promise<void> {
    await this.#parts.index.settle();
    await this.#room.checkFloor();
  }

  async #durable(batch: readonly Appended[]): Promise<void> {
    await this.#ledger.enter(batch);
    this.#sinceCheckpoint += batch.reduce((sum, { append }) => sum + append.bytes.length, 0);
    const { checkpointBytes = CHUNK_STORE_LIMITS.checkpointBytes } = this.#parts.options;
    if (this.#sinceCheckpoint <= checkpointBytes) return;
    try {
      await this.#checkpoint();
    } catch (error) {
      // The batch is durable without it; the next one tries again.
      if (!(error instanceof HoldfastError) || error.code !== 'ENOSPC') throw error;
    }
  }

  /**
   * Notes durably how far the index knows the segments, so that opening need not read them again. It
   * claims what was true a checkpoint ago: LevelDB starts new log files without flushing the old, so
   * that a power cut may take changes from before those that a flush has just made durable.
   */
  async #checkpoint(): Promise<void> {
    const { space, index } = this.#parts;
    const claims = [...this.#scanned].filter(([segment]) => space.has(segment));
    const scanned = new Map(
      [...space.segments()].map((segment) => [segment, Number.MAX_SAFE_INTEGER]),
    );
    scanned.set(this.#writer.segment, this.#writer.offset);
    await index.write([], { scanned: new Map(claims), sync: true });
    this.#scanned = scanned;
    this.#sinceCheckpoint = 0;
  }
}

/** What is dead in the segment that grows cannot be given back: on a small disk it is small. */
async function suitableSegmentBytes(directory: string): Promise<number> {
  const { segmentBytes, segmentBytesMin, segmentDiskFraction } = CHUNK_STORE_LIMITS;
  const { blocks, bsize } = await statfs(directory);
  const part = Math.floor(blocks * bsize * segmentDiskFraction);
  return Math.min(segmentBytes, Math.max(segmentBytesMin, part));
}
