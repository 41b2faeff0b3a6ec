/** Looking into a snapshot without restoring it. */
import { HoldfastError } from '@holdfast/protocol';
import type { Snapshot } from './format/snapshot.ts';
import type { TreeNode } from './format/tree.ts';
import { BlobReader } from './repository/blob-reader.ts';
import { loadIndexToRead } from './repository/load-index.ts';
import type { Repository } from './repository/repository.ts';

/** The entries of one snapshot, read as they are asked for. */
export class SnapshotContent {
  readonly #reader: BlobReader;
  readonly #snapshot: Snapshot;

  private constructor(reader: BlobReader, snapshot: Snapshot) {
    this.#reader = reader;
    this.#snapshot = snapshot;
  }

  /** Reads the index of the repository. */
  static async open(
    repository: Repository,
    snapshot: Snapshot,
    signal?: AbortSignal,
  ): Promise<SnapshotContent> {
    const index = await loadIndexToRead(repository, signal);
    return new SnapshotContent(new BlobReader(repository, index, signal), snapshot);
  }

  /** What lies at a path below the snapshot's root, `/folder/name`; `undefined` when nothing does. */
  async find(path: string): Promise<TreeNode | undefined> {
    const names = Buffer.from(path).toString('latin1').split('/');
    let node: TreeNode | undefined;
    let tree: TreeNode['subtree'] = this.#snapshot.tree;
    for (const name of names.filter((part) => part !== '')) {
      if (tree === undefined) return undefined;
      node = (await this.#reader.readTree(tree)).find((child) => child.name === name);
      tree = node?.subtree;
    }
    return node;
  }

  /** All bytes of a small file; `undefined` when there is none. TOO_LARGE above `bytesMax`. */
  async file(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const node = await this.find(path);
    if (node?.kind !== 'file') return undefined;
    if (node.size > bytesMax)
      throw new HoldfastError('TOO_LARGE', `${path} has more than ${bytesMax} bytes`);
    return Buffer.concat(
      await Promise.all(node.content.map((id) => this.#reader.read(id, 'data'))),
    );
  }
}
