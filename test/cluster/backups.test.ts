import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, runProgram } from './command-line.ts';

const PASSWORD = 'pass word';

interface BackupFacts {
  readonly id: string;
  readonly files: number;
  readonly unchangedFiles: number;
  readonly bytesRead: number;
  readonly bytesSent: number;
}

/** What restic 0.14 restores: names of one symbolic link as links of their own. */
function forRestic(tree: Awaited<ReturnType<typeof seeTree>>): Record<string, unknown>[] {
  return [...tree].map(([path, seen]) => ({
    path,
    ...seen,
    ...(seen.kind === 'file' ? {} : { sameAs: '' }),
  }));
}

describe('backups of volumes', () => {
  let cluster: LocalCluster;
  let scratch: string;
  let repository: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-backups-'));
    repository = join(scratch, 'repository');
    env = { HOLDFAST_BACKUP_PASSWORD: PASSWORD, HOLDFAST_BACKUP_REPO: repository };
    cluster = await startLocalCluster({ peers: 1 });
    await done('volume', 'create', 'original', '--size', '2G');
    makeSampleTree(mounted('original'));
  });
  afterAll(async () => {
    await cluster?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  const here = (...args: string[]): Promise<Ended> =>
    holdfast(['--data', cluster.peer(0).dataDirectory, ...args], env);
  const mounted = (name: string): string => join(cluster.peer(0).mountPath, name);
  const done = async (...args: string[]): Promise<string> => {
    const ended = await here(...args);
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const backUp = async (...args: string[]): Promise<BackupFacts> =>
    JSON.parse(await done('--json', 'backup', 'create', ...args)) as BackupFacts;
  const restic = async (...args: string[]): Promise<string> => {
    const own = { RESTIC_PASSWORD: PASSWORD, RESTIC_REPOSITORY: repository };
    const ended = await runProgram('restic', ['--no-cache', ...args], { env: own });
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const snapshots = async (volume: string): Promise<string[]> =>
    (JSON.parse(await done('--json', 'snapshot', 'ls', volume)) as { name: string }[]).map(
      ({ name }) => name,
    );
  const treeOf = (path: string): ReturnType<typeof seeTree> => seeTree(new DirectorySource(path));

  it('come back equal, in a new volume and in a directory, and restic finds them right', async () => {
    await done('backup', 'repo', 'init');
    const first = await backUp('original', '--tag', 'first');
    expect(first.bytesSent).toBeGreaterThan(300_000);
    expect(await snapshots('original')).toEqual([]);
    await done('backup', 'restore', 'latest', '--to', 'copy');
    expect(await treeOf(mounted('copy'))).toEqual(await treeOf(mounted('original')));
    expect(statSync(join(mounted('copy'), 'all-hole')).blocks).toBe(0);
    const quota = JSON.parse(await done('--json', 'volume', 'inspect', 'copy'));
    expect(JSON.stringify(quota)).toContain(String(2 * 2 ** 30));
    const directory = join(scratch, 'directory');
    await done('backup', 'restore', first.id.slice(0, 8), '--to', directory);
    expect(await treeOf(directory)).toEqual(await treeOf(mounted('original')));
    expect(await restic('check', '--read-data')).toContain('no errors were found');
    const theirs = join(scratch, 'theirs');
    await restic('restore', first.id, '--target', theirs);
    expect(forRestic(await treeOf(join(theirs, 'volumes/original')))).toEqual(
      forRestic(await treeOf(mounted('original'))),
    );
  });

  it('send nothing when nothing changed, and little when little did', async () => {
    const again = await backUp('original');
    expect(again).toMatchObject({ bytesRead: 0, bytesSent: 0, unchangedFiles: again.files });
    writeFileSync(join(mounted('original'), 'deep/new'), 'seven..');
    expect(await backUp('original')).toMatchObject({ bytesRead: 7 });
  });
});
