import {
  BESIDE_DELEGATION,
  type Command,
  type CommandResult,
  decode,
  encode,
  HoldfastError,
  INTERNAL_SESSION,
  type InodeNumber,
  LIMITS,
  type Operation,
  type OperationAnswer,
} from '@holdfast/protocol';
import { type Context, volumeOf } from './context.ts';
import { attributesOf, inodeOf } from './inodes.ts';
import { answerKey, sessionKey } from './keys.ts';
import { adoptBaseRecords, cloneFromAfar, holdForAfar, letGoForAfar } from './operations/afar.ts';
import { setAttributes } from './operations/attributes.ts';
import { barChunks } from './operations/bars.ts';
import { cloneVolume } from './operations/clones.ts';
import { fallocate, moveInline, writeExtents } from './operations/extents.ts';
import { releaseLocks, setLock } from './operations/locks.ts';
import { create, link, removeDirectory, unlink } from './operations/names.ts';
import { chunksCollected, reclaim } from './operations/reclaim.ts';
import { rename } from './operations/rename.ts';
import { acknowledgeRollback, rollbackVolume } from './operations/rollback.ts';
import {
  closeSession,
  expireSession,
  openSession,
  openSessionOf,
  releaseOrphans,
} from './operations/sessions.ts';
import { createSnapshot, removeSnapshot } from './operations/snapshots.ts';
import {
  acquireDelegation,
  checkDelegation,
  destroyVolume,
  initVolume,
  returnDelegation,
  setQuota,
} from './operations/volumes.ts';
import { removeXattr, setXattr } from './operations/xattrs.ts';
import { CommittedRefusal, isFinal, refusalOf } from './refusal.ts';
import { ANSWER, SESSION, type SessionRecord } from './shard-records.ts';
import type { StateWriter } from './state.ts';
import { Transaction } from './transaction.ts';
import { checkFence, presentTree } from './trees.ts';
import { checkCommand, checkOperation } from './validate.ts';

/**
 * The only door to a change: applies one command of the shard's log and gives its result, the same
 * on every replica. All of its change is put into `state`, or, when it is refused, none. A command
 * that a session sends again gets its first answer. Throws only when the state itself is broken
 * (CORRUPT, NEWER_FORMAT, INTERNAL): then nothing was put, and this replica must stop.
 */
export function apply(state: StateWriter, command: Command): CommandResult {
  try {
    checkCommand(command);
    if (command.session === INTERNAL_SESSION) return run(state, command, NOBODY);
    const { op } = command.operation;
    if (op === 'open-session') return run(state, command, NOBODY);
    const session = new Transaction(state).read(SESSION, sessionKey(command.session));
    // A session that closed itself may ask again.
    if (op === 'close-session' && session !== undefined) {
      return run(state, command, session);
    }
    return applyOnce(state, command, openSessionOf(new Transaction(state), command.session));
  } catch (error) {
    return refusalOf(error);
  }
}

/** Applies a command of an open session unless its answer is known, and keeps the answer. */
function applyOnce(state: StateWriter, command: Command, session: SessionRecord): CommandResult {
  const { sequence } = command;
  if (sequence < session.answeredBelow) {
    throw new HoldfastError('CONFLICT', 'the answer to this request was received before');
  }
  if (session.kept.includes(sequence)) return keptAnswer(state, command);
  const answeredBelow = Math.max(session.answeredBelow, command.answeredBelow);
  const kept = session.kept.filter((other) => other >= answeredBelow);
  if (kept.length >= LIMITS.sessionRequestsMax) {
    throw new HoldfastError('OVERLOADED', 'the session has too many requests without an answer');
  }
  const result = run(state, command, session);
  const book = new Transaction(state);
  if (isFinal(result)) {
    kept.push(sequence);
    book.write(ANSWER, answerKey(command.session, sequence), { result: encode(result) });
  }
  for (const other of session.kept) {
    if (other < answeredBelow) book.remove(ANSWER, answerKey(command.session, other));
  }
  book.write(SESSION, sessionKey(command.session), { ...session, answeredBelow, kept });
  book.commit(state);
  return result;
}

function keptAnswer(state: StateWriter, { session, sequence }: Command): CommandResult {
  const answer = new Transaction(state).read(ANSWER, answerKey(session, sequence));
  if (answer === undefined) throw new HoldfastError('INTERNAL', 'a kept answer is missing');
  return decode<CommandResult>(answer.result);
}

/** Who sends a command. */
type Sender = Pick<SessionRecord, 'ordinal' | 'origin'>;

/** Nobody's session: the leader itself, and who has none yet. */
const NOBODY: Sender = { ordinal: 0, origin: 0 };

/** Runs the operation; what it staged is put when it succeeds. */
function run(state: StateWriter, command: Command, by: Sender): CommandResult {
  const transaction = new Transaction(state);
  const { volume: home, operation, session, sequence } = command;
  // What the leader moves it has found in a tree, whichever of them the volume shows.
  const isOfTree = operation.op === 'move-inline' && session === INTERNAL_SESSION;
  const volume = isOfTree ? home : presentTree(transaction, home);
  const nowNs = command.timeNs;
  const { ordinal, origin } = by;
  const numbers = { sequence, ordinal, origin };
  const context: Context = { transaction, volume, home, nowNs, session, ...numbers };
  try {
    checkOperation(operation);
    checkDoor(context, operation);
    const answer = withDirectories(context, operation, perform(context, operation));
    transaction.commit(state);
    return { ok: true, answer };
  } catch (error) {
    const refusal = refusalOf(error);
    if (error instanceof CommittedRefusal) transaction.commit(state);
    return refusal;
  }
}

/** Operations of the whole shard: they look at no volume. */
export const OF_SHARD: ReadonlySet<Operation['op']> = new Set<Operation['op']>([
  'open-session',
  'close-session',
  'expire-session',
  'reclaim',
  'chunks-collected',
  'bar-chunks',
  'adopt-base-records',
]);

/** Operations that only the leader itself may do. */
const INTERNAL: ReadonlySet<Operation['op']> = new Set<Operation['op']>([
  'expire-session',
  'reclaim',
  'chunks-collected',
  'bar-chunks',
  'hold-snapshot',
  'let-go',
  'clone-from-afar',
  'adopt-base-records',
]);

/** Operations on a volume that is not there yet, or not any more. */
const ON_ANY: ReadonlySet<Operation['op']> = new Set<Operation['op']>([
  'init-volume',
  'clone-volume',
  'clone-from-afar',
  'destroy-volume',
  'let-go',
]);

function checkDoor(context: Context, { op }: Operation): void {
  const isInternal = context.session === INTERNAL_SESSION;
  if (INTERNAL.has(op) && !isInternal) {
    throw new HoldfastError('FORBIDDEN', 'only the leader of the shard does this');
  }
  if (OF_SHARD.has(op)) return;
  if (context.volume === 0) throw new HoldfastError('ENOENT', 'volume 0 has no records');
  if (ON_ANY.has(op)) return;
  // A tree that was left behind shows what it showed, and nothing else.
  if (volumeOf(context).isClosed) throw new HoldfastError('ESTALE', 'the volume was rolled back');
  if (!isInternal && op !== 'acknowledge-rollback') checkFence(context);
  if (!isInternal && !BESIDE_DELEGATION.has(op)) checkDelegation(context);
}

/** Spares who changed a name the question what became of its directory. */
function withDirectories(
  context: Context,
  operation: Operation,
  answer: OperationAnswer,
): OperationAnswer {
  if (answer.created === false) return answer;
  const changed = directoriesOf(operation);
  if (changed.length === 0) return answer;
  return { ...answer, directories: changed.map((ino) => attributesOf(inodeOf(context, ino))) };
}

function directoriesOf(operation: Operation): readonly InodeNumber[] {
  switch (operation.op) {
    case 'create':
    case 'link':
    case 'unlink':
    case 'rmdir':
      return [operation.parent];
    case 'rename': {
      const { parent, newParent } = operation;
      return parent === newParent ? [parent] : [parent, newParent];
    }
    default:
      return [];
  }
}

// A table of all operations: one line each.
function perform(context: Context, operation: Operation): OperationAnswer {
  switch (operation.op) {
    case 'init-volume':
      return initVolume(context, operation);
    case 'set-quota':
      return setQuota(context, operation);
    case 'destroy-volume':
      return destroyVolume(context, operation);
    case 'create-snapshot':
      return createSnapshot(context, operation);
    case 'remove-snapshot':
      return removeSnapshot(context, operation);
    case 'clone-volume':
      return cloneVolume(context, operation);
    case 'hold-snapshot':
      return holdForAfar(context, operation);
    case 'let-go':
      return letGoForAfar(context, operation);
    case 'clone-from-afar':
      return cloneFromAfar(context, operation);
    case 'adopt-base-records':
      return adoptBaseRecords(context, operation);
    case 'rollback-volume':
      return rollbackVolume(context, operation);
    case 'acknowledge-rollback':
      return acknowledgeRollback(context);
    case 'create':
      return create(context, operation);
    case 'link':
      return link(context, operation);
    case 'unlink':
      return unlink(context, operation);
    case 'rmdir':
      return removeDirectory(context, operation);
    case 'rename':
      return rename(context, operation);
    case 'set-attributes':
      return setAttributes(context, operation);
    case 'write-extents':
      return writeExtents(context, operation);
    case 'fallocate':
      return fallocate(context, operation);
    case 'move-inline':
      return moveInline(context, operation);
    case 'set-xattr':
      return setXattr(context, operation);
    case 'remove-xattr':
      return removeXattr(context, operation);
    case 'set-lock':
      return setLock(context, operation);
    case 'release-locks':
      return releaseLocks(context, operation);
    case 'release-orphans':
      return releaseOrphans(context, operation);
    case 'open-session':
      return openSession(context, operation);
    case 'close-session':
      return closeSession(context);
    case 'expire-session':
      return expireSession(context, operation);
    case 'acquire-delegation':
      return acquireDelegation(context);
    case 'return-delegation':
      return returnDelegation(context);
    case 'reclaim':
    case 'chunks-collected':
    case 'bar-chunks':
      return tidyUp(context, operation);
  }
}

function tidyUp(
  context: Context,
  operation: Extract<Operation, { op: 'reclaim' | 'chunks-collected' | 'bar-chunks' }>,
): OperationAnswer {
  switch (operation.op) {
    case 'reclaim':
      return reclaim(context, operation);
    case 'chunks-collected':
      return chunksCollected(context, operation);
    case 'bar-chunks':
      return barChunks(context, operation);
  }
}
