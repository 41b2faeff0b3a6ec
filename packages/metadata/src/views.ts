import {
  type BaseView,
  HoldfastError,
  INTERNAL_SESSION,
  type SessionId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { baseRange, baseRecords, checkHolder } from './base-records.ts';
import { changedRanges } from './content/changed-ranges.ts';
import { extentsBetween } from './content/content-reader.ts';
import { seek } from './content/seek.ts';
import { type Context, volumeOf } from './context.ts';
import { checkName, entryOf } from './dentries.ts';
import { difference } from './difference.ts';
import { attributesOf, directoryOf, fileOf, inodeOf } from './inodes.ts';
import { type KnownChunksView, knownChunks } from './known-chunks.ts';
import { listEntries } from './listing.ts';
import { conflictingLock } from './operations/locks.ts';
import { openSessionOf } from './operations/sessions.ts';
import { PastReader } from './past.ts';
import { snapshotSpace } from './snapshot-space.ts';
import { listSnapshots, snapshotRecordOf } from './snapshots.ts';
import type { StateSource } from './state.ts';
import { Transaction } from './transaction.ts';
import { checkFence, presentTree, treeAt } from './trees.ts';
import { checkView } from './validate.ts';
import { shownXattrs, type Xattrs, xattrsOf } from './xattr-entries.ts';

type Of<Name extends View['view']> = Extract<View, { view: Name }>;
type Answer<Name extends View['view']> = ViewAnswers[Name];

/** A look at one volume on behalf of a session. */
export interface ViewRequest<V extends View = View> {
  readonly session: SessionId;
  readonly volume: VolumeNumber;
  readonly view: V;
}

/**
 * Answers a look from the present state. All but 'read-directory' and 'seek' read in the turn of the
 * call and see staged changes; those two also scan, so the caller settles the state first. Throws
 * HoldfastError: the refusals of {@link ViewAnswers}, SESSION_EXPIRED, BAD_REQUEST.
 */
export async function view<V extends View>(
  state: StateSource,
  request: ViewRequest<V>,
): Promise<Answer<V['view']>> {
  checkView(request.view);
  if (isOfShard(request)) return (await knownChunks(state, request)) as Answer<V['view']>;
  const context = contextOf(state, request);
  const answer = (await answerOf(state, context, request.view)) as Answer<V['view']>;
  // Else the versions that it read may have been deleted under its hands.
  if (context.at !== undefined) {
    checkShown(new Transaction(state), { ...context, at: context.at }, request.view);
  }
  return answer;
}

function isOfShard(request: ViewRequest): request is ViewRequest<KnownChunksView> {
  return request.view.view === 'known-chunks';
}

function contextOf(
  state: StateSource,
  { session, volume: home, view: wanted }: ViewRequest,
): Context {
  const transaction = new Transaction(state);
  const isInternal = session === INTERNAL_SESSION;
  const { ordinal, origin } = isInternal
    ? { ordinal: 0, origin: 0 }
    : openSessionOf(transaction, session);
  const { at } = wanted;
  const volume = at === undefined ? presentTree(transaction, home) : treeAt(transaction, home, at);
  const context: Context = {
    transaction,
    volume,
    home,
    session,
    // What was sent before it was acknowledged looks at what is there now: it is the caller's to know.
    sequence: Number.MAX_SAFE_INTEGER,
    ordinal,
    origin,
    nowNs: 0n,
  };
  if (home === 0) throw new HoldfastError('ENOENT', 'volume 0 has no records');
  volumeOf(context);
  if (!isInternal) checkFence(context);
  if (isOfBase(wanted) && !isInternal) {
    throw new HoldfastError('FORBIDDEN', 'only leaders of other shards look at this');
  }
  if (at !== undefined) {
    checkShown(transaction, { ...context, at }, wanted);
    return { ...context, at, transaction: new PastReader(state, at) };
  }
  return context;
}

function isOfBase(wanted: View): wanted is BaseView {
  return wanted.view === 'base-records' || wanted.view === 'base-range';
}

/** That a snapshot is there for a look: with its name, or held by the clone that asks. ESTALE. */
function checkShown(
  transaction: Transaction,
  { volume, at }: Pick<Context, 'volume'> & { readonly at: number },
  wanted: View,
): void {
  if (isOfBase(wanted)) checkHolder(transaction, { volume, at, by: wanted.by });
  else snapshotRecordOf(transaction, volume, at);
}

function answerOf(
  state: StateSource,
  context: Context,
  wanted: View,
): Answer<View['view']> | Promise<Answer<View['view']>> {
  switch (wanted.view) {
    case 'lookup':
      return lookup(context, wanted);
    case 'attributes':
      return { attributes: attributesOf(inodeOf(context, wanted.ino)) };
    case 'read-directory':
      return listEntries(state, context, wanted);
    case 'read-link':
      return readLink(context, wanted);
    case 'xattr':
      return xattr(context, wanted);
    case 'xattr-names':
      return { names: shown(context, wanted).map(([name]) => name) };
    case 'extents':
      return extents(context, wanted);
    case 'seek':
      return seek(state, context, wanted);
    case 'snapshot-space':
      return snapshotSpace(state, context, wanted.at ?? 0);
    case 'difference':
      return difference(state, context, wanted);
    case 'changed-ranges':
      return changedRanges(state, context, wanted);
    case 'snapshots':
      return listSnapshots(state, context.home, wanted);
    case 'test-lock': {
      if (context.at !== undefined) return {};
      const conflict = conflictingLock(context, wanted.ino, wanted.lock);
      return conflict === undefined ? {} : { conflict };
    }
    case 'base-records':
      return baseRecords(state, context, wanted);
    case 'base-range':
      return baseRange(state, context, wanted);
    case 'known-chunks':
      throw new HoldfastError('INTERNAL', 'this is no look at a volume');
    case 'space':
      return space(context);
    case 'parent':
      return { parent: directoryOf(context, wanted.ino).record.parent };
  }
}

function lookup(context: Context, { parent, name }: Of<'lookup'>): Answer<'lookup'> {
  directoryOf(context, parent);
  checkName(name);
  const entry = entryOf(context, { parent, name });
  return { attributes: attributesOf(inodeOf(context, entry.ino)) };
}

function readLink(context: Context, { ino }: Of<'read-link'>): Answer<'read-link'> {
  const { record } = inodeOf(context, ino);
  if (record.kind !== 'symlink') throw new HoldfastError('EINVAL', 'not a symbolic link');
  return { target: record.target };
}

function shown(context: Context, { ino }: Of<'xattr' | 'xattr-names'>): Xattrs {
  const { record } = inodeOf(context, ino);
  return shownXattrs(xattrsOf(context, ino), record);
}

function xattr(context: Context, wanted: Of<'xattr'>): Answer<'xattr'> {
  const entry = shown(context, wanted).find(([name]) => name === wanted.name);
  if (entry === undefined) throw new HoldfastError('ENODATA');
  return { value: entry[1] };
}

function extents(context: Context, { ino, offset, length }: Of<'extents'>): Answer<'extents'> {
  const inode = fileOf(context, ino);
  const { size, contentVersion } = inode.record;
  const { transaction, volume } = context;
  const to = Math.min(size, offset + length);
  const found =
    offset >= to
      ? []
      : extentsBetween(transaction, { volume, inode: inode.record }, { from: offset, to });
  return { attributes: attributesOf(inode), extents: found, contentVersion };
}

function space(context: Context): Answer<'space'> {
  if (context.at !== undefined) {
    const { usedBytes, usedInodes } = snapshotRecordOf(
      context.transaction,
      context.volume,
      context.at,
    );
    return { usedBytes, usedInodes, quotaBytes: 0, quotaInodes: 0 };
  }
  const { usedBytes, usedInodes, quotaBytes, quotaInodes } = volumeOf(context);
  return { usedBytes, usedInodes, quotaBytes, quotaInodes };
}
