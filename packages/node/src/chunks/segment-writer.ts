import { type ChunkId, HoldfastError } from '@holdfast/protocol';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { encodeHead, RECORD_ALIGNMENT, type RecordHead, recordBytes } from './record.ts';
import type { SegmentFiles } from './segment-files.ts';

/** A record to append. */
export interface Append {
  readonly head: RecordHead;
  readonly bytes: Uint8Array;
}

/** Where a batch of appends landed. */
export interface Appended {
  readonly append: Append;
  readonly segment: number;
  readonly offset: number;
}

interface Waiting {
  readonly append: Append;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: HoldfastError) => void;
}

/** What {@link SegmentWriter} works with. */
export interface SegmentWriterOptions {
  readonly files: SegmentFiles;
  readonly segmentBytes: number;
  /** Where to go on: the last segment and its end. */
  readonly segment: number;
  readonly offset: number;
  /** Called with each durable batch, before its appends are answered. */
  readonly onDurable: (batch: readonly Appended[]) => Promise<void>;
  readonly onFlush: (seconds: number) => void;
}

/** Appends records to the last segment: one write and one fdatasync for all that wait (group commit). */
export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  #queue: Waiting[] = [];
  #pendingBytes = 0;
  #segment: number;
  #offset: number;
  #running: Promise<void> | undefined;
  #failure: HoldfastError | undefined;

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

  /** Resolves when the record is durable. Throws OVERLOADED, ENOSPC, and DISK_FAILED for ever after a failed flush. */
  append(append: Append): Promise<Appended> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#pendingBytes + append.bytes.length > CHUNK_STORE_LIMITS.pendingBytesMax) {
      return Promise.reject(new HoldfastError('OVERLOADED', 'too many bytes wait for this disk'));
    }
    this.#pendingBytes += append.bytes.length;
    return new Promise((resolve, reject) => {
      this.#queue.push({ append, resolve, reject });
      this.#running ??= this.#run().finally(() => {
        this.#running = undefined;
      });
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
        const appended = await this.#write(batch.map((waiting) => waiting.append));
        for (const [index, waiting] of batch.entries())
          waiting.resolve(appended[index] as Appended);
      } catch (error) {
        const failure = this.#failed(error);
        for (const waiting of batch) waiting.reject(failure);
      }
      for (const { append } of batch) this.#pendingBytes -= append.bytes.length;
    }
  }

  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { append } of this.#queue) {
      if (count > 0 && bytes + append.bytes.length > CHUNK_STORE_LIMITS.batchBytesMax) break;
      bytes += append.bytes.length;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #write(appends: readonly Append[]): Promise<Appended[]> {
    if (this.#failure !== undefined) throw this.#failure;
    const total = appends.reduce((sum, append) => sum + recordBytes(append.head.length), 0);
    if (this.#offset > 0 && this.#offset + total > this.#options.segmentBytes) await this.#roll();
    const file = await this.#options.files.file(this.#segment);
    const parts: Uint8Array[] = [];
    const appended: Appended[] = [];
    let offset = this.#offset;
    for (const append of appends) {
      appended.push({ append, segment: this.#segment, offset });
      parts.push(encodeHead(append.head), append.bytes);
      const space = recordBytes(append.head.length);
      const padding = space - RECORD_ALIGNMENT - append.bytes.length;
      if (padding > 0) parts.push(ZEROS.subarray(0, padding));
      offset += space;
    }
    const start = performance.now();
    const { bytesWritten } = await file.writev(parts, this.#offset);
    if (bytesWritten !== offset - this.#offset)
      throw new HoldfastError('ENOSPC', 'the disk of the chunk store is full');
    await this.#flush(() => file.datasync());
    this.#offset = offset;
    this.#options.onFlush((performance.now() - start) / 1000);
    await this.#options.onDurable(appended);
    return appended;
  }

  async #roll(): Promise<void> {
    await this.#options.files.create(this.#segment + 1, this.#options.segmentBytes);
    this.#segment++;
    this.#offset = 0;
  }

  /** After a failed flush the kernel may have thrown dirty pages away: nothing of it is known any more. */
  async #flush(sync: () => Promise<void>): Promise<void> {
    try {
      await sync();
    } catch (cause) {
      this.#failure = new HoldfastError(
        'DISK_FAILED',
        `flushing a segment failed: ${String(cause)}; replace the disk`,
        { cause },
      );
      throw this.#failure;
    }
  }

  #failed(error: unknown): HoldfastError {
    if (error instanceof HoldfastError) return error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      return new HoldfastError('ENOSPC', 'the disk of the chunk store is full', { cause: error });
    }
    this.#failure = new HoldfastError(
      'DISK_FAILED',
      `writing a segment failed: ${message}; replace the disk`,
      { cause: error },
    );
    return this.#failure;
  }
}

const ZEROS = new Uint8Array(RECORD_ALIGNMENT);

/** The append that says that a chunk is no more. */
export function tombstone(chunk: ChunkId): Append {
  return { head: { kind: 'tombstone', chunk, length: 0, blocks: [] }, bytes: new Uint8Array(0) };
}
