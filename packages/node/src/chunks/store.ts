import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ChunkId,
  HoldfastError,
  isChunkId,
  LIMITS,
  type PartitionId,
} from '@holdfast/protocol';
import type { Registry } from 'prom-client';
import { ChunkIndex, type ChunkPlace } from './chunk-index.ts';
import { PartitionDigests } from './digests.ts';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { ChunkMetrics } from './metrics.ts';
import { blockChecksums, matches, RECORD_ALIGNMENT, recordBytes } from './record.ts';
import { recover } from './recovery.ts';
import { scanSegment } from './scan.ts';
import { SegmentFiles } from './segment-files.ts';
import { compactionCandidate, SegmentSpace } from './segment-space.ts';
import { type Appended, SegmentWriter, tombstone } from './segment-writer.ts';

/** Options of {@link ChunkStore.open}. */
export interface ChunkStoreOptions {
  /** Where metrics are registered. */
  readonly registry: Registry;
  /** Bytes that chunks may take; 0: all of the disk but the reserve. */
  readonly capacityBytes?: number;
  /** For tests. */
  readonly segmentBytes?: number;
  readonly reserveBytes?: number;
  /** Told of damage found, once for each place. */
  readonly onDamage?: (fields: Readonly<Record<string, unknown>>) => void;
}

/** The chunks of one data directory: durable when written, verified when read. */
export class ChunkStore {
  /** What each partition holds, as of the last durable change. */
  readonly digests: PartitionDigests;
  readonly #directory: string;
  readonly #options: ChunkStoreOptions;
  readonly #files: SegmentFiles;
  readonly #index: ChunkIndex;
  readonly #space: SegmentSpace;
  readonly #metrics: ChunkMetrics;
  readonly #writer: SegmentWriter;
  /** Writes under way, so that a repeated one waits for the first. */
  readonly #writing = new Map<ChunkId, Promise<void>>();
  #disk: { atMs: number; freeBytes: number; totalBytes: number } | undefined;
  #sinceCheckpoint = 0;
  #compacting: Promise<unknown> = Promise.resolve();
  #compactionDue = false;
  #closed = false;

  private constructor(parts: {
    directory: string;
    options: ChunkStoreOptions;
    files: SegmentFiles;
    index: ChunkIndex;
    space: SegmentSpace;
    digests: PartitionDigests;
    segment: number;
    offset: number;
  }) {
    this.#directory = parts.directory;
    this.#options = parts.options;
    this.#files = parts.files;
    this.#index = parts.index;
    this.#space = parts.space;
    this.digests = parts.digests;
    this.#metrics = new ChunkMetrics([parts.options.registry]);
    this.#writer = new SegmentWriter({
      files: parts.files,
      segmentBytes: parts.options.segmentBytes ?? CHUNK_STORE_LIMITS.segmentBytes,
      segment: parts.segment,
      offset: parts.offset,
      onDurable: (batch) => this.#durable(batch),
      onFlush: (seconds) => this.#metrics.flushSeconds.observe(seconds),
    });
    this.#measure();
  }

  /**
   * Opens or makes a store: `segment-*` files and an index, which is made anew from the segments
   * where it is missing or behind. Throws DISK_FAILED when the directory cannot be used.
   */
  static async open(directory: string, options: ChunkStoreOptions): Promise<ChunkStore> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const files = new SegmentFiles(directory, CHUNK_STORE_LIMITS.openFilesMax);
      const index = await ChunkIndex.open(join(directory, 'index'));
      const space = new SegmentSpace();
      const digests = new PartitionDigests();
      const onDamage = options.onDamage ?? (() => {});
      const segmentBytes = options.segmentBytes ?? CHUNK_STORE_LIMITS.segmentBytes;
      const end = await recover({ files, index, space, digests, segmentBytes, onDamage });
      return new ChunkStore({ directory, options, files, index, space, digests, ...end });
    } catch (cause) {
      if (cause instanceof HoldfastError) throw cause;
      throw new HoldfastError(
        'DISK_FAILED',
        `the chunk store in ${directory} cannot be opened: ${String(cause)}`,
        { cause },
      );
    }
  }

  /**
   * Stores a chunk (1 … LIMITS.chunkBytesMax bytes, which must not change meanwhile); durable when it
   * resolves. Again with the same bytes: success. Throws CORRUPT for other bytes under a known id,
   * ENOSPC, OVERLOADED, DISK_FAILED, BAD_REQUEST.
   */
  async write(chunk: ChunkId, bytes: Uint8Array): Promise<void> {
    if (!isChunkId(chunk) || bytes.length === 0 || bytes.length > LIMITS.chunkBytesMax) {
      throw new HoldfastError(
        'BAD_REQUEST',
        `a chunk has an id and 1 to ${LIMITS.chunkBytesMax} bytes`,
      );
    }
    const blocks = blockChecksums(bytes);
    await this.#writing.get(chunk)?.catch(() => undefined);
    const known = this.#index.get(chunk);
    if (known !== undefined) {
      const isSame =
        known.length === bytes.length && known.blocks.every((crc, index) => crc === blocks[index]);
      if (!isSame)
        throw new HoldfastError('CORRUPT', `chunk ${chunk} is here already with other bytes`);
      // What is stored may have rotted: then the new copy replaces it.
      if (await this.#isSound(known)) return;
    }
    await this.#checkRoom(recordBytes(bytes.length));
    const append = { head: { kind: 'chunk' as const, chunk, length: bytes.length, blocks }, bytes };
    const write = this.#writer.append(append).then(() => undefined);
    this.#writing.set(chunk, write);
    try {
      await write;
    } finally {
      this.#writing.delete(chunk);
    }
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
  ): Promise<{ bytes: Uint8Array; chunkLength: number }> {
    const place = this.#index.get(chunk);
    if (place === undefined) throw new HoldfastError('CHUNK_MISSING', `chunk ${chunk} is not here`);
    if (!(offset >= 0 && length >= 0 && offset + length <= place.length)) {
      throw new HoldfastError(
        'BAD_REQUEST',
        `bytes ${offset} + ${length} lie outside the ${place.length} of chunk ${chunk}`,
      );
    }
    const bytes = await this.#verified(chunk, place, offset, length).catch((error: unknown) => {
      // Compaction moves records under readers: then they are read where they are now.
      const moved = this.#index.get(chunk);
      if (moved === undefined || moved.segment === place.segment) throw error;
      return this.#verified(chunk, moved, offset, length);
    });
    this.#metrics.readBytes.inc(length);
    return { bytes, chunkLength: place.length };
  }

  /** Bytes of a chunk; undefined when it is not here. */
  length(chunk: ChunkId): number | undefined {
    return this.#index.get(chunk)?.length;
  }

  /** Forgets chunks, durably; unknown ones are passed over. */
  async delete(chunks: readonly ChunkId[]): Promise<void> {
    const known = chunks.filter((chunk) => this.#index.get(chunk) !== undefined);
    await Promise.all(known.map((chunk) => this.#writer.append(tombstone(chunk))));
    this.#compactSoon();
  }

  /** Up to `count` chunks of a partition after an id ('' from the start), in order of their ids. */
  async list(
    partition: PartitionId,
    after: ChunkId | '',
    count: number,
  ): Promise<{ chunks: { chunk: ChunkId; length: number }[]; end: boolean }> {
    const chunks = await this.#index.list(partition, after, count + 1);
    return { chunks: chunks.slice(0, count), end: chunks.length <= count };
  }

  /** Bytes of the disk that chunks may use in all, that are free, and that records take. */
  async space(): Promise<{ totalBytes: number; freeBytes: number; usedBytes: number }> {
    const disk = await this.#lookAtDisk();
    const usedBytes = this.#space.totalBytes;
    const capacity = this.#options.capacityBytes ?? 0;
    const totalBytes = capacity === 0 ? disk.totalBytes : Math.min(capacity, disk.totalBytes);
    const free = Math.max(0, disk.freeBytes - this.#reserveBytes());
    const freeBytes = capacity === 0 ? free : Math.max(0, Math.min(free, capacity - usedBytes));
    return { totalBytes, freeBytes, usedBytes };
  }

  /** Rewrites the live records of the deadest segment, when one is dead enough; resolves when done. One at a time. */
  compact(): Promise<boolean> {
    const turn = this.#compacting.then(() => this.#compactOne());
    this.#compacting = turn.catch(() => undefined);
    return turn;
  }

  async #compactOne(): Promise<boolean> {
    const segment = compactionCandidate(
      this.#space,
      this.#writer.segment,
      CHUNK_STORE_LIMITS.deadFraction,
    );
    if (segment === undefined) return false;
    for await (const [chunk, place] of this.#index.all()) {
      if (place.segment !== segment) continue;
      const bytes = await this.#verified(chunk, place, 0, place.length).catch(() => undefined);
      // A damaged record cannot be moved: its segment stays until repair has written the chunk anew.
      if (bytes === undefined) return false;
      if (this.#index.get(chunk)?.segment !== segment) continue; // deleted meanwhile
      const head = { kind: 'chunk' as const, chunk, length: place.length, blocks: place.blocks };
      await this.#writer.append({ head, bytes });
    }
    await this.#keepTombstones(segment);
    await this.#index.write([], { sync: true });
    await this.#files.remove(segment);
    await this.#index.forgetSegment(segment);
    this.#space.forget(segment);
    this.#measure();
    return true;
  }

  /** A tombstone matters as long as an older segment may hold the chunk's record. */
  async #keepTombstones(segment: number): Promise<void> {
    const older = [...this.#space.segments()].some((other) => other < segment);
    if (!older) return;
    const { records } = await scanSegment(await this.#files.file(segment), 0, () => {});
    for (const { head } of records) {
      const isDeleted = head.kind === 'tombstone' && this.#index.get(head.chunk) === undefined;
      if (isDeleted) await this.#writer.append(tombstone(head.chunk));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#compacting;
    await this.#writer.settled();
    await this.#checkpoint();
    await this.#files.close();
    await this.#index.close();
  }

  async #verified(
    chunk: ChunkId,
    place: ChunkPlace,
    offset: number,
    length: number,
  ): Promise<Uint8Array> {
    const block = LIMITS.checksumBlockBytes;
    const first = Math.floor(offset / block);
    const from = first * block;
    const to = Math.min(place.length, Math.ceil((offset + length) / block) * block);
    const bytes = Buffer.allocUnsafe(Math.max(0, to - from));
    const file = await this.#files.file(place.segment);
    const at = place.offset + RECORD_ALIGNMENT + from;
    const { bytesRead } = await file.read(bytes, 0, bytes.length, at);
    if (bytesRead !== bytes.length || !matches(bytes, place.blocks, first)) {
      this.#metrics.corruptBlocks.inc();
      this.#options.onDamage?.({ chunk, segment: place.segment, offset: at });
      throw new HoldfastError('CORRUPT', `chunk ${chunk} does not match its checksum`);
    }
    return bytes.subarray(offset - from, offset - from + length);
  }

  async #isSound(place: ChunkPlace): Promise<boolean> {
    const file = await this.#files.file(place.segment);
    const bytes = Buffer.allocUnsafe(place.length);
    const { bytesRead } = await file.read(bytes, 0, place.length, place.offset + RECORD_ALIGNMENT);
    return bytesRead === place.length && matches(bytes, place.blocks);
  }

  async #durable(batch: readonly Appended[]): Promise<void> {
    const here = new Set<ChunkId>();
    const changes = batch.map(({ append, segment, offset }) => {
      const { kind, chunk, length, blocks } = append.head;
      const before = this.#index.get(chunk);
      if (before !== undefined) {
        here.add(chunk);
        this.#space.died(before.segment, recordBytes(before.length));
      }
      // A tombstone lives too: counted as dead, it would have its segment rewritten for ever.
      this.#space.lived(segment, recordBytes(length));
      return { chunk, place: kind === 'chunk' ? { segment, offset, length, blocks } : undefined };
    });
    this.#sinceCheckpoint += batch.reduce((sum, { append }) => sum + append.bytes.length, 0);
    await this.#index.write(changes);
    this.#count(changes, here);
    if (this.#sinceCheckpoint > CHUNK_STORE_LIMITS.checkpointBytes) await this.#checkpoint();
    this.#measure();
  }

  /** `here`: those of the chunks that were here before; a batch may bring and take the same one. */
  #count(
    changes: readonly { chunk: ChunkId; place: ChunkPlace | undefined }[],
    here: Set<ChunkId>,
  ): void {
    for (const { chunk, place } of changes) {
      if (place !== undefined && !here.has(chunk)) {
        here.add(chunk);
        this.digests.added(chunk);
      } else if (place === undefined && here.delete(chunk)) this.digests.removed(chunk);
    }
  }

  /** Notes durably how far the index knows the segments, so that opening need not read them again. */
  async #checkpoint(): Promise<void> {
    this.#sinceCheckpoint = 0;
    const scanned = new Map(
      [...this.#space.segments()].map((segment) => [segment, Number.MAX_SAFE_INTEGER]),
    );
    scanned.set(this.#writer.segment, this.#writer.offset);
    await this.#index.write([], { scanned, sync: true });
  }

  async #checkRoom(bytes: number): Promise<void> {
    const { freeBytes } = await this.space();
    if (freeBytes >= bytes) return;
    throw new HoldfastError(
      'ENOSPC',
      `the chunk store in ${this.#directory} has no room left; add a disk or a peer, or delete data`,
    );
  }

  async #lookAtDisk(): Promise<{ freeBytes: number; totalBytes: number }> {
    const now = performance.now();
    if (this.#disk === undefined || now - this.#disk.atMs > CHUNK_STORE_LIMITS.spaceValidMs) {
      const { bavail, blocks, bsize } = await statfs(this.#directory);
      this.#disk = { atMs: now, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    }
    // What a segment has set aside is free to us.
    const ahead = Math.max(
      0,
      (this.#options.segmentBytes ?? CHUNK_STORE_LIMITS.segmentBytes) - this.#writer.offset,
    );
    return { freeBytes: this.#disk.freeBytes + ahead, totalBytes: this.#disk.totalBytes };
  }

  #reserveBytes(): number {
    return this.#options.reserveBytes ?? CHUNK_STORE_LIMITS.reserveBytes;
  }

  #compactSoon(): void {
    if (this.#compactionDue || this.#closed) return;
    this.#compactionDue = true;
    void this.#compactAll();
  }

  async #compactAll(): Promise<void> {
    try {
      while (!this.#closed && (await this.compact()));
    } catch (error) {
      this.#options.onDamage?.({ error, during: 'compaction' });
    } finally {
      this.#compactionDue = false;
    }
  }

  #measure(): void {
    this.#metrics.liveBytes.set(this.#space.liveBytes);
    this.#metrics.deadBytes.set(this.#space.totalBytes - this.#space.liveBytes);
  }
}
