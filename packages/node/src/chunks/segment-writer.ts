import type { FileHandle } from 'node:fs/promises';
import { type ChunkId, HoldfastError } from '@holdfast/protocol';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { encodeHead, RECORD_ALIGNMENT, type RecordHead, recordBytes } from './record.ts';
import type { SegmentFiles } from './segment-files.ts';

/** A record to append. */
export interface Append {
  readonly head: RecordHead;
  readonly bytes: Uint8Array;
  /** Of a record that compaction moves: where it was. It is left out when it is there no more. */
  readonly movedFrom?: number;
}

/** Where an append landed. */
export interface Appended {
  readonly append: Append;
  readonly segment: number;
  readonly offset: number;
}

interface Waiting {
  readonly append: Append;
  readonly resolve: () => void;
  readonly reject: (error: HoldfastError) => void;
}

/** What {@link SegmentWriter} works with. */
export interface SegmentWriterOptions {
  readonly files: SegmentFiles;
  readonly segmentBytes: number;
  /** Where to go on: the last segment and its end. */
  readonly segment: number;
  readonly offset: number;
  /** Called before each batch; throws when nothing may be written now. */
  readonly ready: () => Promise<void>;
  /** Whether a record that is to be moved still counts where it was. */
  readonly isCurrent: (append: Append) => boolean;
  /** Called with each durable batch, before its appends are answered. */
  readonly onDurable: (batch: readonly Appended[]) => Promise<void>;
  readonly onFlush: (seconds: number) => void;
}

/** Appends records to the last segment: one write and one fdatasync for all that wait (group commit). */
export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  #queue: Waiting[] = [];
  #pendingBytes = 0;
  #appendedBytes = 0;
  #segment: number;
  #offset: number;
  #running: Promise<void> | undefined;
  #failure: HoldfastError | undefined;
  /** Whether something of a batch that failed may lie behind the last one. */
  #isSoiled = false;

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#segment = options.segment;
    this.#offset = options.offset;
  }

  /** The segment that grows now. */
  get segment(): number {
    return this.#segment;
  }

  get offset(): number {
    return this.#offset;
  }

  /** Bytes of records that wait or are being written. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Bytes of records written since the store was opened. */
  get appendedBytes(): number {
    return this.#appendedBytes;
  }

  /**
   * Resolves when the record is durable. Throws OVERLOADED, ENOSPC (it is not here, nor comes later), and
   * DISK_FAILED for ever after a failed flush.
   */
  append(append: Append): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const bytes = recordBytes(append.bytes.length);
    if (this.#pendingBytes + bytes > CHUNK_STORE_LIMITS.pendingBytesMax) {
      return Promise.reject(new HoldfastError('OVERLOADED', 'too many bytes wait for this disk'));
    }
    this.#pendingBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ append, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing waits any more. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // others of this turn join the first batch
    while (this.#queue.length > 0) {
      const batch = this.#take();
      try {
        await this.#options.ready();
        await this.#write(this.#current(batch.map((waiting) => waiting.append)));
        for (const waiting of batch) waiting.resolve();
      } catch (error) {
        const failure = this.#failed(error);
        for (const waiting of batch) waiting.reject(failure);
      }
      for (const { append } of batch) this.#pendingBytes -= recordBytes(append.bytes.length);
    }
    // Not a turn later: who is told now and appends again would wait for a run that is over.
    this.#running = undefined;
  }

  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { append } of this.#queue) {
      const more = recordBytes(append.bytes.length);
      const isFull = bytes + more > CHUNK_STORE_LIMITS.batchBytesMax;
      if (count > 0 && (isFull || count === CHUNK_STORE_LIMITS.batchRecordsMax)) break;
      bytes += more;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  /**
   * Without what compaction need not move any more. Asked only now: batches before are in the index,
   * and behind a tombstone a moved record would bring its chunk back.
   */
  #current(appends: readonly Append[]): Append[] {
    const gone = new Set<ChunkId>();
    return appends.filter((append) => {
      const { chunk, kind } = append.head;
      if (append.movedFrom === undefined) {
        if (kind !== 'chunk') gone.add(chunk);
        return true;
      }
      return !gone.has(chunk) && this.#options.isCurrent(append);
    });
  }

  async #write(appends: readonly Append[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (appends.length === 0) return;
    if (this.#isSoiled) await this.#clean();
    const total = appends.reduce((sum, append) => sum + recordBytes(append.head.length), 0);
    if (this.#offset > 0 && this.#offset + total > this.#options.segmentBytes) await this.#roll();
    const { parts, appended } = layOut(appends, this.#segment, this.#offset);
    const start = performance.now();
    try {
      await this.#options.files.use(this.#segment, async (file) => {
        this.#isSoiled = true;
        const { bytesWritten } = await file.writev(parts, this.#offset);
        if (bytesWritten !== total)
          throw new HoldfastError('ENOSPC', 'the disk of the chunk store is full');
        await this.#flush(file);
        this.#isSoiled = false;
      });
    } catch (error) {
      // At once: whoever is told that it failed must not see it come into effect at the next start.
      if (this.#isSoiled && this.#failure === undefined) await this.#clean();
      throw error;
    }
    this.#offset += total;
    this.#appendedBytes += total;
    this.#options.onFlush((performance.now() - start) / 1000);
    await this.#enter(appended, total);
  }

  /** A batch that could not be entered is cut off again: it must not come into effect at the next start. */
  async #enter(appended: readonly Appended[], total: number): Promise<void> {
    try {
      await this.#options.onDurable(appended);
    } catch (error) {
      if (error instanceof HoldfastError && error.code !== 'DISK_FAILED') {
        this.#offset -= total;
        this.#appendedBytes -= total;
        this.#isSoiled = true;
        await this.#clean();
      }
      throw error;
    }
  }

  /** Cuts off what a batch that failed has left. */
  async #clean(): Promise<void> {
    await this.#options.files.use(this.#segment, async (file) => {
      await file.truncate(this.#offset);
      await this.#flush(file);
    });
    this.#isSoiled = false;
  }

  async #roll(): Promise<void> {
    await this.#options.files.create(this.#segment + 1, this.#options.segmentBytes);
    this.#segment++;
    this.#offset = 0;
  }

  /** After a failed flush the kernel may have thrown dirty pages away: nothing of it is known any more. */
  async #flush(file: FileHandle): Promise<void> {
    try {
      await file.datasync();
    } catch (cause) {
      // The batch is cut off again, and all before it had been flushed.
      if (isNoRoom(cause)) throw cause;
      this.#failure = new HoldfastError(
        'DISK_FAILED',
        `flushing a segment failed: ${String(cause)}; replace the disk`,
        { cause },
      );
      throw this.#failure;
    }
  }

  #failed(error: unknown): HoldfastError {
    if (error instanceof HoldfastError) {
      if (error.code === 'DISK_FAILED') this.#failure = error;
      return error;
    }
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== undefined && PASSING.has(code))
      return new HoldfastError('OVERLOADED', `writing chunks failed: ${message}`, { cause: error });
    if (isNoRoom(error)) {
      return new HoldfastError('ENOSPC', 'the disk of the chunk store is full', { cause: error });
    }
    this.#failure = new HoldfastError(
      'DISK_FAILED',
      `writing chunks failed: ${message}; free space or replace the disk, then start the peer again`,
      { cause: error },
    );
    return this.#failure;
  }
}

/** What the operating system lacks for a while. */
const PASSING: ReadonlySet<string> = new Set(['EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOMEM']);

/** Whether an error of the operating system says that a disk, or a share of it, is full. */
export function isNoRoom(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
}

/** The bytes of records one behind the other, and where each will be. */
function layOut(
  appends: readonly Append[],
  segment: number,
  start: number,
): { parts: Uint8Array[]; appended: Appended[] } {
  const parts: Uint8Array[] = [];
  const appended: Appended[] = [];
  let offset = start;
  for (const append of appends) {
    appended.push({ append, segment, offset });
    parts.push(encodeHead(append.head, offset === start));
    if (append.bytes.length > 0) parts.push(append.bytes);
    const space = recordBytes(append.head.length);
    const padding = space - RECORD_ALIGNMENT - append.bytes.length;
    if (padding > 0) parts.push(ZEROS.subarray(0, padding));
    offset += space;
  }
  return { parts, appended };
}

const ZEROS = new Uint8Array(RECORD_ALIGNMENT);

/** The append that says that a chunk is no more, or no more here. */
export function farewell(chunk: ChunkId, kind: 'tombstone' | 'departure'): Append {
  return { head: { kind, chunk, length: 0, copies: 0, blocks: [] }, bytes: new Uint8Array(0) };
}
