import { freedChunks, planReclaim, type StateSource } from '@holdfast/metadata';
import type { ChunkId, Operation } from '@holdfast/protocol';
import { Rounds } from './rounds.ts';

/** Options of {@link Housekeeping}. */
export interface HousekeepingOptions {
  readonly state: StateSource;
  /** Proposes an operation of the shard's own; rejects when this peer does not lead any more. */
  readonly propose: (operation: Operation) => Promise<unknown>;
  /** Deletes chunks on all their replicas; answers those that are gone from every one. */
  readonly deleteChunks: (chunks: readonly ChunkId[]) => Promise<readonly ChunkId[]>;
  /** Nanoseconds since the epoch. */
  readonly nowNs: () => bigint;
  /** Milliseconds that a chunk stays after it was given up: readers may still be at it. 60,000. */
  readonly graceMs?: number;
  /** Milliseconds between rounds when there was work, and when there was none. 50 and 2000. */
  readonly busyMs?: number;
  readonly idleMs?: number;
}

/** Keys of one 'reclaim' and chunks of one collection: small, so that clients wait for neither. */
const KEYS_MAX = 64;
const CHUNKS_MAX = 128;

/** What the leader of a shard tidies up beside its clients, slowly. */
export class Housekeeping {
  readonly #options: HousekeepingOptions;
  readonly #pauses: { readonly busyMs: number; readonly idleMs: number };
  readonly #graceNs: bigint;
  readonly #rounds = new Rounds(() => this.#paced());
  /** Freed chunks after this place are next; those before it could not be deleted just now. */
  #place = 0;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#pauses = { busyMs: options.busyMs ?? 50, idleMs: options.idleMs ?? 2000 };
    this.#graceNs = BigInt(options.graceMs ?? 60_000) * 1_000_000n;
  }

  /** Begins, or goes on, with leadership. */
  start(): void {
    this.#rounds.start();
  }

  /** Ends after the round under way. */
  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  async #paced(): Promise<number> {
    // A round that fails has done nothing that a later one cannot do again.
    const didWork = await this.#round().catch(() => false);
    return didWork ? this.#pauses.busyMs : this.#pauses.idleMs;
  }

  async #round(): Promise<boolean> {
    const reclaim = await planReclaim(this.#options.state, KEYS_MAX);
    if (reclaim !== undefined) await this.#options.propose(reclaim);
    const isCollecting = await this.#collect();
    return reclaim !== undefined || isCollecting;
  }

  async #collect(): Promise<boolean> {
    const { state, nowNs, deleteChunks, propose } = this.#options;
    const freed = await freedChunks(state, this.#place, CHUNKS_MAX);
    const before = nowNs() - this.#graceNs;
    const due = freed.filter(({ timeNs }) => timeNs <= before);
    // Past the last one, or past those that still have grace: begin again with the oldest.
    const wasBeginning = this.#place === 0;
    this.#place = due.length < CHUNKS_MAX ? 0 : due.at(-1)!.place;
    if (due.length === 0) return !wasBeginning;
    const gone = new Set(await deleteChunks(due.map(({ chunk }) => chunk)));
    const places = due.filter(({ chunk }) => gone.has(chunk)).map(({ place }) => place);
    if (places.length > 0) await propose({ op: 'chunks-collected', places });
    return places.length > 0 || this.#place !== 0;
  }
}
