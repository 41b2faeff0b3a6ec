import type { View, ViewAnswers, VolumeNumber } from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { contentRange, inodeKey, parseKey, regionKey } from '../keys.ts';
import { recordsAt } from '../past-scan.ts';
import { INODE, type InodeRecord, REGION, type RegionRecord } from '../records.ts';
import { snapshotRecordOf } from '../snapshots.ts';
import type { StateSource } from '../state.ts';
import { treeAt } from '../trees.ts';
import { recordAt } from '../versions.ts';
import { REGION_BYTES } from './content-editor.ts';
import { isCutOff } from './cuts.ts';
import { differing, type Piece } from './pieces.ts';

type Wanted = Extract<View, { view: 'changed-ranges' }>;
type Answer = ViewAnswers['changed-ranges'];
type Range = Answer['ranges'][number];

/** A file as one generation saw it. */
interface Side {
  readonly inode: InodeRecord | undefined;
  readonly tree: VolumeNumber;
  readonly generation: number;
}

/**
 * Ranges of a file that may show other bytes than at an older snapshot, ascending, cut at the later
 * end of file. Ranges of which both sides show the same bytes of the same chunk are left out, and so
 * are holes and zeros on both sides. One record for each MiB of the file is looked at, no bytes.
 */
export async function changedRanges(
  state: StateSource,
  context: Context,
  { ino, from, offset, count }: Wanted,
): Promise<Answer> {
  const { volume, home, at } = context;
  const before = treeAt(context.transaction, home, from);
  snapshotRecordOf(context.transaction, before, from);
  const sideOf = (tree: VolumeNumber, generation: number): Side => ({
    inode: recordAt(state, INODE, inodeKey(tree, ino), generation),
    tree,
    generation,
  });
  const old = sideOf(before, from);
  const young = sideOf(volume, at ?? Number.MAX_SAFE_INTEGER);
  const size = young.inode?.size ?? 0;
  const ranges: Range[] = [];
  const first = Math.floor(offset / REGION_BYTES);
  for await (const [index, was, is] of pairs(state, [old, young], first)) {
    const base = index * REGION_BYTES;
    if (base >= size) break;
    if (ranges.length >= count) return { ranges, next: base };
    for (const [start, end] of differing(was, is)) {
      const range = { offset: base + start, length: Math.min(end + base, size) - base - start };
      if (range.length > 0) ranges.push(range);
    }
  }
  snapshotRecordOf(context.transaction.fresh(), before, from);
  return { ranges };
}

type Pair = [number, readonly Piece[], readonly Piece[]];

/** Regions that one of the sides has, with the pieces of both; those of one record in both are left out. */
async function* pairs(
  state: StateSource,
  [old, young]: readonly [Side, Side],
  first: number,
): AsyncGenerator<Pair> {
  const before = regionsOf(state, old, first);
  const after = regionsOf(state, young, first);
  let a = await before.next();
  let b = await after.next();
  while (a.done !== true || b.done !== true) {
    const left = a.done === true ? undefined : a.value;
    const right = b.done === true ? undefined : b.value;
    const index = Math.min(left?.index ?? Infinity, right?.index ?? Infinity);
    const mine = left?.index === index ? left : undefined;
    const theirs = right?.index === index ? right : undefined;
    // Births are counted in each tree on its own.
    const isSameRecord =
      old.tree === young.tree &&
      old.inode?.content === young.inode?.content &&
      mine?.record.birth === theirs?.record.birth;
    const shown = alive(old, mine);
    const shownNow = alive(young, theirs);
    // One record may be alive at first and cut off since.
    if (!isSameRecord || shown.length !== shownNow.length) yield [index, shown, shownNow];
    if (mine !== undefined) a = await before.next();
    if (theirs !== undefined) b = await after.next();
  }
}

interface Region {
  readonly index: number;
  readonly record: RegionRecord;
}

function alive({ inode }: Side, region: Region | undefined): readonly Piece[] {
  if (inode === undefined || region === undefined || region.index >= inode.regionEnd) return [];
  return isCutOff(inode.cuts, region.index, region.record) ? [] : region.record.pieces;
}

async function* regionsOf(
  state: StateSource,
  { inode, tree, generation }: Side,
  first: number,
): AsyncGenerator<Region> {
  if (inode === undefined || inode.kind !== 'file') return;
  const range = {
    ...contentRange(tree, inode.content),
    from: regionKey(tree, inode.content, first),
  };
  for await (const [key, record] of recordsAt(state, REGION, range, generation)) {
    yield { index: parseKey(key).number, record };
  }
}
