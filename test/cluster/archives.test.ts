import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MountRoot } from '../../packages/node/src/volume-driver/mount-root.ts';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, LAUNCHER, runProgram } from './command-line.ts';

describe('volumes as archives', () => {
  let cluster: LocalCluster;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-archives-'));
    cluster = await startLocalCluster({ peers: 1 });
    await here('volume', 'create', 'original');
    makeSampleTree(mounted('original'));
  });
  afterAll(async () => {
    await cluster?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  const here = (...args: string[]): Promise<Ended> =>
    holdfast(['--data', cluster.peer(0).dataDirectory, ...args]);
  const mounted = (name: string): string => join(cluster.peer(0).mountPath, name);
  const done = async (...args: string[]): Promise<string> => {
    const ended = await here(...args);
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const volumes = async (): Promise<string[]> =>
    (JSON.parse(await done('--json', 'volume', 'ls')) as { name: string }[])
      .map(({ name }) => name)
      .sort();

  it('go out as tar, equal for GNU tar, and come in equal', async () => {
    const file = join(scratch, 'original.tar.zst');
    const told = JSON.parse(await done('--json', 'volume', 'export', 'original', '-o', file));
    expect(told).toMatchObject({ volume: 'original', format: 'tar.zst', entries: 27 });
    const diff = [
      '--diff',
      '--xattrs',
      '--xattrs-include=*',
      '--acls',
      '-C',
      mounted('original'),
      '-f',
      file,
    ];
    const judged = await runProgram('tar', diff);
    expect(judged.status, judged.stderr + judged.stdout).toBe(0);
    expect(await done('volume', 'import', 'copy', file)).toMatch(
      /volume copy imported: 27 entries/,
    );
    expect(await seeTree(new DirectorySource(mounted('copy')))).toEqual(
      await seeTree(new DirectorySource(mounted('original'))),
    );
  });

  it('go out as zip that unzip finds right', async () => {
    const file = join(scratch, 'original.zip');
    await done('volume', 'export', 'original', '-o', file);
    expect((await runProgram('unzip', ['-tq', file])).stdout).toMatch(/No errors detected/);
    expect(await done('volume', 'import', 'unzipped', file)).toMatch(/23 entries/);
  });

  it('go through a pipe', async () => {
    const data = cluster.peer(0).dataDirectory;
    const line = `"$1" --data "$2" volume export original --format tar -o - |
      "$1" --data "$2" volume import piped -`;
    const ended = await runProgram('bash', ['-o', 'pipefail', '-c', line, 'bash', LAUNCHER, data]);
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stderr).toMatch(/volume original exported/);
    expect(readdirSync(mounted('piped'))).toEqual(readdirSync(mounted('copy')));
  });

  it('are of one moment: that of a snapshot, or of the command', async () => {
    writeFileSync(join(mounted('piped'), 'said'), 'then');
    await done('snapshot', 'create', 'piped@then');
    writeFileSync(join(mounted('piped'), 'said'), 'now');
    for (const [name, said] of [
      ['piped@then', 'then'],
      ['piped', 'now'],
    ] as const) {
      const file = join(scratch, 'moment.tar');
      expect(await done('volume', 'export', name, '-o', file)).toContain(`${name} exported`);
      const out = await runProgram('tar', ['-xOf', file, './said']);
      expect(out, out.stderr).toMatchObject({ status: 0, stdout: said });
    }
    const left = JSON.parse(await done('--json', 'snapshot', 'ls', 'piped')) as { name: string }[];
    expect(left.map(({ name }) => name)).toEqual(['then']);
  });

  it('give single files and whole directories back out of snapshots, here and into volumes', async () => {
    await done('snapshot', 'create', 'original@kept');
    const here = join(scratch, 'out');
    mkdirSync(here);
    // What a directory would hand down to new files is not what was copied.
    const handedDown = ['-d', '-m', 'u:77:rwx,g:78:rwx'];
    await runProgram('setfacl', [...handedDown, here]);
    const into = `${here}/original@kept`;
    expect(await done('snapshot', 'cp', 'original@kept', here)).toContain(`copied to ${into}: 27 `);
    const kept = await seeTree(new DirectorySource(mounted('original')));
    expect(await seeTree(new DirectorySource(into))).toEqual(kept);
    await done('volume', 'create', 'target');
    await runProgram('setfacl', [...handedDown, mounted('target')]);
    const told = await done('--json', 'snapshot', 'cp', 'original@kept/deep', 'target:/back');
    expect(JSON.parse(told)).toMatchObject({ to: 'target:/back', directories: 3, warnings: 0 });
    const deep = (tree: string) => seeTree(new DirectorySource(join(mounted(tree))));
    expect((await deep('target')).get('back/er/est/leaf')).toEqual({
      ...kept.get('deep/er/est/leaf'),
      sameAs: 'back/er/est/leaf',
    });
    const copied = [...(await deep('target'))].filter(([path]) => path !== '');
    for (const [path, { mode, xattrs }] of copied)
      expect(kept.get(path.replace('back', 'deep')), path).toMatchObject({ mode, xattrs });
    writeFileSync(join(mounted('target'), 'plain'), 'mine');
    const plain = ['snapshot', 'cp', 'original@kept/plain', 'target:/'];
    const refused = await holdfast(['--data', cluster.peer(0).dataDirectory, ...plain]);
    expect(refused).toMatchObject({ status: 5, stderr: expect.stringMatching(/--overwrite/) });
    expect(readFileSync(join(mounted('target'), 'plain'), 'utf8')).toBe('mine');
    await done(...plain, '--overwrite');
    expect(readFileSync(join(mounted('target'), 'plain'), 'utf8')).toBe('hello');
    expect(readdirSync(mounted('target')).sort()).toEqual(['back', 'plain']);
    expect(readdirSync(here)).toEqual(['original@kept']);
  });

  it('refuse what cannot be, and leave nothing behind', async () => {
    const before = await volumes();
    const evil = join(scratch, 'evil.tar');
    mkdirSync(join(scratch, 'd'), { recursive: true });
    writeFileSync(join(scratch, 'd/f'), 'x');
    await runProgram('tar', ['-cPf', evil, '-C', join(scratch, 'd'), 'f', '../d/f']);
    const refusals: [string[], number, RegExp][] = [
      [['export', 'original@monday', '-o', join(scratch, 'x.tar')], 4, /no snapshot 'monday'/],
      [['export', 'original@', '-o', join(scratch, 'x.tar')], 2, /VOLUME@NAME/],
      [['export', 'original', '-o', join(scratch, 'x.rar')], 2, /add --format/],
      [['export', 'nothing', '-o', join(scratch, 'x.tar')], 4, /no volume 'nothing'/],
      [['import', 'new', join(scratch, 'missing.tar')], 4, /missing\.tar/],
      [['import', 'new', evil], 1, /"\.\.\/d\/f" leads out/],
      [['import', 'new', join(scratch, 'd/f')], 1, /no archive that is known/],
      [['import', 'new', join(scratch, 'original.tar.zst'), '--max-entries', '9'], 2, /9 entries/],
      [['import', 'new', join(scratch, 'original.tar.zst'), '--size', '200K'], 1, /quota/],
      [['import', 'copy', join(scratch, 'original.tar.zst')], 5, /not empty/],
    ];
    const copies: typeof refusals = [
      [['original@monday', scratch], 4, /no snapshot 'monday'/],
      [['original@kept/not/there', scratch], 4, /has no 'not\/there'/],
      [['original@kept/plain', 'nothing:/'], 4, /no volume 'nothing'/],
      [['original@kept/plain', 'piped:/no/where'], 4, /no directory piped:\/no/],
      [['original@kept/plain', 'piped:/.snapshots/then/x'], 1, /read-only/],
    ];
    const all = [
      ...refusals.map((refusal) => ['volume', ...refusal] as const),
      ...copies.map(([args, ...rest]) => ['snapshot', ['cp', ...args], ...rest] as const),
    ];
    for (const [kind, args, status, text] of all) {
      const ended = await here(kind, ...args);
      expect(ended.stderr).toMatch(text);
      expect(ended.stderr).not.toMatch(/^\s+at /m);
      expect([args.join(' '), ended.status]).toEqual([args.join(' '), status]);
    }
    expect(await volumes()).toEqual(before);
    expect(readdirSync(scratch).filter((name) => /^x\.|part/.test(name))).toEqual([]);
  });

  /** An import that waits for more of its archive, after what it had is in the volume. */
  const startImport = async (name: string): Promise<ChildProcess> => {
    const data = cluster.peer(0).dataDirectory;
    const child = spawn(LAUNCHER, ['--data', data, 'volume', 'import', name, '-'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    const whole = zstdDecompressSync(readFileSync(join(scratch, 'original.tar.zst')));
    child.stdin?.write(whole.subarray(0, 40_000));
    const isBegun = (): boolean => volumeNames(name).length === 1;
    await expect.poll(isBegun, { timeout: 30_000, interval: 100 }).toBe(true);
    return child;
  };
  const volumeNames = (name: string): string[] =>
    existsSync(mounted(name)) ? readdirSync(mounted(name)) : [];

  it('leave nothing of an import that is interrupted', async () => {
    const before = await volumes();
    const child = await startImport('interrupted');
    const said = child.stderr?.setEncoding('utf8').toArray();
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([1, null]);
    expect((await said)?.join('')).toBe('holdfast: stopped by SIGINT; nothing is left behind\n');
    expect(await volumes()).toEqual(before);
  });

  it('show nothing of an import that was killed, and the next one clears up after it', async () => {
    const child = await startImport('killed');
    const early = await here('snapshot', 'create', 'killed@half');
    expect([early.status, early.stderr]).toEqual([5, expect.stringMatching(/being filled by/)]);
    const forDocker = new MountRoot(cluster.peer(0).mountPath).requireFolder('killed');
    await expect(forDocker).rejects.toMatchObject({ code: 'CONFLICT' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(volumeNames('killed')).toEqual([expect.stringMatching(/^\.holdfast-import-[0-9a-f]+$/)]);
    // Until its session has ended, the import may be alive for all that the others know.
    const again = async (): Promise<number | null> =>
      (await here('volume', 'import', 'killed', join(scratch, 'original.tar.zst'))).status;
    await expect.poll(again, { timeout: 60_000, interval: 1_000 }).toBe(0);
    expect(readdirSync(mounted('killed'))).toEqual(readdirSync(mounted('copy')));
  });
});
