import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { Kept, type KeptOptions } from './support/kept.ts';
import { Probe } from './support/probe.ts';
import { Workload } from './support/workload.ts';

const run = promisify(execFile);

describe('the keeper', () => {
  let kept: Kept;
  const start = async (options?: KeptOptions) => {
    kept = await Kept.start(options);
    return kept;
  };
  afterEach(async () => {
    await kept?.close();
  });

  it('hides four kills of the daemon from a running program', async () => {
    await start();
    await kept.ready();
    const workload = new Workload(join(kept.mountpoint, 'v'));
    for (let kills = 0; kills < 4; kills += 1) {
      await workload.more(3);
      await kept.replaceDaemon('SIGKILL');
    }
    await workload.more(3);
    expect(await workload.stop()).toBe(0);
    expect(workload.errors).toBe('');
    await expect.poll(() => kept.fileSystem.opens).toBe(0);
  });

  it('hides a kill while requests are under way, each executed once', async () => {
    await start();
    await kept.ready();
    kept.fileSystem.delayMs = 30;
    const workload = new Workload(join(kept.mountpoint, 'v'));
    for (let kills = 0; kills < 3; kills += 1) {
      await workload.more(1);
      await kept.replaceDaemon('SIGKILL');
    }
    await workload.more(1);
    kept.fileSystem.delayMs = 0;
    expect(await workload.stop()).toBe(0);
    expect(workload.errors).toBe('');
  });

  it('replaces the daemon on SIGHUP without a request lost', async () => {
    await start();
    await kept.ready();
    const workload = new Workload(join(kept.mountpoint, 'v'));
    await workload.more(3);
    await kept.replaceDaemon('SIGHUP');
    await workload.more(3);
    expect(await workload.stop()).toBe(0);
  });

  it('knows of locks that are older than the daemon', async () => {
    await start();
    await kept.ready();
    const [one, two] = [new Probe(), new Probe()];
    const path = join(kept.mountpoint, 'v', 'f');
    const [fd1, fd2] = [
      await one.call('open', path, constants.O_RDWR | constants.O_CREAT),
      await two.call('open', path, constants.O_RDWR | constants.O_CREAT),
    ];
    await one.call('lock', fd1, 'set', 'write', 0, 10);
    await kept.replaceDaemon('SIGKILL');
    await expect(two.call('lock', fd2, 'set', 'write', 0, 10)).rejects.toMatchObject({
      code: 'EAGAIN',
    });
    const waiting = two.call('lock', fd2, 'wait', 'write', 0, 10);
    await kept.replaceDaemon('SIGKILL');
    await one.call('close', fd1);
    expect(await waiting).toMatchObject({ start: 0 });
    await Promise.all([one.close(), two.close()]);
  });

  it('frees callers with EINTR where the kernel cannot send requests again', async () => {
    await start({ mode: 'without-resend' });
    await kept.ready();
    const probe = new Probe();
    const path = join(kept.mountpoint, 'v', 'f');
    const fd = await probe.call('open', path, constants.O_RDWR | constants.O_CREAT);
    await probe.call('write', fd, Buffer.from('content'), 0);
    await probe.call('setxattr', path, 'user.hang', Buffer.from('1'));
    let hanging = 0;
    kept.fileSystem.beforeRead = () => {
      hanging += 1;
      return hanging === 1 ? new Promise(() => {}) : Promise.resolve();
    };
    const lost = probe.call('read', fd, 0, 100).catch((error: { code?: string }) => error.code);
    await expect.poll(() => hanging).toBe(1);
    await kept.replaceDaemon('SIGKILL');
    await fs.stat(path);
    expect(await lost).toBe('EINTR');
    expect(Buffer.from(await probe.call('read', fd, 0, 100)).toString()).toBe('content');
    await probe.call('close', fd);
    await probe.close();
    await expect.poll(() => kept.fileSystem.opens).toBe(0);
  });

  it('unmounts, ends and leaves nothing behind on SIGTERM', async () => {
    await start();
    await kept.ready();
    expect(kept.isMounted).toBe(true);
    expect(await kept.stop()).toBe(0);
    expect(kept.isMounted).toBe(false);
    await expect(fs.stat(kept.state)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('unmounts from sight on SIGTERM while files are open, and cuts them off in the end', async () => {
    await start();
    await kept.ready();
    const probe = new Probe();
    const fd = await probe.call(
      'open',
      join(kept.mountpoint, 'v', 'f'),
      constants.O_RDWR | constants.O_CREAT,
    );
    const stopped = kept.stop();
    await expect.poll(() => kept.isMounted).toBe(false);
    expect(await probe.call('write', fd, Buffer.from('x'), 0)).toBe(1);
    expect(await stopped).toBe(0);
    await expect(probe.call('write', fd, Buffer.from('x'), 0)).rejects.toMatchObject({
      code: 'ENOTCONN',
    });
    await probe.close();
  });

  it('gives up with status 78 when the daemon says that it can never work', async () => {
    await start({ mode: 'useless' });
    await once(kept.keeper, 'exit');
    expect(kept.keeper.exitCode).toBe(78);
    expect(kept.isMounted).toBe(false);
  });

  it('refuses a mountpoint that is served, and takes over from a keeper that was killed', async () => {
    await start();
    await kept.ready();
    const args = kept.keeper.spawnargs.slice(1);
    const second = run('/bin/sh', args);
    await expect(second).rejects.toMatchObject({
      code: 78,
      stderr: expect.stringContaining('serves'),
    });
    const daemon = kept.daemonPid;
    kept.keeper.kill('SIGKILL');
    await once(kept.keeper, 'exit');
    process.kill(daemon, 'SIGKILL');
    await expect(fs.stat(join(kept.mountpoint, 'v'))).rejects.toMatchObject({
      code: expect.stringMatching(/^(ENOTCONN|ECONNABORTED)$/),
    });
    const third = spawn('/bin/sh', args, { stdio: 'ignore' });
    await expect
      .poll(
        () =>
          fs.stat(join(kept.mountpoint, 'v')).then(
            () => 'there',
            (error: Error) => error.message,
          ),
        { timeout: 20_000 },
      )
      .toBe('there');
    const exit = once(third, 'exit');
    third.kill('SIGTERM');
    expect((await exit)[0]).toBe(0);
  });

  it('needs nothing but busybox', async () => {
    const tools = await fs.mkdtemp('/tmp/holdfast-busybox-');
    for (const tool of [
      'sh',
      'mount',
      'umount',
      'sed',
      'rm',
      'mkdir',
      'date',
      'sleep',
      'cat',
      'readlink',
      'kill',
    ]) {
      await fs.symlink('/usr/bin/busybox', join(tools, tool));
    }
    await start({ shell: [join(tools, 'sh')], tools });
    await kept.ready();
    await fs.writeFile(join(kept.mountpoint, 'v', 'f'), 'content');
    await kept.replaceDaemon('SIGKILL');
    expect(await fs.readFile(join(kept.mountpoint, 'v', 'f'), 'utf8')).toBe('content');
    expect(await kept.stop()).toBe(0);
    expect(kept.isMounted).toBe(false);
    await fs.rm(tools, { recursive: true });
  });
});
