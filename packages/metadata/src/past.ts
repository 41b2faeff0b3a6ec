/**
 * Records as a pinned generation saw them, by point reads only: the head when it was there already,
 * else the version in history whose [birth, death) holds the generation, which the list of the
 * record's versions names. Between two settled states a version moves from head to history in one
 * batch, and neither place ever changes what a pinned generation sees.
 */
import { historyKey, isHeadKey, versionsKey } from './keys.ts';
import type { RecordType } from './record-type.ts';
import { type HeadRecord, HISTORY, VERSIONS, type VersionsRecord } from './records.ts';
import type { StateReader } from './state.ts';
import { Transaction } from './transaction.ts';

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
  if (versions === undefined) return undefined;
  const death = deathSeenBy(VERSIONS.decode(versions).lives, generation);
  const version = death === undefined ? undefined : state.get(historyKey(key, death));
  return version === undefined ? undefined : type.decode(HISTORY.decode(version).record);
}

/** Reads head records as a pinned generation saw them; all others as they are. Nothing is written. */
export class PastReader extends Transaction {
  readonly #state: StateReader;
  readonly #generation: number;

  constructor(state: StateReader, generation: number) {
    super(state);
    this.#state = state;
    this.#generation = generation;
  }

  /** What a pinned generation saw does not change. */
  override fresh(): PastReader {
    return this;
  }

  override read<T>(type: RecordType<T>, key: Uint8Array): T | undefined {
    if (!isHeadKey(key)) return super.read(type, key);
    const past = type as unknown as RecordType<HeadRecord>;
    return recordAt(this.#state, past, key, this.#generation) as T | undefined;
  }
}
