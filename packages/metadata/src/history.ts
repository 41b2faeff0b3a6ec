/**
 * Generations: what a snapshot sees. The one rule: before a head record that a pinned generation
 * still sees (birth <= newest pin) is changed or deleted, it moves to the history table with
 * (birth, death), death being the present generation. Without pins nothing is ever moved.
 */
import { HoldfastError, type VolumeNumber } from '@holdfast/protocol';
import { retainChunks } from './content/chunks.ts';
import { historyKey, historyRange, volumeKey } from './keys.ts';
import type { RecordType } from './record-type.ts';
import { type HeadRecord, HISTORY, REGION, type RegionRecord, VOLUME } from './records.ts';
import type { StateSource } from './state.ts';
import type { Transaction } from './transaction.ts';

/** A head key and the volume it belongs to. */
interface Head {
  readonly volume: VolumeNumber;
  readonly key: Uint8Array;
}

/** Moves the present version to history when a pinned generation sees it; gives the present generation. */
function preserve<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  head: Head,
): number {
  const volume = transaction.read(VOLUME, volumeKey(head.volume));
  if (volume === undefined) throw new HoldfastError('INTERNAL', 'a head record without a volume');
  const newestPin = volume.pins.at(-1);
  if (newestPin === undefined) return volume.generation;
  const present = transaction.read(type, head.key);
  if (present === undefined || present.birth > newestPin) return volume.generation;
  const death = volume.generation;
  transaction.write(HISTORY, historyKey(head.key, death), {
    birth: present.birth,
    death,
    record: type.encode(present),
  });
  // The old version goes on showing its chunks beside whatever the head shows from now on.
  if ((type as unknown) === REGION) {
    retainChunks(transaction, head.volume, (present as unknown as RegionRecord).pieces);
  }
  return volume.generation;
}

/** Puts a head record, born in the volume's present generation. */
export function putHead<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  head: Head,
  record: Omit<T, 'birth'>,
): void {
  const birth = preserve(transaction, type, head);
  transaction.write(type, head.key, { ...record, birth } as unknown as T);
}

/** Deletes a head record. */
export function removeHead<T extends HeadRecord>(
  transaction: Transaction,
  type: RecordType<T>,
  head: Head,
): void {
  preserve(transaction, type, head);
  transaction.remove(type, head.key);
}

/**
 * The record of `key` as the pinned `generation` saw it, or undefined when it was not there. The
 * versions of one record do not overlap: the first that died later, or else the head, decides.
 */
export async function readAt<T extends HeadRecord>(
  state: StateSource,
  type: RecordType<T>,
  key: Uint8Array,
  generation: number,
): Promise<T | undefined> {
  const { from, to } = historyRange(key, generation);
  for await (const [, bytes] of state.scan(from, to, 1)) {
    const version = HISTORY.decode(bytes);
    return version.birth <= generation ? type.decode(version.record) : undefined;
  }
  const bytes = state.get(key);
  const head = bytes === undefined ? undefined : type.decode(bytes);
  return head !== undefined && head.birth <= generation ? head : undefined;
}
