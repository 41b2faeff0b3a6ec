/** Operations on open files: open, read, write, flush, sync, release. */
import { HoldfastError, LIMITS } from '@holdfast/protocol';
import { encodeCreated, encodeLength, encodeOffset, encodeOpen } from '../kernel/encode.ts';
import { OPEN_FLAG, RELEASE_FLOCK_UNLOCK, SEEK, WRITE_FLAG } from '../kernel/flags.ts';
import { done, type HandlerTable, modesOf } from './handler.ts';

type Files = 'open' | 'create' | 'read' | 'write' | 'flush' | 'fsync' | 'release' | 'lseek';

/** In place of a lock owner: nothing to give up. */
const NO_LOCKS = '';
const EMPTY = { data: [] } as const;

/** Handlers of open files. */
export const FILE_HANDLERS: HandlerTable<Files> = {
  open: async ({ openFlags }, request, { fileSystem, handles, mappedPages, openReplyFlags }) => {
    const handle = request.requestId;
    // Sent again after the open was done and journalled, but before its answer left.
    if (handles.get(handle) === undefined) {
      const write = isForWriting(openFlags);
      const truncate = (openFlags & OPEN_FLAG.truncate) !== 0;
      const voided = handles.voided(request.node.volume);
      await fileSystem.open(request.node, { write, truncate }, request);
      handles.opened(handle, { node: request.node, write }, voided);
    }
    await mappedPages.refresh(request.node);
    return encodeOpen(handle, openReplyFlags);
  },

  create: async ({ name, mode, umask, openFlags }, request, state) => {
    const { fileSystem, handles, invalidator } = state;
    const exclusive = (openFlags & OPEN_FLAG.exclusive) !== 0;
    const made = { kind: 'file', rdev: 0, target: '', exclusive } as const;
    const options = { ...made, ...modesOf(mode, umask) };
    const voided = handles.voided(request.node.volume);
    const answer = await fileSystem.create(request.node, name, options, request);
    const handle = request.requestId;
    if (handles.get(handle) === undefined) {
      const write = isForWriting(openFlags);
      const truncate = !answer.created && (openFlags & OPEN_FLAG.truncate) !== 0;
      await fileSystem.open(answer.node, { write, truncate }, request.secondStep());
      handles.opened(handle, { node: answer.node, write }, voided);
    }
    invalidator.nameAnswered(request.node, name, answer);
    return encodeCreated(answer, handle, state.openReplyFlags);
  },

  read: async ({ offset, length, isForCache }, request, { fileSystem, mappedPages }) => {
    const room = Math.min(length, LIMITS.ioBytesMax, LIMITS.fileBytesMax - offset);
    if (!(room > 0)) return EMPTY;
    const read = () => fileSystem.read(request.node, offset, room, request);
    return { data: await (isForCache ? mappedPages.pageIn(request.node, read) : read()) };
  },

  write: async ({ offset, bytes, openFlags, writeFlags }, request, { fileSystem }) => {
    // What the page cache writes back has its place already, and its callers have moved on.
    const isDirect = (writeFlags & WRITE_FLAG.fromCache) === 0;
    const append = isDirect && (openFlags & OPEN_FLAG.append) !== 0;
    const killPrivileges = (writeFlags & WRITE_FLAG.killPrivileges) !== 0;
    await fileSystem.write(request.node, offset, bytes, { append, killPrivileges }, request);
    // Bypassing the page cache the kernel sends no FSYNC for O_SYNC and O_DSYNC.
    if (isDirect && (openFlags & OPEN_FLAG.dataSync) !== 0) {
      const dataOnly = (openFlags & OPEN_FLAG.fileSync) === 0;
      await fileSystem.sync(request.node, { dataOnly }, request.secondStep());
    }
    return encodeLength(bytes.length);
  },

  flush: async ({ lockOwner }, request, { fileSystem, lockOwners }) => {
    const hasLocks = lockOwners.mayHold(request.node, lockOwner);
    await fileSystem.flush(request.node, hasLocks ? lockOwner : NO_LOCKS, request);
    if (hasLocks) lockOwners.released(request.node, lockOwner);
    return done();
  },

  fsync: async ({ dataOnly }, request, { fileSystem, mappedPages }) => {
    await fileSystem.sync(request.node, { dataOnly }, request);
    // For msync(2): its own pages have been written back before.
    await mappedPages.refresh(request.node);
    return done();
  },

  release: async ({ handle, releaseFlags, lockOwner }, request, { fileSystem, handles }) => {
    const file = handles.get(handle);
    if (file === undefined) return done();
    if ((releaseFlags & RELEASE_FLOCK_UNLOCK) !== 0) {
      await fileSystem.releaseLocks(request.node, 'flock', lockOwner);
    }
    await fileSystem.release(file.node, { write: file.write });
    handles.closed(handle);
    return done();
  },

  lseek: async ({ offset, whence }, request, { fileSystem }) => {
    if (whence !== SEEK.data && whence !== SEEK.hole) {
      throw new HoldfastError('EINVAL', `lseek with whence ${whence}`);
    }
    if (offset > LIMITS.fileBytesMax) throw new HoldfastError('ENXIO');
    const kind = whence === SEEK.data ? 'data' : 'hole';
    return encodeOffset(await fileSystem.seek(request.node, offset, kind, request));
  },
};

function isForWriting(openFlags: number): boolean {
  return (openFlags & OPEN_FLAG.accessMode) !== OPEN_FLAG.readOnly;
}
