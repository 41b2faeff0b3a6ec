/**
 * A shard's state together with what its shadows still lack, as far as it was asked for: what the leader
 * looks at, and tries commands on, before it has copied it. Records of shadows never change, so what was
 * learned of them stays right. Asking is somebody else's: no I/O here.
 */
import {
  type BaseRecords,
  type BaseView,
  type ChunkId,
  type Command,
  HoldfastError,
  type Operation,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { apply } from './apply.ts';
import { tallyOf } from './content/pieces.ts';
import {
  bareKey,
  isHeadKey,
  KIND,
  keyIn,
  lentKey,
  parseKey,
  SHARD_KIND,
  shadowKey,
  shardKindRange,
  volumeIn,
} from './keys.ts';
import { COPY_END } from './operations/afar.ts';
import { LENT, REGION } from './records.ts';
import { isKnownAbsent } from './shadows.ts';
import { FIRST_TREE, SHADOW, type ShadowRecord } from './shard-records.ts';
import type { StateReader, StateSource, StateWriter } from './state.ts';
import { type ViewRequest, view } from './views.ts';

type Adopt = Extract<Operation, { op: 'adopt-base-records' }>;

/** Where the snapshot of a shadow is. */
export type BaseOrigin = Pick<ShadowRecord, 'shard' | 'volume' | 'generation'>;

/** Looks at a snapshot in another shard, wherever that is led. Throws ESTALE, or an outage after a bounded wait. */
export type LookAtBase = (
  origin: BaseOrigin,
  wanted: BaseView & { readonly at: number },
) => Promise<BaseRecords>;

/** Records that are remembered; above it all are forgotten. */
const REMEMBERED_MAX = 50_000;
/** Questions that one look or command may take. */
const QUESTIONS_MAX = 10_000;
/** Records, and their bytes, that one command adopts. */
const ADOPTED_MAX = 512;
const ADOPTED_BYTES_MAX = 256 * 1024;
/** Records of one page of a range. */
const PAGE = 1024;

const nameOf = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');

/** What was learned of shadows, by key; null: not there. */
type Learned = Map<string, Uint8Array | null>;

/** What a leader remembers of snapshots in other shards, beside what is copied. */
export class BaseMemory {
  #learned: Learned = new Map();

  /** What is remembered now. Nothing is ever taken out of it: whoever has begun with one goes on with it. */
  get learned(): Learned {
    return this.#learned;
  }

  /** Where `count` more are put, all in the same: a region is worth nothing without its chunks. */
  roomFor(count: number): Learned {
    if (this.#learned.size + count > REMEMBERED_MAX) this.#learned = new Map();
    return this.#learned;
  }
}

/** Parts of {@link LentState}. */
export interface LentStateParts {
  readonly state: StateSource;
  readonly memory: BaseMemory;
  readonly look: LookAtBase;
}

/** For one look or command. Throws BASE_MISSING where something is not known yet: then {@link LentState.ask}. */
class LentState implements StateSource {
  readonly #state: StateSource;
  readonly #memory: BaseMemory;
  readonly #look: LookAtBase;
  readonly #remembered: Learned;
  readonly #learned: Learned = new Map();
  /** Keys that were read and that the state itself does not know. */
  readonly used = new Map<string, Uint8Array>();
  /** Pages of ranges, by their bounds. */
  readonly #pages = new Map<string, BaseRecords>();

  constructor({ state, memory, look }: LentStateParts) {
    this.#state = state;
    this.#memory = memory;
    this.#remembered = memory.learned;
    this.#look = look;
  }

  /** The shadow, if it is one of which records are missing. */
  #partOf(volume: VolumeNumber): ShadowRecord | undefined {
    if (volume < FIRST_TREE) return undefined;
    const bytes = this.#state.get(shadowKey(volume));
    const shadow = bytes === undefined ? undefined : SHADOW.decode(bytes);
    return shadow?.isWhole === false ? shadow : undefined;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const bytes = this.#state.get(key);
    const volume = volumeIn(key);
    if (bytes !== undefined) {
      const isShadow = volume === 0 && parseKey(key).kind === SHARD_KIND.shadow;
      // Whole, for whoever asks: what is missing throws here.
      return isShadow ? SHADOW.encode({ ...SHADOW.decode(bytes), isWhole: true }) : bytes;
    }
    if (volume < FIRST_TREE) return undefined;
    if (parseKey(key).kind === KIND.lent) return this.#learnedOf(nameOf(key)) ?? undefined;
    if (!isHeadKey(key)) return undefined;
    const shadow = this.#partOf(volume);
    if (shadow === undefined || isKnownAbsent(this.#state, shadow, key)) return undefined;
    const name = nameOf(key);
    const learned = this.#learnedOf(name);
    if (learned === undefined) {
      throw new HoldfastError('BASE_MISSING', undefined, {
        detail: { keys: [Uint8Array.from(key)] },
      });
    }
    if (!this.used.has(name)) this.used.set(name, Uint8Array.from(key));
    return learned ?? undefined;
  }

  #learnedOf(name: string): Uint8Array | null | undefined {
    const own = this.#learned.get(name);
    return own === undefined ? this.#remembered.get(name) : own;
  }

  async *scan(
    from: Uint8Array,
    to: Uint8Array,
    limit: number,
  ): AsyncGenerator<[Uint8Array, Uint8Array]> {
    const shadow = isHeadKey(from) ? this.#partOf(volumeIn(from)) : undefined;
    const isHere = shadow === undefined || Buffer.compare(bareKey(to), shadow.copied) <= 0;
    if (isHere || parseKey(from).ino >= shadow.nextInode) {
      yield* this.#state.scan(from, to, limit);
      return;
    }
    const volume = volumeIn(from);
    let left = limit;
    for (let next: Uint8Array | undefined = bareKey(from); next !== undefined && left > 0; ) {
      const page = await this.#page(volume, shadow, { from: next, to: bareKey(to), count: left });
      for (const [bare, bytes] of page.records) {
        if (left-- > 0 && bytes !== null) yield [keyIn(volume, bare), bytes];
      }
      next = page.next;
    }
  }

  async #page(
    volume: VolumeNumber,
    shadow: ShadowRecord,
    { from, to, count }: { readonly from: Uint8Array; readonly to: Uint8Array; count: number },
  ): Promise<BaseRecords> {
    const name = `${volume} ${nameOf(from)} ${nameOf(to)} ${count}`;
    const known = this.#pages.get(name);
    if (known !== undefined) return known;
    const { generation: at, holder: by } = shadow;
    const range = { from: Uint8Array.from(from), to: Uint8Array.from(to) };
    const wanted = { view: 'base-range', at, by, ...range, count: Math.min(count, PAGE) } as const;
    const page = await this.#look(shadow, wanted);
    this.#learn(volume, page);
    this.#pages.set(name, page);
    return page;
  }

  /** Asks for what is missing. */
  async ask(keys: readonly Uint8Array[]): Promise<void> {
    const byShadow = Map.groupBy(keys, volumeIn);
    for (const [volume, some] of byShadow) {
      const shadow = this.#partOf(volume);
      if (shadow === undefined) continue; // it is here, or gone, by now
      const { generation: at, holder: by } = shadow;
      const bare = some.map((key) => Uint8Array.from(bareKey(key)));
      this.#learn(volume, await this.#look(shadow, { view: 'base-records', at, by, keys: bare }));
    }
  }

  #learn(volume: VolumeNumber, { records, beside, chunks }: BaseRecords): void {
    const memory = this.#memory.roomFor(records.length + beside.length + chunks.length);
    const put = (key: Uint8Array, bytes: Uint8Array | null): void => {
      const name = nameOf(key);
      this.#learned.set(name, bytes);
      memory.set(name, bytes);
    };
    for (const [chunk, length] of chunks) {
      put(lentKey(volume, chunk), Uint8Array.from(LENT.encode({ length })));
    }
    for (const [bare, bytes] of [...records, ...beside]) put(keyIn(volume, bare), bytes);
  }

  /** What a command that read this needs. */
  adoptions(): Adopt[] {
    const adoptions: Adopt[] = [];
    for (const [volume, keys] of Map.groupBy(this.used.values(), volumeIn)) {
      for (let next = 0; next < keys.length; ) {
        const records: (readonly [Uint8Array, Uint8Array | null])[] = [];
        const chunks = new Map<ChunkId, number>();
        let bytes = 0;
        while (next < keys.length && records.length < ADOPTED_MAX && bytes < ADOPTED_BYTES_MAX) {
          const key = keys[next++] as Uint8Array;
          const record = this.#known(key);
          records.push([bareKey(key), record]);
          bytes += key.length + (record?.length ?? 0);
          if (record === null || parseKey(key).kind !== KIND.region) continue;
          for (const chunk of tallyOf(REGION.decode(record).pieces).chunks.keys()) {
            chunks.set(chunk, this.#lengthOf(volume, chunk));
            bytes += chunk.length;
          }
        }
        adoptions.push({ op: 'adopt-base-records', shadow: volume, records, chunks: [...chunks] });
      }
    }
    return adoptions;
  }

  /** What a key that was used has in the snapshot. */
  #known(key: Uint8Array): Uint8Array | null {
    const learned = this.#learnedOf(nameOf(key));
    if (learned === undefined) throw new HoldfastError('INTERNAL', 'it was known, and is not');
    return learned;
  }

  #lengthOf(volume: VolumeNumber, chunk: ChunkId): number {
    const bytes = this.get(lentKey(volume, chunk));
    if (bytes === undefined) throw new HoldfastError('INTERNAL', 'a region without its chunks');
    return LENT.decode(bytes).length;
  }
}

/** The keys that are missing; undefined for any other error. */
function missingIn(error: unknown): readonly Uint8Array[] | undefined {
  if (!(error instanceof HoldfastError) || error.code !== 'BASE_MISSING') return undefined;
  return error.detail['keys'] as readonly Uint8Array[];
}

/** {@link view}, that asks other shards for what clones here lack of their snapshots. Throws an outage besides, and ESTALE. */
export async function viewWithBase<V extends View>(
  parts: LentStateParts,
  request: ViewRequest<V>,
): Promise<ViewAnswers[V['view']]> {
  try {
    return await view(parts.state, request);
  } catch (error) {
    if (missingIn(error) === undefined) throw error;
  }
  const lent = new LentState(parts);
  for (let asked = 0; asked < QUESTIONS_MAX; asked++) {
    try {
      return await view(lent, request);
    } catch (error) {
      const keys = missingIn(error);
      if (keys === undefined) throw error;
      await lent.ask(keys);
    }
  }
  throw new HoldfastError('OVERLOADED', 'the look needs too much of a snapshot in another shard');
}

/** Reads through, keeps what is written to itself. */
class Attempt implements StateWriter {
  readonly #state: StateReader;
  readonly #written = new Map<string, Uint8Array | undefined>();

  constructor(state: StateReader) {
    this.#state = state;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const name = nameOf(key);
    return this.#written.has(name) ? this.#written.get(name) : this.#state.get(key);
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#written.set(nameOf(key), value);
  }

  delete(key: Uint8Array): void {
    this.#written.set(nameOf(key), undefined);
  }
}

/**
 * What has to be adopted for a command that was refused with BASE_MISSING: found by trying it, without
 * effect, and asking. Throws an outage, ESTALE when the snapshot is not held any more.
 */
export async function planAdoption(parts: LentStateParts, command: Command): Promise<Adopt[]> {
  const lent = new LentState(parts);
  for (let asked = 0; asked < QUESTIONS_MAX; asked++) {
    const result = apply(new Attempt(lent), command);
    if (result.ok || result.code !== 'BASE_MISSING') return lent.adoptions();
    await lent.ask(result.detail?.['keys'] as readonly Uint8Array[]);
  }
  throw new HoldfastError('OVERLOADED', 'the change needs too much of a snapshot in another shard');
}

/** Shadows of the shard that lack records; for the leader, which copies them. */
export async function partialShadows(state: StateSource): Promise<VolumeNumber[]> {
  const found: VolumeNumber[] = [];
  const { from, to } = shardKindRange('shadow');
  for await (const [key, bytes] of state.scan(from, to, Number.MAX_SAFE_INTEGER)) {
    if (!SHADOW.decode(bytes).isWhole) found.push(parseKey(key).subject);
  }
  return found;
}

/** The next piece of a shadow, in the order of keys; undefined when it is whole or gone. Throws an outage, ESTALE. */
export async function nextCopy(
  { state, look }: Pick<LentStateParts, 'state' | 'look'>,
  shadow: VolumeNumber,
  count: number,
): Promise<Adopt | undefined> {
  const bytes = state.get(shadowKey(shadow));
  const origin = bytes === undefined ? undefined : SHADOW.decode(bytes);
  if (origin === undefined || origin.isWhole) return undefined;
  const { generation: at, holder: by, copied } = origin;
  const from = Uint8Array.from(copied);
  const range = { from, to: COPY_END, count };
  const page = await look(origin, { view: 'base-range', at, by, ...range });
  const { records, chunks, next } = page;
  const to = next === undefined ? COPY_END : Uint8Array.from(next);
  return { op: 'adopt-base-records', shadow, records, chunks, copied: { from, to } };
}
