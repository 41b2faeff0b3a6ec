/** What a repository takes from the machine it runs on; handed in, so that tests decide it. */
import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** Clock, random bytes and identity. */
export interface Surroundings {
  readonly nowMs: () => number;
  readonly random: (bytes: number) => Uint8Array;
  /** Resolves after so many milliseconds; rejects when the signal aborts. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly hostname: string;
  readonly username: string;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Whether a process of this host lives: decides whether its lock is stale. */
  readonly isAlive: (pid: number) => boolean;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The real ones of this process. */
export function ownSurroundings(): Surroundings {
  const { username, uid, gid } = userInfo();
  return {
    nowMs: () => Date.now(),
    random: (bytes) => randomBytes(bytes),
    sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
    hostname: hostname(),
    username,
    uid: Math.max(0, uid),
    gid: Math.max(0, gid),
    pid: process.pid,
    isAlive,
  };
}
