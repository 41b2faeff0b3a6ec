import type { ChunkId } from '@holdfast/protocol';

/** Bytes that are read and kept together: several checksum blocks, and little beside a 4 KiB read. */
const SEGMENT_BYTES = 256 * 1024;

/** Reads bytes of a chunk from where it is stored. */
export interface ChunkOrigin {
  read(chunk: ChunkId, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
}

/**
 * Keeps what was read of chunks in memory, a bounded number of bytes, the longest unused dropped
 * first. Chunks never change, so what is kept is right for ever, whoever writes where.
 */
export class SegmentCache {
  readonly #origin: ChunkOrigin;
  readonly #bytesMax: number;
  /** In order of last use. */
  readonly #segments = new Map<string, Promise<Uint8Array>>();
  #bytes = 0;

  constructor(origin: ChunkOrigin, bytesMax: number) {
    this.#origin = origin;
    this.#bytesMax = bytesMax;
  }

  /** Bytes kept at present. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes [offset, offset + length) of a chunk of `chunkLength`. The result may be shared: do not change it. */
  async read(
    chunk: ChunkId,
    chunkLength: number,
    offset: number,
    length: number,
  ): Promise<Uint8Array> {
    const first = Math.floor(offset / SEGMENT_BYTES);
    const last = Math.floor((offset + length - 1) / SEGMENT_BYTES);
    if (first === last) {
      const segment = await this.#segment(chunk, chunkLength, first);
      return segment.subarray(
        offset - first * SEGMENT_BYTES,
        offset - first * SEGMENT_BYTES + length,
      );
    }
    const bytes = new Uint8Array(length);
    const indexes = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    await Promise.all(
      indexes.map(async (index) => {
        const segment = await this.#segment(chunk, chunkLength, index);
        const start = index * SEGMENT_BYTES;
        const from = Math.max(offset, start);
        const to = Math.min(offset + length, start + segment.length);
        bytes.set(segment.subarray(from - start, to - start), from - offset);
      }),
    );
    return bytes;
  }

  #segment(chunk: ChunkId, chunkLength: number, index: number): Promise<Uint8Array> {
    const key = `${chunk}/${index}`;
    const known = this.#segments.get(key);
    if (known !== undefined) {
      this.#segments.delete(key);
      this.#segments.set(key, known);
      return known;
    }
    const offset = index * SEGMENT_BYTES;
    const length = Math.min(SEGMENT_BYTES, chunkLength - offset);
    // Shared by all that wait for it, so that one of them giving up must not fail the others.
    const read = this.#origin.read(chunk, offset, length);
    this.#segments.set(key, read);
    this.#bytes += length;
    read.catch(() => this.#drop(key, length));
    this.#trim(key);
    return read;
  }

  #trim(newest: string): void {
    for (const key of this.#segments.keys()) {
      if (this.#bytes <= this.#bytesMax || key === newest) return;
      this.#drop(key, SEGMENT_BYTES);
    }
  }

  #drop(key: string, length: number): void {
    if (!this.#segments.delete(key)) return;
    this.#bytes = Math.max(0, this.#bytes - length);
  }
}
