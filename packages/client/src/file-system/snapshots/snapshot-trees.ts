import {
  type Attributes,
  aclBitOf,
  HoldfastError,
  type ListedEntry,
  type NodeAnswer,
  type NodeReference,
  type RequestContext,
  ROOT_INODE,
  SNAPSHOTS_INODE,
  type SpaceAnswer,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { FileData } from '../file-data.ts';
import type { ReadOnlyPlace } from './read-only-place.ts';
import type { SnapshotNumbers } from './snapshot-numbers.ts';
import type { SnapshotViews } from './snapshot-views.ts';

/**
 * Milliseconds for which the kernel may believe what it was told of a file in a snapshot. It comes
 * to the file through the snapshot's root, which it is told for no time at all: a name that stands
 * for another snapshot now never leads to the old one.
 */
const VALID_MS = 60_000;

/** Inodes of which it is remembered that they have no ACL; the first is dropped first. */
const BARE_MAX = 32_768;

/** The trees of all snapshots, below their roots. */
export class SnapshotTrees implements ReadOnlyPlace {
  readonly #views: SnapshotViews;
  readonly #numbers: SnapshotNumbers;
  readonly #data: Pick<FileData, 'read'>;
  /** Inodes that have no ACL: what never changes. */
  readonly #bare = new Set<string>();

  constructor(options: {
    readonly views: SnapshotViews;
    readonly numbers: SnapshotNumbers;
    /** Contents by the views of snapshots, believed while {@link SnapshotViews.isTrusted}. */
    readonly data: Pick<FileData, 'read'>;
  }) {
    this.#views = options.views;
    this.#numbers = options.numbers;
    this.#data = options.data;
  }

  #answer(volume: VolumeNumber, attributes: Attributes): NodeAnswer {
    const answer = answerOf(volume, attributes);
    if (attributes.acls === undefined) this.#bare.add(keyOf(answer.node));
    for (const oldest of this.#bare) {
      if (this.#bare.size <= BARE_MAX) break;
      this.#bare.delete(oldest);
    }
    return answer;
  }

  async lookup(
    parent: NodeReference,
    name: string,
    { signal }: RequestContext,
  ): Promise<NodeAnswer> {
    const view = { view: 'lookup', parent: parent.ino, name } as const;
    const { attributes } = await this.#views.look(parent.volume, view, signal);
    return this.#answer(parent.volume, attributes);
  }

  async getAttributes(node: NodeReference, { signal }: RequestContext): Promise<NodeAnswer> {
    const view = { view: 'attributes', ino: node.ino } as const;
    const { attributes } = await this.#views.look(node.volume, view, signal);
    return this.#answer(node.volume, attributes);
  }

  async readDirectory(
    node: NodeReference,
    cookie: number,
    count: number,
    { signal }: RequestContext,
  ): Promise<{ entries: readonly ListedEntry[]; end: boolean }> {
    const view = { view: 'read-directory', ino: node.ino, after: cookie, count } as const;
    const { entries, end } = await this.#views.look(node.volume, view, signal);
    const listed = entries.map((entry) => {
      return {
        ...this.#answer(node.volume, entry.attributes),
        name: entry.name,
        cookie: entry.cookie,
      };
    });
    return { entries: listed, end };
  }

  async parentOf(node: NodeReference, { signal }: RequestContext): Promise<NodeReference> {
    if (node.ino === ROOT_INODE) {
      return { volume: this.#numbers.keyOf(node.volume).volume, ino: SNAPSHOTS_INODE };
    }
    const view = { view: 'parent', ino: node.ino } as const;
    const { parent } = await this.#views.look(node.volume, view, signal);
    return { volume: node.volume, ino: parent };
  }

  async readLink(node: NodeReference, { signal }: RequestContext): Promise<string> {
    const view = { view: 'read-link', ino: node.ino } as const;
    return (await this.#views.look(node.volume, view, signal)).target;
  }

  async confirm(node: NodeReference, { signal }: RequestContext): Promise<void> {
    await this.#views.confirm(node.volume, signal);
  }

  async read(
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    await this.confirm(node, context);
    const record = await this.#views.record(node.volume, context.signal);
    return this.#data.read(record, node, offset, length, context);
  }

  async seek(
    node: NodeReference,
    offset: number,
    whence: 'data' | 'hole',
    { signal }: RequestContext,
  ): Promise<number> {
    const view = { view: 'seek', ino: node.ino, offset, whence } as const;
    return (await this.#views.look(node.volume, view, signal)).offset;
  }

  async getXattr(
    node: NodeReference,
    name: string,
    { signal }: RequestContext,
  ): Promise<Uint8Array> {
    // The kernel asks for the ACL of whatever it judges: mostly there is none.
    const isBare = aclBitOf(name) !== 0 && this.#bare.has(keyOf(node));
    if (isBare && this.#views.isTrusted(node.volume)) throw new HoldfastError('ENODATA');
    const view = { view: 'xattr', ino: node.ino, name } as const;
    return (await this.#views.look(node.volume, view, signal)).value;
  }

  async listXattrs(node: NodeReference, { signal }: RequestContext): Promise<readonly string[]> {
    const view = { view: 'xattr-names', ino: node.ino } as const;
    return (await this.#views.look(node.volume, view, signal)).names;
  }

  /** What the volume used at the snapshot, all of it taken. */
  async space(node: NodeReference, { signal }: RequestContext): Promise<SpaceAnswer> {
    const used = await this.#views.look(node.volume, { view: 'space' }, signal);
    return {
      totalBytes: used.usedBytes,
      freeBytes: 0,
      totalInodes: used.usedInodes,
      freeInodes: 0,
    };
  }
}

function keyOf({ volume, ino }: NodeReference): string {
  return `${volume}/${ino}`;
}

/** An inode of a snapshot, by the snapshot's number. */
export function answerOf(volume: VolumeNumber, attributes: Attributes): NodeAnswer {
  const validMs = attributes.ino === ROOT_INODE ? 0 : VALID_MS;
  return { node: { volume, ino: attributes.ino }, attributes, validMs };
}
