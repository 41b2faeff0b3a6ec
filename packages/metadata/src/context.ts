import { HoldfastError, type SessionId, type VolumeNumber } from '@holdfast/protocol';
import { volumeKey } from './keys.ts';
import { VOLUME, type VolumeRecord } from './records.ts';
import type { Transaction } from './transaction.ts';

/** What an operation works on, and for whom. */
export interface Context {
  readonly transaction: Transaction;
  /**
   * Under whose number the records lie: the volume's own, or that of the tree which a rollback has put
   * in its place (trees.ts).
   */
  readonly volume: VolumeNumber;
  /** The volume's own number. */
  readonly home: VolumeNumber;
  /** The command's own time. */
  readonly nowNs: bigint;
  readonly session: SessionId;
  /** The command's number in its session. */
  readonly sequence: number;
  /** Ordinal of the first session of its client; 0: of one so old that it is not known any more. */
  readonly origin: number;
  /** The session's short name in the shard; 0 for the leader itself. */
  readonly ordinal: number;
  /** Looks at a snapshot: the generation that it pins. */
  readonly at?: number;
}

/** The volume's record. ENOENT when there is no such volume. */
export function volumeOf({ transaction, volume }: Context): VolumeRecord {
  const record = transaction.read(VOLUME, volumeKey(volume));
  if (record === undefined) {
    throw new HoldfastError('ENOENT', 'no such volume', { detail: { volume } });
  }
  return record;
}

/** Changes fields of the volume's record. */
export function changeVolume(context: Context, change: Partial<VolumeRecord>): void {
  const record = { ...volumeOf(context), ...change };
  context.transaction.write(VOLUME, volumeKey(context.volume), record);
}
