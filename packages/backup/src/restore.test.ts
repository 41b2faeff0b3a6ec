import { execFileSync } from 'node:child_process';
import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySink, DirectorySource, DrySink } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { backup } from './backup.ts';
import type { Snapshot } from './format/snapshot.ts';
import { initRepository, type Repository } from './repository/repository.ts';
import { type RestoreCounts, type RestoreOptions, restore } from './restore.ts';
import { DirectoryStore } from './store/directory.ts';
import { quickSurroundings } from './testing/quick-surroundings.ts';
import { PathFilter } from './tree/patterns.ts';

describe('a restore of a part', () => {
  let root: string;
  let repository: Repository;
  let snapshot: Snapshot;
  const at = (...names: string[]): string => join(root, ...names);
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-part-'));
    for (const folder of ['data/deep', 'logs', 'empty'])
      await mkdir(at('source', folder), { recursive: true });
    for (const name of ['data/a.db', 'data/b.tmp', 'data/deep/c.db', 'logs/l', 'top.db'])
      await writeFile(at('source', name), name);
    await link(at('source', 'logs', 'l'), at('source', 'data', 'linked'));
    await chmod(at('source', 'data'), 0o750);
    repository = await initRepository({
      store: new DirectoryStore(at('repository')),
      password: 'secret',
      cost: { N: 1024, r: 8, p: 1 },
      surroundings: quickSurroundings(),
    });
    const source = new DirectorySource(at('source'));
    ({ snapshot } = await backup(repository, { source, path: '/v' }));
  });
  afterAll(async () => {
    await rm(root, { recursive: true, force: true });
  });

  const run = (target: string, options: Partial<RestoreOptions>): Promise<RestoreCounts> =>
    restore(repository, { snapshot, path: '/v', sink: new DirectorySink(at(target)), ...options });
  const names = async (target: string): Promise<string[]> =>
    (await readdir(at(target), { recursive: true })).sort();

  it.each([
    [{ include: ['*.db'] }, ['data', 'data/a.db', 'data/deep', 'data/deep/c.db', 'top.db']],
    [{ include: ['/data/*.db'] }, ['data', 'data/a.db']],
    [{ include: ['linked'] }, ['data', 'data/linked']],
    [{ include: ['empty'] }, ['empty']],
    [{ include: ['nothing'] }, []],
    [{ include: ['data'], exclude: ['*.tmp', 'deep'] }, ['data', 'data/a.db', 'data/linked']],
    [{ exclude: ['/data'] }, ['empty', 'logs', 'logs/l', 'top.db']],
  ])('has what %j says, and the directories that lead there', async (patterns, expected) => {
    const target = `target-${JSON.stringify(patterns).replace(/[^a-z]/g, '-')}`;
    await run(target, { filter: new PathFilter(patterns) });
    expect(await names(target)).toEqual(expected);
  });

  it('leaves directories that are there as they are, where they only lead to what is meant', async () => {
    await mkdir(at('there', 'data'), { recursive: true, mode: 0o711 });
    await utimes(at('there', 'data'), 1_000, 1_000);
    await run('there', { filter: new PathFilter({ include: ['a.db'] }) });
    const { mode, mtimeMs } = await stat(at('there', 'data'));
    expect([mode & 0o777, mtimeMs]).toEqual([0o711, 1_000_000]);
    expect(await readFile(at('there', 'data', 'a.db'), 'utf8')).toBe('data/a.db');
    await run('made', { filter: new PathFilter({ include: ['a.db'] }) });
    expect((await stat(at('made', 'data'))).mode & 0o777).toBe(0o750);
  });

  it('does not remove what it leaves out', async () => {
    const filter = new PathFilter({ exclude: ['logs'] });
    await expect(run('kept', { filter, isExact: true })).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('that is only tried counts as the real one does, and changes nothing', async () => {
    const look = (): string =>
      execFileSync('find', [at('tried'), '-printf', '%P %y %s %m %T@ %C@ %i\n']).toString();
    await run('tried', {});
    await writeFile(at('tried', 'top.db'), 'changed, and longer');
    await rm(at('tried', 'data', 'deep'), { recursive: true });
    await writeFile(at('tried', 'extra'), 'x');
    const before = look();
    const rules = { isExact: true, overwrite: 'if-changed' } as const;
    const sink = new DrySink(new DirectorySink(at('tried')));
    const tried = await run('', { ...rules, sink, isDryRun: true });
    expect(look()).toBe(before);
    const { bytesFetched: _, ...real } = await run('tried', rules);
    expect(tried).toMatchObject(real);
    expect(real).toMatchObject({ files: 2, skippedFiles: 3, removed: 1 });
    const nowhere = await run('', { sink: new DrySink(undefined), isDryRun: true });
    expect(nowhere).toMatchObject({ files: 5, skippedFiles: 0, bytesWritten: 45 });
  });
});
