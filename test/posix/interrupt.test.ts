import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { HoldfastError, type RequestContext } from '@holdfast/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mounted } from './support/mounted.ts';
import { Probe } from './support/probe.ts';

const { O_CREAT, O_RDWR } = constants;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

/** A file system call that ends only by its signal, as the seam wants it. */
function hang(context: RequestContext): Promise<void> {
  return new Promise((_resolve, reject) => {
    context.signal?.addEventListener('abort', () => reject(new HoldfastError('EINTR')));
  });
}

/** Runs a Perl program that prints "ready" before what it waits for; Perl lets signals interrupt calls. */
async function perl(program: string, ...args: readonly string[]) {
  const child = spawn('perl', ['-MFcntl=:flock', '-e', `$| = 1; ${program}`, ...args]);
  let output = '';
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    output += text;
  });
  await expect.poll(() => output).toContain('ready');
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  return { child, exit, output: () => output };
}

describe('locks and interrupts', () => {
  let mounted: Mounted;
  let one: Probe;
  let two: Probe;

  beforeAll(async () => {
    mounted = await Mounted.start();
    [one, two] = [new Probe(), new Probe()];
    await fs.writeFile(mounted.path('f'), 'content');
  });
  afterAll(async () => {
    await Promise.all([one?.close(), two?.close()]);
    await mounted?.close();
  });

  async function openBoth(): Promise<[number, number]> {
    const path = mounted.path('f');
    return [await one.call('open', path, O_RDWR), await two.call('open', path, O_RDWR | O_CREAT)];
  }

  it('asks the file system for locks of fcntl, and gives them up at close', async () => {
    const [fd1, fd2] = await openBoth();
    await one.call('lock', fd1, 'set', 'write', 100, 50);
    await expect(two.call('lock', fd2, 'set', 'read', 149, 1)).rejects.toMatchObject({
      code: 'EAGAIN',
    });
    expect(await two.call('lock', fd2, 'get', 'read', 0, 0)).toMatchObject({
      type: 1,
      start: 100,
      length: 50,
    });
    expect(mounted.fileSystem.lockReleases).toBe(0);
    const waiting = two.call('lock', fd2, 'wait', 'write', 0, 0);
    await expect.poll(() => mounted.count('setlk')).toBeGreaterThanOrEqual(2);
    await one.call('close', fd1);
    await waiting;
    expect(mounted.fileSystem.lockReleases).toBe(1);
    await two.call('close', fd2);
    expect(
      await one.call(
        'lock',
        await one.call('open', mounted.path('f'), O_RDWR),
        'get',
        'write',
        0,
        0,
      ),
    ).toMatchObject({ type: 2 });
  });

  it('asks the file system for locks of flock', async () => {
    const [fd1, fd2] = await openBoth();
    await one.call('flock', fd1, LOCK_EX);
    await expect(two.call('flock', fd2, LOCK_EX | LOCK_NB)).rejects.toMatchObject({
      code: 'EAGAIN',
    });
    const waiting = two.call('flock', fd2, LOCK_EX);
    await one.call('flock', fd1, LOCK_UN);
    await waiting;
    await two.call('close', fd2);
    await one.call('flock', fd1, LOCK_EX);
    await one.call('close', fd1);
  });

  it('serves others while many wait for a lock', async () => {
    const [fd1] = await openBoth();
    await one.call('flock', fd1, LOCK_EX);
    const script = 'open F, "<", $ARGV[0]; print "ready\n"; flock F, LOCK_EX; print "locked\n"';
    const waiters = await Promise.all(
      Array.from({ length: 4 }, () => perl(script, mounted.path('f'))),
    );
    expect(await fs.readFile(mounted.path('f'), 'utf8')).toBe('content');
    await one.call('close', fd1);
    for (const waiter of waiters) expect(await waiter.exit).toEqual([0, null]);
  });

  it('ends a lock wait with EINTR when a handled signal comes', async () => {
    const [fd1] = await openBoth();
    await one.call('flock', fd1, LOCK_EX);
    const waiter = await perl(
      '$SIG{USR1} = sub {}; open F, "<", $ARGV[0]; print "ready\n"; flock(F, LOCK_EX) ? print "locked" : print $!{EINTR} ? "EINTR" : $!',
      mounted.path('f'),
    );
    const before = mounted.answered.length;
    await expect
      .poll(async () => {
        waiter.child.kill('SIGUSR1');
        return waiter.output();
      })
      .toContain('EINTR');
    expect(mounted.answered.slice(before)).toContainEqual({ op: 'setlkw', errno: 4 });
    await one.call('close', fd1);
  });

  it('lets a process be killed while the file system hangs', async () => {
    await fs.writeFile(mounted.path('hangs'), 'x');
    await one.call('setxattr', mounted.path('hangs'), 'user.hang', Buffer.from('1'));
    let hanging = 0;
    mounted.fileSystem.beforeRead = (context) => {
      hanging += 1;
      return hang(context);
    };
    const reader = await perl(
      'open F, "<", $ARGV[0]; print "ready\n"; read F, $b, 1; print "read"',
      mounted.path('hangs'),
    );
    await expect.poll(() => hanging).toBe(1);
    reader.child.kill('SIGTERM');
    expect(await reader.exit).toEqual([null, 'SIGTERM']);
    expect(mounted.answered.at(-1)).not.toEqual({ op: 'read', errno: 0 });
    expect(reader.output()).not.toContain('read\n');
  });

  it('does not disturb a read with a signal that is handled, as no local disk does', async () => {
    let release: () => void = () => {};
    let hanging = 0;
    mounted.fileSystem.beforeRead = (context) => {
      hanging += 1;
      return Promise.race([hang(context), new Promise<void>((resolve) => (release = resolve))]);
    };
    const reader = await perl(
      '$SIG{USR1} = sub { print "handled " }; open F, "<", $ARGV[0]; print "ready\n"; print defined(sysread F, $b, 1) ? "read $b" : "failed $!"',
      mounted.path('hangs'),
    );
    await expect.poll(() => hanging).toBe(1);
    reader.child.kill('SIGUSR1');
    await one.call('stat', mounted.path('f'));
    release();
    expect(await reader.exit).toEqual([0, null]);
    expect(reader.output()).toBe('ready\nhandled read x');
  });

  it('notices the kill that comes after a handled signal', async () => {
    let hanging = 0;
    mounted.fileSystem.beforeRead = (context) => {
      hanging += 1;
      return hang(context);
    };
    const reader = await perl(
      '$SIG{USR1} = sub {}; open F, "<", $ARGV[0]; print "ready\n"; sysread F, $b, 1',
      mounted.path('hangs'),
    );
    await expect.poll(() => hanging).toBe(1);
    reader.child.kill('SIGUSR1');
    await one.call('stat', mounted.path('f'));
    reader.child.kill('SIGKILL');
    expect(await reader.exit).toEqual([null, 'SIGKILL']);
  });

  it('has reported no problem', () => {
    expect(mounted.problems).toEqual([]);
  });
});
