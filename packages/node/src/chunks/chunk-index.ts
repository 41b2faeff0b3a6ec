import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type ChunkId, decode, encode, HoldfastError, type PartitionId } from '@holdfast/protocol';
import type { Level } from 'level';
import { failureText, openDurableLevel } from '../durable-level.ts';
import { CHUNK_STORE_LIMITS } from './limits.ts';

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

/** What a flushed batch of records changes, and where in which segment it ends. */
export interface Entry {
  readonly changes: readonly IndexChange[];
  readonly segment: number;
  readonly end: number;
}

const CHUNK = 'c/';
const GRAVE = 'g/';
const SCANNED = 's/';
const FLUSHED = 'f/';
/** Written where nothing else is: level passes over an empty batch, and would not flush. */
const MARK: Change = { type: 'put', key: 'flushed', value: new Uint8Array(0) };

interface Range {
  readonly gt: string;
  readonly lt: string;
  readonly limit?: number;
}

type Change =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: string; readonly value?: undefined };

/**
 * Chunk id to place, in `level`; a mirror of the segments that can be made anew from them. Throws
 * ENOSPC while the disk is full, DISK_FAILED when it cannot be read or written: see isIndexFailure.
 */
export class ChunkIndex {
  readonly #directory: string;
  readonly #level: Level<string, Uint8Array>;
  /** A change failed. Level takes no more until it is opened again, which needs room. */
  #isBroken = false;
  /** What level could not take for want of room, by key; reads see it all the same. */
  readonly #owed = new Map<string, Change>();
  /** Changes are made one after the other, so that one may depend on what it finds. */
  #last: Promise<unknown> = Promise.resolve();
  #isHealing = false;
  #isClosed = false;

  private constructor(directory: string, level: Level<string, Uint8Array>) {
    this.#directory = directory;
    this.#level = level;
  }

  /** Throws DIRECTORY_IN_USE too. */
  static async open(directory: string): Promise<ChunkIndex> {
    try {
      const level = await openDurableLevel<string, Uint8Array>(directory, {
        valueEncoding: 'view',
      });
      return new ChunkIndex(directory, level);
    } catch (cause) {
      throw await failure(directory, cause);
    }
  }

  /** Throws OVERLOADED while it is opened again. */
  get(chunk: ChunkId): ChunkPlace | undefined {
    return this.#read<ChunkPlace>(CHUNK + chunk);
  }

  grave(chunk: ChunkId): Grave | undefined {
    return this.#read<Grave>(GRAVE + chunk);
  }

  #read<T>(key: string): T | undefined {
    try {
      const owed = this.#owed.get(key);
      const value = owed === undefined ? this.#level.getSync(key) : owed.value;
      return value === undefined ? undefined : decode<T>(value);
    } catch (cause) {
      throw this.#unreadable(cause);
    }
  }

  #unreadable(cause: unknown): HoldfastError {
    if (!this.#isBroken) return indexFailure(cause);
    // It may be closed, and nobody may come to write.
    if (!this.#isHealing) void this.#heal();
    return new HoldfastError('OVERLOADED', 'the chunk index is being opened again', { cause });
  }

  async #heal(): Promise<void> {
    this.#isHealing = true;
    try {
      await this.#inTurn(() => this.#batch([]));
    } catch {
      // Whoever writes next is told.
    } finally {
      this.#isHealing = false;
    }
  }

  /** Writes changes as one, in order; `sync` makes them durable, and all before them. */
  async write(
    changes: readonly IndexChange[],
    options: { scanned?: ReadonlyMap<number, number>; sync?: boolean } = {},
  ): Promise<void> {
    const batch = changesOf(changes);
    for (const [segment, offset] of options.scanned ?? []) {
      batch.push({ type: 'put', key: SCANNED + segment, value: encode(offset) });
    }
    const sync = options.sync ?? false;
    if (batch.length === 0 && sync) batch.push(MARK);
    await this.#inTurn(() => this.#batch(batch, sync));
  }

  /**
   * Writes what durable records have changed already: what `changesNow` answers, called when the index
   * can be read and nothing else changes it. What there is no room for is kept in memory, and found
   * there: nothing more may be entered until `settle` has succeeded.
   */
  async enter(changesNow: () => Entry): Promise<void> {
    await this.#inTurn(async () => {
      const { changes, segment, end } = changesNow();
      const batch = changesOf(changes);
      batch.push({ type: 'put', key: FLUSHED + segment, value: encode(end) });
      try {
        await this.#batch(batch);
      } catch (error) {
        if (!isNoRoom(error)) throw error;
        for (const change of batch) this.#owed.set(change.key, change);
      }
    });
  }

  /** Writes what there was no room for. Throws ENOSPC while there is none. */
  async settle(): Promise<void> {
    if (this.#owed.size > 0 || this.#isBroken) await this.#inTurn(() => this.#batch([]));
  }

  async #batch(batch: readonly Change[], sync = false): Promise<void> {
    if (this.#isClosed) throw new HoldfastError('SHUTTING_DOWN'); // level would open itself again
    if (this.#isBroken) await this.#reopen();
    const all = [...this.#owed.values(), ...batch];
    try {
      await this.#level.batch(all, { sync });
    } catch (cause) {
      this.#isBroken = true;
      // There may be room again by now: it is the disk's failure only if it fails twice.
      await this.#reopen(cause);
      try {
        await this.#level.batch(all, { sync });
      } catch (again) {
        this.#isBroken = true;
        throw await failure(this.#directory, again);
      }
    }
    this.#owed.clear();
  }

  /** Nothing is lost by it: what level took before is in its log, and what it did not take is written again. */
  async #reopen(cause?: unknown): Promise<void> {
    if (!(await hasRoom(this.#directory))) throw noRoom(cause);
    try {
      await this.#level.close();
      await this.#level.open();
    } catch (error) {
      throw await failure(this.#directory, error);
    }
    this.#isBroken = false;
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
      await this.#batch(batch);
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
    return this.#read<number>(SCANNED + segment) ?? 0;
  }

  /** Up to which offset of a segment all had been flushed when it was entered. */
  flushedUpTo(segment: number): number {
    return this.#read<number>(FLUSHED + segment) ?? 0;
  }

  /** Forgets a segment that is no more. */
  async forgetSegment(segment: number): Promise<void> {
    const keys = [SCANNED + segment, FLUSHED + segment];
    await this.#inTurn(() => this.#batch(keys.map((key) => ({ type: 'del', key }))));
  }

  /** Chunks of a partition after an id ('' from the start), in order. */
  async list(
    partition: PartitionId,
    after: ChunkId | '',
    count: number,
  ): Promise<{ chunk: ChunkId; length: number; copies: number }[]> {
    const prefix = CHUNK + partition.toString(16).padStart(4, '0');
    const range = { gt: after === '' ? prefix : CHUNK + after, lt: `${prefix}g`, limit: count };
    const listed: { chunk: ChunkId; length: number; copies: number }[] = [];
    for await (const [chunk, { length, copies }] of this.#entries<ChunkPlace>(CHUNK, range)) {
      if (listed.length === count) break;
      listed.push({ chunk, length, copies });
    }
    return listed;
  }

  /** Every chunk and its place. */
  all(): AsyncIterable<[ChunkId, ChunkPlace]> {
    return this.#entries(CHUNK, { gt: CHUNK, lt: `${CHUNK}g` });
  }

  /** Every grave. */
  graves(): AsyncIterable<[ChunkId, Grave]> {
    return this.#entries(GRAVE, { gt: GRAVE, lt: `${GRAVE}g` });
  }

  async *#entries<T>(prefix: string, range: Range): AsyncIterable<[ChunkId, T]> {
    const owed = [...this.#owed.values()]
      .filter(({ key }) => key > range.gt && key < range.lt)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const { gt, lt, limit } = range;
    const bounds = { gt, lt, limit: limit === undefined ? -1 : limit + owed.length };
    try {
      for await (const [key, value] of merged(this.#level.iterator(bounds), owed))
        yield [key.slice(prefix.length) as ChunkId, decode<T>(value)];
    } catch (cause) {
      throw this.#unreadable(cause);
    }
  }

  close(): Promise<void> {
    return this.#inTurn(() => {
      this.#isClosed = true;
      return this.#level.close();
    });
  }
}

/** What is stored, as it is after the changes (in order of their keys). */
async function* merged(
  stored: AsyncIterable<[string, Uint8Array]>,
  changes: readonly Change[],
): AsyncIterable<[string, Uint8Array]> {
  let at = 0;
  for await (const [key, value] of stored) {
    for (; at < changes.length; at++) {
      const change = changes[at];
      if (change === undefined || change.key >= key) break;
      if (change.type === 'put') yield [change.key, change.value];
    }
    // A change of this key comes out before the next one, or behind the last.
    if (changes[at]?.key !== key) yield [key, value];
  }
  for (const change of changes.slice(at))
    if (change.type === 'put') yield [change.key, change.value];
}

function changesOf(changes: readonly IndexChange[]): Change[] {
  return changes.flatMap(({ chunk, place, grave }) => [
    change(CHUNK + chunk, place),
    change(GRAVE + chunk, grave),
  ]);
}

function change(key: string, value: ChunkPlace | Grave | undefined): Change {
  return value === undefined ? { type: 'del', key } : { type: 'put', key, value: encode(value) };
}

/** Whether an error says that the index is damaged, which it need not stay: the segments have it all. */
export function isIndexFailure(error: unknown): boolean {
  return error instanceof HoldfastError && error.detail['part'] === 'index';
}

function indexFailure(cause: unknown): HoldfastError {
  return new HoldfastError(
    'DISK_FAILED',
    `the chunk index failed: ${failureText(cause)}; start the peer again, and it is made anew`,
    { cause, detail: { part: 'index' } },
  );
}

function noRoom(cause: unknown): HoldfastError {
  return new HoldfastError('ENOSPC', 'the disk has no room for the chunk index; free some', {
    cause,
  });
}

function isNoRoom(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'ENOSPC';
}

/** What a failure of level means: it has no codes for what the disk said, only texts. */
async function failure(directory: string, cause: unknown): Promise<HoldfastError> {
  const { code } = ((cause as Error).cause ?? cause) as { code?: string };
  if (code === 'LEVEL_LOCKED')
    return new HoldfastError('DIRECTORY_IN_USE', `${directory} is in use by another process`);
  const text = failureText(cause);
  if (/input\/output error/i.test(text)) return indexFailure(cause);
  const isFull = /no space left|quota exceeded/i.test(text) || !(await hasRoom(directory));
  return isFull ? noRoom(cause) : indexFailure(cause);
}

async function hasRoom(directory: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(dirname(directory));
  return bavail * bsize >= CHUNK_STORE_LIMITS.indexRoomBytes;
}
