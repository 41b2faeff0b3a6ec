import type { NodeReference } from '@holdfast/protocol';

/** Bytes that are brought ahead of a reader who has just begun, and of one who goes on and on. */
const AHEAD_BYTES_MIN = 512 * 1024;
const AHEAD_BYTES_MAX = 8 * 2 ** 20;
/** Files whose last read is remembered; the longest unused is dropped first. */
const READERS_MAX = 1_024;

/** Where one file was read last. */
interface Reader {
  /** Where the last read ended. */
  end: number;
  /** Up to here all has been asked for. */
  ahead: number;
  /** Bytes to keep ahead; doubled while the reader goes on. */
  span: number;
}

/** A stretch of a file, in bytes. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** Recognizes who reads files from front to back, and tells what to bring into memory before it is asked for. */
export class Readers {
  readonly #readers = new Map<string, Reader>();

  /** Notes a read; answers what is to be brought ahead now, if anything: it may reach behind the end of file. */
  read(node: NodeReference, offset: number, length: number): Stretch | undefined {
    const key = `${node.volume}/${node.ino}`;
    const end = offset + length;
    const last = this.#readers.get(key);
    this.#readers.delete(key);
    const goesOn = last?.end === offset;
    if (!goesOn && offset !== 0) {
      this.#keep(key, { end, ahead: end, span: 0 });
      return undefined;
    }
    const reader = goesOn ? last : { end, ahead: end, span: 0 };
    reader.end = end;
    this.#keep(key, reader);
    const from = Math.max(reader.ahead, end);
    // In large steps, so that a reader of many small pieces is looked after once in a while only.
    if (from - end > reader.span / 2) return undefined;
    reader.span = Math.min(AHEAD_BYTES_MAX, Math.max(AHEAD_BYTES_MIN, reader.span * 2));
    reader.ahead = end + reader.span;
    return { from, to: reader.ahead };
  }

  #keep(key: string, reader: Reader): void {
    this.#readers.set(key, reader);
    for (const oldest of this.#readers.keys()) {
      if (this.#readers.size <= READERS_MAX) break;
      this.#readers.delete(oldest);
    }
  }
}
