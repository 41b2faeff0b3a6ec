import {
  EMPTY_MEMBERSHIP,
  type Entry,
  type HardState,
  type LogIndex,
  type LogStorage,
  type SnapshotMeta,
  type Term,
} from '@holdfast/raft';

/** Where a record lies; segment 0: not written yet. */
export interface Place {
  readonly segment: number;
  readonly offset: number;
}

const UNWRITTEN: Place = { segment: 0, offset: 0 };

/** One entry as the index of the log knows it. */
interface Slot {
  readonly term: Term;
  readonly kind: Entry['kind'];
  readonly bytes: number;
  /** The entry itself while it is kept in memory; always while it is not written. */
  entry: Entry | undefined;
  place: Place;
}

/** Reads an entry's record back from the disk, on the spot; throws CORRUPT when it is damaged. */
export type ReadBack = (place: Place, payloadBytes: number) => Entry;

const NO_HARD_STATE: HardState = { term: 0, vote: 0, commit: 0 };

/**
 * One group's log: the index of what the segments hold, and the newest entries in memory. It shows
 * entries from the moment they are handed to the write-ahead log, before they are durable.
 */
export class GroupLog implements LogStorage {
  readonly group: number;
  readonly #readBack: ReadBack;
  #slots: Slot[] = [];
  #mark: SnapshotMeta = { index: 0, term: 0, membership: EMPTY_MEMBERSHIP };
  #hardState: HardState = NO_HARD_STATE;
  /** Slots below this position are only on disk. */
  #evicted = 0;
  #cachedBytes = 0;
  /** Where the newest hard state and mark were written; segment 0 when never. */
  hardStatePlace: Place = UNWRITTEN;
  markPlace: Place = UNWRITTEN;

  constructor(group: number, readBack: ReadBack) {
    this.group = group;
    this.#readBack = readBack;
  }

  /** Bytes of entries in memory. */
  get cachedBytes(): number {
    return this.#cachedBytes;
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  set hardState(value: HardState) {
    this.#hardState = value;
  }

  firstIndex(): LogIndex {
    return this.#mark.index + 1;
  }

  lastIndex(): LogIndex {
    return this.#mark.index + this.#slots.length;
  }

  term(index: LogIndex): Term | 'compacted' | 'unavailable' {
    if (index === this.#mark.index) return this.#mark.term;
    if (index < this.#mark.index) return 'compacted';
    return this.#slots[index - this.#mark.index - 1]?.term ?? 'unavailable';
  }

  snapshot(): SnapshotMeta {
    return this.#mark;
  }

  entries(from: LogIndex, toExclusive: LogIndex, bytesMax: number): readonly Entry[] | 'compacted' {
    if (from <= this.#mark.index) return 'compacted';
    const result: Entry[] = [];
    let bytes = 0;
    for (let index = from; index < Math.min(toExclusive, this.lastIndex() + 1); index += 1) {
      const slot = this.#slots[index - this.#mark.index - 1]!;
      bytes += slot.bytes;
      if (bytes > bytesMax && result.length > 0) break;
      result.push(slot.entry ?? this.#readBack(slot.place, slot.bytes));
    }
    return result;
  }

  /** Bytes of the entries above `index`. */
  bytesAbove(index: LogIndex): number {
    let bytes = 0;
    for (const slot of this.#slots.slice(Math.max(0, index - this.#mark.index)))
      bytes += slot.bytes;
    return bytes;
  }

  /** Adds entries that follow one another, dropping what was at or above the first one's index. */
  append(entries: readonly Entry[], place: Place = UNWRITTEN): void {
    for (const entry of entries) {
      if (entry.index <= this.lastIndex()) this.#truncate(entry.index);
      this.#slots.push({
        term: entry.term,
        kind: entry.kind,
        bytes: entry.data.byteLength,
        entry,
        place,
      });
      this.#cachedBytes += entry.data.byteLength;
    }
  }

  #truncate(from: LogIndex): void {
    const dropped = this.#slots.splice(Math.max(0, from - this.#mark.index - 1));
    this.#forget(dropped);
    this.#evicted = Math.min(this.#evicted, this.#slots.length);
  }

  #forget(slots: readonly Slot[]): void {
    for (const slot of slots) if (slot.entry) this.#cachedBytes -= slot.bytes;
  }

  /** Entries up to the mark are part of the state now; those above it stay. */
  compact(mark: SnapshotMeta): void {
    if (mark.index < this.#mark.index) return;
    const count = Math.min(this.#slots.length, mark.index - this.#mark.index);
    this.#forget(this.#slots.splice(0, count));
    this.#evicted = Math.max(0, this.#evicted - count);
    this.#mark = mark;
  }

  /** Nothing but the state at `mark`; the hard state stays. */
  restart(mark: SnapshotMeta): void {
    this.#slots = [];
    this.#evicted = 0;
    this.#cachedBytes = 0;
    this.#mark = mark;
  }

  /** The entry's record was written; ignored when the entry is gone or was replaced meanwhile. */
  written(entry: Entry, place: Place): void {
    const slot = this.#slots[entry.index - this.#mark.index - 1];
    if (slot !== undefined && slot.entry === entry) slot.place = place;
  }

  /** A written entry was written again elsewhere; ignored when another has taken its index meanwhile. */
  moved(entry: Entry, place: Place): void {
    const slot = this.#slots[entry.index - this.#mark.index - 1];
    if (slot !== undefined && slot.term === entry.term && slot.place.segment !== 0) {
      slot.place = place;
    }
  }

  /** Entries that are on disk, in order; ends where writing has not come yet. */
  writtenEntries(): Entry[] {
    const end = this.#slots.findIndex((slot) => slot.place.segment === 0);
    const count = end === -1 ? this.#slots.length : end;
    const taken = this.entries(this.firstIndex(), this.firstIndex() + count, Number.MAX_VALUE);
    return taken === 'compacted' ? [] : [...taken];
  }

  /** Lowest segment that holds something of this group; Infinity when there is none. */
  oldestSegment(): number {
    // Entries lie in the order of their index, also after they were moved.
    const places = [this.hardStatePlace, this.markPlace, this.#slots[0]?.place ?? UNWRITTEN];
    return Math.min(...places.map((place) => place.segment || Number.POSITIVE_INFINITY));
  }

  /** Lowest segment that holds one of its entries; Infinity when there is none. */
  oldestEntrySegment(): number {
    return this.#slots[0]?.place.segment || Number.POSITIVE_INFINITY;
  }

  /** Drops the oldest written entries from memory until `bytes` are given back or none is left. */
  evict(bytes: number): void {
    let left = bytes;
    while (left > 0 && this.#evicted < this.#slots.length) {
      const slot = this.#slots[this.#evicted]!;
      if (slot.place.segment === 0) return;
      if (slot.entry) {
        slot.entry = undefined;
        this.#cachedBytes -= slot.bytes;
        left -= slot.bytes;
      }
      this.#evicted += 1;
    }
  }
}
