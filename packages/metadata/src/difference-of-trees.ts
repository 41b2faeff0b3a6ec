/**
 * What differs between snapshots of which a rollback lies in between. An inode's number is that of one
 * file in all trees of a volume, so both sides are walked by number, side by side: the cost is that of
 * the volume, not of the change. A cursor is the number of the inode looked at last.
 */
import {
  HoldfastError,
  type InodeDifference,
  type InodeNumber,
  LIMITS,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { type Context, volumeOf } from './context.ts';
import { attributesOf, parentOf } from './inodes.ts';
import { inodeKey, parseKey, volumeKey } from './keys.ts';
import { recordsAt } from './past-scan.ts';
import { INODE, type InodeRecord, VOLUME } from './records.ts';
import { snapshotRecordOf } from './snapshots.ts';
import type { StateSource } from './state.ts';
import { isUnchanged } from './unchanged.ts';

type Answer = ViewAnswers['difference'];

/** What the cursors begin with. */
const WALK = 'w';
/** Inodes that one look passes over. */
const LOOKED_AT_MAX = 16_384;

interface Side {
  readonly tree: VolumeNumber;
  readonly generation: number;
}

/** One page of the difference. ESTALE, EINVAL for a cursor that is none. */
export async function differenceOfTrees(
  state: StateSource,
  context: Context,
  wanted: {
    readonly before: VolumeNumber;
    readonly from: number;
    readonly to: number;
    readonly after: string;
    readonly count: number;
  },
): Promise<Answer> {
  const { before, from, to } = wanted;
  snapshotRecordOf(context.transaction, before, from);
  const last = wanted.after === '' ? 0 : Number(wanted.after.slice(WALK.length));
  const isCursor = wanted.after === '' || wanted.after.startsWith(WALK);
  if (!isCursor || !Number.isSafeInteger(last) || last < 0) {
    throw new HoldfastError('EINVAL', 'not a cursor of this difference');
  }
  const old = { tree: before, generation: from };
  const young = { tree: context.volume, generation: to };
  const answer = await walk(state, [old, young], {
    first: last + 1,
    end: volumeOf(context).nextInode,
    count: Math.min(wanted.count, LIMITS.differencesMax),
  });
  snapshotRecordOf(context.transaction.fresh(), before, from);
  return answer;
}

async function walk(
  state: StateSource,
  [old, young]: readonly [Side, Side],
  { first, end, count }: { readonly first: number; readonly end: number; readonly count: number },
): Promise<Answer> {
  const changes: InodeDifference[] = [];
  const was = inodesAt(state, old, first, Math.max(end, nextInodeOf(state, old.tree)));
  const is = inodesAt(state, young, first, end);
  let a = await was.next();
  let b = await is.next();
  for (let looked = 1; a.done !== true || b.done !== true; looked++) {
    const left = a.done === true ? undefined : a.value;
    const right = b.done === true ? undefined : b.value;
    const ino = Math.min(left?.[0] ?? Infinity, right?.[0] ?? Infinity) as InodeNumber;
    const mine = left?.[0] === ino ? left[1] : undefined;
    const theirs = right?.[0] === ino ? right[1] : undefined;
    const change = changeOf(state, ino, { old, mine, young, theirs });
    if (change !== undefined) changes.push(change);
    if (changes.length >= count || looked >= LOOKED_AT_MAX) {
      return { changes, next: `${WALK}${ino}` };
    }
    if (mine !== undefined) a = await was.next();
    if (theirs !== undefined) b = await is.next();
  }
  return { changes };
}

function nextInodeOf(state: StateSource, tree: VolumeNumber): number {
  const bytes = state.get(volumeKey(tree));
  return bytes === undefined ? 0 : VOLUME.decode(bytes).nextInode;
}

/** Inodes with names, ascending. */
async function* inodesAt(
  state: StateSource,
  { tree, generation }: Side,
  first: number,
  end: number,
): AsyncGenerator<[InodeNumber, InodeRecord]> {
  const range = {
    from: inodeKey(tree, first as InodeNumber),
    to: inodeKey(tree, end as InodeNumber),
  };
  for await (const [key, record] of recordsAt(state, INODE, range, generation)) {
    if (record.nlink > 0) yield [parseKey(key).ino, record];
  }
}

function changeOf(
  state: StateSource,
  ino: InodeNumber,
  {
    old,
    mine,
    young,
    theirs,
  }: {
    readonly old: Side;
    readonly mine: InodeRecord | undefined;
    readonly young: Side;
    readonly theirs: InodeRecord | undefined;
  },
): InodeDifference | undefined {
  if (mine === undefined && theirs === undefined) return undefined;
  if (mine === undefined) {
    const record = theirs as InodeRecord;
    return { kind: 'created', ino, after: attributesOf({ ino, record }), ...parentOf(record) };
  }
  const before = attributesOf({ ino, record: mine });
  if (theirs === undefined) return { kind: 'removed', ino, before };
  if (isUnchanged(state, ino, { ...old, record: mine }, { ...young, record: theirs }))
    return undefined;
  // Versions of content are counted in each tree on its own: equal numbers say nothing.
  return {
    kind: 'changed',
    ino,
    before,
    after: attributesOf({ ino, record: theirs }),
    ...parentOf(theirs),
    content: true,
  };
}
