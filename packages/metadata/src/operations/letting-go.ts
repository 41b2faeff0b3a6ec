/** What ends with the last that needed it: pins of removed snapshots, and trees of which nothing is pinned. */
import { HoldfastError, type VolumeNumber } from '@holdfast/protocol';
import { type Context, changeVolume, volumeOf } from '../context.ts';
import {
  closedTreeKey,
  deadVolumeKey,
  pinsKey,
  shadowKey,
  snapshotKey,
  treesKey,
  unpinnedKey,
  volumeKey,
} from '../keys.ts';
import { pinsOf } from '../pins.ts';
import { PINS, SNAPSHOT, UNPINNED, VOLUME, type VolumeRecord } from '../records.ts';
import { CLOSED_TREE, DEAD_VOLUME, SHADOW, TREES } from '../shard-records.ts';

/** Unpins the generation of a snapshot that was removed and that no clone holds. */
export function unpinUnused(context: Context, generation: number): void {
  const { transaction, volume, nowNs } = context;
  const key = snapshotKey(volume, generation);
  const record = transaction.read(SNAPSHOT, key);
  if (record === undefined || !record.removed || record.clones.length > 0) return;
  transaction.remove(SNAPSHOT, key);
  const pins = pinsOf(transaction, volume).filter((pin) => pin !== generation);
  if (pins.length === 0) transaction.remove(PINS, pinsKey(volume));
  else transaction.write(PINS, pinsKey(volume), { generations: pins });
  changeVolume(context, { newestPin: pins.at(-1) ?? 0 });
  const { isClosed } = volumeOf(context);
  if (isClosed && pins.length === 0) {
    dropTree(context);
    return;
  }
  const mark = { timeNs: nowNs, after: new Uint8Array() };
  transaction.write(UNPINNED, unpinnedKey(volume, generation), mark);
  if (isClosed) markClosed(context);
}

/** A clone, or a tree, that ends lets go of its snapshot. */
export function letGoOfBase(context: Context, clone: VolumeRecord): void {
  const { baseVolume, baseGeneration } = clone;
  if (baseVolume !== 0) letGoOf(context, { base: baseVolume, baseGeneration, by: context.volume });
}

/** A clone lets go of a snapshot, which it holds. */
export function letGoOf(
  context: Context,
  {
    base: baseVolume,
    baseGeneration,
    by: volume,
  }: {
    readonly base: VolumeNumber;
    readonly baseGeneration: number;
    readonly by: VolumeNumber;
  },
): void {
  const { transaction } = context;
  const key = snapshotKey(baseVolume, baseGeneration);
  const base = transaction.read(SNAPSHOT, key);
  if (base === undefined) throw new HoldfastError('INTERNAL', 'a clone without its snapshot');
  const clones = base.clones.filter((other) => other !== volume);
  transaction.write(SNAPSHOT, key, { ...base, clones });
  const parent = { ...context, volume: baseVolume };
  changeVolume(parent, { cloneCount: volumeOf(parent).cloneCount - 1 });
  unpinUnused(parent, baseGeneration);
}

/** Has the leader look through a closed tree for what no snapshot shows. */
export function markClosed({ transaction, volume, nowNs }: Context): void {
  transaction.write(CLOSED_TREE, closedTreeKey(volume), { timeNs: nowNs, after: new Uint8Array() });
}

/** A closed tree without snapshots goes as a destroyed volume does; its volume stays. */
function dropTree(context: Context): void {
  const { transaction, volume } = context;
  const record = volumeOf(context);
  if (record.isShadow) {
    transaction.remove(SHADOW, shadowKey(volume));
    bury(context);
    return;
  }
  const home = record.home === 0 ? volume : record.home;
  const trees = transaction.read(TREES, treesKey(home));
  if (trees === undefined) throw new HoldfastError('INTERNAL', 'a closed tree without its volume');
  const former = trees.former.filter(({ tree }) => tree !== volume);
  transaction.write(TREES, treesKey(home), { ...trees, former });
  bury(context);
  letGoOfBase(context, record);
}

/** Makes a tree unreachable; its records are deleted in slices. */
export function bury({ transaction, volume }: Context): void {
  transaction.remove(VOLUME, volumeKey(volume));
  transaction.write(DEAD_VOLUME, deadVolumeKey(volume), { empty: false });
}
