import { HoldfastError } from '@holdfast/protocol';
import type { Entry, HardState, Membership, SnapshotMeta } from '@holdfast/raft';
import { GroupLog, type Place } from './group-log.ts';
import { directoryDisk, type LogDisk } from './log-disk.ts';
import {
  BATCH_HEADER_BYTES,
  bufferOf,
  decodeRecord,
  encodeBatchHeader,
  encodeRecord,
  RECORD,
  recordBytes,
} from './wal-format.ts';
import {
  bytesOf,
  closedRecord,
  entryRecord,
  hardStateRecord,
  markRecord,
  type QueuedRecord,
  resetRecord,
  WalQueue,
} from './wal-queue.ts';
import { corrupt, entryOf, evictAbove, type Recovered, recover } from './wal-recovery.ts';
import { isNoSpace, SegmentSet } from './wal-segments.ts';

/** Options of {@link Wal.open}. */
export interface WalOptions {
  /** An existing directory, or a disk that stands for one. */
  readonly disk: string | LogDisk;
  /** Bytes of a segment file; at least 16 KiB; an entry takes at most a segment less 2 KiB. 64 MiB. */
  readonly segmentBytes?: number;
  /** Bytes of entries kept in memory, all groups together. 64 MiB. */
  readonly cacheBytesMax?: number;
  /** Bytes of one write and flush. 4 MiB. */
  readonly batchBytesMax?: number;
  /** Bytes of the disk that stay free; with less, proposals should be refused. 32 MiB. */
  readonly reserveBytes?: number;
  /** Milliseconds between attempts while the disk is full. 1000. */
  readonly retryMs?: number;
  /**
   * The disk failed: what was written is unknown, nothing may be acknowledged, the process must
   * stop. Called once; every append since and later rejects with DISK_FAILED.
   */
  readonly onFatal: (error: HoldfastError) => void;
  /** A group's old entries keep a segment that all others have done with: it should be compacted. */
  readonly onPinned?: (group: number) => void;
  /** After each flush: what it carried and how long it took. */
  readonly onFlush?: (flush: { records: number; bytes: number; seconds: number }) => void;
}

/** What one group wants to be durable. */
export interface WalRequest {
  readonly group: number;
  /** Follow one another; stored ones at or above the first one's index are void. */
  readonly entries?: readonly Entry[];
  readonly hardState?: HardState;
  /** A snapshot was installed: the log is empty after it. */
  readonly restart?: SnapshotMeta;
  /** False: only the order matters; it is written with the next flush of any group. */
  readonly mustSync: boolean;
}

const OPEN_PLACES = new Set<string>();
/** Bytes of a segment kept free for headers and for records that must share a batch. */
const SEGMENT_SLACK_BYTES = 2048;

/**
 * One write-ahead log for all groups of a process. What is asked for while a flush runs goes into the
 * next one: one write and one fdatasync for all that wait.
 */
export class Wal {
  readonly #options: Required<Omit<WalOptions, 'disk'>> & { readonly disk: LogDisk };
  #groups = new Map<number, GroupLog>();
  #segments!: SegmentSet;
  #nextBatch = 1;
  readonly #queue = new WalQueue();
  /** Resolves when all that was asked for is durable. */
  #tail: Promise<void> = Promise.resolve();
  #running: Promise<void> | undefined;
  #failure: HoldfastError | undefined;
  /** Those who wait for something to be durable. Not a promise raced by each: that would remember them all. */
  readonly #waiting = new Set<(error: HoldfastError) => void>();
  #isClosed = false;
  /** Bytes that the last recovery found cut off and zeroed. */
  tornBytes = 0;

  private constructor(options: WalOptions) {
    const disk = typeof options.disk === 'string' ? directoryDisk(options.disk) : options.disk;
    const segmentBytes = options.segmentBytes ?? 64 * 1024 * 1024;
    this.#options = {
      cacheBytesMax: 64 * 1024 * 1024,
      batchBytesMax: 4 * 1024 * 1024,
      reserveBytes: 32 * 1024 * 1024,
      retryMs: 1000,
      onPinned: () => {},
      onFlush: () => {},
      ...options,
      segmentBytes,
      disk,
    };
  }

  /**
   * Opens the log and replays it. Throws CORRUPT when own records are damaged, NEWER_FORMAT,
   * DIRECTORY_IN_USE when this process has it open already.
   */
  static async open(options: WalOptions): Promise<Wal> {
    const wal = new Wal(options);
    const { place } = wal.#options.disk;
    if (OPEN_PLACES.has(place)) {
      throw new HoldfastError('DIRECTORY_IN_USE', `the write-ahead log ${place} is open already`);
    }
    OPEN_PLACES.add(place);
    try {
      await wal.#recover();
    } catch (error) {
      OPEN_PLACES.delete(place);
      throw error;
    }
    return wal;
  }

  async #recover(): Promise<void> {
    const { disk, segmentBytes, reserveBytes, retryMs, cacheBytesMax } = this.#options;
    const readBack = (place: Place, bytes: number) => this.#readBack(place, bytes);
    const recovered: Recovered = await recover(disk, readBack, cacheBytesMax);
    const onError = (error: unknown) => this.#fail(error);
    this.#segments = new SegmentSet(
      { disk, segmentBytes, reserveBytes, retryMs, onError },
      recovered.segments,
      recovered.end,
    );
    this.#groups = recovered.groups;
    this.#nextBatch = recovered.nextBatch;
    this.tornBytes = recovered.tornBytes;
    this.#segments.prepareAhead();
    this.#segments.lookAtSpace();
  }

  /** Groups that the log knows. */
  get groups(): ReadonlyMap<number, GroupLog> {
    return this.#groups;
  }

  /** No room for a further segment: new proposals should be refused; what is under way has a reserve. */
  get isFull(): boolean {
    return this.#segments.isFull;
  }

  /** Segment files in use. */
  get segmentCount(): number {
    return this.#segments.count;
  }

  /** Bytes of data that one entry may have. */
  get entryBytesMax(): number {
    return this.#options.segmentBytes - SEGMENT_SLACK_BYTES;
  }

  /** A new group whose first members are known; durable when it resolves. */
  async create(group: number, membership: Membership): Promise<GroupLog> {
    if (this.#groups.has(group)) {
      throw new HoldfastError('INTERNAL', `write-ahead log: group ${group} exists`);
    }
    const log = new GroupLog(group, (place, bytes) => this.#readBack(place, bytes));
    const mark = { index: 0, term: 0, membership };
    log.restart(mark);
    this.#groups.set(group, log);
    await this.#enqueue([resetRecord(group), markRecord(log, mark)]);
    return log;
  }

  /** Forgets a group and all it wrote; durable when it resolves. */
  async drop(group: number): Promise<void> {
    this.#groups.delete(group);
    this.#queue.dropLazy(group);
    await this.#enqueue([resetRecord(group, false)]);
  }

  /**
   * Resolves when the request and all earlier ones are durable (`mustSync: false`: when all earlier
   * ones are). The group's log shows it at once. Requests of a group are kept in order.
   */
  append(request: WalRequest): Promise<void> {
    const log = this.#groups.get(request.group);
    const isTooLong = request.entries?.some(({ data }) => data.byteLength > this.entryBytesMax);
    if (log === undefined || isTooLong === true) {
      const what = log === undefined ? 'an unknown group' : 'an entry that fits no segment';
      return Promise.reject(new HoldfastError('INTERNAL', `write-ahead log: ${what}`));
    }
    const records: QueuedRecord[] = [];
    if (request.restart !== undefined) records.push(...this.#restart(log, request.restart));
    if (request.entries !== undefined) {
      log.append(request.entries);
      records.push(...request.entries.map((entry) => entryRecord(log, entry)));
    }
    if (request.hardState !== undefined) {
      log.hardState = request.hardState;
      if (request.mustSync || records.length > 0) {
        this.#queue.dropLazyHardState(log.group);
        records.push(hardStateRecord(log, log.hardState));
      } else this.#queue.later(log, { hardState: log.hardState });
    }
    return this.#enqueue(records);
  }

  #restart(log: GroupLog, mark: SnapshotMeta): QueuedRecord[] {
    log.restart(mark);
    this.#queue.dropLazy(log.group);
    const state = [markRecord(log, mark), hardStateRecord(log, log.hardState)] as const;
    return [resetRecord(log.group), { ...state[0], isGlued: true }, state[1]];
  }

  /** Entries up to `mark.index` are part of the durable state: they may go. Written with the next flush. */
  compact(group: number, mark: SnapshotMeta): void {
    const log = this.#groups.get(group);
    if (log === undefined || mark.index <= log.snapshot().index) return;
    log.compact(mark);
    this.#queue.later(log, { mark });
  }

  #enqueue(records: readonly QueuedRecord[]): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#isClosed) {
      return Promise.reject(new HoldfastError('SHUTTING_DOWN', 'the write-ahead log is closed'));
    }
    if (records.length === 0) return this.#tail;
    this.#tail = new Promise<void>((resolve, reject) => {
      this.#waiting.add(reject);
      this.#queue.push(records, () => {
        this.#waiting.delete(reject);
        resolve();
      });
    });
    this.#tail.catch(() => {});
    this.#running ??= this.#run();
    return this.#tail;
  }

  async #run(): Promise<void> {
    // What all groups ask for in this turn belongs to the first flush.
    await Promise.resolve();
    const bytesMax = Math.min(this.#options.batchBytesMax, this.entryBytesMax);
    try {
      while (this.#queue.length > 0 && !this.#failure) {
        const segment = this.#segments.current?.header.number;
        await this.#writeBatch(this.#queue.take(bytesMax));
        if (this.#segments.current?.header.number !== segment) await this.#clean();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#running = undefined;
    }
  }

  /** Writes records as one batch and flushes it; then tells each its place, and who waited. */
  async #writeBatch(batch: readonly QueuedRecord[]): Promise<void> {
    const bytes = bytesOf(batch);
    while (!this.#segments.hasRoom(BATCH_HEADER_BYTES + bytes)) {
      if (!(await this.#segments.roll(this.#nextBatch))) {
        throw new HoldfastError('ENOSPC', 'the disk of the write-ahead log is full');
      }
      this.#segments.prepareAhead();
    }
    const { header, file } = this.#segments.current!;
    const start = this.#segments.end;
    const parts: Uint8Array[] = [
      encodeBatchHeader(
        { number: this.#nextBatch, bytes, count: batch.length },
        start,
        header.salt,
      ),
    ];
    for (const { record } of batch) parts.push(...encodeRecord(record, header.salt));
    const began = performance.now();
    await this.#writeOut(file, parts, start);
    await file.sync();
    const seconds = (performance.now() - began) / 1000;
    this.#nextBatch += 1;
    this.#segments.end = start + BATCH_HEADER_BYTES + bytes;
    this.#options.onFlush({ records: batch.length, bytes, seconds });
    tellPlaces(batch, header.number, start + BATCH_HEADER_BYTES);
    this.#segments.lookAtSpace();
    this.#evict();
  }

  /** A disk that has no room even for blocks it promised (copy on write) is waited for: nothing was acknowledged. */
  async #writeOut(
    file: { write(parts: readonly Uint8Array[], at: number): Promise<void> },
    parts: readonly Uint8Array[],
    start: number,
  ): Promise<void> {
    const whole = parts.length > 16 ? [Buffer.concat(parts)] : parts;
    for (;;) {
      try {
        await file.write(whole, start);
        return;
      } catch (error) {
        if (!isNoSpace(error) || this.#isClosed) throw error;
        await new Promise((resolve) => setTimeout(resolve, this.#options.retryMs).unref());
      }
    }
  }

  #evict(): void {
    evictAbove(this.#groups, this.#options.cacheBytesMax);
  }

  /**
   * Gives back the oldest segments. What idle groups still need of one is written again, if it is
   * little; a group with much is asked to compact.
   */
  async #clean(): Promise<void> {
    const newest = this.#segments.current!.header.number;
    for (let oldest = this.#segments.oldest!; oldest.header.number < newest; ) {
      const { number } = oldest.header;
      for (const log of this.#groups.values()) {
        if (log.oldestSegment() !== number) continue;
        const batch = this.#rewrite(log, number);
        if (batch === undefined) {
          this.#options.onPinned(log.group);
          return;
        }
        await this.#writeBatch(batch);
      }
      await this.#segments.removeOldest();
      oldest = this.#segments.oldest!;
    }
  }

  /** One batch that makes all of the group's records in a segment void; undefined when that is too much. */
  #rewrite(log: GroupLog, segment: number): QueuedRecord[] | undefined {
    const state = [markRecord(log, log.snapshot()), hardStateRecord(log, log.hardState)];
    if (log.oldestEntrySegment() > segment) return state;
    const bytesMax = Math.min(this.#options.batchBytesMax, this.#options.segmentBytes / 8);
    if (log.bytesAbove(0) > bytesMax) return undefined;
    // Entries on disk only: queued ones follow by themselves. All in one batch, or a crash between
    // the reset and the entries would lose them.
    const entries = log.writtenEntries().map((entry) => entryRecord(log, entry, true));
    const batch = [resetRecord(log.group), ...state, ...entries];
    return bytesOf(batch) > bytesMax ? undefined : batch;
  }

  #readBack(place: Place, payloadBytes: number): Entry {
    const segment = this.#segments.find(place.segment);
    const bytes = segment?.file.readSync(place.offset, recordBytes(payloadBytes));
    const record = bytes && decodeRecord(bufferOf(bytes), 0, segment!.header.salt);
    if (record === undefined || record.type !== RECORD.entry) {
      throw corrupt('an entry is damaged', { ...place });
    }
    return entryOf(record);
  }

  #rejectAll(error: HoldfastError): void {
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    if (this.#isClosed) {
      this.#rejectAll(new HoldfastError('SHUTTING_DOWN', 'the write-ahead log is closed'));
      return;
    }
    this.#failure =
      error instanceof HoldfastError
        ? error
        : new HoldfastError('DISK_FAILED', `the write-ahead log failed: ${String(error)}`, {
            cause: error,
          });
    this.#segments.stop();
    this.#rejectAll(this.#failure);
    this.#options.onFatal(this.#failure);
  }

  /** Resolves when all that was asked for is durable. */
  async flush(): Promise<void> {
    if (this.#queue.hasLazy) await this.#enqueue(this.#queue.takeLazy());
    await this.#tail;
  }

  /** Flushes, notes the orderly stop and closes. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    // With a full disk the flush would wait for ever; nothing that waits for it was acknowledged.
    if (this.isFull) this.#segments.stop();
    else if (!this.#failure) {
      await this.#enqueue([...this.#queue.takeLazy(), closedRecord()]).catch(() => {});
    }
    await this.abandon();
  }

  /** Closes the files as they are, as a killed process would; what was not durable may be lost. */
  async abandon(): Promise<void> {
    this.#isClosed = true;
    this.#queue.clear();
    this.#rejectAll(new HoldfastError('SHUTTING_DOWN', 'the write-ahead log is closed'));
    this.#segments.stop();
    await this.#running;
    await this.#segments.close();
    OPEN_PLACES.delete(this.#options.disk.place);
  }
}

function tellPlaces(batch: readonly QueuedRecord[], segment: number, start: number): void {
  let offset = start;
  for (const { record, onWritten, onDurable } of batch) {
    onWritten?.({ segment, offset });
    onDurable?.();
    offset += recordBytes(record.payload.length);
  }
}
