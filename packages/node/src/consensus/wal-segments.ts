import { randomInt } from 'node:crypto';
import type { LogDisk, LogFile } from './log-disk.ts';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES } from './wal-format.ts';
import { type Segment, segmentName } from './wal-recovery.ts';

/** True for errors that say: no room on this disk now. */
export function isNoSpace(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** A new log begins with a small segment and each is larger than the one before: a new peer starts at once. */
const FIRST_SEGMENT_BYTES = 4 * 1024 * 1024;
const GROWTH = 4;

/** Options of {@link SegmentSet}. */
export interface SegmentSetOptions {
  readonly disk: LogDisk;
  /** Bytes of a segment's file. */
  readonly segmentBytes: number;
  /** Bytes of the disk that stay free: the state on the same disk must be written to shrink, too. */
  readonly reserveBytes: number;
  /** Milliseconds between attempts while the disk is full. */
  readonly retryMs: number;
  /** An error that is not lack of space, from work in the background. */
  readonly onError: (error: unknown) => void;
}

/**
 * The files of the log: one is written, one is made ahead so that a full one is followed without a
 * wait. While that spare cannot be made for lack of space, the rest of the present one is a reserve.
 */
export class SegmentSet {
  readonly #options: SegmentSetOptions;
  #segments: Segment[];
  /** Where the next batch goes in the last segment. */
  end: number;
  #spare: { readonly file: LogFile; readonly length: number } | undefined;
  #making: Promise<void> | undefined;
  /** A spare could not be made. */
  #hasNoSpare = false;
  /** Others have nearly filled the disk. */
  #isLow = false;
  #lookedAt = 0;
  #isClosed = false;
  #stopWaiting: () => void = () => {};

  constructor(options: SegmentSetOptions, segments: Segment[], end: number) {
    this.#options = options;
    this.#segments = segments;
    this.end = end;
  }

  /** No room for a further segment, or hardly any for the state beside the log. */
  get isFull(): boolean {
    return this.#hasNoSpare || this.#isLow;
  }

  /** Looks at the free space when the last look is not fresh any more. */
  lookAtSpace(): void {
    if (performance.now() - this.#lookedAt >= this.#options.retryMs) this.#look();
  }

  #look(): void {
    if (this.#isClosed) return;
    const { disk, reserveBytes, retryMs, onError } = this.#options;
    this.#lookedAt = performance.now();
    disk.freeBytes().then((free) => {
      this.#isLow = free < reserveBytes;
      // Nothing may be written while it is low, so no batch will bring the next look on.
      if (this.#isLow) setTimeout(() => this.#look(), retryMs).unref();
    }, onError);
  }

  get count(): number {
    return this.#segments.length;
  }

  get current(): Segment | undefined {
    return this.#segments.at(-1);
  }

  get oldest(): Segment | undefined {
    return this.#segments[0];
  }

  find(number: number): Segment | undefined {
    const first = this.#segments[0]?.header.number ?? 0;
    return this.#segments[number - first];
  }

  /** True when a batch of so many bytes fits into the present segment. */
  hasRoom(bytes: number): boolean {
    const { current } = this;
    return current !== undefined && this.end + bytes <= current.header.length;
  }

  /** Goes on in a new segment; waits while the disk is full. False when closed meanwhile. */
  async roll(firstBatch: number): Promise<boolean> {
    await this.prepare();
    while (this.#spare === undefined) {
      if (!(await this.#pause())) return false;
      await this.prepare();
    }
    const { file, length } = this.#spare;
    this.#spare = undefined;
    const header = {
      number: (this.current?.header.number ?? 0) + 1,
      firstBatch,
      length,
      salt: randomInt(2 ** 32),
    };
    await file.write([encodeSegmentHeader(header)], 0);
    await file.sync();
    this.#segments.push({ header, file });
    this.end = SEGMENT_HEADER_BYTES;
    return true;
  }

  /** Makes the spare if there is none; resolves without one when there is no space. */
  async prepare(): Promise<void> {
    if (this.#spare !== undefined || this.#isClosed) return;
    this.#making ??= this.#make();
    await this.#making;
  }

  /** As `prepare`, but nobody waits: errors go to `onError`. */
  prepareAhead(): void {
    this.prepare().catch(this.#options.onError);
  }

  async #make(): Promise<void> {
    const { disk, segmentBytes, reserveBytes } = this.#options;
    const name = segmentName((this.current?.header.number ?? 0) + 1);
    const wanted = this.current ? GROWTH * this.current.header.length : FIRST_SEGMENT_BYTES;
    const length = Math.min(segmentBytes, wanted);
    try {
      if ((await disk.freeBytes()) < length + reserveBytes) throw noSpace();
      this.#spare = { file: await disk.create(name, length), length };
      this.#hasNoSpare = false;
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      this.#hasNoSpare = true;
      this.#retryLater();
    } finally {
      this.#making = undefined;
    }
  }

  #retryLater(): void {
    const timer = setTimeout(() => this.prepareAhead(), this.#options.retryMs);
    timer.unref();
  }

  /** Waits out one retry interval; false when closed. */
  #pause(): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(true), this.#options.retryMs);
      this.#stopWaiting = () => {
        clearTimeout(timer);
        resolve(false);
      };
    });
  }

  async removeOldest(): Promise<void> {
    const segment = this.#segments.shift();
    if (segment === undefined) return;
    await segment.file.close();
    await this.#options.disk.remove(segmentName(segment.header.number));
  }

  /** Nothing waits any longer for space. */
  stop(): void {
    this.#isClosed = true;
    this.#stopWaiting();
  }

  async close(): Promise<void> {
    this.stop();
    await this.#making?.catch(() => {});
    await this.#spare?.file.close();
    for (const { file } of this.#segments) await file.close();
    this.#segments = [];
  }
}

function noSpace(): Error {
  return Object.assign(new RangeError('the disk is nearly full'), { code: 'ENOSPC' });
}
