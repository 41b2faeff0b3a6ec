import { HoldfastError } from '@holdfast/protocol';
import {
  type Entry,
  encodeMembership,
  type HardState,
  type Membership,
  type SnapshotMeta,
} from '@holdfast/raft';
import { GroupLog, type Place } from './group-log.ts';
import { directoryDisk, type LogDisk } from './log-disk.ts';
import {
  BATCH_HEADER_BYTES,
  bufferOf,
  decodeRecord,
  encodeBatchHeader,
  encodeRecord,
  putU53,
  RECORD,
  recordBytes,
  type WalRecord,
} from './wal-format.ts';
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

interface Queued {
  readonly record: WalRecord;
  readonly onWritten?: (place: Place) => void;
  /** A crash must not come between it and the next: they go into one batch. */
  readonly isGlued?: boolean;
  /** Of the last record of a request. */
  readonly onDurable?: () => void;
}

const OPEN_PLACES = new Set<string>();
const EMPTY = new Uint8Array(0);
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
  #queue: Queued[] = [];
  /** Newest hard state and mark of groups that need no flush for them. */
  readonly #lazy = new Map<number, { hardState?: HardState; mark?: SnapshotMeta }>();
  /** Resolves when all that was asked for is durable. */
  #tail: Promise<void> = Promise.resolve();
  #running: Promise<void> | undefined;
  #failure: HoldfastError | undefined;
  #rejectAll: (error: HoldfastError) => void = () => {};
  #failed!: Promise<never>;
  #isClosed = false;
  /** Bytes that the last recovery found cut off and zeroed. */
  tornBytes = 0;

  private constructor(options: WalOptions) {
    const disk = typeof options.disk === 'string' ? directoryDisk(options.disk) : options.disk;
    const segmentBytes = options.segmentBytes ?? 64 * 1024 * 1024;
    this.#options = {
      cacheBytesMax: 64 * 1024 * 1024,
      batchBytesMax: 4 * 1024 * 1024,
      retryMs: 1000,
      onPinned: () => {},
      onFlush: () => {},
      ...options,
      segmentBytes,
      disk,
    };
    this.#failed = new Promise<never>((_, reject) => {
      this.#rejectAll = reject;
    });
    this.#failed.catch(() => {});
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
    const { disk, segmentBytes, retryMs, cacheBytesMax } = this.#options;
    const readBack = (place: Place, bytes: number) => this.#readBack(place, bytes);
    const recovered: Recovered = await recover(disk, readBack, cacheBytesMax);
    const onError = (error: unknown) => this.#fail(error);
    this.#segments = new SegmentSet(
      { disk, segmentBytes, retryMs, onError },
      recovered.segments,
      recovered.end,
    );
    this.#groups = recovered.groups;
    this.#nextBatch = recovered.nextBatch;
    this.tornBytes = recovered.tornBytes;
    await this.#segments.prepare();
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
    await this.#enqueue([resetRecord(group), this.#markRecord(log, mark)]);
    return log;
  }

  /** Forgets a group and all it wrote; durable when it resolves. */
  async drop(group: number): Promise<void> {
    this.#groups.delete(group);
    this.#lazy.delete(group);
    await this.#enqueue([{ ...resetRecord(group), isGlued: false }]);
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
    const records: Queued[] = [];
    if (request.restart !== undefined) records.push(...this.#restart(log, request.restart));
    if (request.entries !== undefined) {
      log.append(request.entries);
      records.push(...request.entries.map((entry) => entryRecord(log, entry)));
    }
    if (request.hardState !== undefined) {
      log.hardState = request.hardState;
      if (request.mustSync || records.length > 0) {
        this.#dropLazyHardState(log.group);
        records.push(this.#hardStateRecord(log, log.hardState));
      } else this.#later(log.group).hardState = log.hardState;
    }
    return this.#enqueue(records);
  }

  #dropLazyHardState(group: number): void {
    const { mark } = this.#lazy.get(group) ?? {};
    if (mark === undefined) this.#lazy.delete(group);
    else this.#lazy.set(group, { mark });
  }

  #restart(log: GroupLog, mark: SnapshotMeta): Queued[] {
    log.restart(mark);
    this.#lazy.delete(log.group);
    const state = [this.#markRecord(log, mark), this.#hardStateRecord(log, log.hardState)] as const;
    return [resetRecord(log.group), { ...state[0], isGlued: true }, state[1]];
  }

  /** Entries up to `mark.index` are part of the durable state: they may go. Written with the next flush. */
  compact(group: number, mark: SnapshotMeta): void {
    const log = this.#groups.get(group);
    if (log === undefined || mark.index <= log.snapshot().index) return;
    log.compact(mark);
    this.#later(group).mark = mark;
  }

  #later(group: number): { hardState?: HardState; mark?: SnapshotMeta } {
    let lazy = this.#lazy.get(group);
    if (lazy === undefined) {
      lazy = {};
      this.#lazy.set(group, lazy);
    }
    return lazy;
  }

  #markRecord(log: GroupLog, mark: SnapshotMeta): Queued {
    const payload = encodeMembership(mark.membership);
    return {
      record: { ...mark, type: RECORD.mark, kind: 0, group: log.group, payload },
      onWritten: (place) => {
        log.markPlace = place;
      },
    };
  }

  #hardStateRecord(log: GroupLog, { term, vote, commit }: HardState): Queued {
    const payload = Buffer.alloc(8);
    putU53(payload, vote, 0);
    return {
      record: { type: RECORD.hardState, kind: 0, group: log.group, term, index: commit, payload },
      onWritten: (place) => {
        log.hardStatePlace = place;
      },
    };
  }

  /** Takes what waits lazily for a ride, at most `count` groups. */
  #takeLazy(count = Number.POSITIVE_INFINITY): Queued[] {
    const records: Queued[] = [];
    for (const [group, { hardState, mark }] of this.#lazy) {
      if (records.length >= count) break;
      const log = this.#groups.get(group)!;
      if (mark !== undefined) records.push(this.#markRecord(log, mark));
      if (hardState !== undefined) records.push(this.#hardStateRecord(log, hardState));
      this.#lazy.delete(group);
    }
    return records;
  }

  #enqueue(records: readonly Queued[]): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#isClosed) {
      return Promise.reject(new HoldfastError('SHUTTING_DOWN', 'the write-ahead log is closed'));
    }
    let onDurable = () => {};
    const durable = new Promise<void>((resolve) => {
      onDurable = resolve;
    });
    const last = records.at(-1);
    if (last === undefined) return this.#tail;
    this.#queue.push(...records.slice(0, -1), { ...last, onDurable });
    this.#tail = Promise.race([durable, this.#failed]);
    this.#tail.catch(() => {});
    this.#running ??= this.#run();
    return this.#tail;
  }

  async #run(): Promise<void> {
    // What all groups ask for in this turn belongs to the first flush.
    await Promise.resolve();
    try {
      while (this.#queue.length > 0 && !this.#failure) {
        const segment = this.#segments.current?.header.number;
        await this.#writeBatch(this.#takeBatch());
        if (this.#segments.current?.header.number !== segment) await this.#clean();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#running = undefined;
    }
  }

  #takeBatch(): Queued[] {
    const bytesMax = Math.min(this.#options.batchBytesMax, this.entryBytesMax);
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length) {
      const recordLength = recordBytes(this.#queue[count]!.record.payload.length);
      const isGlued = count > 0 && this.#queue[count - 1]!.isGlued === true;
      if (bytes + recordLength > bytesMax && count > 0 && !isGlued) break;
      bytes += recordLength;
      count += 1;
    }
    const batch = this.#queue.splice(0, count);
    // They may refer to what is queued, so they go last; a mark or hard state takes some 200 bytes.
    const isLast = this.#queue.length === 0 && bytes < bytesMax;
    return isLast ? [...batch, ...this.#takeLazy((bytesMax - bytes) / 512)] : batch;
  }

  /** Writes records as one batch and flushes it; then tells each its place, and who waited. */
  async #writeBatch(batch: readonly Queued[]): Promise<void> {
    const bytes = batch.reduce((sum, { record }) => sum + recordBytes(record.payload.length), 0);
    if (!this.#segments.hasRoom(BATCH_HEADER_BYTES + bytes)) {
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
  #rewrite(log: GroupLog, segment: number): Queued[] | undefined {
    const state = [
      this.#markRecord(log, log.snapshot()),
      this.#hardStateRecord(log, log.hardState),
    ];
    if (log.oldestEntrySegment() > segment) return state;
    const bytesMax = Math.min(this.#options.batchBytesMax, this.#options.segmentBytes / 8);
    if (log.bytesAbove(0) > bytesMax) return undefined;
    // Entries on disk only: queued ones follow by themselves. All in one batch, or a crash between
    // the reset and the entries would lose them.
    const entries = log.writtenEntries().map((entry) => movedRecord(log, entry));
    const batch = [resetRecord(log.group), ...state, ...entries];
    const bytes = batch.reduce((sum, { record }) => sum + recordBytes(record.payload.length), 0);
    return bytes > bytesMax ? undefined : batch;
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
    if (this.#lazy.size > 0) await this.#enqueue(this.#takeLazy());
    await this.#tail;
  }

  /** Flushes, notes the orderly stop and closes. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    // With a full disk the flush would wait for ever; nothing that waits for it was acknowledged.
    if (this.isFull) this.#segments.stop();
    else if (!this.#failure) {
      const closed = { type: RECORD.closed, kind: 0, group: 0, term: 0, index: 0, payload: EMPTY };
      await this.#enqueue([...this.#takeLazy(), { record: closed }]).catch(() => {});
    }
    await this.abandon();
  }

  /** Closes the files as they are, as a killed process would; what was not durable may be lost. */
  async abandon(): Promise<void> {
    this.#isClosed = true;
    this.#queue = [];
    this.#rejectAll(new HoldfastError('SHUTTING_DOWN', 'the write-ahead log is closed'));
    this.#segments.stop();
    await this.#running;
    await this.#segments.close();
    OPEN_PLACES.delete(this.#options.disk.place);
  }
}

function resetRecord(group: number): Queued {
  const record = { type: RECORD.reset, kind: 0, group, term: 0, index: 0, payload: EMPTY };
  return { record, isGlued: true };
}

function recordOf(group: number, entry: Entry): WalRecord {
  const kind = entry.kind === 'membership' ? 1 : 0;
  return {
    type: RECORD.entry,
    kind,
    group,
    term: entry.term,
    index: entry.index,
    payload: entry.data,
  };
}

function entryRecord(log: GroupLog, entry: Entry): Queued {
  return {
    record: recordOf(log.group, entry),
    onWritten: (place) => log.written(entry, place),
  };
}

function movedRecord(log: GroupLog, entry: Entry): Queued {
  return {
    record: recordOf(log.group, entry),
    onWritten: (place) => log.moved(entry.index, place),
  };
}

function tellPlaces(batch: readonly Queued[], segment: number, start: number): void {
  let offset = start;
  for (const { record, onWritten, onDurable } of batch) {
    onWritten?.({ segment, offset });
    onDurable?.();
    offset += recordBytes(record.payload.length);
  }
}
