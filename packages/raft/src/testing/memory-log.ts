/** A log in memory, for tests: the driver's view, or what is durable. */
import { EMPTY_MEMBERSHIP, type Membership } from '../membership.ts';
import type { Ready } from '../ready.ts';
import {
  type Entry,
  entryBytes,
  type HardState,
  type LogStorage,
  type SnapshotMeta,
} from '../storage.ts';

export class MemoryLog implements LogStorage {
  /** The log begins after this. */
  base: SnapshotMeta;
  stored: Entry[] = [];
  hardState: HardState | undefined;
  /** What `snapshot` answers; by default the base. */
  latest: SnapshotMeta | undefined;

  constructor(membership: Membership = EMPTY_MEMBERSHIP) {
    this.base = { index: 0, term: 0, membership };
  }

  firstIndex = (): number => this.base.index + 1;
  lastIndex = (): number => this.base.index + this.stored.length;
  snapshot = (): SnapshotMeta => this.latest ?? this.base;

  term(index: number): number | 'compacted' | 'unavailable' {
    if (index === this.base.index) return this.base.term;
    if (index < this.base.index) return 'compacted';
    return this.stored[index - this.base.index - 1]?.term ?? 'unavailable';
  }

  entries(from: number, toExclusive: number, bytesMax: number): readonly Entry[] | 'compacted' {
    if (from <= this.base.index) return 'compacted';
    const found = this.stored.slice(from - this.base.index - 1, toExclusive - this.base.index - 1);
    let bytes = 0;
    const fitting = found.filter((entry, i) => {
      bytes += entryBytes(entry);
      return i === 0 || bytes <= bytesMax;
    });
    return fitting;
  }

  /** Writes what a Ready asks for. */
  put({ snapshot, entries, hardState }: Ready): void {
    if (snapshot) {
      this.base = snapshot;
      this.latest = undefined;
      this.stored = [];
    }
    if (entries[0]) this.stored.length = entries[0].index - 1 - this.base.index;
    this.stored.push(...entries);
    if (hardState) this.hardState = hardState;
  }

  /** Drops entries up to `index`, which a snapshot with that membership stands for. */
  compact(index: number, membership: Membership): void {
    const term = this.term(index);
    if (typeof term !== 'number') throw new RangeError(`index ${index} is not in the log`);
    this.stored.splice(0, index - this.base.index);
    this.base = { index, term, membership };
  }

  copy(): MemoryLog {
    const copy = new MemoryLog();
    copy.base = this.base;
    copy.latest = this.latest;
    copy.stored = [...this.stored];
    copy.hardState = this.hardState;
    return copy;
  }
}
