import type { InodeNumber, Operation, OperationAnswer, VolumeNumber } from '@holdfast/protocol';
import { listFreed } from '../content/chunks.ts';
import { ContentEditor } from '../content/content-editor.ts';
import { isCutOff } from '../content/cuts.ts';
import { deadContentOf, releaseRegion } from '../content/dead-content.ts';
import { type Context, volumeOf } from '../context.ts';
import { putInode } from '../inodes.ts';
import {
  chunkIn,
  chunkKey,
  deadVolumeKey,
  freedChunkKey,
  inodeKey,
  isHeadKey,
  KIND,
  type ParsedKey,
  parseKey,
  SHARD_KIND,
  volumeKey,
} from '../keys.ts';
import { dropHolders, isOpen } from '../orphans.ts';
import { CHUNK, FREED_CHUNK, INODE, REGION, VOLUME } from '../records.ts';
import { DEAD_VOLUME, LOCKS, MARK } from '../shard-records.ts';
import { advanceClosed, reclaimHead } from './closed-trees.ts';
import { dropVoidLocks } from './locks.ts';
import { advanceUnpinned, reclaimVersion } from './versions.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/**
 * Deletes garbage that the leader's look (planReclaim) found. The kind of each key says what it is
 * and what makes it garbage; that is judged again on the present state, and what is none (any more)
 * is passed over. Marks of finished work are deleted on the leader's word: its look came after the
 * mark, and nothing is added below a mark once it is there.
 */
export function reclaim(context: Context, { keys }: Of<'reclaim'>): OperationAnswer {
  for (const key of keys) {
    const parsed = parseKey(key);
    if (parsed.volume === 0) reclaimOfShard(context, key, parsed);
    else reclaimOfVolume({ ...context, volume: parsed.volume }, key, parsed);
  }
  return {};
}

type Life = 'alive' | 'dead' | 'unknown';

function lifeOf({ transaction }: Context, volume: VolumeNumber): Life {
  if (transaction.read(VOLUME, volumeKey(volume)) !== undefined) return 'alive';
  const dead = transaction.read(DEAD_VOLUME, deadVolumeKey(volume));
  return dead === undefined || dead.empty ? 'unknown' : 'dead';
}

function reclaimOfShard(context: Context, key: Uint8Array, parsed: ParsedKey): void {
  const { transaction } = context;
  if (parsed.kind === SHARD_KIND.endedSession) {
    if (!isOpen(context, parsed.number)) transaction.remove(MARK, key);
    return;
  }
  const life = lifeOf(context, parsed.subject);
  if (life === 'unknown') return;
  if (life === 'alive') {
    reclaimOfInode({ ...context, volume: parsed.subject }, key, parsed);
  } else if (parsed.kind === SHARD_KIND.deadVolume) {
    transaction.write(DEAD_VOLUME, deadVolumeKey(parsed.subject), { empty: true });
  } else if (isOfVolume(parsed.kind)) {
    transaction.remove(MARK, key);
  }
}

/** Kinds of the shard whose records are about a volume and go with it. */
function isOfVolume(kind: number): boolean {
  return (
    (kind >= SHARD_KIND.locks && kind <= SHARD_KIND.contentCut) ||
    kind === SHARD_KIND.unpinned ||
    kind === SHARD_KIND.closedTree
  );
}

/** Records of the shard about one inode or content of a living volume. */
function reclaimOfInode(context: Context, key: Uint8Array, parsed: ParsedKey): void {
  const { transaction } = context;
  // Nobody uses a closed tree: its sessions have other files, and other locks, in the one that followed.
  const { isClosed } = volumeOf(context);
  switch (parsed.kind) {
    case SHARD_KIND.locks:
      if (isClosed) transaction.remove(LOCKS, key);
      else dropVoidLocks(context, parsed.ino);
      return;
    case SHARD_KIND.orphan:
      dropHolders(context, parsed.ino, (ordinal) => isClosed || !isOpen(context, ordinal));
      return;
    case SHARD_KIND.inlineFile:
      if (isClosed) transaction.remove(MARK, key);
      return;
    case SHARD_KIND.deadContent:
      transaction.remove(MARK, key);
      return;
    case SHARD_KIND.contentCut:
      finishCut(context, parsed.ino, parsed.number);
      transaction.remove(MARK, key);
      return;
    case SHARD_KIND.unpinned:
      advanceUnpinned(context, key, parsed.ino);
      return;
    case SHARD_KIND.closedTree:
      advanceClosed(context, key);
      return;
    default:
  }
}

function finishCut(context: Context, ino: InodeNumber, epoch: number): void {
  const inode = context.transaction.read(INODE, inodeKey(context.volume, ino));
  if (inode === undefined) return;
  const cuts = inode.cuts.filter((cut) => cut.epoch !== epoch);
  if (cuts.length < inode.cuts.length) putInode(context, ino, { ...inode, cuts });
}

function reclaimOfVolume(context: Context, key: Uint8Array, parsed: ParsedKey): void {
  const life = lifeOf(context, context.volume);
  if (life === 'dead') reclaimOfDeadVolume(context, key, parsed);
  if (life !== 'alive') return;
  if (isHeadKey(key) && reclaimHead(context, key)) return;
  if (parsed.kind === KIND.region) reclaimRegion(context, key, parsed);
  if (parsed.kind === KIND.history) reclaimVersion(context, key);
}

/** Anything below a dead volume is garbage; its chunks are given up whatever refers to them. */
function reclaimOfDeadVolume(context: Context, key: Uint8Array, { kind }: ParsedKey): void {
  const { transaction, volume, nowNs } = context;
  if (kind === KIND.chunk) {
    const chunk = chunkIn(key);
    const known = transaction.read(CHUNK, key);
    if (known !== undefined && known.freed === 0) {
      listFreed(transaction, { volume, chunk }, known.length, nowNs);
    }
  }
  transaction.remove(MARK, key);
}

/** A region of a content that nobody shows, or one that was cut off. */
function reclaimRegion(context: Context, key: Uint8Array, parsed: ParsedKey): void {
  const { transaction, volume } = context;
  const content: number = parsed.ino;
  const region = transaction.read(REGION, key);
  if (region === undefined) return;
  const dead = deadContentOf(context, content);
  if (dead !== undefined) {
    releaseRegion(context, content, parsed.number, dead);
    return;
  }
  const owner = region.owner === 0 ? parsed.ino : region.owner;
  const inode = transaction.read(INODE, inodeKey(volume, owner));
  if (inode === undefined || inode.content !== content) return;
  if (!isCutOff(inode.cuts, parsed.number, region)) return;
  const editor = new ContentEditor(context, owner, inode);
  editor.purge(parsed.number);
  putInode(context, owner, { ...inode, ...editor.finish() });
}

/** Forgets chunks that are gone from all replicas. */
export function chunksCollected(
  { transaction }: Context,
  { places }: Of<'chunks-collected'>,
): OperationAnswer {
  for (const place of places) {
    const freed = transaction.read(FREED_CHUNK, freedChunkKey(place));
    if (freed === undefined) continue;
    transaction.remove(FREED_CHUNK, freedChunkKey(place));
    const key = chunkKey(freed.volume as VolumeNumber, freed.chunk);
    if (transaction.read(CHUNK, key)?.freed === place) transaction.remove(CHUNK, key);
  }
  return {};
}
