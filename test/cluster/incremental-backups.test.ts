import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { SEED } from '../posix/support/random-use.ts';
import { seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, runProgram } from './command-line.ts';
import { nameAtRandom } from './names-at-random.ts';

const PASSWORD = 'pass word';
const MIB = 2 ** 20;
const KEPT = /^holdfast-backup-[0-9a-f]{8}-[0-9a-f]{10}$/;
const WHOLE = { looked: { files: 0, directories: 0 }, bytesRead: 0, bytesSent: 0 };

interface Facts {
  readonly id: string;
  readonly files: number;
  readonly looked: { readonly files: number; readonly directories: number };
  readonly bytesRead: number;
  readonly bytesSent: number;
}

describe('a backup after another one', () => {
  let cluster: LocalCluster;
  let scratch: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    scratch = fs.mkdtempSync(join(tmpdir(), 'holdfast-increments-'));
    env = { HOLDFAST_BACKUP_PASSWORD: PASSWORD, HOLDFAST_BACKUP_REPO: join(scratch, 'r') };
    cluster = await startLocalCluster({ peers: 1 });
    await done('backup', 'repo', 'init');
  });
  afterAll(async () => {
    await cluster?.close();
    fs.rmSync(scratch, { recursive: true, force: true });
  });

  const here = (...args: string[]): Promise<Ended> =>
    holdfast(['--data', cluster.peer(0).dataDirectory, ...args], env);
  const done = async (...args: string[]): Promise<string> => {
    const ended = await here(...args);
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const at = (...names: string[]): string => join(cluster.peer(0).mountPath, ...names);
  const backUp = async (...args: string[]): Promise<Facts> =>
    JSON.parse(await done('--json', 'backup', 'create', ...args)) as Facts;
  const snapshots = async (volume: string): Promise<string[]> =>
    (JSON.parse(await done('--json', 'snapshot', 'ls', volume)) as { name: string }[]).map(
      ({ name }) => name,
    );
  const restic = async (...args: string[]): Promise<string> => {
    const own = { RESTIC_PASSWORD: PASSWORD, RESTIC_REPOSITORY: join(scratch, 'r') };
    const ended = await runProgram('restic', ['--no-cache', ...args], { env: own });
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  /** The root tree of a backup. */
  const treeOf = async (id: string): Promise<string> => {
    const found = JSON.parse(await restic('snapshots', '--json', id)) as { tree: string }[];
    return found[0]?.tree ?? '';
  };
  /** Backs a volume up twice at one moment, by what changed and by reading all, and wants the same tree. */
  const bothWays = async (volume: string, name: string): Promise<Facts> => {
    await done('snapshot', 'create', `${volume}@${name}`);
    const one = await backUp(`${volume}@${name}`);
    const whole = await backUp(`${volume}@${name}`, '--force');
    expect(await treeOf(one.id), name).toBe(await treeOf(whole.id));
    return one;
  };

  it('looks at what has changed, and at nothing else', async () => {
    await cluster.volume('many');
    for (let directory = 0; directory < 40; directory++) {
      fs.mkdirSync(at('many', `d${directory}`));
      for (let file = 0; file < 50; file++)
        fs.writeFileSync(at('many', `d${directory}`, `f${file}`), `${directory} ${file}`);
    }
    fs.writeFileSync(at('many', 'large'), randomBytes(40 * MIB));
    expect((await backUp('many')).looked).toEqual({ files: 2_001, directories: 41 });
    // The cluster itself moves small files out of its metadata for a while: their directories are listed again.
    const again = (): Promise<Facts> => backUp('many');
    await expect.poll(again, { timeout: 120_000, interval: 1_000 }).toMatchObject(WHOLE);
    fs.writeFileSync(at('many', 'd7', 'f8'), 'seven');
    expect(await backUp('many')).toMatchObject({
      looked: { files: 1, directories: 2 },
      bytesRead: 5,
    });
    const large = fs.openSync(at('many', 'large'), 'r+');
    fs.writeSync(large, randomBytes(4096), 0, 4096, 20 * MIB);
    fs.closeSync(large);
    const { bytesRead, looked } = await backUp('many');
    expect(looked.files).toBe(1);
    expect(looked.directories).toBeLessThanOrEqual(2);
    expect(bytesRead).toBeLessThan(12 * MIB);
    fs.chmodSync(at('many', 'large'), 0o600);
    expect(await backUp('many')).toMatchObject({ looked: { files: 0 }, bytesRead: 0 });
    expect(await snapshots('many')).toEqual([expect.stringMatching(KEPT)]);
    const copy = join(scratch, 'many');
    await done('backup', 'restore', 'latest', '--volume', 'many', '--to', copy);
    const [ours, theirs] = await Promise.all(
      [at('many'), copy].map((path) => seeTree(new DirectorySource(path))),
    );
    expect(theirs).toEqual(ours);
    expect(await restic('check', '--read-data')).toContain('no errors were found');
  });

  it('has the tree that reading everything gives, whatever was done to names', async () => {
    console.log(`HOLDFAST_SEED=${SEED}`);
    await cluster.volume('random');
    const mirror = join(scratch, 'mirror');
    fs.mkdirSync(mirror);
    for (let round = 0; round < 8; round++) {
      nameAtRandom([at('random')], mirror, { rounds: 60, seed: SEED + round });
      await bothWays('random', `r${round}`);
    }
    // What a path leads to now is not what it led to, though neither file has changed.
    for (const name of ['x', 'y']) {
      fs.mkdirSync(at('random', name));
      fs.writeFileSync(at('random', name, 'file'), `of ${name}`);
    }
    await bothWays('random', 'before');
    fs.renameSync(at('random', 'x'), at('random', 'z'));
    fs.renameSync(at('random', 'y'), at('random', 'x'));
    fs.renameSync(at('random', 'z'), at('random', 'y'));
    await bothWays('random', 'swapped');
    fs.linkSync(at('random', 'x', 'file'), at('random', 'y', 'link'));
    await bothWays('random', 'linked');
    fs.writeFileSync(at('random', 'y', 'link'), 'by another name');
    await bothWays('random', 'written');
    fs.unlinkSync(at('random', 'y', 'link'));
    await bothWays('random', 'unlinked');
    fs.appendFileSync(at('random', 'x', 'file'), '.');
    await bothWays('random', 'appended');
  });

  it('goes on after a rollback, and reads everything when it cannot tell what changed', async () => {
    await cluster.volume('v');
    fs.mkdirSync(at('v', 'd'));
    fs.writeFileSync(at('v', 'd', 'f'), 'first');
    await bothWays('v', 's');
    fs.writeFileSync(at('v', 'd', 'f'), 'second');
    fs.writeFileSync(at('v', 'young'), 'y');
    await bothWays('v', 't');
    await done('snapshot', 'rollback', 'v@s');
    fs.writeFileSync(at('v', 'other'), 'o');
    const { looked } = await bothWays('v', 'u');
    expect(looked.files).toBe(2);
    await done('snapshot', 'rm', 'v@u');
    fs.appendFileSync(at('v', 'other'), 'p');
    expect((await backUp('v')).looked).toMatchObject({ directories: 2 });
    expect(await backUp('v')).toMatchObject(WHOLE);
    const [kept = ''] = (await snapshots('v')).filter((name) => KEPT.test(name));
    await done('snapshot', 'rm', `v@${kept}`);
    expect((await backUp('v')).looked.directories).toBe(2);
  });

  it('keeps one snapshot for each repository, which does not keep the volume from being removed', async () => {
    await cluster.volume('w');
    const other = ['--repo', join(scratch, 'other')];
    await done('backup', 'repo', 'init', ...other);
    for (const to of [[], other, [], other]) await backUp('w', ...to);
    expect(await snapshots('w')).toEqual([KEPT, KEPT].map((name) => expect.stringMatching(name)));
    fs.writeFileSync(at('w', 'f'), 'x');
    for (const to of [[], other]) expect(await backUp('w', ...to)).toMatchObject({ bytesRead: 1 });
    expect(await snapshots('w')).toHaveLength(2);
    const kept = JSON.parse(await done('--json', 'snapshot', 'ls', 'w')) as { madeBy: string }[];
    expect(kept.map(({ madeBy }) => madeBy)).toEqual(['backup', 'backup']);
    fs.unlinkSync(at('w', 'f'));
    await done('volume', 'rm', 'w');
  });
});
