/**
 * What changed between two snapshots, by inodes and names. Every change of a name changes its directory's
 * inode too, so that the names to compare are those of the directories among the changed inodes; and
 * below any other directory each name leads to the inode that it led to.
 */
import {
  HoldfastError,
  type InodeDifference,
  type InodeNumber,
  ROOT_INODE,
} from '@holdfast/protocol';
import type { ByteRange, SourceEntry, VolumeSource } from '@holdfast/tree';
import { STREAM_LIMITS } from './limits.ts';

/** Two snapshots of one volume. */
export interface Change {
  readonly base: VolumeSource;
  readonly target: VolumeSource;
  /** Inodes that differ, a page at a time. */
  readonly changes: () => AsyncIterable<readonly InodeDifference[]>;
  /** Ranges of a file that may differ, ascending. */
  readonly changedRanges: (ino: InodeNumber) => Promise<readonly ByteRange[]>;
  /** The directory that held a directory in the base. */
  readonly parentInBase: (ino: InodeNumber) => Promise<InodeNumber>;
}

/** A name in a directory. */
export interface Place {
  readonly parent: number;
  readonly name: string;
}

type Kind = SourceEntry['kind'];

/** An inode that differs, and is in the target. */
interface Changed {
  readonly kind: Kind;
  readonly isNew: boolean;
  /** Whether its bytes may differ. */
  readonly content: boolean;
  /** Where it is in the target, where that is known. */
  readonly parent: number | undefined;
}

/** An inode that gets names. */
interface Gaining {
  readonly entry: Pick<SourceEntry, 'kind' | 'rdev' | 'target'>;
  readonly places: Place[];
}

/** All that a stream of the change has to say. */
export interface ChangePlan {
  readonly changed: ReadonlyMap<number, Changed>;
  /** Inodes that are gone, and whether they were directories. */
  readonly removed: ReadonlyMap<number, boolean>;
  /** Where inodes that are spoken of are in the base; so are all directories above them. */
  readonly located: ReadonlyMap<number, Place & { readonly kind: Kind }>;
  /** Names that go. */
  readonly lost: readonly (Place & { readonly ino: number })[];
  readonly gaining: ReadonlyMap<number, Gaining>;
  /** Entries of directories that were looked at. */
  readonly looked: number;
}

function tooMuch(): HoldfastError {
  return new HoldfastError(
    'TOO_LARGE',
    `more than ${STREAM_LIMITS.changesMax} files or names have changed: send the whole snapshot, without --from, into a new volume`,
  );
}

class Planner {
  readonly changed = new Map<number, Changed>();
  readonly removed = new Map<number, boolean>();
  readonly located = new Map<number, Place & { readonly kind: Kind }>();
  readonly lost: (Place & { readonly ino: number })[] = [];
  readonly gaining = new Map<number, Gaining>();
  looked = 0;
  readonly #change: Change;
  readonly #signal: AbortSignal | undefined;
  #names = 0;

  constructor(change: Change, signal: AbortSignal | undefined) {
    this.#change = change;
    this.#signal = signal;
  }

  async collect(): Promise<void> {
    for await (const page of this.#change.changes()) {
      this.#signal?.throwIfAborted();
      for (const change of page) this.#add(change);
      if (this.changed.size + this.removed.size > STREAM_LIMITS.changesMax) throw tooMuch();
    }
  }

  #add(change: InodeDifference): void {
    if (change.kind === 'removed') {
      this.removed.set(change.ino, change.before.kind === 'directory');
      return;
    }
    const isNew = change.kind === 'created';
    const { kind } = change.after;
    const content = change.kind === 'created' || change.content;
    this.changed.set(change.ino, { kind, isNew, content, parent: change.parent });
  }

  /** Compares the names of every directory that differs. */
  async compareNames(): Promise<void> {
    for (const [ino, isDirectory] of this.removed)
      if (isDirectory) await this.#compare(ino, { isInBase: true, isInTarget: false });
    for (const [ino, { kind, isNew }] of this.changed)
      if (kind === 'directory') await this.#compare(ino, { isInBase: !isNew, isInTarget: true });
  }

  async #compare(
    parent: number,
    { isInBase, isInTarget }: { readonly isInBase: boolean; readonly isInTarget: boolean },
  ): Promise<void> {
    const before = new Map<string, number>();
    if (isInBase) {
      for await (const { name, inode, kind } of this.#list('base', parent)) {
        const ino = Number(inode);
        before.set(name, ino);
        const isSpokenOf = this.changed.has(ino) || this.removed.has(ino);
        if (isSpokenOf && !this.located.has(ino)) this.located.set(ino, { parent, name, kind });
      }
    }
    if (isInTarget) {
      for await (const entry of this.#list('target', parent)) {
        const { name } = entry;
        if (before.get(name) === Number(entry.inode)) before.delete(name);
        else this.#gain(entry, { parent, name });
      }
    }
    for (const [name, ino] of before) this.lost.push({ parent, name, ino });
    this.#names += before.size;
    if (this.#names > STREAM_LIMITS.changesMax) throw tooMuch();
  }

  #gain({ inode, kind, rdev, target }: SourceEntry, place: Place): void {
    const ino = Number(inode);
    const known = this.gaining.get(ino);
    if (known === undefined)
      this.gaining.set(ino, { entry: { kind, rdev, target }, places: [place] });
    else known.places.push(place);
    this.#names += 1;
  }

  async *#list(side: 'base' | 'target', ino: number): AsyncGenerator<SourceEntry> {
    for await (const entry of this.#change[side].listAt(ino as InodeNumber)) {
      this.#signal?.throwIfAborted();
      this.looked += 1;
      yield entry;
    }
  }

  /** Finds where in the base everything is that is spoken of, and the directories above. */
  async locate(): Promise<void> {
    for (const { ino, parent, name } of this.lost) {
      const kind = this.gaining.get(ino)?.entry.kind;
      if (kind !== undefined && !this.located.has(ino))
        this.located.set(ino, { parent, name, kind });
    }
    let wanted = new Set<number>();
    for (const [ino, { isNew }] of this.changed) if (!isNew) wanted.add(ino);
    for (const [ino, isDirectory] of this.removed) if (isDirectory) wanted.add(ino);
    for (const { parent } of this.located.values()) wanted.add(parent);
    const scattered = new Set<number>();
    while (wanted.size > 0) {
      const above = new Set<number>();
      for (const [parent, inos] of await this.#byParent(wanted, scattered)) {
        await this.#find(parent, inos);
        above.add(parent);
        for (const ino of inos) scattered.add(ino); // not where it should be
      }
      wanted = above;
    }
    if (scattered.size > 0) await this.#walk(scattered);
  }

  /** What is to be found, by the directory that should have it in the base. */
  async #byParent(
    wanted: ReadonlySet<number>,
    scattered: Set<number>,
  ): Promise<Map<number, Set<number>>> {
    const groups = new Map<number, Set<number>>();
    for (const ino of wanted) {
      if (ino === ROOT_INODE || this.located.has(ino)) continue;
      const parent = await this.#parentOf(ino);
      if (parent === undefined) scattered.add(ino);
      else groups.set(parent, (groups.get(parent) ?? new Set()).add(ino));
    }
    return groups;
  }

  async #parentOf(ino: number): Promise<number | undefined> {
    const known = this.changed.get(ino);
    // What is no directory among the changed is one, above or below them.
    if (known === undefined || known.kind === 'directory')
      return this.#change.parentInBase(ino as InodeNumber);
    const { parent } = known;
    // Where names changed, it was looked for already.
    return parent === undefined || this.changed.has(parent) ? undefined : parent;
  }

  /** Looks for inodes in one directory of the base, and takes those out that it finds. */
  async #find(parent: number, inos: Set<number>): Promise<void> {
    for await (const { name, inode, kind } of this.#list('base', parent)) {
      const ino = Number(inode);
      if (!inos.delete(ino)) continue;
      this.located.set(ino, { parent, name, kind });
      if (inos.size === 0) return;
    }
  }

  /** Looks for inodes in the whole base: files with several names do not say where they are. */
  async #walk(inos: Set<number>): Promise<void> {
    const stack: number[] = [ROOT_INODE];
    const above = new Map<number, Place & { readonly kind: Kind }>();
    for (let at = stack.pop(); at !== undefined && inos.size > 0; at = stack.pop()) {
      const parent = at;
      for await (const { name, inode, kind } of this.#list('base', parent)) {
        const ino = Number(inode);
        if (kind === 'directory') {
          above.set(ino, { parent, name, kind });
          stack.push(ino);
        }
        if (!inos.delete(ino)) continue;
        this.located.set(ino, { parent, name, kind });
        for (let up = parent; up !== ROOT_INODE && !this.located.has(up); ) {
          const place = above.get(up);
          if (place === undefined) throw new HoldfastError('INTERNAL', 'a walk without its way');
          this.located.set(up, place);
          up = place.parent;
        }
      }
    }
    for (const ino of inos)
      if (!this.gaining.has(ino)) throw new HoldfastError('INTERNAL', `inode ${ino} has no name`);
  }
}

/**
 * Adds a change up. It looks at the directories that changed and at those that hold what changed, and at
 * all directories of the base only for files that have or had several names. TOO_LARGE above
 * STREAM_LIMITS.changesMax; ESTALE or NOT_FOUND when a snapshot is gone.
 */
export async function planChange(change: Change, signal?: AbortSignal): Promise<ChangePlan> {
  const planner = new Planner(change, signal);
  await planner.collect();
  await planner.compareNames();
  await planner.locate();
  return planner;
}
