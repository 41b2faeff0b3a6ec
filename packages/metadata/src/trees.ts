/**
 * Trees: what a rollback changes between. A volume begins as one tree of records, under its own number.
 * A rollback closes it and puts a new one in its place, a clone of the snapshot that was asked for.
 * Names of snapshots lie with the present tree; all else of a snapshot, in the tree that it was taken of.
 */
import { HoldfastError, type VolumeNumber } from '@holdfast/protocol';
import type { Context } from './context.ts';
import { treesKey, volumeKey } from './keys.ts';
import { VOLUME } from './records.ts';
import { TREES, type TreesRecord } from './shard-records.ts';
import type { StateReader } from './state.ts';
import { Transaction } from './transaction.ts';

/** The trees of a volume that was rolled back; undefined for all others. */
export function treesOf(transaction: Transaction, home: VolumeNumber): TreesRecord | undefined {
  if (home === 0) return undefined; // of the whole shard
  // Most volumes never were: their own record, which everybody reads, says so.
  const first = transaction.read(VOLUME, volumeKey(home));
  if (first !== undefined && !first.isClosed) return undefined;
  return transaction.read(TREES, treesKey(home));
}

/** The tree that a volume shows. */
export function presentTree(transaction: Transaction, home: VolumeNumber): VolumeNumber {
  return treesOf(transaction, home)?.present ?? home;
}

/** {@link presentTree} of a state. */
export function treeShownBy(state: StateReader, home: VolumeNumber): VolumeNumber {
  return presentTree(new Transaction(state), home);
}

/** The volume that a tree belongs to. */
export function homeOf(state: StateReader, tree: VolumeNumber): VolumeNumber {
  const record = new Transaction(state).read(VOLUME, volumeKey(tree));
  return record === undefined || record.home === 0 ? tree : record.home;
}

/** The tree that had, or has, a generation of a volume. */
export function treeAt(
  transaction: Transaction,
  home: VolumeNumber,
  generation: number,
): VolumeNumber {
  const trees = treesOf(transaction, home);
  if (trees === undefined) return home;
  return trees.former.find(({ last }) => generation <= last)?.tree ?? trees.present;
}

/** All trees of a volume, the oldest first. */
export function allTrees(transaction: Transaction, home: VolumeNumber): readonly VolumeNumber[] {
  const trees = treesOf(transaction, home);
  return trees === undefined ? [home] : [...trees.former.map(({ tree }) => tree), trees.present];
}

/** By what a client is known that acknowledges a rollback. */
export function clientOf({ origin, ordinal }: Pick<Context, 'origin' | 'ordinal'>): number {
  return origin === 0 ? ordinal : origin;
}

/**
 * Refuses what a client that was there before the last rollback sent, or sends, in ignorance of it: files
 * that it had open are void. ROLLED_BACK. A look needs the acknowledgement only, whenever it was sent.
 */
export function checkFence(
  context: Pick<Context, 'transaction' | 'home' | 'origin' | 'ordinal' | 'sequence'>,
): void {
  const { transaction, home, origin, ordinal, sequence } = context;
  const trees = treesOf(transaction, home);
  if (trees === undefined || origin >= trees.fenced) return;
  const known = trees.acknowledged.find(({ client }) => client === clientOf(context));
  if (known !== undefined && known.ordinal < ordinal) return;
  if (known?.ordinal === ordinal && sequence >= known.sequence) return;
  throw new HoldfastError('ROLLED_BACK', undefined, { detail: { volume: home } });
}
