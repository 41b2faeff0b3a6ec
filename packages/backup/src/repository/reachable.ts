/** Which blobs the snapshots refer to. */
import { isSafeName } from '@holdfast/tree';
import type { StorageId } from '../format/ids.ts';
import type { Snapshot } from '../format/snapshot.ts';
import type { TreeNode } from '../format/tree.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import type { BlobIndex } from './blob-index.ts';
import { BlobReader } from './blob-reader.ts';
import { mapInParallel } from './gate.ts';
import type { Repository } from './repository.ts';

/** Something wrong that was found, in words. */
export type ReportProblem = (problem: string) => void;

/** The blobs that a set of trees refers to, each once. */
export interface Reachable {
  readonly data: ReadonlySet<StorageId>;
  readonly trees: ReadonlySet<StorageId>;
}

function checkNode(tree: StorageId, node: TreeNode, report: ReportProblem): void {
  const where = `tree ${tree}, entry ${JSON.stringify(node.name)}`;
  if (!isSafeName(node.name)) report(`${where}: the name is not one`);
  if (node.kind === 'directory' && node.subtree === undefined) report(`${where}: no tree`);
}

/**
 * Walks every tree once, wherever it is shared, breadth first. What cannot be read is reported, and
 * then everything below it is unknown: a caller that removes must not go on.
 */
export async function reachableBlobs(
  repository: Repository,
  index: BlobIndex,
  options: {
    readonly snapshots: readonly Snapshot[];
    readonly report: ReportProblem;
    readonly signal?: AbortSignal;
  },
): Promise<Reachable> {
  const { report } = options;
  const reader = new BlobReader(repository, index, options.signal);
  const data = new Set<StorageId>();
  const trees = new Set(options.snapshots.map(({ tree }) => tree));
  let level = [...trees];
  while (level.length > 0) {
    const next: StorageId[] = [];
    await mapInParallel(level, BACKUP_LIMITS.loadsMax, async (tree) => {
      let nodes: readonly TreeNode[];
      try {
        nodes = await reader.readTree(tree);
      } catch (error) {
        options.signal?.throwIfAborted();
        report(`tree ${tree}: ${error instanceof Error ? error.message : String(error)}`);
        return;
      }
      for (const node of nodes) {
        checkNode(tree, node, report);
        for (const id of node.content) {
          if (!data.has(id) && !index.has(id, 'data'))
            report(`tree ${tree}, entry ${JSON.stringify(node.name)}: no index lists ${id}`);
          data.add(id);
        }
        if (node.subtree === undefined || trees.has(node.subtree)) continue;
        trees.add(node.subtree);
        next.push(node.subtree);
      }
    });
    level = next;
  }
  return { data, trees };
}
