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

/** A tree, and where it is first met: for people. */
interface Met {
  readonly tree: StorageId;
  readonly where: string;
}

function nameText(name: string): string {
  const text = JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
  return text.slice(1, -1);
}

function checkNode(where: string, node: TreeNode, report: ReportProblem): void {
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
    /** A tree was looked at. */
    readonly onTree?: () => void;
    readonly signal?: AbortSignal;
  },
): Promise<Reachable> {
  const { report } = options;
  const reader = new BlobReader(repository, index, options.signal);
  const data = new Set<StorageId>();
  const trees = new Set<StorageId>();
  let level: Met[] = [];
  for (const { id, tree } of options.snapshots.toReversed()) {
    if (trees.has(tree)) continue;
    trees.add(tree);
    level.push({ tree, where: `backup ${id.slice(0, 8)}, ` });
  }
  while (level.length > 0) {
    const next: Met[] = [];
    await mapInParallel(level, BACKUP_LIMITS.loadsMax, async ({ tree, where }) => {
      let nodes: readonly TreeNode[];
      try {
        nodes = await reader.readTree(tree);
      } catch (error) {
        options.signal?.throwIfAborted();
        report(`${where}/: ${error instanceof Error ? error.message : String(error)}`);
        return;
      }
      for (const node of nodes) {
        const here = `${where}/${nameText(node.name)}`;
        checkNode(here, node, report);
        const missing = node.content.filter((id) => !index.has(id, 'data'));
        if (missing.length > 0)
          report(`${here}: ${missing.length} of its ${node.content.length} blobs are lost`);
        for (const id of node.content) data.add(id);
        if (node.subtree === undefined || trees.has(node.subtree)) continue;
        trees.add(node.subtree);
        next.push({ tree: node.subtree, where: here });
      }
      options.onTree?.();
    });
    level = next;
  }
  return { data, trees };
}
