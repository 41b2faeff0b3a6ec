import { chmod, link, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySink, DirectorySource } from '@holdfast/tree';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { backup } from '../backup.ts';
import type { Snapshot } from '../format/snapshot.ts';
import { restore } from '../restore.ts';
import { DirectoryStore } from '../store/directory.ts';
import { quickSurroundings } from '../testing/quick-surroundings.ts';
import { WatchedStore } from '../testing/watched-store.ts';
import { forget, forgetSnapshots } from './forget.ts';
import { listLocks, RepositoryLock, removeLocks } from './locks.ts';
import { prune } from './prune.ts';
import { repair } from './repair.ts';
import { initRepository, openRepository, Repository } from './repository.ts';
import { findSnapshot, findSnapshotId, listSnapshots } from './snapshots.ts';
import { verify } from './verify.ts';

const COST = { N: 1024, r: 8, p: 1 };

let root: string;
let store: DirectoryStore;
let repository: Repository;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-damage-'));
  store = new DirectoryStore(join(root, 'repository'));
  await mkdir(join(root, 'source', 'below'), { recursive: true });
  const surroundings = quickSurroundings();
  repository = await initRepository({ store, password: 'secret', cost: COST, surroundings });
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** A backup after a file of its own was added to the source. */
async function backUp(name: string, problems: string[] = []): Promise<Snapshot> {
  const bytes = crypto.getRandomValues(new Uint8Array(20_000));
  await writeFile(join(root, 'source', 'below', name), bytes);
  const source = new DirectorySource(join(root, 'source'));
  const onDamage = (problem: string): void => void problems.push(problem);
  return (await backup(repository, { source, path: '/v', onDamage })).snapshot;
}

async function keysOf(folder: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) keys.push(key);
  return keys;
}

/** Changes a file of the repository behind its back. */
async function damage(key: string, change: (bytes: Buffer) => Uint8Array): Promise<void> {
  const path = join(root, 'repository', key);
  const bytes = await readFile(path);
  await chmod(path, 0o600);
  await writeFile(path, change(bytes));
}

function flipped(at: number): (bytes: Buffer) => Uint8Array {
  return (bytes) => {
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };
}

/** The keys that a backup added. */
async function addedBy(folder: string, step: () => Promise<unknown>): Promise<string[]> {
  const before = new Set(await keysOf(folder));
  await step();
  return (await keysOf(folder)).filter((key) => !before.has(key));
}

/** The pack of data that a backup of one new file added. */
async function dataPackOf(name: string): Promise<string> {
  const added = await addedBy('data/', () => backUp(name));
  const sizes = await Promise.all(added.map((key) => store.size(key)));
  return added[sizes.indexOf(Math.max(...sizes.map(Number)))] ?? '';
}

async function restored(snapshot: Snapshot): Promise<Record<string, number>> {
  const to = await mkdtemp(join(root, 'restored-'));
  await restore(repository, { snapshot, path: '/v', sink: new DirectorySink(to, () => {}) });
  const names = await readdir(join(to, 'below'));
  const sizes = names.map(async (name) => (await readFile(join(to, 'below', name))).length);
  return Object.fromEntries((await Promise.all(sizes)).map((size, i) => [names[i], size]));
}

describe('a damaged snapshot file', () => {
  it('keeps nobody from the other backups, and can be removed', async () => {
    const first = await backUp('a');
    const second = await backUp('b');
    await damage(`snapshots/${first.id}`, flipped(50));
    const told: string[] = [];
    const listed = await listSnapshots(repository, undefined, (id) => void told.push(id));
    expect([listed.map(({ id }) => id), told]).toEqual([[second.id], [first.id]]);
    expect(await findSnapshot(repository, 'latest')).toMatchObject({ id: second.id });
    await expect(findSnapshot(repository, first.id.slice(0, 8))).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining(`'holdfast backup forget ${first.id.slice(0, 8)}'`),
    });
    expect(await restored(second)).toEqual({ a: 20_000, b: 20_000 });
    const third = await backUp('c');
    expect(third.parent).toBe(second.id);
    const policy = { keepLast: 1 };
    const { removed } = await forget(repository, { policy, onDamaged: () => {} });
    expect(removed.map(({ id }) => id)).toEqual([second.id]);
    expect((await verify(repository)).problems).toEqual([expect.stringContaining(first.id)]);
    // What it needs cannot be known: nothing goes before somebody has decided.
    await expect(prune(repository)).rejects.toMatchObject({ code: 'CORRUPT' });
    await forgetSnapshots(repository, [await findSnapshotId(repository, first.id.slice(0, 8))]);
    await prune(repository);
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
  });
});

describe('a damaged lock file', () => {
  it('counts as anyone, is named, and goes with all locks', async () => {
    await backUp('a');
    const lock = await RepositoryLock.acquire(repository, { exclusive: false });
    const [held] = await listLocks(repository);
    await damage(`locks/${held?.id}`, () => new Uint8Array(0));
    await expect(backUp('b')).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/locks\/.* is damaged.*'holdfast backup unlock --all'/),
    });
    expect(await removeLocks(repository, { all: false })).toEqual([]);
    expect(await removeLocks(repository, { all: true })).toHaveLength(1);
    await lock.release();
    await backUp('b');
  });
});

describe('a damaged key file', () => {
  it('keeps nobody out who has another', async () => {
    const [first = ''] = await keysOf('keys/');
    const other = await repository.addKey('other', COST);
    await damage(first, () => Buffer.from('{'));
    const opened = await openRepository({ store, password: 'other' });
    expect(opened.config).toEqual(repository.config);
    await expect(openRepository({ store, password: 'secret' })).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining(first),
    });
    await damage(`keys/${other}`, (bytes) => bytes);
    await damage('config', () => Buffer.from('junk'));
    await expect(openRepository({ store, password: 'other' })).rejects.toThrow(/config .*damaged/);
  });
});

describe('an index', () => {
  let first: Snapshot;
  let index: string;
  let latest: Snapshot;
  beforeEach(async () => {
    first = await backUp('a');
    [index = ''] = await addedBy('index/', () => backUp('b'));
    latest = await findSnapshot(repository, 'latest');
  });

  /** Nothing is removed before it is made anew, and then all is there. */
  async function expectRepaired(indexesDamaged: number): Promise<void> {
    expect((await verify(repository)).problems).not.toEqual([]);
    await expect(prune(repository)).rejects.toMatchObject({ code: 'CORRUPT' });
    const found = { indexesDamaged, packsFound: 2, blobsLost: 0 };
    expect(await repair(repository)).toMatchObject(found);
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
    expect(await restored(latest)).toEqual({ a: 20_000, b: 20_000 });
    expect(await repair(repository)).toMatchObject({ indexesDamaged: 0, packsFound: 0 });
  }

  it('that is damaged is made good by what the packs say, and made anew', async () => {
    await damage(index, flipped(60));
    expect(await restored(first)).toEqual({ a: 20_000 });
    expect(await restored(latest)).toEqual({ a: 20_000, b: 20_000 });
    await expectRepaired(1);
  });

  it('that is missing is made anew', async () => {
    await store.delete(index);
    expect(await restored(first)).toEqual({ a: 20_000 });
    await expectRepaired(0);
  });
});

describe('a pack that is gone', () => {
  it('is told of by name of file, and what the source still has is sent again', async () => {
    const pack = await dataPackOf('a');
    await backUp('b');
    await store.delete(pack);
    const { problems } = await verify(repository);
    expect(problems).toContainEqual(`pack ${pack.slice(-64)}: gone`);
    expect(problems.join()).toMatch(/backup [0-9a-f]{8}, \/v\/below\/a: 1 of its 1 blobs are lost/);
    const told: string[] = [];
    const healed = await backUp('c', told);
    expect(told).toEqual([expect.stringMatching(/1 packs .* lost, such as/)]);
    expect(await restored(healed)).toEqual({ a: 20_000, b: 20_000, c: 20_000 });
    expect(await repair(repository)).toMatchObject({ packsGone: 1, blobsLost: 0 });
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
  });

  it('that is cut off is found without reading it; what is left of it is saved', async () => {
    await backUp('a');
    const pack = await dataPackOf('b');
    await damage(pack, (bytes) => bytes.subarray(0, bytes.length - 3));
    expect((await verify(repository)).problems).toContainEqual(expect.stringMatching(/cut off/));
    expect(await repair(repository)).toMatchObject({
      packsDamaged: 1,
      blobsSaved: 1,
      blobsLost: 0,
    });
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
  });
});

describe('wrong bytes in a pack', () => {
  it('cost the files that they are of, and no other', async () => {
    const pack = await dataPackOf('a');
    await link(join(root, 'source', 'below', 'a'), join(root, 'source', 'below', 'a too'));
    const snapshot = await backUp('b');
    await damage(pack, flipped(100));
    await expect(restored(snapshot)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringMatching(/^"below\/a": the data blob .* of pack .* is lost/),
    });
    const to = join(root, 'partly');
    await mkdir(to);
    const problems: string[] = [];
    const sink = new DirectorySink(to, () => {});
    const onProblem = (path: string): void => void problems.push(path);
    const counts = await restore(repository, { snapshot, path: '/v', sink, onProblem });
    expect([counts.problems, problems.toSorted()]).toEqual([2, ['below/a', 'below/a too']]);
    expect(await readdir(join(to, 'below'))).toEqual(['b']);
    expect(await repair(repository)).toMatchObject({ packsDamaged: 0 });
    expect(await repair(repository, { readData: true })).toMatchObject({
      packsDamaged: 1,
      blobsLost: 1,
    });
    // The one before lacks something: whatever a source takes from its parent, it is not that.
    const next = await backUp('c');
    expect(next.parent).toBeUndefined();
    expect((await backUp('d')).parent).toBe(next.id);
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
    expect(await restored(snapshot)).toEqual({ a: 20_000, 'a too': 20_000, b: 20_000 });
  });
});

describe('a repair cut off at any step', () => {
  it('loses nothing that was there, and can be done again', async () => {
    const pack = await dataPackOf('a');
    const snapshot = await backUp('b');
    const [index = ''] = await addedBy('index/', () => backUp('c'));
    await damage(pack, (bytes) => bytes.subarray(0, bytes.length - 3));
    await damage(index, flipped(60));
    const { config, key, surroundings } = repository;
    let isDone = false;
    for (let steps = 1; !isDone; steps++) {
      let left = steps;
      const step = (): void => {
        if (left-- <= 0) throw new Error('killed');
      };
      const dying = new WatchedStore(store, { beforePut: step, beforeDelete: step });
      isDone = await repair(new Repository({ store: dying, config, key, surroundings })).then(
        ({ blobsLost }) => blobsLost === 0,
        () => false,
      );
      for (const lock of await repository.ids('locks')) await store.delete(`locks/${lock}`);
      expect(await restored(snapshot)).toEqual({ a: 20_000, b: 20_000 });
    }
    expect(await verify(repository, { readData: 'all' })).toMatchObject({ problems: [] });
  });
});
