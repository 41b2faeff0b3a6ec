import {
  ACL_XATTR,
  type FileSystem,
  HoldfastError,
  LIMITS,
  type ListedEntry,
  type NodeAnswer,
  type NodeReference,
  type RequestContext,
  ROOT_INODE,
  SNAPSHOTS_INODE,
  type Snapshot,
  type SpaceAnswer,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { Session } from '../../session/session.ts';
import type { Volumes } from '../../volumes.ts';
import { addressOf } from '../file-data.ts';
import type { ReadOnlyPlace } from './read-only-place.ts';
import type { SnapshotNumbers } from './snapshot-numbers.ts';
import { answerOf } from './snapshot-trees.ts';
import type { SnapshotViews } from './snapshot-views.ts';

/** Snapshots asked for at once: each of those that are listed is looked at. */
const SEARCHED_AT_ONCE = 1_024;
const LISTED_AT_ONCE = 64;
/** Names of snapshots that are remembered; the longest unused is dropped first. */
const NAMES_MAX = 4_096;

/** What {@link SnapshotList} works with. */
export interface SnapshotListOptions {
  readonly session: Pick<Session, 'view'>;
  readonly volumes: Pick<Volumes, 'byNumber'>;
  readonly numbers: SnapshotNumbers;
  readonly views: SnapshotViews;
  /** The present of the volumes. */
  readonly live: Pick<FileSystem, 'getAttributes' | 'getXattr' | 'listXattrs' | 'space'>;
}

/**
 * The directory `.snapshots` of each volume: one entry a snapshot, under its name. It is nowhere but
 * in the mount; who owns the volume's root and may search it, owns this and may search it.
 */
export class SnapshotList implements ReadOnlyPlace {
  readonly #options: SnapshotListOptions;
  /** Generations that had a name when last heard of. A look at the generation tells whether it still has. */
  readonly #generations = new Map<string, number>();

  constructor(options: SnapshotListOptions) {
    this.#options = options;
  }

  async getAttributes({ volume }: NodeReference, context: RequestContext): Promise<NodeAnswer> {
    const root = (await this.#options.live.getAttributes(rootOf(volume), context)).attributes;
    const attributes = {
      ...root,
      ino: SNAPSHOTS_INODE,
      mode: root.mode & 0o555,
      nlink: 1, // of a directory: not counted
      size: 0,
      allocatedBytes: 0,
      atimeNs: root.birthNs,
      mtimeNs: root.birthNs,
      ctimeNs: root.birthNs,
    };
    return { node: { volume, ino: SNAPSHOTS_INODE }, attributes, validMs: 0 };
  }

  async lookup(
    { volume }: NodeReference,
    name: string,
    context: RequestContext,
  ): Promise<NodeAnswer> {
    const key = `${volume}/${name}`;
    const known = this.#generations.get(key);
    const remembered = known === undefined ? undefined : await this.#at(volume, known, context);
    if (remembered !== undefined) return remembered;
    this.#generations.delete(key);
    const generation = await this.#search(volume, name, context);
    const found =
      generation === undefined ? undefined : await this.#at(volume, generation, context);
    if (generation === undefined || found === undefined) throw new HoldfastError('ENOENT');
    this.#remember(key, generation);
    return found;
  }

  /** Cookies are generations. */
  async readDirectory(
    { volume }: NodeReference,
    cookie: number,
    count: number,
    context: RequestContext,
  ): Promise<{ entries: readonly ListedEntry[]; end: boolean }> {
    let after = cookie;
    for (;;) {
      const page = await this.#page(volume, after, Math.min(count, LISTED_AT_ONCE), context);
      const entries = (
        await Promise.all(page.snapshots.map((snapshot) => this.#entry(volume, snapshot, context)))
      ).filter((entry) => entry !== undefined);
      // No entry at all would be taken for the end.
      if (entries.length > 0 || page.end) return { entries, end: page.end };
      after = page.snapshots.at(-1)?.generation ?? after;
    }
  }

  /** The root of the volume. */
  parentOf({ volume }: NodeReference): Promise<NodeReference> {
    return Promise.resolve(rootOf(volume));
  }

  readLink(): Promise<string> {
    return Promise.reject(new HoldfastError('EINVAL', 'not a symbolic link'));
  }

  confirm(): Promise<void> {
    return Promise.reject(new HoldfastError('EISDIR'));
  }

  read(): Promise<readonly Uint8Array[]> {
    return Promise.reject(new HoldfastError('EISDIR'));
  }

  seek(): Promise<number> {
    return Promise.reject(new HoldfastError('EISDIR'));
  }

  /** Only the ACL of the volume's root: mode and owner are the root's too. */
  getXattr({ volume }: NodeReference, name: string, context: RequestContext): Promise<Uint8Array> {
    if (name !== ACL_XATTR.access) return Promise.reject(new HoldfastError('ENODATA'));
    return this.#options.live.getXattr(rootOf(volume), name, context);
  }

  async listXattrs({ volume }: NodeReference, context: RequestContext): Promise<readonly string[]> {
    const names = await this.#options.live.listXattrs(rootOf(volume), context);
    return names.filter((name) => name === ACL_XATTR.access);
  }

  space({ volume }: NodeReference, context: RequestContext): Promise<SpaceAnswer> {
    return this.#options.live.space(rootOf(volume), context);
  }

  /** The root of a snapshot; undefined when it was removed. */
  async #at(
    volume: VolumeNumber,
    generation: number,
    { signal }: RequestContext,
  ): Promise<NodeAnswer | undefined> {
    const { numbers, views } = this.#options;
    const number = numbers.numberOf({ volume, generation });
    try {
      const view = { view: 'attributes', ino: ROOT_INODE } as const;
      return answerOf(number, (await views.look(number, view, signal)).attributes);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ESTALE') return undefined;
      throw error;
    }
  }

  async #entry(
    volume: VolumeNumber,
    { name, generation }: Snapshot,
    context: RequestContext,
  ): Promise<ListedEntry | undefined> {
    const answer = await this.#at(volume, generation, context);
    if (answer === undefined) return undefined;
    this.#remember(`${volume}/${name}`, generation);
    return { ...answer, name, cookie: generation };
  }

  async #search(
    volume: VolumeNumber,
    name: string,
    context: RequestContext,
  ): Promise<number | undefined> {
    if (name.length > LIMITS.nameBytesMax) throw new HoldfastError('ENAMETOOLONG');
    for (let after = 0; ; ) {
      const page = await this.#page(volume, after, SEARCHED_AT_ONCE, context);
      const found = page.snapshots.find((snapshot) => snapshot.name === name);
      const last = page.snapshots.at(-1);
      if (found !== undefined || page.end || last === undefined) return found?.generation;
      after = last.generation;
    }
  }

  async #page(
    volume: VolumeNumber,
    after: number,
    count: number,
    { signal }: RequestContext,
  ): Promise<{ snapshots: readonly Snapshot[]; end: boolean }> {
    const record = await this.#options.volumes.byNumber(volume, signal);
    const view = { view: 'snapshots', after, count } as const;
    return this.#options.session.view(addressOf(record), view, signal);
  }

  #remember(key: string, generation: number): void {
    this.#generations.delete(key);
    this.#generations.set(key, generation);
    for (const oldest of this.#generations.keys()) {
      if (this.#generations.size <= NAMES_MAX) return;
      this.#generations.delete(oldest);
    }
  }
}

function rootOf(volume: VolumeNumber): NodeReference {
  return { volume, ino: ROOT_INODE };
}
