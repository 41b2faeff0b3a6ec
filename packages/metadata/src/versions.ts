/**
 * Records as a generation saw them, by point reads only: the head when it was there already, else
 * the version in history whose [birth, death) holds the generation, which the list of the record's
 * versions names. A clone goes on in the snapshot it was made of. Between two settled states a
 * version moves from head to history in one batch, and neither place ever changes what a pinned
 * generation sees.
 */
import { historyKey, inVolume, versionsKey, volumeIn, volumeKey, whiteoutKey } from './keys.ts';
import type { RecordType } from './record-type.ts';
import {
  type HeadRecord,
  HISTORY,
  INODE,
  type InodeRecord,
  VERSIONS,
  type VersionsRecord,
  VOLUME,
  type VolumeRecord,
  WHITEOUT,
} from './records.ts';
import { wantKnownAbsent } from './shadows.ts';
import type { StateReader } from './state.ts';

/** The generation of a volume in which all that a clone takes over is born. */
const FIRST_GENERATION = 1;

/** Death of the version that a generation saw; undefined when none of them is it. */
export function deathSeenBy(
  lives: VersionsRecord['lives'],
  generation: number,
): number | undefined {
  let low = 0;
  let high = lives.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((lives[middle] as readonly [number, number])[1] <= generation) low = middle + 1;
    else high = middle;
  }
  const life = lives[low];
  return life !== undefined && life[0] <= generation ? life[1] : undefined;
}

/** The record of a head key at a pinned generation, or undefined when it was not there. */
export function recordAt<T extends HeadRecord>(
  state: StateReader,
  type: RecordType<T>,
  key: Uint8Array,
  generation: number,
): T | undefined {
  const bytes = state.get(key);
  const head = bytes === undefined ? undefined : type.decode(bytes);
  if (head !== undefined && head.birth <= generation) return head;
  const versions = state.get(versionsKey(key));
  const lives = versions === undefined ? [] : VERSIONS.decode(versions).lives;
  const death = deathSeenBy(lives, generation);
  const version = death === undefined ? undefined : state.get(historyKey(key, death));
  if (version !== undefined) return type.decode(HISTORY.decode(version).record);
  const bytesOfVolume = state.get(volumeKey(volumeIn(key)));
  if (bytesOfVolume === undefined) return undefined;
  const volume = VOLUME.decode(bytesOfVolume);
  if (!volume.isShadow) return takenOver(state, type, key, { volume, generation });
  wantKnownAbsent(state, key);
  return undefined;
}

/**
 * A record as clones take it over from a pinned generation; undefined where that shows none. Born in
 * the first generation.
 */
export function lentRecord<T extends HeadRecord>(
  state: StateReader,
  type: RecordType<T>,
  key: Uint8Array,
  generation: number,
): T | undefined {
  return asLent(type, recordAt(state, type, key, generation));
}

/** {@link lentRecord} of a record that was read. */
export function asLent<T extends HeadRecord>(
  type: RecordType<T>,
  record: T | undefined,
): T | undefined {
  if (record === undefined || isOrphan(type, record)) return undefined;
  return asFirst(type, { ...record, birth: FIRST_GENERATION });
}

/** Whether a record is an inode without a name: a snapshot does not show it. */
function isOrphan<T>(type: RecordType<T>, record: T): boolean {
  return (type as unknown) === INODE && (record as unknown as InodeRecord).nlink === 0;
}

/**
 * What a clone has of a key that it never wrote: the record of the snapshot that it was made of,
 * unless it was deleted in the clone up to the generation. Born when the clone was.
 */
export function takenOver<T extends HeadRecord>(
  state: StateReader,
  type: RecordType<T>,
  key: Uint8Array,
  { volume, generation }: { readonly volume: VolumeRecord; readonly generation: number },
): T | undefined {
  if (volume.baseVolume === 0) return undefined;
  const whiteout = state.get(whiteoutKey(key));
  if (whiteout !== undefined && WHITEOUT.decode(whiteout).birth <= generation) return undefined;
  return lentRecord(state, type, inVolume(key, volume.baseVolume), volume.baseGeneration);
}

/**
 * A record in the generations of the clone, not of the volume that it comes from: no generation of
 * the clone has seen what was cut off before it was made.
 */
function asFirst<T extends HeadRecord>(type: RecordType<T>, record: T): T {
  if ((type as unknown) !== INODE) return record;
  const { cuts } = record as unknown as InodeRecord;
  if (cuts.length === 0) return record;
  return { ...record, cuts: cuts.map((cut) => ({ ...cut, generation: FIRST_GENERATION })) };
}
