import {
  HoldfastError,
  LIMITS,
  type LockRequest,
  type Operation,
  type OperationAnswer,
} from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { inodeOf } from '../inodes.ts';
import { ordinalKey, perInodeKey } from '../keys.ts';
import { isOpen } from '../orphans.ts';
import { CommittedRefusal } from '../refusal.ts';
import { type HeldLock, LOCKS, type LocksRecord, SESSION_ID } from '../shard-records.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;
type Family = LockRequest['family'];

const NO_LOCKS: LocksRecord = { posix: [], flock: [] };

/** Locks on an inode that are in force: those of open sessions. */
function locksOf(context: Context, ino: Of<'set-lock'>['ino']): LocksRecord {
  const key = perInodeKey('locks', context.volume, ino);
  const record = context.transaction.read(LOCKS, key) ?? NO_LOCKS;
  const inForce = ({ holder }: HeldLock): boolean => isOpen(context, holder);
  return { posix: record.posix.filter(inForce), flock: record.flock.filter(inForce) };
}

function putLocks(context: Context, ino: Of<'set-lock'>['ino'], record: LocksRecord): void {
  const key = perInodeKey('locks', context.volume, ino);
  const count = record.posix.length + record.flock.length;
  if (count > LIMITS.locksPerInodeMax) throw new HoldfastError('ENOLCK');
  if (count === 0) context.transaction.remove(LOCKS, key);
  else context.transaction.write(LOCKS, key, record);
}

/** Deletes what ended sessions held. */
export function dropVoidLocks(context: Context, ino: Of<'set-lock'>['ino']): void {
  putLocks(context, ino, locksOf(context, ino));
}

function isOwn({ ordinal }: Context, owner: string): (lock: HeldLock) => boolean {
  return (lock) => lock.holder === ordinal && lock.owner === owner;
}

/** The whole file for flock; EINVAL for an empty or backward range. */
function rangeOf({ family, start, end }: LockRequest): Pick<HeldLock, 'start' | 'end'> {
  if (family === 'flock') return { start: 0, end: Number.MAX_SAFE_INTEGER };
  if (start >= end) throw new HoldfastError('EINVAL', 'the range of a lock is not empty');
  return { start, end };
}

/** The lock of another owner that stands in the way. */
function conflictOf(
  context: Context,
  locks: readonly HeldLock[],
  wanted: LockRequest,
): HeldLock | undefined {
  if (wanted.type === 'unlock') return undefined;
  const { start, end } = rangeOf(wanted);
  const own = isOwn(context, wanted.owner);
  return locks.find(
    (lock) =>
      !own(lock) &&
      lock.start < end &&
      start < lock.end &&
      (lock.type === 'write' || wanted.type === 'write'),
  );
}

function requestOf(family: Family, { type, start, end, owner, pid }: HeldLock): LockRequest {
  return { family, type, start, end, owner, pid };
}

function heldElsewhere(context: Context, family: Family, lock: HeldLock): HoldfastError {
  const holder = context.transaction.read(SESSION_ID, ordinalKey(lock.holder))?.session;
  return new HoldfastError('EAGAIN', undefined, {
    detail: { session: holder ?? '', lock: requestOf(family, lock) },
  });
}

/** fcntl(2) F_SETLK, flock(2) with LOCK_NB. */
export function setLock(context: Context, { ino, lock }: Of<'set-lock'>): OperationAnswer {
  inodeOf(context, ino);
  if (context.ordinal === 0) throw new HoldfastError('FORBIDDEN', 'only a session holds locks');
  const range = rangeOf(lock);
  const locks = locksOf(context, ino);
  const family = locks[lock.family];
  const conflict = conflictOf(context, family, lock);
  const kept = without(family, isOwn(context, lock.owner), range);
  if (conflict !== undefined) {
    const refusal = heldElsewhere(context, lock.family, conflict);
    if (lock.family === 'posix' || kept.length === family.length) throw refusal;
    // Two readers that both want to write would wait for each other for ever: as in Linux, the
    // conversion gives up the old lock before it asks for the new one.
    putLocks(context, ino, { ...locks, flock: kept });
    throw new CommittedRefusal(refusal);
  }
  const { type, owner, pid } = lock;
  const held: readonly HeldLock[] =
    type === 'unlock'
      ? kept
      : joined([...kept, { holder: context.ordinal, owner, pid, type, ...range }]);
  putLocks(context, ino, { ...locks, [lock.family]: held });
  return {};
}

/** Own locks without the range, split where it cuts them; others as they are. */
function without(
  locks: readonly HeldLock[],
  own: (lock: HeldLock) => boolean,
  { start, end }: Pick<HeldLock, 'start' | 'end'>,
): HeldLock[] {
  return locks.flatMap((lock) => {
    if (!own(lock) || lock.start >= end || lock.end <= start) return [lock];
    const parts: HeldLock[] = [];
    if (lock.start < start) parts.push({ ...lock, end: start });
    if (lock.end > end) parts.push({ ...lock, start: end });
    return parts;
  });
}

/** The last lock joined with its owner's locks of the same type that touch it. */
function joined(locks: readonly HeldLock[]): HeldLock[] {
  const last = locks.at(-1);
  if (last === undefined) return [];
  let { start, end } = last;
  const rest = locks.slice(0, -1).filter((lock) => {
    const isSame =
      lock.holder === last.holder && lock.owner === last.owner && lock.type === last.type;
    if (!isSame || lock.end < last.start || lock.start > last.end) return true;
    start = Math.min(start, lock.start);
    end = Math.max(end, lock.end);
    return false;
  });
  return [...rest, { ...last, start, end }];
}

/** Drops all locks of an owner; success when the inode is gone. */
export function releaseLocks(context: Context, operation: Of<'release-locks'>): OperationAnswer {
  const { ino, family, owner } = operation;
  const locks = locksOf(context, ino);
  const own = isOwn(context, owner);
  const rest = locks[family].filter((lock) => !own(lock));
  if (rest.length < locks[family].length) putLocks(context, ino, { ...locks, [family]: rest });
  return {};
}

/** fcntl(2) F_GETLK: the lock that stands in the way of `lock`, if any. */
export function conflictingLock(
  context: Context,
  ino: Of<'set-lock'>['ino'],
  lock: LockRequest,
): LockRequest | undefined {
  inodeOf(context, ino);
  const conflict = conflictOf(context, locksOf(context, ino)[lock.family], lock);
  return conflict === undefined ? undefined : requestOf(lock.family, conflict);
}
