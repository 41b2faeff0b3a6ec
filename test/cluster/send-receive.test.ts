import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MountRoot } from '../../packages/node/src/volume-driver/mount-root.ts';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, LAUNCHER, runProgram } from './command-line.ts';

const MIB = 2 ** 20;

interface Facts {
  readonly snapshot: string;
  readonly inodes: number;
  readonly dataBytes: number;
  readonly streamBytes: number;
  readonly wasThere?: boolean;
  readonly kept?: string;
}

describe('a volume that goes to another cluster', () => {
  let here: LocalCluster;
  let there: LocalCluster;
  let scratch: string;
  beforeAll(async () => {
    scratch = fs.mkdtempSync(join(tmpdir(), 'holdfast-streams-'));
    [here, there] = await Promise.all([
      startLocalCluster({ peers: 1 }),
      startLocalCluster({ peers: 1 }),
    ]);
  });
  afterAll(async () => {
    await Promise.all([here?.close(), there?.close()]);
    fs.rmSync(scratch, { recursive: true, force: true });
  });

  const at = (cluster: LocalCluster, ...names: string[]): string =>
    join(cluster.peer(0).mountPath, ...names);
  const attempt = (cluster: LocalCluster, ...args: string[]): Promise<Ended> =>
    holdfast(['--data', cluster.peer(0).dataDirectory, '--json', ...args]);
  const run = async <T = Facts>(cluster: LocalCluster, ...args: string[]): Promise<T> => {
    const ended = await attempt(cluster, ...args);
    expect(ended.status, ended.stderr).toBe(0);
    return JSON.parse(ended.stdout) as T;
  };
  const file = (name: string): string => join(scratch, name);
  const same = async (volume: string, copy = volume): Promise<void> => {
    const [ours, theirs] = await Promise.all(
      [at(here, volume), at(there, copy)].map((path) => seeTree(new DirectorySource(path))),
    );
    expect(theirs).toEqual(ours);
  };
  const send = (name: string, to: string, ...args: string[]): Promise<Facts> =>
    run(here, 'volume', 'send', name, '-o', file(to), ...args);
  const receive = (volume: string, from: string, ...args: string[]): Promise<Facts> =>
    run(there, 'volume', 'receive', volume, '-i', file(from), ...args);
  const refused = async (volume: string, from: string, ...args: string[]): Promise<Ended> => {
    const ended = await attempt(there, 'volume', 'receive', volume, '-i', file(from), ...args);
    expect(ended.status).not.toBe(0);
    return ended;
  };
  const volumes = async (cluster: LocalCluster): Promise<string[]> =>
    (await run<{ name: string }[]>(cluster, 'volume', 'ls')).map(({ name }) => name);
  const snapshots = async (cluster: LocalCluster, volume: string): Promise<string[]> =>
    (await run<{ name: string }[]>(cluster, 'snapshot', 'ls', volume)).map(({ name }) => name);

  it('goes through a pipe with everything, its policy too, and then by what changed', async () => {
    const options = ['--size', '1G', '--snapshot-schedule', '@daily', '--backup-period', '7d'];
    await run(here, 'volume', 'create', 'all', ...options);
    makeSampleTree(at(here, 'all'));
    const pipe = (name: string): Promise<Ended> =>
      runProgram('bash', [
        '-c',
        'set -o pipefail; "$0" --data "$1" volume send "$3" --compress | "$0" --data "$2" volume receive all',
        LAUNCHER,
        ...[here, there].map((cluster) => cluster.peer(0).dataDirectory),
        name,
      ]);
    const early = await pipe('all@one');
    expect(early.status).not.toBe(0);
    expect(early.stderr).toContain("no snapshot 'one'");
    await run(here, 'snapshot', 'create', 'all@one');
    const done = await pipe('all@one');
    expect(done.status, done.stderr).toBe(0);
    await same('all');
    const { policy } = await run<{ policy: object }>(there, 'volume', 'inspect', 'all');
    expect(policy).toMatchObject({ quotaBytes: 2 ** 30, backupPeriodMs: 7 * 86_400_000 });
    expect(policy).toHaveProperty('snapshotSchedule', '0 0 * * *');
    fs.rmSync(at(here, 'all', 'third'));
    fs.renameSync(at(here, 'all', 'deep', 'er'), at(here, 'all', 'up there'));
    fs.truncateSync(at(here, 'all', 'noise'), 100_000);
    const sent = await send('all', 'all.2', '--from', 'one', '--limit-upload', '100M');
    expect(sent.snapshot).toMatch(/^sent-/);
    expect(await receive('all', 'all.2')).toMatchObject({ snapshot: sent.snapshot });
    await same('all');
    expect(await snapshots(there, 'all')).toEqual(['one', sent.snapshot]);
    expect(await receive('all', 'all.2')).toMatchObject({ wasThere: true });
    await run(here, 'snapshot', 'rollback', 'all@one');
    fs.writeFileSync(at(here, 'all', 'after'), 'the rollback');
    const { snapshot: last } = await send('all', 'all.3', '--from', sent.snapshot);
    await receive('all', 'all.3');
    await same('all');
    // And back: what was received is the base of what goes home.
    fs.writeFileSync(at(there, 'all', 'from there'), 'x');
    await run(there, 'volume', 'send', 'all', '-o', file('home'), '--from', last);
    await run(here, 'volume', 'receive', 'all', '-i', file('home'));
    await same('all');
  });

  it('is refused where it does not belong, or is not whole, and nothing is changed', async () => {
    await run(here, 'volume', 'create', 'v');
    fs.writeFileSync(at(here, 'v', 'f'), 'first');
    await run(here, 'snapshot', 'create', 'v@a');
    fs.mkdirSync(at(here, 'v', 'd'));
    fs.renameSync(at(here, 'v', 'f'), at(here, 'v', 'd', 'f'));
    fs.writeFileSync(at(here, 'v', 'd', 'f'), randomBytes(3 * MIB));
    await run(here, 'snapshot', 'create', 'v@b');
    await send('v@a', 'a');
    await send('v@b', 'ab', '--from', 'a');
    for (const name of ['a', 'ab']) {
      const whole = fs.readFileSync(file(name));
      fs.writeFileSync(file(`${name}.cut`), whole.subarray(0, whole.length - 30));
    }
    fs.writeFileSync(file('foreign'), 'something else');
    const order = await attempt(here, 'volume', 'send', 'v@a', '--from', 'b', '-o', file('x'));
    expect(order.stderr).toContain('--from names the older one');
    const gone = await attempt(here, 'volume', 'send', 'v@a', '--from', 'no', '-o', file('x'));
    expect(gone.stderr).toContain('snapshots of a schedule go by its rule');
    expect((await refused('v', 'ab')).stderr).toContain('only what changed since v@a');
    expect((await refused('v', 'a.cut')).stderr).toContain('cut off');
    expect(await volumes(there)).not.toContain('v');
    await run(there, 'volume', 'create', 'v');
    fs.writeFileSync(at(there, 'v', 'mine'), 'mine');
    expect((await refused('v', 'ab')).stderr).toContain('no snapshot that was received from v@a');
    expect((await refused('v', 'a')).stderr).toContain('the volume is not empty');
    fs.rmSync(at(there, 'v', 'mine'));
    await receive('v', 'a');
    for (let times = 0; times < 2; times++)
      expect((await refused('v', 'ab.cut')).stderr).toContain('cut off');
    expect((await refused('v', 'foreign')).stderr).toContain('no stream of');
    expect(await snapshots(there, 'v')).toEqual(['a']);
    expect(fs.readFileSync(at(there, 'v', 'f'), 'utf8')).toBe('first');
    fs.writeFileSync(at(there, 'v', 'mine'), 'mine');
    expect((await refused('v', 'ab')).stderr).toContain('was changed since v@a');
    expect(fs.readdirSync(at(there, 'v')).sort()).toEqual(['f', 'mine']);
    const { kept = '' } = await receive('v', 'ab', '--force');
    expect(await snapshots(there, 'v')).toEqual(['a', kept, 'b']);
    expect(fs.readFileSync(at(there, 'v', '.snapshots', kept, 'mine'), 'utf8')).toBe('mine');
    await same('v');
  });

  it('is recovered by the next receive when one was killed in the middle', async () => {
    await run(here, 'volume', 'create', 'killed');
    for (let each = 0; each < 20; each++)
      fs.writeFileSync(at(here, 'killed', `f${each}`), randomBytes(100_000));
    await run(here, 'snapshot', 'create', 'killed@a');
    fs.mkdirSync(at(here, 'killed', 'd'));
    for (let each = 0; each < 20; each++) {
      fs.writeFileSync(at(here, 'killed', `f${each}`), randomBytes(100_000));
      fs.renameSync(at(here, 'killed', `f${each}`), at(here, 'killed', 'd', `f${each}`));
    }
    await run(here, 'snapshot', 'create', 'killed@b');
    await send('killed@a', 'killed.a');
    await send('killed@b', 'killed.b', '--from', 'a');
    await receive('killed', 'killed.a');
    /** Kills a receive that waits for the rest of its stream, having made part of it. */
    const kill = async (
      volume: string,
      from: string,
      begun: string,
      meanwhile = async (): Promise<void> => {},
    ): Promise<void> => {
      const args = ['--data', there.peer(0).dataDirectory, 'volume', 'receive', volume];
      const child = spawn(LAUNCHER, args, { stdio: ['pipe', 'ignore', 'ignore'] });
      child.stdin.on('error', () => {});
      const ended = new Promise((resolve) => child.once('close', resolve));
      const bytes = fs.readFileSync(file(from));
      child.stdin.write(bytes.subarray(0, bytes.length / 2));
      await until(`the receive into ${volume}`, () => fs.existsSync(at(there, volume, begun)));
      await meanwhile();
      child.kill('SIGKILL');
      await ended;
    };
    const isRefused = async (why: RegExp, ...args: string[]): Promise<void> => {
      const { status, stderr } = await attempt(there, ...args);
      expect([args.join(' '), status, stderr]).toEqual([
        args.join(' '),
        5,
        expect.stringMatching(why),
      ]);
    };
    const recovers = async (volume: string, from: string): Promise<void> => {
      const again = (): Promise<Ended> =>
        attempt(there, 'volume', 'receive', volume, '-i', file(from));
      let ended = await again();
      // The lock of the dead one ends with its session; the first that gets it must succeed.
      while (ended.stderr.includes('somebody else receives')) ended = await again();
      expect(ended.status, ended.stderr).toBe(0);
    };
    const whole = async (): Promise<void> => {
      await run(there, 'volume', 'create', 'whole');
      await kill('whole', 'killed.a', '.snapshots');
      await recovers('whole', 'killed.a');
    };
    const change = async (): Promise<void> => {
      await kill('killed', 'killed.b', 'd', async () => {
        const why = /is receiving a change from another cluster; try again when/;
        await isRefused(why, 'snapshot', 'create', 'killed@half');
        await isRefused(why, 'snapshot', 'rollback', 'killed@a', '--force');
      });
      const half = fs.readdirSync(at(there, 'killed'));
      expect(half).toContain('.holdfast-receive');
      const why = /is receiving a change|a receive into volume 'killed' was killed/;
      await isRefused(why, 'snapshot', 'create', 'killed@half');
      await isRefused(why, 'volume', 'export', 'killed', '-o', file('half.tar'));
      await isRefused(why, 'volume', 'send', 'killed', '-o', file('half'));
      // Nor does Docker get it.
      const forDocker = new MountRoot(there.peer(0).mountPath).requireFolder('killed');
      await expect(forDocker).rejects.toMatchObject({ code: 'CONFLICT' });
      await recovers('killed', 'killed.b');
    };
    await Promise.all([whole(), change()]);
    await same('killed');
    expect(await snapshots(there, 'killed')).toEqual(['a', 'b']);
    expect(await snapshots(there, 'whole')).toEqual(['a']);
    expect(fs.readdirSync(at(there, 'whole'))).toHaveLength(20);
  });

  it('goes on where it was cut off, and where it was killed, when that was wanted', async () => {
    await run(here, 'volume', 'create', 'far');
    for (const name of ['one', 'two', 'three'])
      fs.writeFileSync(at(here, 'far', name), randomBytes(8 * MIB));
    await run(here, 'snapshot', 'create', 'far@a');
    const whole = await send('far@a', 'far.a');
    fs.writeFileSync(file('far.cut'), fs.readFileSync(file('far.a')).subarray(0, 10 * MIB));
    const cut = await refused('far', 'far.cut', '--resumable');
    expect(cut.stderr).toMatch(/is kept; .*--resume-token(.|\n)*cut off/);
    const tokenOf = async (): Promise<string> =>
      (await run<{ token: string }>(there, 'volume', 'receive', 'far', '--resume-token')).token;
    const token = await tokenOf();
    const rest = await send('far@a', 'far.rest', '--resume', token);
    expect(rest.streamBytes).toBeLessThan(whole.streamBytes - 7 * MIB);
    const nowhere = await refused('nowhere', 'far.rest');
    expect(nowhere.stderr).toContain('nothing that the stream goes on with');
    expect(await volumes(there)).not.toContain('nowhere');
    await run(here, 'snapshot', 'create', 'far@b');
    const misnamed = await attempt(
      here,
      'volume',
      'send',
      'far@b',
      '--resume',
      token,
      '-o',
      file('x'),
    );
    expect(misnamed.stderr).toContain('the token is of another snapshot than far@b');

    const args = ['--data', there.peer(0).dataDirectory, 'volume', 'receive', 'far'];
    const child = spawn(LAUNCHER, args, { stdio: ['pipe', 'ignore', 'pipe'] });
    child.stdin.on('error', () => {});
    const told = child.stderr.setEncoding('utf8').toArray();
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.stdin.write(fs.readFileSync(file('far.rest')).subarray(0, 12 * MIB));
    const stage = at(there, 'far', '.holdfast-import-receive');
    await until('another note', async () => {
      if (child.exitCode !== null) throw new Error((await told).join(''));
      const only = ['--only-values', '-n', 'user.holdfast.received', stage];
      return (await runProgram('getfattr', only)).stdout !== token;
    });
    child.kill('SIGKILL');
    await ended;
    const last = await send('far@a', 'far.last', '--resume', await tokenOf());
    expect(last.streamBytes).toBeLessThan(rest.streamBytes - 7 * MIB);
    const again = (): Promise<Ended> =>
      attempt(there, 'volume', 'receive', 'far', '-i', file('far.last'));
    let done = await again();
    while (done.stderr.includes('somebody else')) done = await again();
    expect(done.status, done.stderr).toBe(0);
    await same('far');
    expect(await snapshots(there, 'far')).toEqual(['a']);
    const none = await attempt(there, 'volume', 'receive', 'far', '--resume-token');
    expect(none.stderr).toContain('no receive with --resumable has left anything');
  });
});
