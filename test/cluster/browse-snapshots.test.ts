import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { type Seen, seeTree } from '../trees/whole-tree.ts';
import { type Ended, runProgram } from './command-line.ts';

const USER = 1234;

function pattern(bytes: number, seed: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let state = seed;
  for (let at = 0; at < bytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    buffer.writeUInt32LE(state, at);
  }
  return buffer;
}

// Synchronous calls are fine here: the mount is served by another process.
describe('.snapshots', () => {
  let cluster: LocalCluster;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync('/var/tmp/holdfast-browse-');
    cluster = await startLocalCluster({ peers: 1 });
  });
  afterAll(async () => {
    await cluster?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  const at = (volume: string, ...names: string[]): string =>
    join(cluster.peer(0).mountPath, volume, ...names);
  const past = (volume: string, snapshot: string, ...names: string[]): string =>
    at(volume, '.snapshots', snapshot, ...names);
  const take = (volume: string, name: string): Promise<string> =>
    cluster.peer(0).holdfast('snapshot', 'create', `${volume}@${name}`);
  const see = (path: string): Promise<Map<string, Seen>> => seeTree(new DirectorySource(path));
  const asUser = (...command: string[]): Promise<Ended> =>
    runProgram('setpriv', [
      '--reuid',
      String(USER),
      '--regid',
      '5678',
      '--clear-groups',
      ...command,
    ]);
  const done = async (program: string, ...args: string[]): Promise<Ended> => {
    const ended = await runProgram(program, args);
    expect(ended.status, `${program}: ${ended.stderr}${ended.stdout}`).toBe(0);
    return ended;
  };
  const codeOf = (action: () => unknown): string => {
    try {
      action();
      return 'done';
    } catch (error) {
      const { code, errno } = error as NodeJS.ErrnoException;
      return errno === -constants.errno.ESTALE ? 'ESTALE' : (code ?? String(error));
    }
  };

  it('shows a tree as it was, whatever has become of it since', async () => {
    await cluster.volume('v');
    makeSampleTree(at('v'));
    const large = pattern(5 * 2 ** 20, 1); // more than two windows of extents, in several chunks
    writeFileSync(at('v', 'large'), large);
    const before = await see(at('v'));
    const archive = join(scratch, 'before.tar');
    await done('tar', '--xattrs', '-cSf', archive, '-C', at('v'), '.');
    const blocks = statSync(at('v', 'holes')).blocks;
    await take('v', 'first');

    writeFileSync(at('v', 'plain'), 'overwritten');
    chmodSync(at('v', 'plain'), 0o600);
    chownSync(at('v', 'noise'), 1, 1);
    truncateSync(at('v', 'noise'), 1000);
    writeFileSync(at('v', 'holes'), pattern(3 * 2 ** 20, 2));
    writeFileSync(at('v', 'large'), pattern(2 ** 20, 3), { flag: 'r+' });
    rmSync(at('v', 'deep'), { recursive: true });
    renameSync(at('v', 'empty'), at('v', 'moved'));
    unlinkSync(at('v', 'zero'));
    mkdirSync(at('v', 'deep/later'), { recursive: true });
    await done('setfattr', '-n', 'user.plain', '-v', 'changed', at('v', 'third'));
    chmodSync(at('v'), 0o755);
    const changed = await see(at('v'));
    await take('v', 'second');
    await done('find', at('v'), '-mindepth', '1', '-delete');

    expect(readdirSync(at('v'))).toEqual([]);
    expect(readdirSync(at('v', '.snapshots'))).toEqual(['first', 'second']);
    expect(await see(past('v', 'first'))).toEqual(before);
    expect(await see(past('v', 'second'))).toEqual(changed);
    expect(readFileSync(past('v', 'first', 'large')).equals(large)).toBe(true);
    expect(statSync(past('v', 'first', 'holes')).blocks).toBe(blocks);
    expect(existsSync(past('v', 'first', '.snapshots'))).toBe(false);
    const diff = ['--diff', '--xattrs', '--xattrs-include=*', '-f', archive, '-C'];
    await done('tar', ...diff, past('v', 'first'));
    await done('cp', '-a', past('v', 'first'), join(scratch, 'copy'));
    await done('tar', ...diff, join(scratch, 'copy'));
    const sparse = join(scratch, 'sparse.tar');
    await done('tar', '--hole-detection=seek', '-cSf', sparse, '-C', past('v', 'first'), 'holes');
    expect(statSync(sparse).size).toBeLessThan(200_000);
  });

  it('gives the files of each snapshot numbers of their own, hard links the same', async () => {
    const numbers = ['first', 'second'].map((name) => {
      const number = (file: string): bigint =>
        statSync(past('v', name, file), { bigint: true }).ino;
      expect(number('plain')).toBe(number('third'));
      return [number('plain'), number('noise'), number('large'), number('')];
    });
    expect(new Set(numbers.flat()).size).toBe(8);
    expect(numbers.flat().every((number) => number > 0n)).toBe(true); // signed, as some take it
    const found = await done('find', past('v', 'first'), '-samefile', past('v', 'first', 'plain'));
    expect(found.stdout.split('\n').filter(Boolean).length).toBe(3);
    const up = await done('bash', '-c', 'cd -P "$1" && cd -P .. && pwd', '-', past('v', 'first'));
    expect(up.stdout.trim()).toBe(at('v', '.snapshots'));
  });

  it('lets every user do what the modes and owners of then allow', async () => {
    await cluster.volume('users');
    chmodSync(at('users'), 0o755);
    writeFileSync(at('users', 'secret'), 'for root', { mode: 0o600 });
    writeFileSync(at('users', 'own'), 'for the user', { mode: 0o400 });
    chownSync(at('users', 'own'), USER, USER);
    await take('users', 'then');
    chmodSync(at('users', 'secret'), 0o644);
    chownSync(at('users', 'own'), 0, 0);
    expect(await asUser('cat', at('users', 'secret'))).toMatchObject({ stdout: 'for root' });
    const refused = await asUser('cat', past('users', 'then', 'secret'));
    expect(refused.stderr).toMatch(/Permission denied/);
    expect((await asUser('cat', at('users', 'own'))).stderr).toMatch(/Permission denied/);
    const own = await asUser('cat', past('users', 'then', 'own'));
    expect(own).toMatchObject({ stdout: 'for the user', status: 0 });
    expect((await asUser('ls', at('users', '.snapshots'))).stdout).toBe('then\n');
    // Who may not look into the volume now may not look into its past either.
    chmodSync(at('users'), 0o700);
    expect((await asUser('ls', past('users', 'then'))).stderr).toMatch(/Permission denied/);
  });

  it('refuses every change with EROFS', async () => {
    await cluster.volume('fixed');
    mkdirSync(at('fixed', 'd'));
    writeFileSync(at('fixed', 'f'), 'bytes');
    await take('fixed', 's');
    const f = past('fixed', 's', 'f');
    const changes: Record<string, () => unknown> = {
      write: () => writeFileSync(f, 'x'),
      append: () => openSync(f, 'a'),
      truncate: () => truncateSync(f, 0),
      create: () => writeFileSync(past('fixed', 's', 'new'), ''),
      mkdir: () => mkdirSync(past('fixed', 's', 'new')),
      symlink: () => symlinkSync('f', past('fixed', 's', 'new')),
      link: () => linkSync(f, past('fixed', 's', 'new')),
      'link into': () => linkSync(at('fixed', 'f'), past('fixed', 's', 'new')),
      unlink: () => unlinkSync(f),
      rmdir: () => rmdirSync(past('fixed', 's', 'd')),
      rename: () => renameSync(f, past('fixed', 's', 'new')),
      'rename out of': () => renameSync(f, at('fixed', 'new')),
      'rename into': () => renameSync(at('fixed', 'f'), past('fixed', 's', 'new')),
      chmod: () => chmodSync(f, 0o777),
      chown: () => chownSync(f, 1, 1),
      utimes: () => utimesSync(f, 1, 1),
      'remove a snapshot': () => rmdirSync(past('fixed', 's')),
      'make a snapshot': () => mkdirSync(past('fixed', 't')),
      'rename a snapshot': () => renameSync(past('fixed', 's'), past('fixed', 't')),
      'chmod of the list': () => chmodSync(at('fixed', '.snapshots'), 0o777),
    };
    const codes = Object.entries(changes).map(([what, change]) => [what, codeOf(change)]);
    expect(codes).toEqual(Object.keys(changes).map((what) => [what, 'EROFS']));
    expect(codeOf(() => linkSync(f, at('fixed', 'new')))).toBe('EXDEV');
    for (const command of [
      'setfattr -n user.a -v b',
      'setfattr -x user.a',
      'flock',
      'fallocate -l 9',
    ]) {
      const [program = '', ...args] = command.split(' ');
      const rest = program === 'flock' ? [f, 'true'] : [f];
      expect((await runProgram(program, [...args, ...rest])).stderr).toMatch(
        /Read-only file system/,
      );
    }
    await done('flock', '--shared', f, 'true');
    expect(readFileSync(f, 'utf8')).toBe('bytes');
    expect(readdirSync(past('fixed', 's')).toSorted()).toEqual(['d', 'f']);
    expect(readdirSync(at('fixed')).toSorted()).toEqual(['d', 'f']);
  });

  it('is a name that nobody can make, move or remove', async () => {
    await cluster.volume('name');
    mkdirSync(at('name', 'd'));
    writeFileSync(at('name', 'f'), '');
    const own = at('name', '.snapshots');
    expect(codeOf(() => mkdirSync(own))).toBe('EEXIST');
    expect(codeOf(() => symlinkSync('f', own))).toBe('EEXIST');
    expect(codeOf(() => linkSync(at('name', 'f'), own))).toBe('EEXIST');
    expect(codeOf(() => closeSync(openSync(own, 'wx')))).toBe('EEXIST');
    expect(codeOf(() => renameSync(at('name', 'd'), own))).toBe('EEXIST');
    expect(codeOf(() => rmdirSync(own))).toBe('EBUSY');
    expect(codeOf(() => renameSync(own, at('name', 'other')))).toBe('EBUSY');
    expect(codeOf(() => unlinkSync(own))).toBe('EISDIR');
    mkdirSync(at('name', 'd/.snapshots')); // elsewhere the name means nothing
    expect(readdirSync(at('name', 'd'))).toEqual(['.snapshots']);

    await take('name', 'a');
    await take('name', 'b');
    expect(readdirSync(own)).toEqual(['a', 'b']);
    expect(readdirSync(at('name')).toSorted()).toEqual(['d', 'f']);
  });

  it('does not notice that the mount daemon is killed', async () => {
    await cluster.volume('killed');
    const bytes = pattern(3 * 2 ** 20, 4);
    mkdirSync(at('killed', 'd'));
    writeFileSync(at('killed', 'd/f'), bytes);
    symlinkSync('d/f', at('killed', 'l'));
    for (const name of ['a', 'b', 'c']) await take('killed', name);
    rmSync(at('killed', 'd'), { recursive: true });
    const file = openSync(past('killed', 'b', 'd/f'), 'r');
    const buffer = Buffer.alloc(bytes.length);
    readSync(file, buffer, 0, 2 ** 20, 0);
    const ino = fstatSync(file, { bigint: true }).ino;
    const child = spawn('bash', ['-c', 'echo; read; ls; sha256sum < f'], {
      cwd: past('killed', 'b', 'd'),
    });
    const said = child.stdout.setEncoding('utf8').toArray();
    for (let round = 0; round < 2; round += 1) {
      const pid = await cluster.peer(0).mountDaemonPid();
      process.kill(pid, 'SIGKILL');
      const offset = (round + 1) * 2 ** 20;
      expect(readSync(file, buffer, offset, 2 ** 20, offset)).toBe(2 ** 20);
      // Found anew the other way round: the numbers are those of before.
      for (const name of ['c', 'a']) expect(readlinkSync(past('killed', name, 'l'))).toBe('d/f');
      expect(statSync(past('killed', 'b', 'd/f'), { bigint: true }).ino).toBe(ino);
    }
    expect(buffer.equals(bytes)).toBe(true);
    const sum = (await done('sha256sum', past('killed', 'c', 'd/f'))).stdout.split(' ')[0];
    child.stdin.end('\n');
    await once(child, 'close');
    expect((await said).join('')).toBe(`\nf\n${sum}  -\n`);
    closeSync(file);
  });

  it('loses a snapshot that is removed, and shows the new one of the same name', async () => {
    await cluster.volume('again');
    writeFileSync(at('again', 'f'), pattern(100_000, 5));
    await take('again', 's');
    const file = openSync(past('again', 's', 'f'), 'r');
    expect(fstatSync(file).size).toBe(100_000);
    await cluster.peer(0).holdfast('snapshot', 'rm', 'again@s');
    expect(codeOf(() => statSync(past('again', 's')))).toBe('ENOENT');
    expect(codeOf(() => readFileSync(past('again', 's', 'f')))).toBe('ENOENT');
    writeFileSync(at('again', 'f'), 'new');
    await take('again', 's');
    expect(readFileSync(past('again', 's', 'f'), 'utf8')).toBe('new');
    expect(readdirSync(at('again', '.snapshots'))).toEqual(['s']);
    const readOld = (): string => codeOf(() => readSync(file, Buffer.alloc(10), 0, 10, 0));
    await expect.poll(readOld, { timeout: 60_000, interval: 200 }).toBe('ESTALE');
    closeSync(file);
  });
});
