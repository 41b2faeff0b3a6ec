import { type ChunkId, decode, encode, type PartitionId } from '@holdfast/protocol';
import { Level } from 'level';

/** Where a chunk's record is. */
export interface ChunkPlace {
  readonly segment: number;
  /** Of the record's head in the segment. */
  readonly offset: number;
  readonly length: number;
  /** Copies that the chunk is to have; 0: one on every replica of its partition. */
  readonly copies: number;
  /** CRC-32 of each 64 KiB block. */
  readonly blocks: readonly number[];
}

/** A chunk that was here and must not come back from an older segment. */
export interface Grave {
  /** tombstone: freed in the whole cluster; departure: other peers keep it now. */
  readonly kind: 'tombstone' | 'departure';
  /** Where the record that says so is. */
  readonly segment: number;
  /** Where the chunk's own record was; 0 when it was not here. */
  readonly victim: number;
}

/** One chunk's new state; neither place nor grave: it is forgotten. */
export interface IndexChange {
  readonly chunk: ChunkId;
  readonly place?: ChunkPlace;
  readonly grave?: Grave;
}

const CHUNK = 'c/';
const GRAVE = 'g/';
const SCANNED = 's/';

type Change = { type: 'put'; key: string; value: Uint8Array } | { type: 'del'; key: string };

/** Chunk id to place, in `level`; a mirror of the segments that can be made anew from them. */
export class ChunkIndex {
  readonly #level: Level<string, Uint8Array>;
  /** Changes are made one after the other, so that one may depend on what it finds. */
  #last: Promise<unknown> = Promise.resolve();

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

  grave(chunk: ChunkId): Grave | undefined {
    const value = this.#level.getSync(GRAVE + chunk);
    return value === undefined ? undefined : decode<Grave>(value);
  }

  /** Writes changes as one, in order; `sync` makes them durable, and all before them. */
  async write(
    changes: readonly IndexChange[],
    options: { scanned?: ReadonlyMap<number, number>; sync?: boolean } = {},
  ): Promise<void> {
    const batch: Change[] = [];
    for (const { chunk, place, grave } of changes) {
      batch.push(change(CHUNK + chunk, place), change(GRAVE + chunk, grave));
    }
    for (const [segment, offset] of options.scanned ?? []) {
      batch.push({ type: 'put', key: SCANNED + segment, value: encode(offset) });
    }
    await this.#inTurn(() => this.#level.batch(batch, { sync: options.sync ?? false }));
  }

  /** Forgets the graves of these chunks that still lie in a segment; answers them. */
  forgetGraves(segment: number, chunks: Iterable<ChunkId>): Promise<Grave[]> {
    return this.#inTurn(async () => {
      const found: Grave[] = [];
      const batch: Change[] = [];
      for (const chunk of new Set(chunks)) {
        const grave = this.grave(chunk);
        if (grave?.segment !== segment) continue;
        found.push(grave);
        batch.push({ type: 'del', key: GRAVE + chunk });
      }
      await this.#level.batch(batch);
      return found;
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
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
  ): Promise<{ chunk: ChunkId; length: number; copies: number }[]> {
    const prefix = CHUNK + partition.toString(16).padStart(4, '0');
    const range = { gt: after === '' ? prefix : CHUNK + after, lt: `${prefix}g`, limit: count };
    const entries = await this.#level.iterator(range).all();
    return entries.map(([key, value]) => {
      const { length, copies } = decode<ChunkPlace>(value);
      return { chunk: key.slice(CHUNK.length) as ChunkId, length, copies };
    });
  }

  /** Every chunk and its place. */
  async *all(): AsyncIterable<[ChunkId, ChunkPlace]> {
    for await (const [key, value] of this.#level.iterator({ gt: CHUNK, lt: `${CHUNK}g` })) {
      yield [key.slice(CHUNK.length) as ChunkId, decode<ChunkPlace>(value)];
    }
  }

  /** Every grave. */
  async *graves(): AsyncIterable<[ChunkId, Grave]> {
    for await (const [key, value] of this.#level.iterator({ gt: GRAVE, lt: `${GRAVE}g` })) {
      yield [key.slice(GRAVE.length) as ChunkId, decode<Grave>(value)];
    }
  }

  async close(): Promise<void> {
    await this.#level.close();
  }
}

function change(key: string, value: ChunkPlace | Grave | undefined): Change {
  return value === undefined ? { type: 'del', key } : { type: 'put', key, value: encode(value) };
}
