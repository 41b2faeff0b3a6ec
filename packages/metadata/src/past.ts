import { isHeadKey } from './keys.ts';
import type { RecordType } from './record-type.ts';
import type { HeadRecord } from './records.ts';
import type { StateReader } from './state.ts';
import { Transaction } from './transaction.ts';
import { recordAt } from './versions.ts';

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
