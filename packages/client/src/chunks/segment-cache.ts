import type { ChunkId } from '@holdfast/protocol';

/** Bytes that are read and kept together: several checksum blocks, and little beside a 4 KiB read. */
const SEGMENT_BYTES = 256 * 1024;
/** Bytes that may be on their way because a reader will probably want them. */
const AHEAD_BYTES_MAX = 32 * 2 ** 20;

/** Reads bytes of a chunk from where it is stored. */
export interface ChunkOrigin {
  read(chunk: ChunkId, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
}

/** Bytes that are here, or on their way. */
interface Segment {
  readonly length: number;
  readonly arrival: Promise<Uint8Array>;
}

/**
 * Keeps what was read of chunks in memory, a bounded number of bytes, the longest unused dropped
 * first. Chunks never change, so what is kept is right for ever, whoever writes where.
 */
export class SegmentCache {
  readonly #origin: ChunkOrigin;
  readonly #bytesMax: number;
  /** In order of last use. */
  readonly #segments = new Map<string, Segment>();
  #bytes = 0;
  #aheadBytes = 0;

  constructor(origin: ChunkOrigin, bytesMax: number) {
    this.#origin = origin;
    this.#bytesMax = bytesMax;
  }

  /** Bytes kept at present. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Bytes [offset, offset + length) of a chunk of `chunkLength`, in pieces one behind the other. They
   * are what is kept itself: do not change them.
   */
  async read(
    chunk: ChunkId,
    chunkLength: number,
    offset: number,
    length: number,
  ): Promise<readonly Uint8Array[]> {
    const end = offset + length;
    const arrivals: Promise<Uint8Array>[] = [];
    for (let at = firstIndex(offset); at * SEGMENT_BYTES < end; at++) {
      arrivals.push(this.#segment(chunk, chunkLength, at));
    }
    const segments = await Promise.all(arrivals);
    let start = firstIndex(offset) * SEGMENT_BYTES;
    return segments.map((segment) => {
      const piece = segment.subarray(Math.max(0, offset - start), end - start);
      start += SEGMENT_BYTES;
      return piece;
    });
  }

  /** Has bytes brought here that will probably be read soon; nobody is told of a failure. */
  ahead(chunk: ChunkId, chunkLength: number, offset: number, length: number): void {
    for (let at = firstIndex(offset); at * SEGMENT_BYTES < offset + length; at++) {
      if (this.#segments.has(`${chunk}/${at}`)) continue;
      if (this.#aheadBytes >= AHEAD_BYTES_MAX) return;
      this.#aheadBytes += SEGMENT_BYTES;
      const arrived = (): void => {
        this.#aheadBytes -= SEGMENT_BYTES;
      };
      this.#segment(chunk, chunkLength, at).then(arrived, arrived);
    }
  }

  #segment(chunk: ChunkId, chunkLength: number, index: number): Promise<Uint8Array> {
    const key = `${chunk}/${index}`;
    const known = this.#segments.get(key);
    if (known !== undefined) {
      this.#segments.delete(key);
      this.#segments.set(key, known);
      return known.arrival;
    }
    const offset = index * SEGMENT_BYTES;
    const length = Math.min(SEGMENT_BYTES, chunkLength - offset);
    // Shared by all that wait for it, so that one of them giving up must not fail the others.
    const segment = { length, arrival: this.#origin.read(chunk, offset, length) };
    this.#segments.set(key, segment);
    this.#bytes += length;
    segment.arrival.catch(() => {
      if (this.#segments.get(key) === segment) this.#drop(key, segment);
    });
    this.#trim(key);
    return segment.arrival;
  }

  #trim(newest: string): void {
    for (const [key, segment] of this.#segments) {
      if (this.#bytes <= this.#bytesMax || key === newest) return;
      this.#drop(key, segment);
    }
  }

  #drop(key: string, { length }: Segment): void {
    this.#segments.delete(key);
    this.#bytes -= length;
  }
}

/** The segment in which an offset lies. */
function firstIndex(offset: number): number {
  return Math.floor(offset / SEGMENT_BYTES);
}
