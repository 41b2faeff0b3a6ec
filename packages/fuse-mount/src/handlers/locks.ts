/** Locks of fcntl(2) and flock(2) that hold across hosts. */
import { encodeLock } from '../kernel/encode.ts';
import { done, type HandlerTable } from './handler.ts';

/** Handlers of GETLK, SETLK and SETLKW. */
export const LOCK_HANDLERS: HandlerTable<'getlk' | 'setlk' | 'setlkw'> = {
  getlk: async ({ lock }, request, { fileSystem }) => {
    return encodeLock(await fileSystem.testLock(request.node, lock, request));
  },

  setlk: async ({ lock }, request, { fileSystem }) => {
    await fileSystem.setLock(request.node, lock, { wait: false }, request);
    return done();
  },

  setlkw: async ({ lock }, request, { fileSystem }) => {
    await fileSystem.setLock(request.node, lock, { wait: lock.type !== 'unlock' }, request);
    return done();
  },
};
