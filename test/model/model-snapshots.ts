/** Snapshots of the model: whole copies. */
import type { Snapshot } from '@holdfast/protocol';
import { ModelNode } from './model-node.ts';

/** A line of changes: a volume from the start, or since a rollback. */
export interface ModelTree {
  /** What it began with, when that is a snapshot of the same volume. */
  readonly base: FrozenShard | undefined;
  /** Clones and rollbacks below it. */
  readonly depth: number;
}

/** A copy of all that has a name. */
export interface FrozenShard {
  readonly answer: Snapshot;
  readonly nodes: readonly ModelNode[];
  readonly tree: ModelTree;
}

/** These snapshots, and those that what they were taken of began with. */
export function withBases(snapshots: Iterable<FrozenShard | undefined>): Set<FrozenShard> {
  const all = new Set<FrozenShard>();
  for (const snapshot of snapshots) {
    for (let at = snapshot; at !== undefined; at = at.tree.base) all.add(at);
  }
  return all;
}

/** Copies nodes and what leads from one to another. */
export function frozen(nodes: readonly ModelNode[]): ModelNode[] {
  const named = nodes.filter(({ nlink, isDead }) => nlink > 0 && !isDead);
  const copies = new Map(named.map((node) => [node, copyOf(node)]));
  for (const [node, copy] of copies) {
    copy.parent = copies.get(node.parent) ?? copy;
    for (const [name, entry] of node.entries) {
      copy.entries.set(name, copies.get(entry) as ModelNode);
    }
  }
  return [...copies.values()];
}

function copyOf(node: ModelNode): ModelNode {
  const { ino, mode, uid, gid, nlink, size, rdev, target, atimeNs, mtimeNs, ctimeNs } = node;
  const copy = new ModelNode(node.kind, node.birthNs);
  Object.assign(copy, { ino, mode, uid, gid, nlink, size, rdev, target });
  Object.assign(copy, { atimeNs, mtimeNs, ctimeNs });
  copy.content.runs = [...node.content.runs];
  for (const [name, value] of node.xattrs) copy.xattrs.set(name, value);
  return copy;
}
