/** Locks of fcntl(2) and flock(2) that hold across hosts. */
import type { Reply } from '../device/channel.ts';
import { encodeLock } from '../kernel/encode.ts';
import type { BodyOf } from '../kernel/requests.ts';
import type { PendingRequest } from '../pending-request.ts';
import { done, type HandlerTable, type MountState } from './handler.ts';

/** Handlers of GETLK, SETLK and SETLKW. */
export const LOCK_HANDLERS: HandlerTable<'getlk' | 'setlk' | 'setlkw'> = {
  getlk: async ({ lock }, request, { fileSystem }) => {
    return encodeLock(await fileSystem.testLock(request.node, lock, request));
  },

  setlk: (body, request, state) => setLock(body, request, { state, wait: false }),
  setlkw: (body, request, state) => setLock(body, request, { state, wait: true }),
};

async function setLock(
  { lock }: BodyOf<'setlk' | 'setlkw'>,
  request: PendingRequest,
  { state, wait }: { state: MountState; wait: boolean },
): Promise<Reply> {
  const isLocking = lock.type !== 'unlock';
  if (isLocking && lock.family === 'posix') state.lockOwners.locking(request.node, lock.owner);
  await state.fileSystem.setLock(request.node, lock, { wait: wait && isLocking }, request);
  // Who has the lock sees what its last owner left, in a mapping too.
  if (isLocking) await state.mappedPages.refresh(request.node);
  return done();
}
