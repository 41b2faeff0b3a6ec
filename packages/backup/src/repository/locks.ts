/**
 * Lock files, `locks/<id>`, as restic writes and honours them: many shared ones or one exclusive.
 * A lock is refreshed by a new file; one that was not for 30 minutes, or whose process on this host
 * is dead, is stale and removed.
 */
import { HoldfastError } from '@holdfast/protocol';
import type { StorageId } from '../format/ids.ts';
import { countOf, fieldsOf, textOf } from '../format/json.ts';
import { timeOf, timeText } from '../format/time.ts';
import type { Repository } from './repository.ts';
import type { Surroundings } from './surroundings.ts';

const MINUTE_MS = 60_000;

/** Times of the lock protocol, milliseconds. */
export const LOCK_TIMES = {
  /** After it others may remove the lock (restic's rule). */
  staleMs: 30 * MINUTE_MS,
  refreshMs: 5 * MINUTE_MS,
  /** Between attempts to refresh when one failed. */
  retryMs: MINUTE_MS / 2,
  /** Without a refresh for so long the holder must stop: others' clocks may run ahead. */
  trustMs: 20 * MINUTE_MS,
  /** Between writing a lock and looking for others that were written at the same time. */
  settleMs: 200,
  /** Longest pause between attempts while waiting for others. */
  pollMsMax: 10_000,
} as const;

/** What a lock file says; when it cannot be read, the holder is unknown and may be anyone. */
export interface LockFacts {
  readonly isReadable: boolean;
  readonly timeNs: bigint;
  readonly exclusive: boolean;
  readonly hostname: string;
  readonly username: string;
  readonly pid: number;
}

function lockDocument(exclusive: boolean, own: Surroundings): unknown {
  const { hostname, username, pid, uid, gid } = own;
  const time = timeText(BigInt(own.nowMs()) * 1_000_000n);
  return { time, exclusive, hostname, username, pid, uid, gid };
}

function lockOf(document: unknown): LockFacts {
  const fields = fieldsOf(document, 'a lock');
  return {
    isReadable: true,
    timeNs: timeOf(fields['time'], 'the time of a lock'),
    exclusive: fields['exclusive'] === true,
    hostname: textOf(fields['hostname'] ?? '', 'a host name'),
    username: textOf(fields['username'] ?? '', 'a user name'),
    pid: countOf(fields['pid'], 'pid'),
  };
}

/** What stands for a lock that cannot be read. */
const UNKNOWN: LockFacts = {
  isReadable: false,
  timeNs: 0n,
  exclusive: true,
  hostname: '',
  username: '',
  pid: 0,
};

function isStale(lock: LockFacts, own: Surroundings): boolean {
  if (!lock.isReadable) return false;
  const ageMs = own.nowMs() - Number(lock.timeNs / 1_000_000n);
  if (ageMs > LOCK_TIMES.staleMs) return true;
  return lock.hostname === own.hostname && lock.pid !== own.pid && !own.isAlive(lock.pid);
}

/** Every lock of the repository but `except`; one that vanishes while it is read is none. */
export async function listLocks(
  repository: Repository,
  except?: StorageId,
): Promise<(LockFacts & { readonly id: StorageId; readonly isStale: boolean })[]> {
  const locks = [];
  for (const id of await repository.ids('locks')) {
    if (id === except) continue;
    try {
      const lock = lockOf(await repository.load('locks', id));
      locks.push({ ...lock, id, isStale: isStale(lock, repository.surroundings) });
    } catch (error) {
      const code = error instanceof HoldfastError ? error.code : undefined;
      if (code === 'NOT_FOUND') continue;
      if (code !== 'CORRUPT') throw error;
      locks.push({ ...UNKNOWN, id, isStale: false });
    }
  }
  return locks;
}

/**
 * Removes locks that are stale; with `all` every one, for whoever knows that their holders are dead
 * (one who lives stops before its next step). The locks that were removed.
 */
export async function removeLocks(
  repository: Repository,
  { all }: { readonly all: boolean },
): Promise<readonly LockFacts[]> {
  const gone = (await listLocks(repository)).filter((lock) => all || lock.isStale);
  for (const { id } of gone) await repository.store.delete(`locks/${id}`);
  return gone;
}

async function refuseOthers(
  repository: Repository,
  exclusive: boolean,
  own?: StorageId,
): Promise<void> {
  for (const lock of await listLocks(repository, own)) {
    if (lock.isStale) {
      await repository.store.delete(`locks/${lock.id}`);
      continue;
    }
    if (!exclusive && !lock.exclusive) continue;
    if (!lock.isReadable)
      throw new HoldfastError(
        'EBUSY',
        `the lock locks/${lock.id} of the repository is damaged, so that nobody knows who holds it; when nobody works in the repository, remove it with 'holdfast backup unlock --all'`,
        { detail: { lock: lock.id } },
      );
    const { hostname, username, pid } = lock;
    const since = timeText(lock.timeNs);
    throw new HoldfastError(
      'EBUSY',
      `the repository is locked ${lock.exclusive ? 'exclusively ' : ''}by process ${pid} of ${username} on ${hostname}, which last confirmed it at ${since}; wait for it, or remove the lock with 'holdfast backup unlock --all' if you know that it is dead`,
      { detail: { lock: lock.id, hostname, pid, since, exclusive: lock.exclusive } },
    );
  }
}

/** How to take a lock. */
export interface LockOptions {
  /** Alone: for whoever removes packs. */
  readonly exclusive: boolean;
  /** How long to wait for others, milliseconds; 0: not at all. */
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** A lock that is held and refreshes itself until it is released. */
export class RepositoryLock {
  /** Aborts when the lock is lost: then nothing may be written or removed any more. */
  readonly lost: AbortSignal;
  readonly #repository: Repository;
  readonly #exclusive: boolean;
  readonly #stop = new AbortController();
  readonly #lost = new AbortController();
  #id: StorageId;
  #confirmedMs: number;
  readonly #refreshing: Promise<void>;

  private constructor(repository: Repository, exclusive: boolean, id: StorageId, sinceMs: number) {
    this.#repository = repository;
    this.#exclusive = exclusive;
    this.#id = id;
    this.#confirmedMs = sinceMs;
    this.lost = this.#lost.signal;
    this.#refreshing = this.#keepFresh();
  }

  /** Takes a lock, or EBUSY with the holder in words when others stand in the way. */
  static async acquire(repository: Repository, options: LockOptions): Promise<RepositoryLock> {
    const { nowMs, sleep, random } = repository.surroundings;
    const deadline = nowMs() + (options.waitMs ?? 0);
    for (let pauseMs = 500; ; pauseMs = Math.min(LOCK_TIMES.pollMsMax, pauseMs * 2)) {
      try {
        return await RepositoryLock.#attempt(repository, options.exclusive);
      } catch (error) {
        const isBusy = error instanceof HoldfastError && error.code === 'EBUSY';
        const leftMs = deadline - nowMs();
        if (!isBusy || leftMs <= 0) throw error;
        // A different pause for each waiter, so that two do not refuse one another for ever.
        const jitter = 0.5 + (random(1)[0] ?? 0) / 512;
        await sleep(Math.min(leftMs, pauseMs * jitter), options.signal);
      }
    }
  }

  static async #attempt(repository: Repository, exclusive: boolean): Promise<RepositoryLock> {
    const own = repository.surroundings;
    await refuseOthers(repository, exclusive);
    const sinceMs = own.nowMs();
    const id = await repository.save('locks', lockDocument(exclusive, own));
    try {
      await own.sleep(LOCK_TIMES.settleMs);
      await refuseOthers(repository, exclusive, id);
    } catch (error) {
      await repository.store.delete(`locks/${id}`);
      throw error;
    }
    return new RepositoryLock(repository, exclusive, id, sinceMs);
  }

  /** SESSION_EXPIRED when others may believe the lock to be gone. Ask before each step that removes. */
  assertHeld(): void {
    const ageMs = this.#repository.surroundings.nowMs() - this.#confirmedMs;
    if (ageMs > LOCK_TIMES.trustMs) this.#lost.abort();
    if (this.#lost.signal.aborted || this.#stop.signal.aborted)
      throw new HoldfastError('SESSION_EXPIRED', 'the lock of the repository was lost');
  }

  /** Writes the lock anew and removes the old file. */
  async refresh(): Promise<void> {
    const { surroundings, store } = this.#repository;
    const ids = await this.#repository.ids('locks');
    if (!ids.includes(this.#id)) {
      this.#lost.abort();
      throw new HoldfastError('SESSION_EXPIRED', 'someone removed the lock of the repository');
    }
    const sinceMs = surroundings.nowMs();
    const old = this.#id;
    this.#id = await this.#repository.save('locks', lockDocument(this.#exclusive, surroundings));
    this.#confirmedMs = sinceMs;
    await store.delete(`locks/${old}`);
  }

  /** Gives the lock back. */
  async release(): Promise<void> {
    this.#stop.abort();
    await this.#refreshing;
    await this.#repository.store.delete(`locks/${this.#id}`);
  }

  async #keepFresh(): Promise<void> {
    const { sleep } = this.#repository.surroundings;
    let pauseMs: number = LOCK_TIMES.refreshMs;
    for (;;) {
      try {
        await sleep(pauseMs, this.#stop.signal);
      } catch {
        return;
      }
      try {
        this.assertHeld();
        await this.refresh();
        pauseMs = LOCK_TIMES.refreshMs;
      } catch {
        if (this.#lost.signal.aborted) return;
        pauseMs = LOCK_TIMES.retryMs;
      }
    }
  }
}

/** Runs a task under a lock and gives it back whatever happens. */
export async function withLock<T>(
  repository: Repository,
  options: LockOptions,
  task: (lock: RepositoryLock, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lock = await RepositoryLock.acquire(repository, options);
  try {
    const signals = options.signal === undefined ? [lock.lost] : [lock.lost, options.signal];
    return await task(lock, AbortSignal.any(signals));
  } finally {
    await lock.release();
  }
}
