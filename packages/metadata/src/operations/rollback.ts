/**
 * Rollback: the volume shows a snapshot again. A new tree, made as a clone of the snapshot is, takes the
 * present one's place in one command; nothing is copied and no record of content is touched. Inodes keep
 * their numbers, and none is given twice: what was made since the snapshot is not there any more, and
 * what comes later is something else.
 */
import {
  HOLDS_FROM,
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  ROOT_INODE,
  type VolumeNumber,
} from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import { changeCounters, countersOf } from '../counters.ts';
import { perInodeKey, snapshotKey, snapshotNameKey, treesKey, volumeKey } from '../keys.ts';
import { pinsOf } from '../pins.ts';
import { SNAPSHOT, SNAPSHOT_NAME, VOLUME } from '../records.ts';
import { LOCKS, TREES, type TreesRecord } from '../shard-records.ts';
import { snapshotOf } from '../snapshots.ts';
import { allTrees, clientOf, treeAt, treesOf } from '../trees.ts';
import { holdSnapshot } from './clones.ts';
import { markClosed } from './letting-go.ts';
import { createSnapshot, generationOf } from './snapshots.ts';
import { checkDelegation } from './volumes.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** The highest number that keys have room for. */
const TREE_MAX = 2 ** 24 - 1;

/** Shows a snapshot again; see the operation. */
export function rollbackVolume(
  context: Context,
  operation: Of<'rollback-volume'>,
): OperationAnswer {
  const { transaction, volume, home, nowNs } = context;
  const { keep } = operation;
  const kept = transaction.read(SNAPSHOT_NAME, snapshotNameKey(volume, keep));
  if (kept !== undefined) {
    const tree = treeAt(transaction, home, kept.generation);
    const snapshot = snapshotOf(transaction, tree, kept.generation);
    if (snapshot.timeNs === nowNs && tree !== volume) return { created: false, snapshot };
  }
  checkDelegation(context);
  const generation = generationOf(context, { ...operation, name: operation.snapshot });
  const former = treesOf(transaction, home)?.former ?? [];
  if (former.length >= LIMITS.treesMax) {
    throw new HoldfastError(
      'ENOSPC',
      `snapshots of a volume go over at most ${LIMITS.treesMax} rollbacks; remove some that are older`,
    );
  }
  const { snapshot } = createSnapshot(context, { op: 'create-snapshot', name: keep });
  const tree = numberOfTree(context);
  const base = treeAt(transaction, home, generation);
  const { usedBytes, usedInodes, depth } = holdSnapshot(context, { base, generation, by: tree });
  const present = volumeOf(context);
  transaction.write(VOLUME, volumeKey(tree), {
    name: present.name,
    // Counted on, so that a generation is in one tree only and an inode's number is that of one inode only.
    generation: present.generation,
    nextInode: present.nextInode,
    newestPin: 0,
    usedBytes,
    usedInodes,
    orphanBytes: 0,
    orphanInodes: 0,
    quotaBytes: present.quotaBytes,
    quotaInodes: present.quotaInodes,
    holders: [],
    baseVolume: base,
    baseGeneration: generation,
    depth: depth + 1,
    cloneCount: 0,
    home,
    isClosed: false,
    isShadow: false,
  });
  moveNames(context, tree);
  moveHolds(context, tree);
  changeVolume(context, { isClosed: true, holders: [] });
  markClosed(context);
  const last = present.generation - 1;
  const record: TreesRecord = {
    present: tree,
    former: [...former, { tree: volume, last }],
    fenced: countersOf(transaction).nextOrdinal,
    acknowledged: [],
  };
  transaction.write(TREES, treesKey(home), record);
  return { created: true, ...(snapshot !== undefined && { snapshot }) };
}

/** A number for a tree that is no volume. ENOSPC. */
export function numberOfTree({ transaction }: Context): VolumeNumber {
  const { nextTree } = countersOf(transaction);
  if (nextTree > TREE_MAX) {
    throw new HoldfastError('ENOSPC', 'the shard has had as many rollbacks as it can number');
  }
  changeCounters(transaction, { nextTree: nextTree + 1 });
  return nextTree as VolumeNumber;
}

/** The names of all snapshots of the volume go along: they lie with the present tree. */
function moveNames({ transaction, volume, home }: Context, to: VolumeNumber): void {
  for (const tree of allTrees(transaction, home)) {
    for (const generation of pinsOf(transaction, tree)) {
      const record = transaction.read(SNAPSHOT, snapshotKey(tree, generation));
      if (record === undefined || record.removed) continue;
      transaction.remove(SNAPSHOT_NAME, snapshotNameKey(volume, record.name));
      transaction.write(SNAPSHOT_NAME, snapshotNameKey(to, record.name), { generation });
    }
  }
}

/** Locks that stand for snapshots which someone reads go along; those on bytes of files end. */
function moveHolds({ transaction, volume }: Context, to: VolumeNumber): void {
  const held = transaction.read(LOCKS, perInodeKey('locks', volume, ROOT_INODE));
  const posix = held?.posix.filter(({ start }) => start >= HOLDS_FROM) ?? [];
  if (posix.length === 0) return;
  transaction.write(LOCKS, perInodeKey('locks', to, ROOT_INODE), { posix, flock: [] });
}

/** What the client sends from now on it sends in the knowledge of the last rollback. */
export function acknowledgeRollback(context: Context): OperationAnswer {
  const { transaction, home, origin, ordinal, sequence } = context;
  const trees = treesOf(transaction, home);
  if (trees === undefined || origin >= trees.fenced) return {};
  const client = clientOf(context);
  if (trees.acknowledged.some((known) => known.client === client)) return {};
  const acknowledged = [...trees.acknowledged, { client, ordinal, sequence }];
  transaction.write(TREES, treesKey(home), { ...trees, acknowledged });
  return {};
}
