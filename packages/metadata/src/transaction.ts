import { isHeadKey, volumeIn, volumeKey } from './keys.ts';
import type { RecordType } from './record-type.ts';
import { type HeadRecord, VOLUME } from './records.ts';
import type { StateReader, StateWriter } from './state.ts';
import { takenOver } from './versions.ts';

interface Staged {
  readonly key: Uint8Array;
  readonly type: RecordType<unknown>;
  /** undefined: absent. */
  record: unknown;
  isChanged: boolean;
}

/**
 * The records that one command reads and changes. Changes are seen by later reads of the same
 * transaction and reach the state with `commit`, all or, when it is dropped, none: an operation may
 * refuse at any point. Each record is decoded and encoded once. Records are never changed in place.
 */
export class Transaction {
  readonly #state: StateReader;
  readonly #staged = new Map<string, Staged>();

  constructor(state: StateReader) {
    this.#state = state;
  }

  /** A reader of what the state holds now, whatever this one has read. */
  fresh(): Transaction {
    return new Transaction(this.#state);
  }

  /** The record of a key, or undefined. */
  read<T>(type: RecordType<T>, key: Uint8Array): T | undefined {
    const name = nameOf(key);
    const staged = this.#staged.get(name);
    if (staged !== undefined) return staged.record as T | undefined;
    const bytes = this.#state.get(key);
    const record = bytes === undefined ? this.takenOver(type, key) : type.decode(bytes);
    this.#staged.set(name, { key, type: type as RecordType<unknown>, record, isChanged: false });
    return record;
  }

  /** Puts a record; history.ts is the way for records that snapshots see. */
  write<T>(type: RecordType<T>, key: Uint8Array, record: T): void {
    this.#stage(type, key, record);
  }

  /** Deletes a record; without effect when it is absent. */
  remove<T>(type: RecordType<T>, key: Uint8Array): void {
    this.#stage(type, key, undefined);
  }

  /** Moves the changes into the state. The transaction is not used afterwards. */
  commit(state: StateWriter): void {
    for (const { key, type, record, isChanged } of this.#staged.values()) {
      if (!isChanged) continue;
      if (record === undefined) state.delete(key);
      else state.put(key, type.encode(record));
    }
  }

  /** What a clone has of its snapshot, whatever it wrote itself; undefined for all but head keys of clones. */
  takenOver<T>(type: RecordType<T>, key: Uint8Array): T | undefined {
    if (!isHeadKey(key)) return undefined;
    const volume = this.read(VOLUME, volumeKey(volumeIn(key)));
    if (volume === undefined || volume.baseVolume === 0) return undefined;
    const head = type as unknown as RecordType<HeadRecord>;
    const generation = Number.MAX_SAFE_INTEGER;
    return takenOver(this.#state, head, key, { volume, generation }) as T | undefined;
  }

  #stage<T>(type: RecordType<T>, key: Uint8Array, record: T | undefined): void {
    const name = nameOf(key);
    const staged = this.#staged.get(name);
    if (staged === undefined) {
      this.#staged.set(name, { key, type: type as RecordType<unknown>, record, isChanged: true });
      return;
    }
    staged.record = record;
    staged.isChanged = true;
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}
