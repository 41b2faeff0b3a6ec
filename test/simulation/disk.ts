/**
 * The log of one replica on a disk that forgets what was not flushed: a crash keeps a prefix, chosen by
 * chance, of what was written since the last flush, down to a part of the entries of one write. What was
 * flushed is never lost: that is the fault model (a replica that loses flushed data is a new replica).
 */
import type { Entry, HardState, LogStorage, Membership, Ready, SnapshotMeta } from '@holdfast/raft';
import { chain } from './hash.ts';
import type { Random } from './random.ts';

/** State after `index`, whose entry had `term`; the hash stands for the content. */
export interface AppliedState {
  readonly index: number;
  readonly term: number;
  readonly hash: number;
}

/** Where a log begins. */
export interface Base extends AppliedState {
  readonly membership: Membership;
}

interface Stored {
  readonly entry: Entry;
  /** Of the log up to this entry. */
  readonly hash: number;
}

/** A log and its hard state, in memory or on the platter. */
export class LogImage {
  base: Base;
  stored: Stored[] = [];
  hardState: HardState | undefined;

  constructor(base: Base) {
    this.base = base;
  }

  copy(): LogImage {
    const copy = new LogImage(this.base);
    copy.stored = [...this.stored];
    copy.hardState = this.hardState;
    return copy;
  }

  get lastIndex(): number {
    return this.base.index + this.stored.length;
  }

  at(index: number): Stored | undefined {
    return this.stored[index - this.base.index - 1];
  }

  /** Hash of the log up to `index`, which must be in it or its base. */
  hashAt(index: number): number | undefined {
    return index === this.base.index ? this.base.hash : this.at(index)?.hash;
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.stored.length = Math.min(this.stored.length, entry.index - this.base.index - 1);
      if (this.lastIndex + 1 !== entry.index) throw new Error(`a gap before entry ${entry.index}`);
      this.stored.push({ entry, hash: chain(this.hashAt(entry.index - 1)!, entry) });
    }
  }

  install(base: Base): void {
    this.base = base;
    this.stored = [];
  }

  compact(base: Base): void {
    this.stored.splice(0, base.index - this.base.index);
    this.base = base;
  }
}

/** A Ready on its way to the platter. */
export interface Write {
  readonly ready: Ready;
  /** The received state, when the Ready installs a snapshot. */
  readonly base: Base | undefined;
}

export class SimDisk implements LogStorage {
  /** What the driver sees: all that was written. */
  readonly view: LogImage;
  /** What a crash leaves for certain. */
  readonly durable: LogImage;
  readonly #snapshot: () => SnapshotMeta;
  #queue: Write[] = [];

  /** `snapshot` makes the snapshot that could be sent now. */
  constructor(durable: LogImage, snapshot: () => SnapshotMeta) {
    this.durable = durable;
    this.view = durable.copy();
    this.#snapshot = snapshot;
  }

  firstIndex = (): number => this.view.base.index + 1;
  lastIndex = (): number => this.view.lastIndex;
  snapshot = (): SnapshotMeta => this.#snapshot();

  term(index: number): number | 'compacted' | 'unavailable' {
    if (index === this.view.base.index) return this.view.base.term;
    if (index < this.view.base.index) return 'compacted';
    return this.view.at(index)?.entry.term ?? 'unavailable';
  }

  entries(from: number, toExclusive: number, bytesMax: number): readonly Entry[] | 'compacted' {
    const { base, stored } = this.view;
    if (from <= base.index) return 'compacted';
    const entries: Entry[] = [];
    let bytes = 0;
    for (const { entry } of stored.slice(from - base.index - 1, toExclusive - base.index - 1)) {
      bytes += entry.data.length;
      if (bytes > bytesMax && entries.length > 0) break;
      entries.push(entry);
    }
    return entries;
  }

  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  get writesWaiting(): number {
    return this.#queue.length;
  }

  get isInstalling(): boolean {
    return this.#queue.some(({ base }) => base !== undefined);
  }

  write(write: Write): void {
    this.#queue.push(write);
    put(this.view, write);
  }

  /** The oldest write is on the platter. */
  settle(): Write {
    const write = this.#queue.shift()!;
    put(this.durable, write);
    return write;
  }

  /** A hard state that nobody waited for may have come through. */
  keepCommit(hardState: HardState): void {
    if (this.#queue.length === 0) this.durable.hardState = hardState;
  }

  /** The log up to `base.index` is not needed any more. */
  compact(base: Base): void {
    this.view.compact(base);
    this.durable.compact(base);
  }

  /** Power off. What the platter holds afterwards. */
  crash(random: Random): LogImage {
    const survivors = random.between(0, this.#queue.length);
    for (let i = 0; i < survivors; i += 1) this.settle();
    const torn = this.#queue[0];
    if (torn && !torn.base && random.chance(0.5)) {
      const { entries } = torn.ready;
      this.durable.append(entries.slice(0, random.between(0, entries.length)));
    }
    this.#queue = [];
    return this.durable;
  }
}

function put(image: LogImage, { ready, base }: Write): void {
  if (base) image.install(base);
  image.append(ready.entries);
  if (ready.hardState) image.hardState = ready.hardState;
}
