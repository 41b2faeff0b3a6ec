import { type LentStateParts, nextCopy, partialShadows } from '@holdfast/metadata';
import type { Command, CommandResult, Operation } from '@holdfast/protocol';
import { Rounds } from './rounds.ts';

/** What {@link BaseCopier} works with. */
export interface BaseCopierOptions extends Pick<LentStateParts, 'state' | 'look'> {
  /** Proposes an operation of the shard's own; rejects when this peer does not lead any more. */
  readonly propose: (operation: Operation) => Promise<unknown>;
}

/** Records of one page: small, so that clients do not wait for it. */
const PAGE_RECORDS = 512;
/** Milliseconds between pages: about 10,000 records a second, so that both shards go on with their clients. */
const BUSY_MS = 50;
/** Milliseconds until the next look when there is nothing to copy, and after one that failed. */
const IDLE_MS = 5_000;

/**
 * Copies the records of snapshots in other shards that clones of this one rest on, while this peer leads:
 * in the order of their keys, going on where the last leader was. What clients need sooner is fetched
 * beside it.
 */
export class BaseCopier {
  readonly #options: BaseCopierOptions;
  readonly #rounds = new Rounds(() => this.#round());
  /** Shadows take turns. */
  #turn = 0;

  constructor(options: BaseCopierOptions) {
    this.#options = options;
  }

  /** Begins, or goes on, with leadership. */
  start(): void {
    this.#rounds.start();
  }

  /** Ends after the page under way. */
  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  /** Keeps up with what was applied. */
  applied({ operation }: Command, { ok }: CommandResult): void {
    if (ok && operation.op === 'clone-from-afar') this.#rounds.wake();
  }

  async #round(): Promise<number> {
    const { state, look, propose } = this.#options;
    try {
      const shadows = await partialShadows(state);
      const shadow = shadows[this.#turn++ % Math.max(1, shadows.length)];
      if (shadow === undefined) return IDLE_MS;
      const page = await nextCopy({ state, look }, shadow, PAGE_RECORDS);
      if (page !== undefined) await propose(page);
      return BUSY_MS;
    } catch {
      // The other shard cannot be reached, or the clone is about to go: nothing is lost, a later round goes on.
      return IDLE_MS;
    }
  }
}
