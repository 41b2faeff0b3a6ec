import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { promisify } from 'node:util';
import { INIT_FLAG } from '@holdfast/fuse-mount';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mounted } from './support/mounted.ts';
import { Probe } from './support/probe.ts';

const run = promisify(execFile);
const { O_APPEND, O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;
const MIB = 2 ** 20;

describe('a mount', () => {
  let mounted: Mounted;
  let probe: Probe;
  const path = (...names: readonly string[]) => mounted.path(...names);

  beforeAll(async () => {
    mounted = await Mounted.start();
    probe = new Probe();
  });
  afterAll(async () => {
    await probe?.close();
    await mounted?.close();
  });

  it('lists its volumes at the top', async () => {
    expect(await fs.readdir(mounted.root)).toEqual(['v']);
    const [top, volume] = await Promise.all([
      fs.stat(mounted.root),
      fs.stat(path(), { bigint: true }),
    ]);
    expect(top.ino).toBe(1);
    expect(volume.ino).toBe((1n << 40n) | 1n);
  });

  it('keeps names of any bytes up to 255', async () => {
    const odd = Buffer.concat([Buffer.from(`${path()}/`), Buffer.from([0xff, 0xfe, 0x0a, 0x20])]);
    await fs.writeFile(odd, 'odd');
    await fs.writeFile(path('n'.repeat(255)), 'long');
    await expect(fs.writeFile(path('n'.repeat(256)), '')).rejects.toMatchObject({
      code: 'ENAMETOOLONG',
    });
    const names = await fs.readdir(Buffer.from(path()), { encoding: 'buffer' });
    expect(names.map((name) => name.toString('hex'))).toContain('fffe0a20');
    expect(await fs.readFile(odd, 'utf8')).toBe('odd');
    await fs.unlink(odd);
  });

  it('makes, links, renames and removes every kind of name', async () => {
    await fs.mkdir(path('d'));
    await fs.writeFile(path('d', 'a'), 'a', { mode: 0o640 });
    await fs.link(path('d', 'a'), path('d', 'b'));
    await fs.symlink('../d/a', path('d', 's'));
    expect(await fs.readlink(path('d', 's'))).toBe('../d/a');
    expect(await fs.readFile(path('d', 's'), 'utf8')).toBe('a');
    expect(await fs.stat(path('d', 'b'))).toMatchObject({ nlink: 2, mode: 0o100640 });
    await expect(fs.rmdir(path('d'))).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    await expect(fs.mkdir(path('d'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(fs.stat(path('d', 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(fs.link(path('d', 'a'), `${mounted.root}/x`)).rejects.toMatchObject({
      code: 'EPERM',
    });
    await fs.rename(path('d', 'a'), path('e'));
    await fs.unlink(path('d', 'b'));
    await fs.unlink(path('d', 's'));
    await fs.rmdir(path('d'));
    expect(await fs.readFile(path('e'), 'utf8')).toBe('a');
  });

  it('exchanges names, refuses to replace one, and knows no whiteout', async () => {
    await fs.writeFile(path('x1'), '1');
    await fs.writeFile(path('x2'), '2');
    await probe.call('renameat2', path('x1'), path('x2'), 2);
    expect(await fs.readFile(path('x1'), 'utf8')).toBe('2');
    await expect(probe.call('renameat2', path('x1'), path('x2'), 1)).rejects.toMatchObject({
      code: 'EEXIST',
    });
    await expect(probe.call('renameat2', path('x1'), path('x3'), 4)).rejects.toMatchObject({
      code: 'EINVAL',
    });
  });

  it('makes fifos, sockets and devices', async () => {
    await probe.call('mknod', path('fifo'), 0o010600, 0);
    await probe.call('mknod', path('socket'), 0o140600, 0);
    await probe.call('mknod', path('null'), 0o020666, 0x103);
    expect((await fs.lstat(path('fifo'))).isFIFO()).toBe(true);
    expect((await fs.lstat(path('socket'))).isSocket()).toBe(true);
    expect((await fs.lstat(path('null'))).rdev).toBe(0x103);
    expect((await fs.readFile(path('null'))).length).toBe(0);
  });

  it('carries large writes and reads in requests of 1 MiB', async () => {
    const bytes = Buffer.alloc(8 * MIB + 3);
    for (let at = 0; at + 4 <= bytes.length; at += 4)
      bytes.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
    const before = mounted.count('write');
    const fd = await probe.call('open', path('big'), O_RDWR | O_CREAT);
    expect(await probe.call('write', fd, bytes, 0)).toBe(bytes.length);
    expect(mounted.count('write') - before).toBeLessThanOrEqual(10);
    const back = await probe.call('read', fd, 0, bytes.length + 100);
    expect(Buffer.compare(back, bytes)).toBe(0);
    await probe.call('close', fd);
  });

  it('shows files grow, shrink and begin anew', async () => {
    await fs.writeFile(path('t'), 'abcdef');
    await fs.truncate(path('t'), 3);
    await fs.truncate(path('t'), 5);
    expect(await fs.readFile(path('t'), 'latin1')).toBe('abc\0\0');
    const fd = await probe.call('open', path('t'), O_WRONLY | O_TRUNC);
    expect((await probe.call('fstat', fd)).size).toBe(0n);
    await probe.call('close', fd);
    await expect(fs.truncate(path('t'), 2 ** 53)).rejects.toMatchObject({
      code: expect.stringMatching(/EFBIG|ERR_OUT/),
    });
  });

  it('lists 10,000 entries, each once', async () => {
    await fs.mkdir(path('many'));
    const names = Array.from({ length: 10_000 }, (_, index) => `entry-${index}`);
    for (let at = 0; at < names.length; at += 500) {
      await Promise.all(
        names.slice(at, at + 500).map((name) => fs.writeFile(path('many', name), '')),
      );
    }
    const listed = await fs.readdir(path('many'), { withFileTypes: true });
    expect(listed.every((entry) => entry.isFile())).toBe(true);
    expect(listed.map((entry) => entry.name).sort()).toEqual([...names].sort());
    const { stdout } = await run('ls', ['-lai', path('many')]);
    expect(stdout.split('\n').length).toBe(10_004);
  });

  it('coheres a shared mapping with reads and writes', async () => {
    const fd = await probe.call('open', path('mapped'), O_RDWR | O_CREAT);
    await probe.call('write', fd, Buffer.from('before'), 0);
    const before = await probe.call('mmapWrite', fd, 6, Buffer.from('AFTER'));
    expect(Buffer.from(before).toString()).toBe('before');
    expect(Buffer.from(await probe.call('read', fd, 0, 10)).toString()).toBe('AFTERe');
    expect(await fs.readFile(path('mapped'), 'utf8')).toBe('AFTERe');
    await probe.call('close', fd);
  });

  it('runs programs', async () => {
    await fs.copyFile('/bin/echo', path('echo'));
    await fs.chmod(path('echo'), 0o755);
    // By a shell: to start it from here would wait for the mount, which waits for us.
    expect((await run('sh', ['-c', `${path('echo')} hello; echo $?`])).stdout).toBe('hello\n0\n');
  });

  it('appends without losing a line', async () => {
    const other = new Probe();
    const append = async (writer: Probe, letter: string) => {
      const fd = await writer.call('open', path('log'), O_WRONLY | O_CREAT | O_APPEND);
      for (let line = 0; line < 300; line += 1) {
        await writer.call('write', fd, Buffer.from(`${letter}${line}\n`), null);
      }
      await writer.call('close', fd);
    };
    await Promise.all([append(probe, 'a'), append(other, 'b')]);
    await other.close();
    const lines = (await fs.readFile(path('log'), 'utf8')).split('\n').slice(0, -1);
    expect(lines.length).toBe(600);
    expect(lines.filter((line) => line.startsWith('a'))).toEqual(
      Array.from({ length: 300 }, (_, n) => `a${n}`),
    );
  });

  it('keeps a removed file for those who have it open', async () => {
    const inodes = mounted.fileSystem.inodes;
    const fd = await probe.call('open', path('gone'), O_RDWR | O_CREAT);
    await probe.call('write', fd, Buffer.from('still here'), 0);
    await probe.call('unlink', path('gone'));
    expect(Buffer.from(await probe.call('read', fd, 0, 100)).toString()).toBe('still here');
    expect((await probe.call('fstat', fd)).nlink).toBe(0n);
    await probe.call('close', fd);
    await expect.poll(() => mounted.fileSystem.opens).toBe(0);
    expect(mounted.fileSystem.inodes).toBe(inodes);
    expect(mounted.server.openFiles).toBe(0);
  });

  it('keeps extended attributes', async () => {
    await fs.writeFile(path('xa'), '');
    await probe.call('setxattr', path('xa'), 'user.k', Buffer.from([0, 1, 255]));
    expect([...(await probe.call('getxattr', path('xa'), 'user.k'))]).toEqual([0, 1, 255]);
    expect(await probe.call('xattrLength', path('xa'), 'user.k')).toBe(3);
    expect(await probe.call('listxattr', path('xa'))).toEqual(['user.k']);
    const refused = async (promise: Promise<unknown>, code: string) => {
      await expect(promise).rejects.toMatchObject({ code });
    };
    await refused(probe.call('getxattr', path('xa'), 'user.k', 2), 'ERANGE');
    await refused(probe.call('setxattr', path('xa'), 'user.k', Buffer.from('x'), 1), 'EEXIST');
    await refused(probe.call('setxattr', path('xa'), 'user.n', Buffer.from('x'), 2), 'ENODATA');
    await refused(
      probe.call('setxattr', path('xa'), 'system.posix_acl_access', Buffer.alloc(4)),
      'ENOTSUP',
    );
    await probe.call('removexattr', path('xa'), 'user.k');
    await refused(probe.call('getxattr', path('xa'), 'user.k'), 'ENODATA');
  });

  it('reserves space, punches holes and finds them', async () => {
    const fd = await probe.call('open', path('sparse'), O_RDWR | O_CREAT);
    await probe.call('write', fd, Buffer.alloc(262_144, 1), 0);
    await probe.call('fallocate', fd, 3, 65_536, 65_536);
    expect(await probe.call('lseek', fd, 0, 4)).toBe(65_536);
    expect(await probe.call('lseek', fd, 65_536, 3)).toBe(131_072);
    await expect(probe.call('lseek', fd, 262_144, 3)).rejects.toMatchObject({ code: 'ENXIO' });
    await probe.call('fallocate', fd, 0, 0, 300_000);
    await probe.call('fallocate', fd, 1, 0, 400_000);
    expect((await probe.call('fstat', fd)).size).toBe(300_000n);
    await expect(probe.call('fallocate', fd, 8, 0, 4096)).rejects.toMatchObject({
      code: 'ENOTSUP',
    });
    await probe.call('close', fd);
  });

  it('copies between files and has no nameless ones', async () => {
    await fs.writeFile(path('from'), 'copied');
    const from = await probe.call('open', path('from'), O_RDONLY);
    const to = await probe.call('open', path('to'), O_RDWR | O_CREAT);
    const copied = await probe.call('copyFileRange', from, to, 6);
    expect(copied).toBe(6);
    expect(await fs.readFile(path('to'), 'utf8')).toBe('copied');
    await expect(probe.call('open', path(), O_TMPFILE | O_RDWR)).rejects.toMatchObject({
      code: 'ENOTSUP',
    });
  });

  it('keeps times to the nanosecond, before 1970 too', async () => {
    await fs.writeFile(path('old'), '');
    await run('touch', ['-d', '1960-01-01T00:00:00.123456789Z', path('old')]);
    const { mtimeNs } = await fs.stat(path('old'), { bigint: true });
    expect(mtimeNs).toBe(-315_619_200_000_000_000n + 123_456_789n);
    await run('touch', [path('old')]);
    expect((await fs.stat(path('old'), { bigint: true })).mtimeNs).toBeGreaterThan(0n);
  });

  it('leaves permission to the kernel and takes set-id bits away as it asks', async () => {
    const user = new Probe({ uid: 1000, gid: 1000 });
    await fs.writeFile(path('private'), 'x', { mode: 0o600 });
    await expect(user.call('open', path('private'), O_RDONLY)).rejects.toMatchObject({
      code: 'EACCES',
    });
    const mode = async (name: string) => (await fs.stat(path(name))).mode & 0o7777;
    const prepare = async (name: string) => {
      await fs.writeFile(path(name), 'x');
      await fs.chown(path(name), 1000, 1000);
      await fs.chmod(path(name), 0o6777);
      expect(await mode(name)).toBe(0o6777);
    };
    await prepare('written');
    const fd = await user.call('open', path('written'), O_WRONLY);
    await user.call('write', fd, Buffer.from('y'), 0);
    expect(await mode('written')).toBe(0o777);
    await prepare('truncated');
    await user.call('open', path('truncated'), O_WRONLY | O_TRUNC);
    expect(await mode('truncated')).toBe(0o777);
    await prepare('given away');
    await fs.chown(path('given away'), 0, 0);
    expect(await mode('given away')).toBe(0o777);
    await user.close();
  });

  it('tells the space of the volume', async () => {
    const space = await fs.statfs(path());
    expect([space.blocks * space.bsize, space.bavail * space.bsize]).toEqual([2 ** 40, 2 ** 39]);
  });

  it('turns a failure of the file system into EIO and goes on', async () => {
    await fs.symlink('target', path('broken'));
    const { readLink } = mounted.fileSystem;
    mounted.fileSystem.readLink = () => {
      throw new TypeError('a bug');
    };
    await expect(fs.readlink(path('broken'))).rejects.toMatchObject({ code: 'EIO' });
    mounted.fileSystem.readLink = readLink;
    expect(mounted.problems.splice(0)).toMatchObject([{ event: 'request.failed' }]);
    expect(await fs.readlink(path('broken'))).toBe('target');
  });

  it('has reported no other problem', () => {
    expect(mounted.problems).toEqual([]);
  });
});

describe.each([
  ['that judges by ACLs', 0n],
  ['that does not, as before Linux 5.14', INIT_FLAG.setxattrExtended],
])('a kernel %s', (_, withoutFlags) => {
  let mounted: Mounted;
  beforeAll(async () => {
    mounted = await Mounted.start({ withoutFlags });
  });
  afterAll(async () => {
    await mounted.close();
  });

  it('has the umask of the caller applied once', async () => {
    const script = 'cd "$0"; umask 027; : > file; mkdir directory; mkfifo fifo; ln -s x link';
    await run('sh', ['-c', script, mounted.path()]);
    const modeOf = async (name: string) =>
      ((await fs.lstat(mounted.path(name))).mode & 0o7777).toString(8);
    expect(await Promise.all(['file', 'directory', 'fifo', 'link'].map(modeOf))).toEqual([
      '640',
      '750',
      '640',
      '777',
    ]);
  });

  it('keeps extended attributes, and ACLs only where they are obeyed', async () => {
    const probe = new Probe();
    const path = mounted.path('attributes');
    await fs.writeFile(path, '');
    await probe.call('setxattr', path, 'user.k', Buffer.from('v'));
    expect((await probe.call('getxattr', path, 'user.k')).toString()).toBe('v');
    const set = run('setfacl', ['-m', 'u:1:r', path]);
    const isObeyed = withoutFlags === 0n;
    const outcome = isObeyed ? /^set$/ : /not supported/;
    expect(await set.then(() => 'set', String)).toMatch(outcome);
    const names = ['user.k', ...(isObeyed ? ['system.posix_acl_access'] : [])];
    expect(await probe.call('listxattr', path)).toEqual(names);
    expect(mounted.problems).toEqual([]);
    await probe.close();
  });
});
