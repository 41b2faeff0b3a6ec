/**
 * Generations: what a snapshot sees. The one rule: before a head record that a pinned generation
 * still sees is changed or deleted, it moves to the history table with (birth, death). Without pins
 * nothing is ever moved. Reading it again: past.ts; deleting it: operations/versions.ts.
 */
import { HoldfastError, type VolumeNumber } from '@holdfast/protocol';
import { retainChunks } from './content/chunks.ts';
import { deathKey, historyKey, versionsKey, volumeKey, whiteoutKey } from './keys.ts';
import { isPinned } from './pins.ts';
import type { RecordType } from './record-type.ts';
import {
  DEATH,
  type HeadRecord,
  HISTORY,
  REGION,
  type RegionRecord,
  VERSIONS,
  VOLUME,
  WHITEOUT,
} from './records.ts';
import type { Transaction } from './transaction.ts';

/** A head key and the volume it belongs to. */
interface Head {
  readonly volume: VolumeNumber;
  readonly key: Uint8Array;
  /**
   * The generation in which the record came out of sight, where that was before it is deleted: cut
   * off, content dropped, last name gone. Default: the present one.
   */
  readonly death?: number;
}

/** Moves the present version to history when a pinned generation sees it; gives the present generation. */
function preserve<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  head: Head,
): number {
  const volume = transaction.read(VOLUME, volumeKey(head.volume));
  if (volume === undefined) throw new HoldfastError('INTERNAL', 'a head record without a volume');
  const { generation, newestPin } = volume;
  if (newestPin === 0) return generation;
  const present = transaction.read(type, head.key);
  if (present === undefined || present.birth > newestPin) return generation;
  const { birth } = present;
  const death = head.death ?? generation;
  if (!isPinned(transaction, head.volume, { birth, death, newestPin })) return generation;
  keep(transaction, head.key, { birth, death, record: type.encode(present) });
  // The old version goes on showing its chunks beside whatever the head shows from now on.
  if ((type as unknown) === REGION) {
    retainChunks(transaction, head.volume, (present as unknown as RegionRecord).pieces);
  }
  return generation;
}

/** Puts a version into history, into the list of the record's versions, and into the table of deaths. */
function keep(
  transaction: Transaction,
  head: Uint8Array,
  version: { readonly birth: number; readonly death: number; readonly record: Uint8Array },
): void {
  const { birth, death } = version;
  const lives = transaction.read(VERSIONS, versionsKey(head))?.lives ?? [];
  transaction.write(HISTORY, historyKey(head, death), version);
  transaction.write(VERSIONS, versionsKey(head), { lives: [...lives, [birth, death]] });
  transaction.write(DEATH, deathKey(head, death), { birth });
}

/**
 * In a clone: keeps what its snapshot has from showing again, since it came out of sight. What the
 * clone made itself leaves nothing behind.
 */
function whiteOut<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  { volume, key, death }: Head,
  present: number,
): void {
  if (transaction.read(VOLUME, volumeKey(volume))?.baseVolume === 0) return;
  const mark = whiteoutKey(key);
  if (transaction.read(WHITEOUT, mark) !== undefined) return;
  if (transaction.takenOver(type, key) === undefined) return;
  transaction.write(WHITEOUT, mark, { birth: death ?? present });
}

/** Puts a head record, born in the volume's present generation. */
export function putHead<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  head: Head,
  record: Omit<T, 'birth'>,
): void {
  const birth = preserve(transaction, type, head);
  // Snapshots since then see neither the old version nor the new one.
  if (head.death !== undefined && head.death < birth) whiteOut(transaction, type, head, birth);
  transaction.write(type, head.key, { ...record, birth } as unknown as T);
}

/** Deletes a head record. */
export function removeHead<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  head: Head,
): void {
  const present = preserve(transaction, type, head);
  const isThere = transaction.read(type, head.key) !== undefined;
  transaction.remove(type, head.key);
  if (isThere) whiteOut(transaction, type, head, present);
}
