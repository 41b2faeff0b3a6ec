/** What waits to be written to the log, and how it becomes batches. */
import { type Entry, encodeMembership, type HardState, type SnapshotMeta } from '@holdfast/raft';
import type { GroupLog, Place } from './group-log.ts';
import { putU53, RECORD, recordBytes, type WalRecord } from './wal-format.ts';

/** A record, and who is to be told of it. */
export interface QueuedRecord {
  readonly record: WalRecord;
  readonly onWritten?: (place: Place) => void;
  /** A crash must not come between it and the next: they go into one batch. */
  readonly isGlued?: boolean;
  /** Of the last record of a request. */
  readonly onDurable?: () => void;
}

const EMPTY = new Uint8Array(0);
/** Bytes that a lazy record takes at most, for the estimate of how many still fit. */
const LAZY_BYTES = 512;

/** Voids all of a group's records so far; what follows it must not be torn from it. */
export function resetRecord(group: number, isGlued = true): QueuedRecord {
  const record = { type: RECORD.reset, kind: 0, group, term: 0, index: 0, payload: EMPTY };
  return { record, isGlued };
}

/** The note of an orderly stop. */
export function closedRecord(): QueuedRecord {
  const record = { type: RECORD.closed, kind: 0, group: 0, term: 0, index: 0, payload: EMPTY };
  return { record };
}

/** Where the log begins. */
export function markRecord(log: GroupLog, mark: SnapshotMeta): QueuedRecord {
  const { term, index, membership } = mark;
  const payload = encodeMembership(membership);
  return {
    record: { type: RECORD.mark, kind: 0, group: log.group, term, index, payload },
    onWritten: (place) => {
      log.markPlace = place;
    },
  };
}

/** Term, vote and commit index of a group. */
export function hardStateRecord(log: GroupLog, { term, vote, commit }: HardState): QueuedRecord {
  const payload = Buffer.alloc(8);
  putU53(payload, vote, 0);
  return {
    record: { type: RECORD.hardState, kind: 0, group: log.group, term, index: commit, payload },
    onWritten: (place) => {
      log.hardStatePlace = place;
    },
  };
}

/** An entry's record; `isMoved`: it was on disk before, elsewhere. */
export function entryRecord(log: GroupLog, entry: Entry, isMoved = false): QueuedRecord {
  const { index, term, data: payload } = entry;
  const kind = entry.kind === 'membership' ? 1 : 0;
  return {
    record: { type: RECORD.entry, kind, group: log.group, term, index, payload },
    onWritten: (place) => (isMoved ? log.moved(entry, place) : log.written(entry, place)),
  };
}

/** Bytes of records in the log. */
export function bytesOf(records: readonly QueuedRecord[]): number {
  return records.reduce((sum, { record }) => sum + recordBytes(record.payload.length), 0);
}

interface Lazy {
  readonly log: GroupLog;
  hardState?: HardState;
  mark?: SnapshotMeta;
}

/** Records in the order asked for, and marks and commit indices that need no flush of their own. */
export class WalQueue {
  #records: QueuedRecord[] = [];
  readonly #lazy = new Map<number, Lazy>();

  get length(): number {
    return this.#records.length;
  }

  get hasLazy(): boolean {
    return this.#lazy.size > 0;
  }

  /** `onDurable` belongs to the last record. */
  push(records: readonly QueuedRecord[], onDurable: () => void): void {
    this.#records.push(...records.slice(0, -1), { ...records.at(-1)!, onDurable });
  }

  /** Newest value only; it rides along with the next flush of any group. */
  later(log: GroupLog, value: { hardState: HardState } | { mark: SnapshotMeta }): void {
    const lazy = this.#lazy.get(log.group) ?? { log };
    this.#lazy.set(log.group, Object.assign(lazy, value));
  }

  /** A hard state on its way makes an older lazy one void. */
  dropLazyHardState(group: number): void {
    const lazy = this.#lazy.get(group);
    delete lazy?.hardState;
    if (lazy !== undefined && lazy.mark === undefined) this.#lazy.delete(group);
  }

  /** Nothing lazy of the group counts any more. */
  dropLazy(group: number): void {
    this.#lazy.delete(group);
  }

  /** Takes the lazy values of at most `count` groups as records. */
  takeLazy(count = Number.POSITIVE_INFINITY): QueuedRecord[] {
    const records: QueuedRecord[] = [];
    for (const [group, { log, hardState, mark }] of this.#lazy) {
      if (records.length >= count) break;
      if (mark !== undefined) records.push(markRecord(log, mark));
      if (hardState !== undefined) records.push(hardStateRecord(log, hardState));
      this.#lazy.delete(group);
    }
    return records;
  }

  /** The next batch: at most `bytesMax`, or one record with what is glued to it. */
  take(bytesMax: number): QueuedRecord[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#records.length) {
      const length = recordBytes(this.#records[count]!.record.payload.length);
      const isGlued = count > 0 && this.#records[count - 1]!.isGlued === true;
      if (bytes + length > bytesMax && count > 0 && !isGlued) break;
      bytes += length;
      count += 1;
    }
    const batch = this.#records.splice(0, count);
    // They may refer to what is queued, so they come after the last of it.
    const isLast = this.#records.length === 0 && bytes < bytesMax;
    return isLast ? [...batch, ...this.takeLazy((bytesMax - bytes) / LAZY_BYTES)] : batch;
  }

  clear(): void {
    this.#records = [];
  }
}
