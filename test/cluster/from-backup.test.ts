import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { ClusterClient } from '@holdfast/client';
import type { VolumeRecord } from '@holdfast/protocol';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LocalCluster,
  type LocalPeer,
  startLocalCluster,
  until,
} from '../demo/local-cluster.ts';
import type { ObjectServer } from '../object-stores/server.ts';
import { startTestS3 } from '../s3/server.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { type Seen, seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, LAUNCHER } from './command-line.ts';

const KEYS = { accessKeyId: 'AKIA', secretAccessKey: 'secret' };
const FILES = 16;
const YEARLY = '0 0 1 1 *';
const SCHEDULES = {
  snapshotSchedule: YEARLY,
  snapshotKeep: 'yearly=2',
  backupSchedule: YEARLY,
  backupRepository: 'r',
  backupKeep: 'yearly=3',
};

interface PluginAnswer {
  readonly Err: string;
  readonly Mountpoint?: string;
}

/** A call as the engine makes it. */
function plugin(socketPath: string, call: string, document: object): Promise<PluginAnswer> {
  return new Promise((resolve, reject) => {
    const options = { socketPath, path: `/VolumeDriver.${call}`, method: 'POST' };
    const asked = request(options, (answer) => {
      json(answer).then((body) => resolve({ Err: '', ...(body as object) }), reject);
    });
    asked.once('error', reject);
    asked.end(JSON.stringify(document));
  });
}

/** Processes that fill a volume on a host. */
function fillersOf(peer: LocalPeer): number[] {
  const mine = ['--data', peer.dataDirectory, 'volume', 'fill'].join('\0');
  return fs.readdirSync('/proc').flatMap((name) => {
    try {
      const line = fs.readFileSync(`/proc/${name}/cmdline`, 'latin1');
      return line.includes(mine) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

describe('a volume from a backup', () => {
  let cluster: LocalCluster;
  let scratch: string;
  let s3: ObjectServer;
  let place: string;
  let original: Map<string, Seen>;
  const drivers: ChildProcess[] = [];
  const env = {
    HOLDFAST_BACKUP_PASSWORD: 'pass word',
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
  };
  beforeAll(async () => {
    scratch = fs.mkdtempSync(join(tmpdir(), 'holdfast-from-'));
    s3 = await startTestS3({ bucket: 'backups', ...KEYS });
    place = `s3:http://127.0.0.1:${s3.port}/backups/r`;
    fs.writeFileSync(
      join(scratch, 'keys'),
      `AWS_ACCESS_KEY_ID=${KEYS.accessKeyId}\nAWS_SECRET_ACCESS_KEY=${KEYS.secretAccessKey}\n`,
    );
    cluster = await startLocalCluster({ peers: 3 });
    await done(
      'volume',
      'create',
      'v',
      '--size',
      '1G',
      '--replicas',
      '2',
      '--backup-period',
      '24h',
    );
    const v = join(cluster.peer(0).mountPath, 'v');
    makeSampleTree(v);
    for (let file = 0; file < FILES; file++)
      fs.writeFileSync(join(v, `f${file}`), randomBytes(2 ** 20));
    fs.chmodSync(v, 0o1770);
    original = await seeTree(new DirectorySource(v));
    await add(cluster, '--init');
    await done('snapshot', 'schedule', 'set', 'v', YEARLY, '--keep', 'yearly=2');
    await done('backup', 'schedule', 'set', 'v', YEARLY, '--repo', 'r', '--keep-yearly', '3');
    await done('snapshot', 'create', 'v@before');
    await done('backup', 'create', 'v@before', '--repo', 'r');
  });
  afterAll(async () => {
    for (const driver of drivers) {
      if (driver.exitCode !== null || driver.signalCode !== null) continue;
      driver.kill('SIGTERM');
      await once(driver, 'exit');
    }
    await cluster?.close();
    await s3?.close();
    fs.rmSync(scratch, { recursive: true, force: true });
  });

  const on = (one: LocalCluster, ...args: string[]): Promise<Ended> =>
    holdfast(['--data', one.peer(0).dataDirectory, ...args], env);
  const done = async (...args: string[]): Promise<string> => {
    const ended = await on(cluster, ...args);
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const add = async (to: LocalCluster, ...more: string[]): Promise<void> => {
    const keys = ['--credentials-file', join(scratch, 'keys')];
    const ended = await on(to, 'backup', 'repo', 'add', 'r', '--repo', place, ...keys, ...more);
    expect(ended.status, ended.stderr).toBe(0);
  };
  const record = async (name: string): Promise<VolumeRecord> =>
    JSON.parse(await done('--json', 'volume', 'inspect', name)) as VolumeRecord;
  const socketOf = (peer: LocalPeer): string => join(scratch, `${peer.name}.sock`);
  const startDriver = async (peer: LocalPeer): Promise<ChildProcess> => {
    const where = ['--mount-path', peer.mountPath, '--socket', socketOf(peer), '--engine', ''];
    const args = ['--data', peer.dataDirectory, 'volume-driver', ...where];
    const driver = spawn(LAUNCHER, args, { stdio: 'ignore' });
    drivers.push(driver);
    await until('the driver', () => fs.existsSync(socketOf(peer)));
    return driver;
  };

  /** Lets three reads of content pass and holds up what follows; resolves when it does. */
  const holdReads = (): Promise<void> => {
    let gets = 0;
    const reached = Promise.withResolvers<void>();
    s3.behaviour.fault = ({ method, key }) => {
      if (method !== 'GET' || !key.startsWith('r/data/') || ++gets <= 3) return undefined;
      reached.resolve();
      return { what: 'slow', ms: 20_000 };
    };
    return reached.promise;
  };

  /** A file that is complete in a volume that is being filled: its name, and its inode's number. */
  const completeFile = async (root: string): Promise<readonly [name: string, ino: number]> => {
    let found: readonly [string, number] | undefined;
    await until('a file that is complete', () => {
      const [stage] = fs.existsSync(root) ? fs.readdirSync(root) : [];
      const names = stage === undefined ? [] : fs.readdirSync(join(root, stage));
      for (const name of names.filter((name) => /^f\d+$/.test(name))) {
        const { mtimeNs, ino } = fs.statSync(join(root, stage ?? '', name), { bigint: true });
        if (mtimeNs === original.get(name)?.mtimeNs) found = [name, Number(ino)];
      }
      return found !== undefined;
    });
    return found!;
  };

  /** Kills the making of volume v from its backup when some files are complete. */
  const killMidway = async (blank: LocalCluster): Promise<readonly [string, number]> => {
    const held = holdReads();
    const { dataDirectory, mountPath } = blank.peer(0);
    const args = ['volume', 'create', 'v', '--from-backup', 'r:v', '--size', '1G'];
    const making = spawn(LAUNCHER, ['--data', dataDirectory, ...args], {
      env: { ...process.env, ...env },
      stdio: 'ignore',
    });
    const ended = once(making, 'exit');
    await held;
    const complete = await completeFile(join(mountPath, 'v'));
    making.kill('SIGKILL');
    await ended;
    s3.behaviour.fault = () => undefined;
    return complete;
  };

  it('is filled behind Docker, and by another host when the first one dies', async () => {
    const [, dying, other] = cluster.peers as [LocalPeer, LocalPeer, LocalPeer];
    const driver = await startDriver(dying);
    await startDriver(other);
    const held = holdReads();
    const created = await plugin(socketOf(dying), 'Create', {
      Name: 'pg',
      Opts: { 'from-backup': 'r:v' },
    });
    expect(created.Err).toBe('');
    await held;
    const root = join(other.mountPath, 'pg');
    const [first, ino] = await completeFile(root);
    expect(fs.readdirSync(root)).toEqual(['.holdfast-import-restore']);
    expect(await done('volume', 'ls')).toMatch(/^pg .* restoring/m);
    const client = await ClusterClient.connect({ dataDirectory: other.dataDirectory });
    await expect(client.volumes.attach('pg', other.name)).rejects.toThrow(
      /not complete: restoring/,
    );
    await client.close();
    for (const args of [
      ['snapshot', 'create', 'pg@half'],
      ['volume', 'export', 'pg', '-o', '-', '--format', 'tar'],
      ['volume', 'send', 'pg'],
      ['backup', 'create', 'pg', '--repo', 'r'],
    ]) {
      const { status, stderr } = await on(cluster, ...args);
      expect([args[1], status, stderr]).toEqual([
        args[1],
        5,
        expect.stringMatching(/not complete: restoring.*try again when it is|not filled yet/),
      ]);
    }
    // It stands still, which is to the others as if it had died.
    const stopped = fillersOf(dying);
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    driver.kill('SIGKILL');
    await once(driver, 'exit');
    await dying.killNode();
    s3.behaviour.fault = () => undefined;
    let mounted: PluginAnswer = { Err: 'not asked yet' };
    await until(
      'the volume on the other host',
      async () => {
        mounted = await plugin(socketOf(other), 'Mount', { Name: 'pg', ID: 'task' });
        expect(mounted.Err).toMatch(/^$|restoring|unreachable|quorum/i);
        return mounted.Err === '';
      },
      120_000,
    );
    expect(mounted.Mountpoint).toBe(root);
    expect(await seeTree(new DirectorySource(root))).toEqual(original);
    // It was not fetched again.
    expect(fs.statSync(join(root, first)).ino).toBe(ino);
    expect(await record('pg')).toMatchObject({
      policy: { quotaBytes: 2 ** 30, replicas: 2, ...SCHEDULES },
      restore: { state: 'done' },
      attachedTo: [other.name],
    });
    // And goes on when another has taken its place, and a container writes.
    fs.writeFileSync(join(root, first), 'a container');
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
    await until('the end of who stood still', () => fillersOf(dying).length === 0);
    expect(fs.readFileSync(join(root, first), 'utf8')).toBe('a container');
    fs.rmSync(join(root, first));
    expect(fs.readdirSync(root).sort()).toEqual(
      fs
        .readdirSync(join(other.mountPath, 'v'))
        .filter((name) => name !== first)
        .sort(),
    );
    expect(await record('pg')).toMatchObject({ restore: { state: 'done' } });
    await plugin(socketOf(other), 'Unmount', { Name: 'pg', ID: 'task' });
  });

  it('that cannot be filled says why, and can be removed', async () => {
    const socket = socketOf(cluster.peer(2));
    const create = { Name: 'no', Opts: { 'from-backup': 'r:none' } };
    expect((await plugin(socket, 'Create', create)).Err).toBe('');
    const mounted = await plugin(socket, 'Mount', { Name: 'no', ID: 'task' });
    expect(mounted.Err).toMatch(/restore failed from r:none.*no backup latest of volume 'none'/);
    expect(await done('volume', 'ls')).toMatch(/^no .* restore failed/m);
    await done('volume', 'rm', 'no');
    const unknown = { Name: 'no', Opts: { 'from-backup': 'other:v' } };
    expect((await plugin(socket, 'Create', unknown)).Err).toMatch(/knows no repository 'other'/);
  });

  it('is made in a cluster that has nothing but bucket and password, with what was there and how it was kept', async () => {
    const blank = await startLocalCluster({ peers: 1 });
    const made = async (...args: string[]): Promise<VolumeRecord> => {
      const ended = await on(blank, 'volume', 'create', ...args);
      expect(ended.status, ended.stderr).toBe(0);
      const shown = await on(blank, '--json', 'volume', 'inspect', args[0] ?? '');
      return JSON.parse(shown.stdout) as VolumeRecord;
    };
    try {
      const early = ['early', '--from-backup', `${place}:v@before`];
      const unknown = await on(blank, 'volume', 'create', ...early);
      expect(unknown.stdout).toMatch(/^came along: 2 replicas, a limit of 1 GiB, snapshots at '/m);
      expect(unknown.stdout).toMatch(/^did not come along: .* into 'r': .*backup repo add/m);
      const without = await on(blank, '--json', 'volume', 'inspect', 'early');
      expect(JSON.parse(without.stdout)).not.toHaveProperty('policy.backupSchedule');
      await add(blank);
      const [first, ino] = await killMidway(blank);
      const other = ['volume', 'create', 'v', '--from-backup', 'r:v', '--size', '2G'];
      expect((await on(blank, ...other)).stderr).toMatch(/half filled.*another quotaBytes/);
      const { policy } = await made('v', '--from-backup', 'r:v', '--size', '1G');
      expect(policy).toMatchObject({
        quotaBytes: 2 ** 30,
        replicas: 2,
        backupPeriodMs: 86_400_000,
        ...SCHEDULES,
      });
      const to = ['backup', 'restore', 'latest', '--volume', 'v', '--repo', 'r', '--to', 'x'];
      const restored = JSON.parse((await on(blank, '--json', ...to)).stdout);
      expect(restored).toMatchObject({ policy: SCHEDULES });
      expect(restored).not.toHaveProperty('left');
      const root = join(blank.peer(0).mountPath, 'v');
      expect(await seeTree(new DirectorySource(root))).toEqual(original);
      // What the killed one had fetched was not fetched again.
      expect(fs.statSync(join(root, first)).ino).toBe(ino);
      const from = ['--from-backup', `${place}:v@before`, '--size', '2G', '--without-policy'];
      expect((await made('w', ...from)).policy).toMatchObject({ quotaBytes: 2 ** 31, replicas: 3 });
      const again = await on(blank, 'volume', 'create', 'v', '--from-backup', 'r:v');
      expect([again.status, again.stderr]).toEqual([5, expect.stringMatching(/volume 'v' exists/)]);
      const none = await on(blank, 'volume', 'create', 'y', '--from-backup', 'r:none');
      expect([none.status, none.stderr]).toEqual([
        4,
        expect.stringMatching(/no backup latest of volume 'none'/),
      ]);
      expect(fs.readdirSync(blank.peer(0).mountPath).sort()).toEqual(['early', 'v', 'w', 'x']);
    } finally {
      await blank.close();
    }
  });
});
