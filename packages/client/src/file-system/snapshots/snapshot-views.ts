import {
  HoldfastError,
  LIMITS,
  ROOT_INODE,
  type View,
  type ViewAnswers,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { Session, VolumeAddress } from '../../session/session.ts';
import type { Volumes } from '../../volumes.ts';
import { addressOf } from '../file-data.ts';
import type { SnapshotNumbers } from './snapshot-numbers.ts';

/**
 * Milliseconds after its last sign of life for which a snapshot is taken to be there. What it shows
 * never changes, so that this only delays when a removed one comes out of sight of those who have a
 * directory or file of it open.
 */
const TRUST_MS = LIMITS.sessionTrustMs;

/** What {@link SnapshotViews} works with. */
export interface SnapshotViewsOptions {
  readonly session: Pick<Session, 'view'>;
  readonly volumes: Pick<Volumes, 'byNumber'>;
  readonly numbers: SnapshotNumbers;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
}

/**
 * Looks at snapshots as the session does at volumes, under the numbers that the mount gave them, so
 * that all that is keyed by volume and inode is keyed by snapshot too.
 */
export class SnapshotViews implements Pick<Session, 'view'> {
  readonly #options: SnapshotViewsOptions;
  /** When the last look that was answered had been sent; as many as there are numbers. */
  readonly #seenAtMs = new Map<VolumeNumber, number>();

  constructor(options: SnapshotViewsOptions) {
    this.#options = options;
  }

  /** The record of a snapshot's volume, under the snapshot's number. ESTALE when the volume is gone. */
  async record(number: VolumeNumber, signal?: AbortSignal): Promise<VolumeRecord> {
    const { volume } = this.#options.numbers.keyOf(number);
    return { ...(await this.#options.volumes.byNumber(volume, signal)), number };
  }

  /** A look at a snapshot. ESTALE when it was removed; the view's refusals and outages. */
  async view<V extends View>(
    { shard, volume: number }: VolumeAddress,
    view: V,
    signal?: AbortSignal,
  ): Promise<ViewAnswers[V['view']]> {
    const { session, numbers, nowMs } = this.#options;
    const { volume, generation } = numbers.keyOf(number);
    const sentAtMs = nowMs();
    try {
      const answer = await session.view({ shard, volume }, { ...view, at: generation }, signal);
      this.#seenAtMs.set(number, sentAtMs);
      return answer;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      const isVolumeGone = error.code === 'ENOENT' && view.view !== 'lookup';
      if (error.code === 'ESTALE' || isVolumeGone) this.#seenAtMs.delete(number);
      throw isVolumeGone ? new HoldfastError('ESTALE', error.message, { cause: error }) : error;
    }
  }

  /** {@link view} by the snapshot's number alone. */
  async look<V extends View>(
    number: VolumeNumber,
    view: V,
    signal?: AbortSignal,
  ): Promise<ViewAnswers[V['view']]> {
    return this.view(addressOf(await this.record(number, signal)), view, signal);
  }

  /** Whether a snapshot was there a moment ago. */
  isTrusted(number: VolumeNumber): boolean {
    const seenAtMs = this.#seenAtMs.get(number);
    return seenAtMs !== undefined && this.#options.nowMs() - seenAtMs < TRUST_MS;
  }

  /** Resolves when a snapshot is there. ESTALE when it was removed. */
  async confirm(number: VolumeNumber, signal?: AbortSignal): Promise<void> {
    if (this.isTrusted(number)) return;
    await this.look(number, { view: 'attributes', ino: ROOT_INODE }, signal);
  }
}
