import { execFile } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { chmod, chown, mkdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { Probe } from './support/probe.ts';
import { SEED } from './support/random-use.ts';

const run = promisify(execFile);
const PROGRAM = fileURLToPath(new URL('./support/acl-use.py', import.meta.url));
const STEPS = 300;
const USER = 4001;

/** What a user's program in a directory ended with: what it wrote, or 'refused'. */
async function as(uid: number, directory: string, ...command: readonly string[]): Promise<string> {
  const who = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  try {
    return (await run('setpriv', [...who, ...command], { cwd: directory })).stdout;
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    if (stderr?.includes('Permission denied')) return 'refused';
    throw error;
  }
}

describe('POSIX ACLs', () => {
  let cluster: LocalCluster;
  let probe: Probe;
  const on = (host: number, ...names: string[]): string =>
    join(cluster.peer(host).mountPath, 'v', ...names);

  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 2 });
    await cluster.volume('v');
    probe = new Probe();
  });
  afterAll(async () => {
    await probe?.close();
    await cluster?.close();
  });

  it('do what they do on ext4, whoever makes, changes and uses files', async () => {
    console.log(`HOLDFAST_SEED=${SEED}`);
    const disk = mkdtempSync(join(tmpdir(), 'holdfast-acl-'));
    const [image, local] = [join(disk, 'image'), join(disk, 'ext4')];
    mkdirSync(local);
    await run('truncate', ['-s', '32M', image]);
    await run('mkfs.ext4', ['-q', '-F', image]);
    await run('mount', ['-o', 'loop,acl', image, local]);
    try {
      await mkdir(on(0, 'random'));
      await mkdir(join(local, 'random'));
      const use = async (cwd: string): Promise<string[]> => {
        const { stdout } = await run('python3', [PROGRAM, String(SEED), String(STEPS)], { cwd });
        return stdout.split('\n');
      };
      const [here, there] = await Promise.all([use(on(0, 'random')), use(join(local, 'random'))]);
      expect(here).toEqual(there);
      const heirs = here.filter((line) => /^\.\/.* system\.posix_acl_(access|default)=/.test(line));
      expect(heirs.length).toBeGreaterThan(5);
      const { stdout } = await run('getfacl', ['-R', '-n', '-p', '.'], { cwd: on(1, 'random') });
      const before = await run('getfacl', ['-R', '-n', '-p', '.'], { cwd: on(0, 'random') });
      expect(stdout).toBe(before.stdout);
    } finally {
      await run('umount', [local]);
      rmSync(disk, { recursive: true });
    }
  });

  it('take the place of the umask, and set-group-id from who may not keep it', async () => {
    await mkdir(on(0, 'handed'));
    await run('setfacl', ['-d', '-m', `u:${USER}:rwx,o::rx`, on(0, 'handed')]);
    const script = 'umask 077; : > file; mkdir directory; mkfifo fifo';
    await run('sh', ['-c', script], { cwd: on(1, 'handed') });
    const modeOf = async (name: string): Promise<string> =>
      ((await stat(on(0, 'handed', name))).mode & 0o7777).toString(8);
    const modes = await Promise.all(['file', 'directory', 'fifo'].map(modeOf));
    expect(modes).toEqual(['664', '775', '664']);
    await chown(on(0, 'handed/file'), USER, USER + 1);
    await chmod(on(0, 'handed/file'), 0o2775);
    await run('setfacl', ['-m', 'u:1:r', on(0, 'handed/file')]);
    expect(await modeOf('file')).toBe('2775');
    await as(USER, on(1, 'handed'), 'setfacl', '-m', 'u:2:r', 'file');
    expect(await modeOf('file')).toBe('775');
  });

  it('that one host sets are obeyed by the other at once', async () => {
    await writeFile(on(0, 'secret'), 'told');
    await chmod(on(0, 'secret'), 0o640);
    for (let round = 0; round < 10; round++) {
      const [a, b] = [round % 2, (round + 1) % 2];
      expect(await as(USER, on(b), 'cat', 'secret')).toBe('refused');
      await run('setfacl', ['-m', `u:${USER}:r`, on(a, 'secret')]);
      expect(await as(USER, on(b), 'cat', 'secret')).toBe('told');
      expect(await as(USER, on(a), 'cat', 'secret')).toBe('told');
      await run('setfacl', ['-b', on(b, 'secret')]);
      expect(await as(USER, on(a), 'cat', 'secret')).toBe('refused');
    }
  });

  it('are read anew through a descriptor that was open before', async () => {
    await mkdir(on(0, 'open'));
    const held = openSync(on(1, 'open'), 'r');
    const path = `/proc/${process.pid}/fd/${held}`;
    try {
      for (let round = 0; round < 10; round++) {
        const read = probe.call('getxattr', path, 'system.posix_acl_default');
        await expect(read).rejects.toMatchObject({ code: 'ENODATA' });
        await run('setfacl', ['-d', '-m', `u:${USER + round}:rwx`, on(0, 'open')]);
        const value = await probe.call('getxattr', path, 'system.posix_acl_default');
        expect(value.readUInt32LE(4 + 8 + 4)).toBe(USER + round);
        await run('setfacl', ['-k', on(0, 'open')]);
      }
    } finally {
      closeSync(held);
    }
  });

  it('are shown and obeyed in snapshots as they were then', async () => {
    await writeFile(on(0, 'kept'), 'then');
    await chmod(on(0, 'kept'), 0o640);
    await run('setfacl', ['-m', `u:${USER}:r`, on(0, 'kept')]);
    await cluster.peer(0).holdfast('snapshot', 'create', 'v@then');
    await run('setfacl', ['-b', '-m', `u:${USER + 1}:r`, on(0, 'kept')]);
    for (const host of [0, 1]) {
      expect(await as(USER, on(host), 'cat', 'kept')).toBe('refused');
      expect(await as(USER + 1, on(host), 'cat', 'kept')).toBe('then');
      expect(await as(USER, on(host), 'cat', '.snapshots/then/kept')).toBe('then');
      expect(await as(USER + 1, on(host), 'cat', '.snapshots/then/kept')).toBe('refused');
      const { stdout } = await run('getfacl', ['-n', '-p', on(host, '.snapshots/then/kept')]);
      expect(stdout).toContain(`user:${USER}:r--`);
    }
  });

  it('go on as they were agreed when the mount daemon was killed', async () => {
    await writeFile(on(1, 'outlives'), 'told');
    await chmod(on(1, 'outlives'), 0o640);
    process.kill(await cluster.peer(1).mountDaemonPid(), 'SIGKILL');
    await run('setfacl', ['-m', `u:${USER}:r`, on(1, 'outlives')]);
    expect(await as(USER, on(1), 'cat', 'outlives')).toBe('told');
    await run('setfacl', ['-b', on(1, 'outlives')]);
    expect(await as(USER, on(1), 'cat', 'outlives')).toBe('refused');
    await run('sh', ['-c', 'umask 027; : > "$0"', on(1, 'masked')]);
    expect((await stat(on(1, 'masked'))).mode & 0o777).toBe(0o640);
  });

  it('are refused where they mean nothing or are malformed', async () => {
    await writeFile(on(0, 'plain'), '');
    const refused = async (name: string, value: string, code: string): Promise<void> => {
      const set = probe.call('setxattr', on(0, 'plain'), name, Buffer.from(value, 'hex'));
      await expect(set).rejects.toMatchObject({ code });
    };
    const minimal = '0200000001000600ffffffff04000400ffffffff20000400ffffffff';
    await refused('system.posix_acl_default', minimal, 'EACCES');
    await refused('system.posix_acl_access', minimal.slice(0, -16), 'EINVAL');
    await refused('system.posix_acl_access', `03${minimal.slice(2)}`, 'ENOTSUP');
    await refused('system.other', '00', 'ENOTSUP');
    const many = Array.from({ length: 508 }, (_, index) => `u:${index + 1}:r`).join(',');
    await expect(run('setfacl', ['-m', many, on(0, 'plain')])).rejects.toThrow(/too long/);
    await run('setfacl', ['-m', many.replace(/,[^,]*$/, ''), on(0, 'plain')]);
    expect((await run('getfacl', ['-n', '-p', on(1, 'plain')])).stdout).toContain('user:507:r--');
  });
});
