import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterClient } from '@holdfast/client';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { startTestS3 } from '../s3/server.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { type Seen, seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, LAUNCHER, runProgram } from './command-line.ts';

const KEYS = { accessKeyId: 'AKIA', secretAccessKey: 'secret' };

interface Facts {
  readonly files: number;
  readonly skippedFiles: number;
  readonly removed: number;
  readonly bytesWritten: number;
  readonly kept?: string;
}

describe('a restore into what is there', () => {
  let cluster: LocalCluster;
  let scratch: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    scratch = fs.mkdtempSync(join(tmpdir(), 'holdfast-over-'));
    env = {
      HOLDFAST_BACKUP_PASSWORD: 'pass word',
      HOLDFAST_BACKUP_REPO: join(scratch, 'r'),
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
    };
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
  const restore = async (...args: string[]): Promise<Facts> =>
    JSON.parse(await done('--json', 'backup', 'restore', 'latest', ...args)) as Facts;
  const at = (...names: string[]): string => join(cluster.peer(0).mountPath, ...names);
  const see = (path: string): Promise<Map<string, Seen>> => seeTree(new DirectorySource(path));

  /** Spoils a sample tree in every way that a restore has to deal with. */
  const spoil = async (root: string): Promise<void> => {
    const file = (name: string): string => join(root, name);
    fs.writeFileSync(file('extra'), 'x');
    fs.mkdirSync(file('extra-directory/below'), { recursive: true });
    fs.symlinkSync('/etc/passwd', file('extra-link'));
    fs.chmodSync(file('changed'), 0o600);
    fs.writeFileSync(file('changed'), 'something else, and longer');
    fs.rmSync(file('gone'));
    fs.rmSync(file('becomes-directory'));
    fs.mkdirSync(file('becomes-directory/inside'), { recursive: true });
    fs.rmSync(file('becomes-file'), { recursive: true });
    fs.writeFileSync(file('becomes-file'), 'was a directory');
    fs.rmSync(file('link-b'));
    fs.writeFileSync(file('link-b'), 'a file of its own');
    const set = await runProgram('setfattr', ['-n', 'user.extra', '-v', '1', file('same')]);
    expect(set.status, set.stderr).toBe(0);
    const { atime, mtime } = fs.statSync(file('same'));
    fs.writeFileSync(file('same'), 'SAME');
    fs.utimesSync(file('same'), atime, mtime);
  };
  const prepare = (root: string): void => {
    fs.mkdirSync(join(root, 'sample'));
    makeSampleTree(join(root, 'sample'));
    for (const name of ['changed', 'gone', 'becomes-directory', 'link-a'])
      fs.writeFileSync(join(root, name), name);
    fs.linkSync(join(root, 'link-a'), join(root, 'link-b'));
    fs.mkdirSync(join(root, 'becomes-file'));
    fs.writeFileSync(join(root, 'becomes-file', 'inside'), 'inside');
    fs.writeFileSync(join(root, 'same'), 'same');
    fs.utimesSync(join(root, 'same'), 1_000_000, 2_000_000);
  };

  it('brings a volume back exactly, keeps what was there, and fetches what differs', async () => {
    await cluster.volume('v');
    prepare(at('v'));
    const original = await see(at('v'));
    await done('backup', 'create', 'v');
    await spoil(at('v'));
    const spoilt = await see(at('v'));
    const refused = await here('backup', 'restore', 'latest', '--volume', 'v', '--to', 'v');
    expect([refused.status === 0, refused.stderr]).toEqual([
      false,
      expect.stringMatching(/not empty/),
    ]);
    const blocked = await here(
      'backup',
      'restore',
      'latest',
      '--volume',
      'v',
      '--to',
      'v',
      '--overwrite',
    );
    expect(blocked.stderr).toMatch(/a directory stands where becomes-directory belongs/);
    const [, before = ''] = /is kept as (v@before-restore-[^\s"]+)/.exec(blocked.stderr) ?? [];
    const over = ['--volume', 'v', '--to', 'v', '--overwrite'];
    const first = await restore(...over, '--delete');
    expect(first).toMatchObject({ removed: 4, kept: expect.stringMatching(/^v@before-restore-/) });
    // Of the same size and time: it is believed, its attributes are not.
    expect(fs.readFileSync(at('v', 'same'), 'utf8')).toBe('SAME');
    const second = await restore(...over, 'always', '--delete');
    // 'same', and the two files of several names: these are made anew, lest other names see it happen.
    expect(second).toMatchObject({ removed: 0, bytesWritten: 4 + 5 + 6 });
    expect(await see(at('v'))).toEqual(original);
    expect(fs.readFileSync(at('v', 'same'), 'utf8')).toBe('same');
    await done('snapshot', 'rollback', before);
    expect(await see(at('v'))).toEqual(spoilt);
  });

  it('leaves what is newer, or all that is there, when it is told to', async () => {
    await cluster.volume('n');
    for (const name of ['old', 'new', 'gone']) fs.writeFileSync(at('n', name), `${name} then`);
    await done('backup', 'create', 'n');
    fs.writeFileSync(at('n', 'old'), 'older');
    fs.utimesSync(at('n', 'old'), 1_000, 1_000);
    fs.writeFileSync(at('n', 'new'), 'newer');
    fs.rmSync(at('n', 'gone'));
    const content = (): string[] =>
      ['old', 'new', 'gone'].map((name) => fs.readFileSync(at('n', name), 'utf8'));
    const over = ['--volume', 'n', '--to', 'n', '--overwrite'];
    expect(await restore(...over, 'never')).toMatchObject({ files: 1, skippedFiles: 2 });
    expect(content()).toEqual(['older', 'newer', 'gone then']);
    await restore(...over, 'if-newer');
    expect(content()).toEqual(['old then', 'newer', 'gone then']);
    await restore(...over);
    expect(content()).toEqual(['old then', 'new then', 'gone then']);
    const wrong = await here('backup', 'restore', 'latest', ...over, 'sometimes');
    expect(wrong.stderr).toMatch(/always, if-changed, if-newer, never/);
  });

  it('goes to a place in a volume, and touches nothing beside it', async () => {
    await cluster.volume('p');
    fs.mkdirSync(at('p', 'data', 'deep'), { recursive: true });
    fs.writeFileSync(at('p', 'data', 'deep', 'f'), 'f');
    fs.writeFileSync(at('p', 'beside'), 'then');
    await done('backup', 'create', 'p');
    fs.rmSync(at('p', 'data'), { recursive: true });
    fs.writeFileSync(at('p', 'beside'), 'now');
    const part = ['--volume', 'p', '--path', 'data'];
    await restore(...part, '--to', 'p:/data');
    await restore(...part, '--to', 'p:/some/other/place');
    expect(fs.readFileSync(at('p', 'data', 'deep', 'f'), 'utf8')).toBe('f');
    expect(fs.readFileSync(at('p', 'some', 'other', 'place', 'deep', 'f'), 'utf8')).toBe('f');
    expect(fs.readFileSync(at('p', 'beside'), 'utf8')).toBe('now');
    const again = await here('backup', 'restore', 'latest', ...part, '--to', 'p:/data');
    expect(again.stderr).toMatch(/p:\/data is not empty; .*--overwrite/);
    const tried = ['--to', 'p:/data', '--overwrite', '--dry-run', '--include', '*f'];
    expect(await restore(...part, ...tried)).toMatchObject({ files: 0, skippedFiles: 1 });
    expect(await restore(...part, '--to', 'fresh', '--dry-run')).toMatchObject({ files: 1 });
    expect(fs.existsSync(at('fresh'))).toBe(false);
    expect(
      (await here('backup', 'restore', 'latest', ...part, ...tried, '--delete')).stderr,
    ).toMatch(/--delete would remove/);
    fs.writeFileSync(at('p', 'data', 'extra'), 'x');
    await restore(...part, '--to', 'p:/data', '--overwrite', '--delete');
    expect(fs.readdirSync(at('p', 'data'))).toEqual(['deep']);
    expect(fs.readdirSync(at('p')).sort()).toEqual(['beside', 'data', 'some']);
  });

  it('is refused while a host uses the volume, unless it is forced', async () => {
    await cluster.volume('u');
    fs.writeFileSync(at('u', 'f'), 'then');
    await done('backup', 'create', 'u');
    const { dataDirectory } = cluster.peer(0);
    const client = await ClusterClient.connect({ dataDirectory });
    await client.volumes.attach('u', 'node-1');
    const over = ['--volume', 'u', '--to', 'u', '--overwrite'];
    const refused = await here('backup', 'restore', 'latest', ...over);
    expect(refused.stderr).toMatch(/in use on node-1/);
    await restore(...over, '--force');
    await client.volumes.detach('u', 'node-1');
    await client.close();
  });

  it('goes on where it was killed', async () => {
    const s3 = await startTestS3({ bucket: 'backups', ...KEYS });
    const bucket = ['--repo', `s3:http://127.0.0.1:${s3.port}/backups/k`];
    try {
      await done('backup', 'repo', 'init', ...bucket);
      await cluster.volume('k');
      for (let file = 0; file < 24; file++)
        fs.writeFileSync(at('k', `f${file}`), randomBytes(2 * 2 ** 20));
      const original = await see(at('k'));
      await done('backup', 'create', 'k', ...bucket);
      for (let file = 0; file < 24; file++) fs.writeFileSync(at('k', `f${file}`), 'spoilt');
      let gets = 0;
      const reached = Promise.withResolvers<void>();
      s3.behaviour.fault = ({ method, key }) => {
        if (method !== 'GET' || !key.startsWith('k/data/') || ++gets <= 4) return undefined;
        reached.resolve();
        return { what: 'slow', ms: 20_000 };
      };
      const args = ['backup', 'restore', 'latest', '--to', 'k', '--overwrite', ...bucket];
      const data = ['--data', cluster.peer(0).dataDirectory];
      const killed = spawn(LAUNCHER, [...data, ...args], {
        env: { ...process.env, ...env },
        stdio: 'ignore',
      });
      await reached.promise;
      const early = await here('snapshot', 'create', 'k@half');
      expect([early.status, early.stderr]).toEqual([5, expect.stringMatching(/being restored/)]);
      killed.kill('SIGKILL');
      await once(killed, 'exit');
      s3.behaviour.fault = () => undefined;
      await restore('--to', 'k', '--overwrite', ...bucket);
      expect(await see(at('k'))).toEqual(original);
      const again = await restore('--to', 'k', '--overwrite', ...bucket);
      expect(again).toMatchObject({ files: 0, skippedFiles: 24, bytesWritten: 0 });
    } finally {
      await s3.close();
    }
  });

  it('does the same to a directory of the host, and follows no link out of it', async () => {
    const root = join(scratch, 'host');
    const outside = join(scratch, 'outside');
    await done('backup', 'restore', 'latest', '--volume', 'v', '--to', root);
    const original = await see(root);
    await spoil(root);
    fs.mkdirSync(outside);
    fs.writeFileSync(join(outside, 'precious'), 'p');
    fs.rmSync(join(root, 'sample'), { recursive: true });
    fs.symlinkSync(outside, join(root, 'sample'));
    fs.symlinkSync(outside, join(root, 'extra-directory', 'out'));
    const over = ['--volume', 'v', '--to', root, '--overwrite', 'always', '--delete'];
    await restore(...over);
    expect(await see(root)).toEqual(original);
    expect(fs.readFileSync(join(outside, 'precious'), 'utf8')).toBe('p');
  });
});
