import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySource } from '@holdfast/tree';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { backup } from '../backup.ts';
import type { Snapshot } from '../format/snapshot.ts';
import { DirectoryStore } from '../store/directory.ts';
import type { Store } from '../store/store.ts';
import { quickSurroundings } from '../testing/quick-surroundings.ts';
import { WatchedStore } from '../testing/watched-store.ts';
import { forget } from './forget.ts';
import { LOCK_TIMES, listLocks, RepositoryLock } from './locks.ts';
import { prune } from './prune.ts';
import { initRepository, openRepository, Repository } from './repository.ts';
import { listSnapshots } from './snapshots.ts';
import type { Surroundings } from './surroundings.ts';
import { verify } from './verify.ts';

const COST = { N: 1024, r: 8, p: 1 };
const YEAR_NS = 365n * 86_400n * 1_000_000_000n;

let root: string;
let store: DirectoryStore;
let repository: Repository;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-backup-'));
  store = new DirectoryStore(join(root, 'repository'));
  await mkdir(join(root, 'source'));
  const surroundings = quickSurroundings();
  repository = await initRepository({ store, password: 'secret', cost: COST, surroundings });
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function withStore(other: Store, surroundings: Surroundings = repository.surroundings): Repository {
  const { config, key } = repository;
  return new Repository({ store: other, config, key, surroundings });
}

/** One snapshot a year, each with two files of its own and one that all have. */
async function history(years: number): Promise<Snapshot[]> {
  const source = new DirectorySource(join(root, 'source'));
  const snapshots: Snapshot[] = [];
  await writeFile(join(root, 'source', 'shared'), Buffer.alloc(300_000, 's'));
  for (let year = 0; year < years; year++) {
    await writeFile(
      join(root, 'source', 'changing'),
      crypto.getRandomValues(new Uint8Array(60_000)),
    );
    await writeFile(
      join(root, 'source', `of ${year}`),
      crypto.getRandomValues(new Uint8Array(9_000)),
    );
    const timeNs = 1_700_000_000_000_000_000n + BigInt(year) * YEAR_NS;
    snapshots.push((await backup(repository, { source, path: '/v', timeNs })).snapshot);
  }
  return snapshots;
}

async function storedBytes(): Promise<number> {
  let bytes = 0;
  for await (const object of store.list('data/')) bytes += object.bytes;
  return bytes;
}

describe('locks', () => {
  const elsewhere = quickSurroundings({ hostname: 'elsewhere' });

  it('let many share, and one alone', async () => {
    const other = withStore(store, elsewhere);
    const first = await RepositoryLock.acquire(repository, { exclusive: false });
    const second = await RepositoryLock.acquire(other, { exclusive: false });
    await expect(RepositoryLock.acquire(other, { exclusive: true })).rejects.toMatchObject({
      code: 'EBUSY',
    });
    await first.release();
    await second.release();
    const alone = await RepositoryLock.acquire(other, { exclusive: true });
    await expect(
      backup(repository, { source: new DirectorySource(root), path: '/' }),
    ).rejects.toThrow(/locked exclusively by process \d+ .* on elsewhere/);
    await alone.release();
    expect(await listLocks(repository)).toEqual([]);
  });

  it('of a dead process of this host, or not refreshed for 30 minutes, are removed', async () => {
    let nowMs = Date.now();
    const dead = withStore(store, quickSurroundings({ pid: 4_000_000 }));
    const gone = withStore(store, { ...elsewhere, nowMs: () => nowMs - LOCK_TIMES.staleMs - 1000 });
    await RepositoryLock.acquire(dead, { exclusive: true });
    const alive = quickSurroundings({ isAlive: (pid) => pid !== 4_000_000 });
    const held = await RepositoryLock.acquire(withStore(store, alive), { exclusive: true });
    await held.release();
    await RepositoryLock.acquire(gone, { exclusive: true });
    const again = await RepositoryLock.acquire(repository, { exclusive: true });
    await again.release();
    nowMs += 1;
    expect(await listLocks(repository)).toEqual([]);
  });

  it('stay fresh under a new name, and tell their holder when they are lost', async () => {
    let nowMs = Date.now();
    const lock = await RepositoryLock.acquire(
      withStore(store, quickSurroundings({ nowMs: () => nowMs })),
      { exclusive: true },
    );
    const [before] = await listLocks(repository);
    nowMs += LOCK_TIMES.refreshMs;
    await lock.refresh();
    const after = await listLocks(repository);
    expect(after).toHaveLength(1);
    expect(after[0]?.id).not.toBe(before?.id);
    lock.assertHeld();
    nowMs += LOCK_TIMES.trustMs + 1;
    expect(() => lock.assertHeld()).toThrow(/lock/);
    expect(lock.lost.aborted).toBe(true);
    await lock.release();

    const other = await RepositoryLock.acquire(repository, { exclusive: true });
    for (const id of await repository.ids('locks')) await store.delete(`locks/${id}`);
    await expect(other.refresh()).rejects.toMatchObject({ code: 'SESSION_EXPIRED' });
    expect(other.lost.aborted).toBe(true);
    await other.release();
  });

  it('give way to one that was written at the same moment', async () => {
    const racing = quickSurroundings({
      sleep: async (ms, signal) => {
        if (ms >= 60_000) return elsewhere.sleep(ms, signal);
        const time = new Date().toISOString();
        await repository.save('locks', { time, exclusive: true, hostname: 'elsewhere', pid: 1 });
      },
    });
    const own = withStore(store, racing);
    await expect(RepositoryLock.acquire(own, { exclusive: false })).rejects.toMatchObject({
      code: 'EBUSY',
    });
    expect((await listLocks(repository)).map(({ exclusive }) => exclusive)).toEqual([true]);
  });

  it('are waited for as long as the caller allows', async () => {
    const first = await RepositoryLock.acquire(repository, { exclusive: true });
    let pauses = 0;
    const waiting = quickSurroundings({
      hostname: 'elsewhere',
      sleep: async (ms, signal) => {
        if (ms >= 60_000) return quickSurroundings().sleep(ms, signal);
        if (++pauses === 3) await first.release();
      },
    });
    const second = await RepositoryLock.acquire(withStore(store, waiting), {
      exclusive: true,
      waitMs: 30_000,
    });
    await second.release();
    expect(pauses).toBeGreaterThanOrEqual(3);
  });
});

describe('forget and prune', () => {
  it('leave what the policy keeps, whole, and free the rest', async () => {
    const snapshots = await history(5);
    const before = await storedBytes();
    const { removed } = await forget(repository, { policy: { keepLast: 2 } });
    expect(removed.map(({ id }) => id).toSorted()).toEqual(
      snapshots
        .slice(0, 3)
        .map(({ id }) => id)
        .toSorted(),
    );
    const planned = await prune(repository, { dryRun: true });
    expect(await storedBytes()).toBe(before);
    const result = await prune(repository);
    expect(result.bytesFreed).toBe(before - (await storedBytes()));
    expect(Math.abs(planned.bytesFreed - result.bytesFreed)).toBeLessThan(1000);
    expect(result.bytesFreed).toBeGreaterThan(180_000);
    expect(await verify(repository, { readData: 'all' })).toMatchObject({
      snapshots: 2,
      problems: [],
    });
    expect(await prune(repository)).toMatchObject({
      packsRemoved: 0,
      packsRewritten: 0,
      bytesFreed: 0,
    });
  });

  it('cut off at any step leave a repository without a problem', async () => {
    await history(4);
    await forget(repository, { policy: { keepLast: 1 } });
    let isDone = false;
    for (let steps = 1; !isDone; steps++) {
      let left = steps;
      const step = (): void => {
        if (left-- <= 0) throw new Error('killed');
      };
      const dying = new WatchedStore(store, { beforePut: step, beforeDelete: step });
      isDone = await prune(withStore(dying), { maxUnused: 0 }).then(
        () => true,
        () => false,
      );
      for (const lock of await repository.ids('locks')) await store.delete(`locks/${lock}`);
      expect(await verify(repository, { readData: 'all' })).toMatchObject({
        snapshots: 1,
        problems: [],
      });
    }
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
  });

  it('refuse to remove anything from a damaged repository', async () => {
    await history(2);
    for await (const { key } of store.list('data/')) {
      await store.delete(key);
      break;
    }
    await forget(repository, { policy: { keepLast: 1 } });
    await expect(prune(repository)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect((await verify(repository)).problems.length).toBeGreaterThan(0);
  });
});

describe('the order of writes', () => {
  it('is packs, then the index that lists them, then the snapshot, however slow each is', async () => {
    await writeFile(join(root, 'source', 'file'), 'text');
    const order: string[] = [];
    const slow = new WatchedStore(store, {
      beforePut: async (key) => {
        const turns = key.startsWith('snapshots/') ? 0 : 300;
        for (let turn = 0; turn < turns; turn++)
          await new Promise((resolve) => setImmediate(resolve));
      },
      afterPut: (key) => void order.push(key.split('/')[0] ?? ''),
    });
    const source = new DirectorySource(join(root, 'source'));
    await backup(withStore(slow), { source, path: '/v' });
    expect(order).toEqual(['locks', 'data', 'data', 'index', 'snapshots']);
  });
});

describe('a backup cut off at any step', () => {
  it('leaves a repository without a problem, and the next one completes it', async () => {
    await history(1);
    await writeFile(join(root, 'source', 'new'), crypto.getRandomValues(new Uint8Array(60_000)));
    const source = new DirectorySource(join(root, 'source'));
    let isDone = false;
    for (let steps = 1; !isDone; steps++) {
      let left = steps;
      const step = (): void => {
        if (left-- <= 0) throw new Error('killed');
      };
      const dying = new WatchedStore(store, { beforePut: step, beforeDelete: step });
      isDone = await backup(withStore(dying), { source, path: '/v' }).then(
        () => true,
        () => false,
      );
      for (const lock of await repository.ids('locks')) await store.delete(`locks/${lock}`);
      expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
    }
    expect((await listSnapshots(repository)).length).toBeGreaterThanOrEqual(2);
  });
});

describe('verify', () => {
  it('tells how far it is: from nothing to all that it expects, packs with their bytes', async () => {
    await history(2);
    const opened = await openRepository({ store, password: 'secret' });
    const told: { files: number; bytes: number }[] = [];
    let expected = { files: 0, bytes: 0 };
    const { packsRead, bytesRead } = await verify(opened, {
      readData: 'all',
      onExpected: (all) => {
        expected = all;
      },
      onProgress: (done) => told.push(done),
    });
    expect(told.map(({ files }) => files)).toEqual(told.map((_, at) => at + 1));
    expect(told.at(-1)).toEqual(expected);
    expect(expected.bytes).toBe(bytesRead);
    expect(told.filter(({ bytes }) => bytes > 0)).toHaveLength(packsRead);
  });

  it('finds one wrong bit in any pack, by subsets too', async () => {
    await history(2);
    const opened = await openRepository({ store, password: 'secret' });
    for await (const { key } of store.list('data/')) {
      const bytes = Buffer.from(await store.get(key));
      const wrong = Buffer.from(bytes);
      wrong[10] = (wrong[10] ?? 0) ^ 1;
      await store.delete(key);
      await store.put(key, wrong);
      const subsets = [1, 2, 3].map((n) =>
        verify(withStore(store), { readData: { n, m: 3 }, withoutLock: true }),
      );
      const problems = (await Promise.all(subsets)).flatMap((result) => result.problems);
      expect(problems.join()).toContain(key.slice(-64));
      await store.delete(key);
      await store.put(key, bytes);
    }
    expect(await verify(opened, { readData: 'all' })).toMatchObject({ problems: [] });
  });
});
