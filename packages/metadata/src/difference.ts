/**
 * What differs between a snapshot and a later one, or the present. Every change of an inode, its
 * names, extended attributes or content changes its record, so that the inodes to look at are those
 * with a version that died in between, and those whose number was not given yet: the cost is that of
 * the change, not of the volume. What the leader has moved or tidied up since is no difference.
 *
 * Order: inodes that the older one shows, by the generation in which they changed first, then by
 * number; then those made since, by number. A cursor is the place in that order.
 *
 * Where the volume was rolled back in between, there is no such table: difference-of-trees.ts.
 */
import {
  type Attributes,
  HoldfastError,
  type InodeDifference,
  type InodeNumber,
  LIMITS,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { type Context, volumeOf } from './context.ts';
import { differenceOfTrees } from './difference-of-trees.ts';
import { attributesOf, parentOf } from './inodes.ts';
import { deathsFrom, headOfDeath, inodeKey, KIND, keyAfter, parseKey } from './keys.ts';
import { recordsAt } from './past-scan.ts';
import { DEATH, INODE, type InodeRecord } from './records.ts';
import { snapshotRecordOf } from './snapshots.ts';
import type { StateSource } from './state.ts';
import { treeAt } from './trees.ts';
import { bytesVersionOf, isUnchanged } from './unchanged.ts';
import { recordAt } from './versions.ts';

type Wanted = Extract<View, { view: 'difference' }>;
type Answer = ViewAnswers['difference'];

const PAGE_ENTRIES = 256;
/** Entries of the table of deaths that one look passes over. */
const LOOKED_AT_MAX = 16_384;

interface Span {
  readonly state: StateSource;
  readonly volume: VolumeNumber;
  readonly from: number;
  /** The later snapshot, or the present generation. */
  readonly to: number;
  /** Numbers that were not given at the older one, and not yet at the later one. */
  readonly young: readonly [number, number];
}

/** One page of the difference. ESTALE for a snapshot that is gone, EINVAL when `from` is not the older one. */
export async function difference(
  state: StateSource,
  context: Context,
  { from, after, count }: Wanted,
): Promise<Answer> {
  const { volume, home, at, transaction } = context;
  const present = volumeOf(context);
  const to = at ?? present.generation;
  if (from >= to) throw new HoldfastError('EINVAL', 'a difference goes from older to newer');
  const before = treeAt(transaction, home, from);
  if (before !== volume) {
    return differenceOfTrees(state, context, { before, from, to, after, count });
  }
  const first = snapshotRecordOf(transaction, volume, from).nextInode;
  const last =
    at === undefined ? present.nextInode : snapshotRecordOf(transaction, volume, at).nextInode;
  const span: Span = { state, volume, from, to, young: [first, last] };
  const wanted = Math.min(count, LIMITS.differencesMax);
  const isInFirstPart = after === '' || after.startsWith(OLD);
  const answer = isInFirstPart
    ? await changedInodes(span, after, wanted)
    : await madeInodes(span, after, wanted);
  // The older one may have been removed, and its versions with it, while they were looked for.
  snapshotRecordOf(transaction.fresh(), volume, from);
  return answer;
}

/** What the cursors of the two parts begin with. */
const OLD = 'o';
const NEW = 'n';

/** Inodes that the older snapshot shows: the one version of each that died after it, and not after the later one. */
async function changedInodes(span: Span, after: string, count: number): Promise<Answer> {
  const changes: InodeDifference[] = [];
  const { state, volume, from, to } = span;
  let next =
    after === ''
      ? deathsFrom(volume, from + 1, KIND.inode)
      : keyAfter(Buffer.from(after.slice(OLD.length), 'hex'));
  const end = deathsFrom(volume, to + 1);
  for (let looked = 0; Buffer.compare(next, end) < 0; ) {
    const page = next;
    next = end;
    for await (const [key, bytes] of state.scan(page, end, PAGE_ENTRIES)) {
      const { head, death } = headOfDeath(key);
      const { kind, ino } = parseKey(head);
      // Behind the inodes of a generation lie its other records: on to the next generation.
      if (kind !== KIND.inode) {
        next = deathsFrom(volume, death + 1, KIND.inode);
        break;
      }
      next = keyAfter(key);
      const change = DEATH.decode(bytes).birth > from ? undefined : changeOf(span, ino);
      if (change !== undefined) changes.push(change);
      if (changes.length >= count || ++looked >= LOOKED_AT_MAX) {
        return { changes, next: OLD + Buffer.from(key).toString('hex') };
      }
    }
  }
  return { changes, next: `${NEW}${span.young[0] - 1}` };
}

function recordTo({ state, volume, to }: Span, ino: InodeNumber): InodeRecord | undefined {
  return recordAt(state, INODE, inodeKey(volume, ino), to);
}

function changeOf(span: Span, ino: InodeNumber): InodeDifference | undefined {
  const { state, volume: tree, from, to } = span;
  const before = recordAt(state, INODE, inodeKey(tree, ino), from);
  const after = recordTo(span, ino);
  if (before === undefined || before.nlink === 0) return undefined;
  const old = attributesOf({ ino, record: before });
  if (after === undefined || after.nlink === 0) return { kind: 'removed', ino, before: old };
  const was = { tree, generation: from, record: before };
  // Nobody tidies up a directory: what has changed is its names, if nothing else.
  const isTidied = before.kind !== 'directory';
  if (isTidied && isUnchanged(state, ino, was, { tree, generation: to, record: after }))
    return undefined;
  return {
    kind: 'changed',
    ino,
    before: old,
    after: attributesOf({ ino, record: after }),
    ...parentOf(after),
    content: bytesVersionOf(before) !== bytesVersionOf(after),
  };
}

async function madeInodes(span: Span, after: string, count: number): Promise<Answer> {
  const { state, volume, to, young } = span;
  const last = Number(after.slice(NEW.length));
  if (!after.startsWith(NEW) || !Number.isSafeInteger(last) || last < young[0] - 1) {
    throw new HoldfastError('EINVAL', 'not a cursor of this difference');
  }
  const changes: InodeDifference[] = [];
  const range = {
    from: inodeKey(volume, (last + 1) as InodeNumber),
    to: inodeKey(volume, young[1] as InodeNumber),
  };
  for await (const [key, record] of recordsAt(state, INODE, range, to)) {
    const { ino } = parseKey(key);
    if (record.nlink === 0) continue;
    const attributes: Attributes = attributesOf({ ino, record });
    changes.push({ kind: 'created', ino, after: attributes, ...parentOf(record) });
    if (changes.length >= count) return { changes, next: `${NEW}${ino}` };
  }
  return { changes };
}
