import { type ChunkId, HoldfastError, type NodeNumber } from '@holdfast/protocol';
import type { ChunkStore, ListedChunk } from '../chunks/store.ts';
import { pause } from '../waiting.ts';
import { Budget, Pace } from './budget.ts';
import { REPAIR_LIMITS, type RepairLimits } from './limits.ts';
import type { RepairMetrics, RepairReason } from './metrics.ts';
import type { PeerDigests } from './peer-digests.ts';
import type { PeerCall } from './peers.ts';

/** stored: it is where it should be; gone: nobody has it any more; failed: try again later. */
export type Outcome = 'stored' | 'gone' | 'failed';

interface Copy {
  readonly bytes: Uint8Array;
  readonly copies: number;
}

/** What {@link Transfer} works with. */
export interface TransferParts {
  readonly store: ChunkStore;
  readonly call: PeerCall;
  readonly peers: PeerDigests;
  readonly metrics: RepairMetrics;
  readonly limits: RepairLimits;
  readonly signal: AbortSignal;
}

/** Copies chunks between this peer's store and others, within what repair may use. */
export class Transfer {
  readonly #parts: TransferParts;
  readonly #budget: Budget;
  readonly #pace: Pace;

  constructor(parts: TransferParts) {
    this.#parts = parts;
    const { chunksInFlight, bytesInFlight, bytesPerSecond } = parts.limits;
    this.#budget = new Budget({ items: chunksInFlight, bytes: bytesInFlight });
    this.#pace = new Pace(bytesPerSecond);
  }

  /**
   * Copies a chunk from the first holder that gives good bytes. Throws ENOSPC and DISK_FAILED of the
   * own store: then no other chunk would fare better.
   */
  fetch(
    { chunk, length }: Pick<ListedChunk, 'chunk' | 'length'>,
    holders: readonly NodeNumber[],
    reason: RepairReason,
  ): Promise<Outcome> {
    return this.#within(length, async () => {
      const { metrics, store } = this.#parts;
      let absent = 0;
      for (const holder of holders) {
        if (store.isFreed(chunk)) return 'gone';
        // It may have come from its writer meanwhile.
        if (reason === 'missing' && store.length(chunk) !== undefined) return 'stored';
        const copy = await this.#read(holder, chunk, length);
        if (copy === 'absent') absent += 1;
        if (typeof copy === 'string') continue;
        const outcome = await this.#keep(chunk, copy);
        if (outcome === 'failed') metrics.failedCopies.inc();
        if (outcome !== 'stored') return outcome;
        metrics.copiedChunks.inc({ reason });
        metrics.copiedBytes.inc({ reason }, length);
        return 'stored';
      }
      if (absent === holders.length && absent > 0 && reason === 'missing') return 'gone';
      metrics.failedCopies.inc();
      return 'failed';
    });
  }

  /** Gives a chunk of this peer to another one. */
  push({ chunk, length, copies }: ListedChunk, to: NodeNumber, epoch: number): Promise<Outcome> {
    return this.#within(length, async () => {
      const { store, call, metrics, signal } = this.#parts;
      try {
        const { bytes } = await store.read(chunk, 0, length);
        const options = { body: bytes, signal, deadlineMs: REPAIR_LIMITS.chunkMsMax };
        await call(to, 'chunk.write', { chunk, epoch, copies }, options);
        metrics.copiedChunks.inc({ reason: 'stray' });
        metrics.copiedBytes.inc({ reason: 'stray' }, length);
        return 'stored';
      } catch (error) {
        const code = codeOf(error);
        if (code === 'CHUNK_FREED' || code === 'CHUNK_MISSING') return 'gone';
        this.#noteFailure(to, error);
        metrics.failedCopies.inc();
        return 'failed';
      }
    });
  }

  #within(length: number, action: () => Promise<Outcome>): Promise<Outcome> {
    const { signal } = this.#parts;
    return this.#budget.spend(length, async () => {
      const delayMs = this.#pace.delayMs(length, performance.now());
      if (delayMs > 0) await pause(delayMs, signal);
      return signal.aborted ? 'failed' : action();
    });
  }

  async #read(
    holder: NodeNumber,
    chunk: ChunkId,
    length: number,
  ): Promise<Copy | 'absent' | 'failed'> {
    const { call, signal, peers } = this.#parts;
    if (!peers.isReachable(holder)) return 'failed';
    try {
      const options = { signal, deadlineMs: REPAIR_LIMITS.chunkMsMax };
      const range = { chunk, offset: 0, length };
      const { header, body } = await call<{ copies: number }>(holder, 'chunk.read', range, options);
      return body.length === length ? { bytes: body, copies: header.copies } : 'failed';
    } catch (error) {
      if (codeOf(error) === 'CHUNK_MISSING') return 'absent';
      this.#noteFailure(holder, error);
      return 'failed';
    }
  }

  #noteFailure(peer: NodeNumber, error: unknown): void {
    const code = codeOf(error);
    if (code === 'UNREACHABLE' || code === 'DEADLINE') this.#parts.peers.failed(peer);
  }

  /** Waits while the store is overloaded: clients come first. */
  async #keep(chunk: ChunkId, { bytes, copies }: Copy): Promise<Outcome> {
    const { store, signal } = this.#parts;
    for (;;) {
      try {
        await store.write(chunk, bytes, copies);
        return 'stored';
      } catch (error) {
        const code = codeOf(error);
        // Deleted while it was on its way.
        if (code === 'CHUNK_FREED') return 'gone';
        if (code === 'CORRUPT' || signal.aborted) return 'failed';
        if (code !== 'OVERLOADED') throw error;
        await pause(REPAIR_LIMITS.overloadedMs, signal);
      }
    }
  }
}

/** The code of an error; undefined for a foreign one. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof HoldfastError ? error.code : undefined;
}
