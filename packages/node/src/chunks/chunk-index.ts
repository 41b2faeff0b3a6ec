import { type ChunkId, decode, encode, type PartitionId } from '@holdfast/protocol';
import { Level } from 'level';

/** Where a chunk's record is. */
export interface ChunkPlace {
  readonly segment: number;
  /** Of the record's head in the segment. */
  readonly offset: number;
  readonly length: number;
  /** CRC-32 of each 64 KiB block. */
  readonly blocks: readonly number[];
}

const CHUNK = 'c/';
const SCANNED = 's/';

type Change = { type: 'put'; key: string; value: Uint8Array } | { type: 'del'; key: string };

/** Chunk id to place, in `level`; a mirror of the segments that can be made anew from them. */
export class ChunkIndex {
  readonly #level: Level<string, Uint8Array>;

  private constructor(level: Level<string, Uint8Array>) {
    this.#level = level;
  }

  static async open(directory: string): Promise<ChunkIndex> {
    const level = new Level<string, Uint8Array>(directory, { valueEncoding: 'view' });
    await level.open();
    return new ChunkIndex(level);
  }

  get(chunk: ChunkId): ChunkPlace | undefined {
    const value = this.#level.getSync(CHUNK + chunk);
    return value === undefined ? undefined : decode<ChunkPlace>(value);
  }

  /** Writes changes as one; `sync` makes them durable, and all before them. */
  async write(
    changes: readonly { chunk: ChunkId; place: ChunkPlace | undefined }[],
    options: { scanned?: ReadonlyMap<number, number>; sync?: boolean } = {},
  ): Promise<void> {
    const batch: Change[] = changes.map(({ chunk, place }) =>
      place === undefined
        ? { type: 'del', key: CHUNK + chunk }
        : { type: 'put', key: CHUNK + chunk, value: encode(place) },
    );
    for (const [segment, offset] of options.scanned ?? []) {
      batch.push({ type: 'put', key: SCANNED + segment, value: encode(offset) });
    }
    await this.#level.batch(batch, { sync: options.sync ?? false });
  }

  /** Up to which offset of a segment the index knows its records. */
  scannedUpTo(segment: number): number {
    const value = this.#level.getSync(SCANNED + segment);
    return value === undefined ? 0 : decode<number>(value);
  }

  /** Forgets a segment that is no more. */
  async forgetSegment(segment: number): Promise<void> {
    await this.#level.del(SCANNED + segment);
  }

  /** Chunks of a partition after an id ('' from the start), in order. */
  async list(
    partition: PartitionId,
    after: ChunkId | '',
    count: number,
  ): Promise<{ chunk: ChunkId; length: number }[]> {
    const prefix = CHUNK + partition.toString(16).padStart(4, '0');
    const range = { gt: after === '' ? prefix : CHUNK + after, lt: `${prefix}g`, limit: count };
    const entries = await this.#level.iterator(range).all();
    return entries.map(([key, value]) => ({
      chunk: key.slice(CHUNK.length) as ChunkId,
      length: decode<ChunkPlace>(value).length,
    }));
  }

  /** Every chunk and its place. */
  async *all(): AsyncIterable<[ChunkId, ChunkPlace]> {
    for await (const [key, value] of this.#level.iterator({ gt: CHUNK, lt: `${CHUNK}g` })) {
      yield [key.slice(CHUNK.length) as ChunkId, decode<ChunkPlace>(value)];
    }
  }

  async close(): Promise<void> {
    await this.#level.close();
  }
}
