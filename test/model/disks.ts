// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in this class
/** Chunk stores on real disks below the shards of a test, and all who write and delete in them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freedChunks } from '@holdfast/metadata';
import {
  type ChunkId,
  makeChunkId,
  type Operation,
  type PartitionId,
  type ShardId,
} from '@holdfast/protocol';
import { expect } from 'vitest';
import type { ChunkStore } from '../../packages/node/src/chunks/store.ts';
import { OrphanSearch } from '../../packages/node/src/repair/orphans.ts';
import { openTestStore } from '../../packages/node/src/testing/chunk-store.ts';
import type { Courier } from './courier.ts';
import type { RealShard } from './real-shard.ts';
import type { WritersClock } from './steps.ts';

const REPLICAS = 3;
/** Far above the chunks of a run. */
const ALL = 100_000;
const MAKER = 'dead00000000';

/** What happens beside a step of a client. */
export interface DiskEvent {
  readonly kind:
    | 'nothing'
    | 'collect'
    | 'late'
    | 'restart'
    | 'orphan'
    | 'search'
    | 'repair'
    | 'compact';
  readonly a: number;
  readonly b: number;
}

/** Who deletes fell over. */
class Died extends Error {}

/** A search that waits in its middle. */
interface Paused {
  readonly done: Promise<void>;
  readonly goOn: () => void;
}

/** The disks of three peers, that hold the chunks of volumes in two shards. */
export class Disks implements Courier {
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-collection-'));
  readonly #volumes: RealShard[] = [];
  readonly #clock: WritersClock;
  readonly #stores: ChunkStore[] = [];
  /** Every chunk, and the replicas that took it. */
  readonly #written = new Map<ChunkId, Set<number>>();
  /** Commands of leaders that were on their way when these died. */
  readonly #late: { readonly real: RealShard; readonly operation: Operation }[] = [];
  #search: Paused | undefined;
  #given = 0;

  constructor(clock: WritersClock) {
    this.#clock = clock;
  }

  async begin(): Promise<void> {
    for (let replica = 0; replica < REPLICAS; replica++)
      this.#stores.push(await this.#open(replica));
  }

  #open(replica: number): Promise<ChunkStore> {
    return openTestStore(join(this.#directory, String(replica)));
  }

  async end(): Promise<void> {
    await this.goOn();
    await Promise.all(this.#stores.map((store) => store.close()));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** One more volume whose chunks lie here; the first of each shard speaks for it. */
  add(real: RealShard): void {
    this.#volumes.push(real);
  }

  get #shards(): ReadonlyMap<ShardId, RealShard> {
    return new Map(this.#volumes.toReversed().map((real) => [real.shard, real]));
  }

  get #known(): Set<ChunkId> {
    return new Set(this.#volumes.flatMap((real) => [...real.knownChunks()] as ChunkId[]));
  }

  #roll(count: number): number {
    return this.#volumes[0]?.pair.roll(count) ?? 0;
  }

  /** A client has the chunks of its command on enough replicas before it sends it; then it may be slow. */
  async put(chunks: readonly ChunkId[]): Promise<void> {
    await this.goOn();
    const fresh = chunks.filter((chunk) => !this.#written.has(chunk));
    if (fresh.length === 0) return;
    for (const chunk of fresh) await this.#store(chunk, this.#roll(REPLICAS + 2));
    const lot = this.#roll(6);
    if (lot === 0) await this.#run(this.#roll(REPLICAS), this.#someTime());
    if (lot === 1) await this.#repair(this.#roll(REPLICAS), this.#roll(REPLICAS));
    if (lot >= 4) await this.#begin(this.#roll(REPLICAS), 1 + this.#roll(6));
  }

  async #store(chunk: ChunkId, without: number): Promise<void> {
    const replicas = Array.from({ length: REPLICAS }, (_, replica) => replica);
    const took = replicas.filter((replica) => replica !== without);
    this.#written.set(chunk, new Set(took));
    const stores = took.map((replica) => this.#stores[replica] as ChunkStore);
    await Promise.all(stores.map((store) => store.write(chunk, bytesOf(chunk))));
  }

  /** Whoever was told that its chunks are barred writes them again, or is no more. */
  goesOn(): boolean {
    return this.#roll(4) > 0;
  }

  async take({ kind, a, b }: DiskEvent): Promise<void> {
    await this.goOn();
    this.#clock.second += a % 2;
    if (kind === 'collect') await this.#collect(this.#volumes[a % this.#volumes.length], a, b);
    if (kind === 'late') await this.#arrive(a, b);
    if (kind === 'restart') await this.#restart(a % REPLICAS);
    if (kind === 'orphan') await this.#giveUp(a, b);
    if (kind === 'search') await this.#run(a % REPLICAS, this.#someTime(), 1 + (b % 12));
    if (kind === 'repair') await this.#repair(a % REPLICAS, b % REPLICAS);
    if (kind === 'compact') while (await this.#stores[a % REPLICAS]?.compact());
  }

  /** Too few peers took a chunk, or its writer died behind it. */
  async #giveUp(partition: number, without: number): Promise<void> {
    const { second } = this.#clock;
    const chunk = makeChunkId(partition as PartitionId, MAKER, this.#given++, second);
    await this.#store(chunk, without % (REPLICAS + 1));
  }

  /** By the clock of a peer, which may be before or behind those of the writers. */
  #someTime(): number {
    return Math.max(0, this.#clock.second - 2 + this.#roll(5));
  }

  /** A peer's search; `each` is called before each thing that it does to others. */
  #searchOn(replica: number, second: number, each: () => Promise<void>): Promise<void> {
    const shardOf = async (shard: ShardId): Promise<RealShard> => {
      await each();
      return this.#shards.get(shard) as RealShard;
    };
    const search = new OrphanSearch({
      store: this.#stores[replica] as ChunkStore,
      shards: () => [...this.#shards.keys()],
      look: async (shard, chunks) => (await shardOf(shard)).knownAmong(chunks),
      bar: async (shard, before) => (await shardOf(shard)).internal({ op: 'bar-chunks', before }),
      deleteChunks: async (chunks) => {
        for (const store of this.#stores) {
          await each();
          await store.delete(chunks);
        }
      },
      nowMs: () => second * 1000,
      ageMs: 0,
      onFreed: () => {},
      signal: new AbortController().signal,
    });
    return search.run().catch((error: unknown) => {
      if (!(error instanceof Died)) throw error;
    });
  }

  /** A search that dies before one of its steps (0: not). */
  async #run(replica: number, second: number, diesAt = 0): Promise<void> {
    let step = 0;
    await this.#searchOn(replica, second, async () => {
      if (++step === diesAt) throw new Died();
    });
  }

  /** A search that waits before one of its steps until {@link goOn}. */
  async #begin(replica: number, pausesAt: number): Promise<void> {
    const isThere = Promise.withResolvers<void>();
    const mayGoOn = Promise.withResolvers<void>();
    let step = 0;
    const soon = this.#clock.second + 1 + this.#roll(2);
    const done = this.#searchOn(replica, soon, async () => {
      if (++step !== pausesAt) return;
      isThere.resolve();
      await mayGoOn.promise;
    });
    this.#search = { done, goOn: mayGoOn.resolve };
    await Promise.race([isThere.promise, done]);
  }

  /** Lets a search that waits come to its end. */
  async goOn(): Promise<void> {
    const search = this.#search;
    this.#search = undefined;
    search?.goOn();
    await search?.done;
  }

  /** A peer compares its chunks with another's, as repair does. */
  async #repair(from: number, to: number): Promise<void> {
    const [theirs, own] = [this.#stores[from], this.#stores[to]] as [ChunkStore, ChunkStore];
    for (const chunk of this.#on(theirs)) {
      if (own.length(chunk) !== undefined) continue;
      if (own.isFreed(chunk)) await theirs.delete([chunk]);
      else {
        await own.write(chunk, bytesOf(chunk));
        this.#written.get(chunk)?.add(to);
      }
    }
  }

  /** A round of a leader, who may die after some of the replicas, and with its command under way. */
  async #collect(real: RealShard | undefined, count: number, fate: number): Promise<void> {
    if (real === undefined) return;
    const due = await freedChunks(real.state, 0, count === ALL ? ALL : 1 + (count % 8));
    const reached = fate % (REPLICAS + 3);
    const chunks = due.map(({ chunk }) => chunk);
    await Promise.all(this.#stores.slice(0, reached).map((store) => store.delete(chunks)));
    if (reached < REPLICAS || due.length === 0) return;
    const operation = { op: 'chunks-collected', places: due.map(({ place }) => place) } as const;
    if (reached > REPLICAS) await real.internal(operation);
    if (reached > REPLICAS + 1 || reached === REPLICAS) this.#late.push({ real, operation });
  }

  async #arrive(index: number, again: number): Promise<void> {
    const at = index % Math.max(1, this.#late.length);
    const late = this.#late[at];
    if (late === undefined) return;
    await late.real.internal(late.operation);
    if (again % 2 === 0) this.#late.splice(at, 1);
  }

  async #restart(replica: number): Promise<void> {
    await this.#stores[replica]?.close();
    this.#stores[replica] = await this.#open(replica);
  }

  #on(store: ChunkStore): ChunkId[] {
    return [...this.#written.keys()].filter((chunk) => store.length(chunk) !== undefined);
  }

  /** Whatever is not given up is on every disk that took it, and two did. */
  async compare(): Promise<void> {
    await this.goOn();
    const freed = await Promise.all(
      [...this.#shards.values()].map(({ state }) => freedChunks(state, 0, ALL)),
    );
    const isFreed = new Set(freed.flat().map(({ chunk }) => chunk));
    for (const chunk of this.#known) {
      if (isFreed.has(chunk)) continue;
      const took = [...(this.#written.get(chunk) ?? [])];
      expect(took.length).toBeGreaterThanOrEqual(2);
      const lost = took.filter((replica) => this.#stores[replica]?.length(chunk) === undefined);
      expect({ chunk, lost }).toEqual({ chunk, lost: [] });
    }
  }

  /** All live, at last: after it every disk holds what the records name, and nothing else. */
  async finish(reclaimKeys: number): Promise<void> {
    await this.goOn();
    for (const { real, operation } of this.#late) await real.internal(operation);
    await this.#volumes[0]?.copyAll();
    for (const real of this.#shards.values()) {
      await real.reclaimAll(reclaimKeys);
      await this.#collect(real, ALL, REPLICAS + 1);
      expect(await freedChunks(real.state, 0, 1)).toEqual([]);
    }
    const ever = this.#clock.second + 100;
    for (let replica = 0; replica < REPLICAS; replica++) await this.#run(replica, ever);
    for (let replica = 0; replica < REPLICAS; replica++) {
      for (let step = 1; step < REPLICAS; step++)
        await this.#repair((replica + step) % REPLICAS, replica);
      await this.#restart(replica);
    }
    const known = this.#known;
    for (const store of this.#stores) expect(new Set(this.#on(store))).toEqual(known);
  }
}

function bytesOf(chunk: ChunkId): Uint8Array {
  return Buffer.from(chunk);
}
