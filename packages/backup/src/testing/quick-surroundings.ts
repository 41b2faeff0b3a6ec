import { once } from 'node:events';
import { ownSurroundings, type Surroundings } from '../repository/surroundings.ts';

/** Longer pauses are those between refreshes of a lock. */
const SHORT_MS = 60_000;

/** The real ones, but short pauses take no time, long ones last until aborted, and the clock is the test's. */
export function quickSurroundings(changes: Partial<Surroundings> = {}): Surroundings {
  return {
    ...ownSurroundings(),
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      if (ms < SHORT_MS || signal === undefined) return;
      await once(signal, 'abort');
      signal.throwIfAborted();
    },
    ...changes,
  };
}
