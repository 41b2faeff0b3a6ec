/**
 * The log as one replica sees it: what the driver holds durably, then `unstable` entries that are not
 * known to be durable yet, some of them handed out in a Ready and on their way to the disk.
 *
 *     storage            unstable
 *   [first .. offset-1] [offset .. handedOut][handedOut+1 .. last]
 *    durable             being written        next Ready
 */
import { assert } from './assert.ts';
import {
  type Entry,
  entryBytes,
  type LogIndex,
  type LogStorage,
  type SnapshotMeta,
  type Term,
} from './storage.ts';

/** What one Ready carried to the disk and is not yet known to be durable. */
interface Writing {
  readonly number: number;
  /** Last entry handed out, lowered when entries of it are truncated before they were durable. */
  lastIndex: LogIndex;
  readonly snapshot: SnapshotMeta | undefined;
}

export class RaftLog {
  readonly #storage: LogStorage;
  #offset: LogIndex;
  #unstable: Entry[] = [];
  #handedOut: LogIndex;
  /** Accepted, not yet known to be installed; replaces all of `storage` from then on. */
  #snapshot: SnapshotMeta | undefined;
  #snapshotHandedOut = false;
  #writing: Writing[] = [];
  #commit: LogIndex;
  /** Last index given to the driver for applying. */
  #applying: LogIndex;
  #applied: LogIndex;

  constructor(storage: LogStorage, commit: LogIndex, applied: LogIndex) {
    this.#storage = storage;
    const last = storage.lastIndex();
    this.#offset = last + 1;
    this.#handedOut = last;
    // Applied entries were committed; their commit index need not have been flushed.
    this.#commit = Math.max(commit, applied);
    this.#applying = applied;
    this.#applied = applied;
  }

  get firstIndex(): LogIndex {
    return this.#snapshot ? this.#snapshot.index + 1 : this.#storage.firstIndex();
  }

  get lastIndex(): LogIndex {
    return this.#offset + this.#unstable.length - 1;
  }

  get lastTerm(): Term {
    return this.termOf(this.lastIndex);
  }

  /** All up to here is durable on this replica and equals the log as it now is; 0 while a snapshot is installed. */
  get persisted(): LogIndex {
    return this.#snapshot ? 0 : this.#offset - 1;
  }

  get commit(): LogIndex {
    return this.#commit;
  }

  get applied(): LogIndex {
    return this.#applied;
  }

  get applying(): LogIndex {
    return this.#applying;
  }

  /** The snapshot that a follower could be sent. */
  storedSnapshot(): SnapshotMeta {
    return this.#snapshot ?? this.#storage.snapshot();
  }

  term(index: LogIndex): Term | 'compacted' | 'unavailable' {
    if (index > this.lastIndex) return 'unavailable';
    if (index >= this.#offset) return this.#unstable[index - this.#offset]!.term;
    if (!this.#snapshot) return this.#storage.term(index);
    return index === this.#snapshot.index ? this.#snapshot.term : 'compacted';
  }

  /** Term of an entry that must be there. */
  termOf(index: LogIndex): Term {
    const term = this.term(index);
    assert(typeof term === 'number', 'the term of an entry in the log is gone', { index, term });
    return term;
  }

  /** True when the log has that entry: by log matching, all before it are equal too. */
  has(index: LogIndex, term: Term): boolean {
    return this.term(index) === term;
  }

  /** The vote's comparison: is a log that ends so at least as complete as ours? (paper section 5.4.1) */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /**
   * Highest index at or below `index` whose term is at most `term`: nothing above it can agree with a
   * log that has `term` at `index` (paper section 5.3, the hint that skips whole terms).
   */
  lastIndexOfTermAtMost(index: LogIndex, term: Term): { index: LogIndex; term: Term } {
    for (let at = Math.min(index, this.lastIndex); at > 0; at -= 1) {
      const termAt = this.term(at);
      // Compacted: committed, so it agrees.
      if (typeof termAt !== 'number') return { index: at, term: 0 };
      if (termAt <= term) return { index: at, term: termAt };
    }
    return { index: 0, term: 0 };
  }

  /** Entries `[from, toExclusive)`, at least one if there is one, then at most `bytesMax` bytes. */
  slice(from: LogIndex, toExclusive: LogIndex, bytesMax: number): readonly Entry[] | 'compacted' {
    if (from >= toExclusive) return [];
    if (from < this.firstIndex) return 'compacted';
    const stable = this.#stableSlice(from, Math.min(toExclusive, this.#offset), bytesMax);
    if (stable === 'compacted') return stable;
    const next = from + stable.length;
    if (next < this.#offset) return stable;
    const unstable = this.#unstable.slice(next - this.#offset, toExclusive - this.#offset);
    return takeBytes([...stable, ...unstable], bytesMax);
  }

  #stableSlice(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | 'compacted' {
    if (from >= to) return [];
    const entries = this.#storage.entries(from, to, bytesMax);
    if (entries !== 'compacted') {
      assert(entries[0]?.index === from, 'storage gave other entries than asked', { from, to });
    }
    return entries;
  }

  /** A leader adds its own entry. */
  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'an entry leaves a gap', { index: entry.index });
    assert(entry.term >= this.lastTerm, 'terms in a log descend', { index: entry.index });
    this.#unstable.push(entry);
  }

  /**
   * A follower takes over the leader's entries, truncating what differs. `entries` follow an index that
   * is known to agree. Returns the entries that were not there before.
   */
  merge(entries: readonly Entry[]): readonly Entry[] {
    const differs = entries.findIndex((entry) => !this.has(entry.index, entry.term));
    if (differs === -1) return [];
    const fresh = entries.slice(differs);
    this.#truncate(fresh[0]!.index);
    for (const entry of fresh) this.append(entry);
    return fresh;
  }

  #truncate(from: LogIndex): void {
    assert(from > this.#commit, 'a committed entry would be truncated', {
      from,
      commit: this.#commit,
    });
    if (from > this.lastIndex) return;
    this.#unstable.length = Math.max(0, from - this.#offset);
    this.#offset = Math.min(this.#offset, from);
    this.#handedOut = Math.min(this.#handedOut, from - 1);
    // What is being written above is not this log any more, though its flush will be reported.
    for (const writing of this.#writing) {
      writing.lastIndex = Math.min(writing.lastIndex, from - 1);
    }
  }

  /** Commits up to `index`; false when that is nothing new. */
  commitTo(index: LogIndex): boolean {
    if (index <= this.#commit) return false;
    assert(index <= this.lastIndex, 'commit index beyond the log: were durable entries lost?', {
      index,
      last: this.lastIndex,
    });
    this.#commit = index;
    return true;
  }

  /** Forgets the whole log: the state at `snapshot` will stand for it. */
  restore(snapshot: SnapshotMeta): void {
    assert(snapshot.index > this.#commit, 'a snapshot would undo committed entries');
    this.#snapshot = snapshot;
    this.#snapshotHandedOut = false;
    this.#unstable = [];
    this.#offset = snapshot.index + 1;
    this.#handedOut = snapshot.index;
    this.#commit = snapshot.index;
    this.#applying = snapshot.index;
    for (const writing of this.#writing) writing.lastIndex = 0;
  }

  hasUnwritten(): boolean {
    return this.#handedOut < this.lastIndex || this.#hasNewSnapshot();
  }

  #hasNewSnapshot(): boolean {
    return this.#snapshot !== undefined && !this.#snapshotHandedOut;
  }

  /** For Ready `number`: the snapshot and entries that no earlier Ready carried. */
  handOut(number: number): { snapshot: SnapshotMeta | undefined; entries: readonly Entry[] } {
    const snapshot = this.#hasNewSnapshot() ? this.#snapshot : undefined;
    this.#snapshotHandedOut = true;
    const entries = this.#unstable.slice(this.#handedOut + 1 - this.#offset);
    this.#handedOut = this.lastIndex;
    this.#writing.push({ number, lastIndex: entries.length > 0 ? this.lastIndex : 0, snapshot });
    return { snapshot, entries };
  }

  /** Ready `number` is durable, and so are all before it. */
  markPersisted(number: number): void {
    const writing = this.#writing.shift();
    assert(writing?.number === number, 'advance out of order', {
      number,
      expected: writing?.number ?? 0,
    });
    if (writing.snapshot !== undefined && writing.snapshot === this.#snapshot) {
      this.#snapshot = undefined;
      this.#applied = Math.max(this.#applied, writing.snapshot.index);
      assert(this.#storage.firstIndex() <= writing.snapshot.index + 1, 'snapshot not in storage');
    }
    if (this.#snapshot || writing.lastIndex < this.#offset) return;
    this.#unstable.splice(0, writing.lastIndex + 1 - this.#offset);
    this.#offset = writing.lastIndex + 1;
    assert(this.#storage.lastIndex() >= writing.lastIndex, 'storage lacks what is durable');
  }

  /** Up to where entries may be applied: committed, and durable here. */
  get applicable(): LogIndex {
    return Math.min(this.#commit, this.persisted);
  }

  /** Next entries to apply, at most `bytesMax` (or one entry). */
  takeCommitted(bytesMax: number): readonly Entry[] {
    const entries = this.slice(this.#applying + 1, this.applicable + 1, bytesMax);
    assert(entries !== 'compacted', 'an entry was compacted before it was applied');
    this.#applying += entries.length;
    return entries;
  }

  /** The driver has applied all up to `index`. */
  markApplied(index: LogIndex): void {
    if (index <= this.#applied) return;
    assert(index <= this.#applying, 'applied what was never committed', { index });
    this.#applied = index;
  }
}

function takeBytes(entries: readonly Entry[], bytesMax: number): readonly Entry[] {
  let bytes = 0;
  for (const [i, entry] of entries.entries()) {
    bytes += entryBytes(entry);
    if (bytes > bytesMax && i > 0) return entries.slice(0, i);
  }
  return entries;
}
