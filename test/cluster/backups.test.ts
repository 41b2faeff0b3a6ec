import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VolumeRecord } from '@holdfast/protocol';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { type Fault, startTestS3, type TestS3 } from '../s3/server.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { seeTree } from '../trees/whole-tree.ts';
import { type Ended, holdfast, LAUNCHER, runProgram } from './command-line.ts';

const PASSWORD = 'pass word';
const KEYS = { accessKeyId: 'AKIA', secretAccessKey: 'secret' };
const MIB = 2 ** 20;
/** The snapshot of the last good backup into a repository. */
const KEPT = /^holdfast-backup-[0-9a-f]{8}-[0-9a-f]{10}$/;

const FAULTS: readonly Fault[] = [
  { what: 'status', status: 503, code: 'SlowDown' },
  { what: 'status', status: 500, code: 'InternalError' },
  { what: 'cut-body' },
];

interface BackupFacts {
  readonly id: string;
  readonly files: number;
  readonly unchangedFiles: number;
  readonly bytesRead: number;
  readonly bytesSent: number;
}

/** What restic 0.14 restores: names of one symbolic link as links of their own. */
function forRestic(tree: Awaited<ReturnType<typeof seeTree>>): Record<string, unknown>[] {
  return [...tree].map(([path, seen]) => ({
    path,
    ...seen,
    ...(seen.kind === 'file' ? {} : { sameAs: '' }),
  }));
}

describe('backups of volumes', () => {
  let cluster: LocalCluster;
  let other: LocalCluster;
  let scratch: string;
  let repository: string;
  let env: Record<string, string>;
  let s3: TestS3;
  let bucket: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-backups-'));
    repository = join(scratch, 'repository');
    env = {
      HOLDFAST_BACKUP_PASSWORD: PASSWORD,
      HOLDFAST_BACKUP_REPO: repository,
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
    };
    s3 = await startTestS3({ bucket: 'backups', ...KEYS });
    bucket = `s3:http://127.0.0.1:${s3.port}/backups/ours`;
    [cluster, other] = await Promise.all([
      startLocalCluster({ peers: 1 }),
      startLocalCluster({ peers: 1 }),
    ]);
    await done('volume', 'create', 'original', '--size', '2G');
    makeSampleTree(mounted('original'));
  });
  afterAll(async () => {
    await s3?.close();
    await Promise.all([cluster?.close(), other?.close()]);
    rmSync(scratch, { recursive: true, force: true });
  });

  const here = (...args: string[]): Promise<Ended> =>
    holdfast(['--data', cluster.peer(0).dataDirectory, ...args], env);
  const mounted = (name: string): string => join(cluster.peer(0).mountPath, name);
  const done = async (...args: string[]): Promise<string> => {
    const ended = await here(...args);
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const backUp = async (...args: string[]): Promise<BackupFacts> =>
    JSON.parse(await done('--json', 'backup', 'create', ...args)) as BackupFacts;
  const restic = async (...args: string[]): Promise<string> => {
    const own = { RESTIC_PASSWORD: PASSWORD, RESTIC_REPOSITORY: repository };
    const ended = await runProgram('restic', ['--no-cache', ...args], { env: own });
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  const snapshots = async (volume: string): Promise<string[]> =>
    (JSON.parse(await done('--json', 'snapshot', 'ls', volume)) as { name: string }[]).map(
      ({ name }) => name,
    );
  const treeOf = (path: string): ReturnType<typeof seeTree> => seeTree(new DirectorySource(path));

  it('come back equal, in a new volume and in a directory, and restic finds them right', async () => {
    await done('backup', 'repo', 'init');
    const first = await backUp('original', '--tag', 'first');
    expect(first.bytesSent).toBeGreaterThan(300_000);
    expect(await snapshots('original')).toEqual([expect.stringMatching(KEPT)]);
    await done('backup', 'restore', 'latest', '--to', 'copy');
    expect(await treeOf(mounted('copy'))).toEqual(await treeOf(mounted('original')));
    expect(statSync(join(mounted('copy'), 'all-hole')).blocks).toBe(0);
    const quota = JSON.parse(await done('--json', 'volume', 'inspect', 'copy'));
    expect(JSON.stringify(quota)).toContain(String(2 * 2 ** 30));
    const directory = join(scratch, 'directory');
    await done('backup', 'restore', first.id.slice(0, 8), '--to', directory);
    expect(await treeOf(directory)).toEqual(await treeOf(mounted('original')));
    expect(await restic('check', '--read-data')).toContain('no errors were found');
    const theirs = join(scratch, 'theirs');
    await restic('restore', first.id, '--target', theirs);
    expect(forRestic(await treeOf(join(theirs, 'volumes/original')))).toEqual(
      forRestic(await treeOf(mounted('original'))),
    );
  });

  it('send nothing when nothing changed, and little when little did', async () => {
    const again = await backUp('original');
    expect(again).toMatchObject({ bytesRead: 0, bytesSent: 0, unchangedFiles: again.files });
    writeFileSync(join(mounted('original'), 'deep/new'), 'seven..');
    expect(await backUp('original')).toMatchObject({ bytesRead: 7 });
  });

  it('show what a command before the snapshot made, and nothing of what the one behind it did', async () => {
    await done('volume', 'create', 'held');
    const say = (what: string): string =>
      `echo ${what} $HOLDFAST_VOLUME >> ${join(mounted('held'), 'log')}`;
    await backUp('held', '--pre', say('hold'), '--post', say('go on'));
    await done('backup', 'restore', 'latest', '--volume', 'held', '--to', join(scratch, 'held'));
    expect(readFileSync(join(scratch, 'held', 'log'), 'utf8')).toBe('hold held\n');
    expect(readFileSync(join(mounted('held'), 'log'), 'utf8')).toBe('hold held\ngo on held\n');
    const [kept] = await snapshots('held');
    const failures = [
      [['held', '--pre', 'exit 3'], /the command of --pre ended with status 3/],
      [['held', '--post', 'exit 3'], /the snapshot is taken, but the command of --post/],
      [[`held@${kept}`, '--pre', 'true'], /is taken already: --pre and --post are for/],
    ] as const;
    for (const [args, why] of failures) {
      const { status, stderr } = await here('backup', 'create', ...args);
      expect([status === 0, stderr]).toEqual([false, expect.stringMatching(why)]);
    }
    expect(await snapshots('held')).toEqual([kept]);
    await done('volume', 'rm', '--force', 'held');
  });

  it('are known to the cluster: when, how large, verified, and overdue', async () => {
    expect(await done('backup', 'period', 'original', '1h')).toMatch(/one every 1h; last of /);
    const { id } = await backUp('original');
    await done('backup', 'verify', '--read-data');
    const { lastBackup, lastVerification } = JSON.parse(
      await done('--json', 'volume', 'inspect', 'original'),
    ) as VolumeRecord;
    expect(lastBackup).toMatchObject({ id, repository, files: expect.any(Number) });
    expect(lastVerification).toMatchObject({ readShare: 1, problems: 0 });
    await done('volume', 'create', 'late', '--backup-period', '7d');
    expect(await done('status')).toMatch(/^original +1h +\d+ s ago .* 0 problems +- +ok$/m);
    expect(await done('status')).toMatch(/^late +1w +none .* ok$/m);
    await done('volume', 'rm', 'late');
    await done('backup', 'period', 'original', 'none');
  });

  it('go into a repository that the cluster knows by name, which then needs no password', async () => {
    const add = ['backup', 'repo', 'add', 'nightly', '--credentials-file'];
    const keys = join(scratch, 'keys');
    writeFileSync(
      keys,
      `# of the store\nAWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=${KEYS.secretAccessKey}\n`,
    );
    const at = bucket.replace('ours', 'known');
    const refused = await here(...add, keys, '--repo', at);
    expect(refused).toMatchObject({
      status: 4,
      stderr: expect.stringMatching(/no repository at s3:/),
    });
    await done(...add, keys, '--repo', at, '--init', '--limit-upload', '1G');
    expect(await here(...add, keys, '--repo', at)).toMatchObject({ status: 5 });

    const bare = { ...process.env, AWS_EC2_METADATA_DISABLED: 'true' };
    const { dataDirectory } = cluster.peer(0);
    const named = async (...args: string[]): Promise<string> => {
      const ended = await runProgram(LAUNCHER, ['--data', dataDirectory, 'backup', ...args], {
        env: bare as Record<string, string>,
      });
      expect(ended.status, ended.stderr).toBe(0);
      return ended.stdout;
    };
    await named('create', 'original', '--repo', 'nightly');
    expect(await named('ls', '--repo', 'nightly')).toContain('/volumes/original');
    await named('restore', 'latest', '--repo', 'nightly', '--to', 'by-name');
    expect(await treeOf(mounted('by-name'))).toEqual(await treeOf(mounted('original')));
    const { lastBackup } = JSON.parse(
      await done('--json', 'volume', 'inspect', 'original'),
    ) as VolumeRecord;
    expect(lastBackup?.repository).toBe(at);

    const shown = [
      await named('repo', 'ls'),
      await named('repo', 'inspect', 'nightly', '--json'),
      await done('status', '--json'),
      cluster.peer(0).log('node'),
    ].join();
    expect(shown).toContain(at);
    expect(shown).not.toContain(PASSWORD);
    expect(shown).not.toContain(KEYS.secretAccessKey);
    const readable = await runProgram('find', [dataDirectory, '-type', 'f', '-perm', '/077']);
    expect(readable.stdout.split('\n').filter((path) => /raft|state/.test(path))).toEqual([]);

    await named('repo', 'rm', 'nightly');
    expect(await here('backup', 'ls', '--repo', 'nightly')).toMatchObject({
      status: 4,
      stderr: expect.stringMatching(/the cluster knows no repository 'nightly'.*repo ls/),
    });
  });

  it('come from restic as well', async () => {
    const source = join(scratch, 'directory');
    const theirs = await restic('backup', '--json', source);
    const id = /"snapshot_id":"(\w+)"/.exec(theirs)?.[1] ?? '';
    await done('backup', 'restore', id, '--to', 'theirs');
    expect(forRestic(await treeOf(mounted('theirs')))).toEqual(forRestic(await treeOf(source)));
  });

  it('are kept by rules, and give their space back', async () => {
    const volume = ['--volume', 'original'];
    const forgotten = JSON.parse(
      await done('--json', 'backup', 'forget', '--keep-last', '1', ...volume, '--prune'),
    ) as { removed: unknown[]; kept: { id: string }[]; pruned: { bytesFreed: number } };
    expect(forgotten).toMatchObject({ removed: [{}, {}, {}], kept: [{}] });
    expect(await done('backup', 'verify', '--read-data')).toMatch(/3 backups .* 0 problems/);
    expect(await restic('check', '--read-data')).toContain('no errors were found');
    expect(await restic('list', 'locks')).toBe('');
  });

  it('say what is wrong and what to do', async () => {
    const wrong = join(scratch, 'wrong');
    writeFileSync(wrong, 'wrong\n');
    const nowhere = `s3:http://127.0.0.1:${s3.port}/elsewhere`;
    const refusals: [string[], number, RegExp][] = [
      [['repo', 'init'], 5, /there is a repository at .* already/],
      [['ls', '--password-file', wrong], 1, /the password fits none of the keys/],
      [['ls', '--repo', join(scratch, 'none')], 4, /no repository .*holdfast backup repo init/],
      [['repo', 'init', '--repo', nowhere], 4, /no bucket at/],
      [['ls', '--repo', 'ftp:x'], 2, /is no place for a repository/],
      [['create', 'nothing'], 4, /no volume 'nothing'/],
      [['create', 'original@monday'], 4, /no snapshot 'monday'/],
      [['restore', 'latest', '--to', 'x'], 2, /say which with --volume/],
      [['restore', 'ffffff', '--to', 'x'], 4, /no backup ffffff/],
      [['restore', 'latest', '--volume', 'original', '--to', 'copy'], 5, /not empty/],
      [['restore', 'latest', '--volume', 'original', '--to', `${scratch}/`], 5, /--overwrite/],
      [['restore', 'latest', '--volume', 'original', '--path', 'no', '--to', 'x'], 4, /has no/],
      [['forget'], 2, /--keep-daily/],
    ];
    const refused = refusals.map(async ([args, status, text]) => {
      const ended = await here('backup', ...args);
      expect(ended.stderr).toMatch(text);
      expect(ended.stderr).not.toMatch(/^\s+at /m);
      expect([args.join(' '), ended.status]).toEqual([args.join(' '), status]);
    });
    await Promise.all(refused);
    expect(existsSync(mounted('x'))).toBe(false);
  });

  const start = (data: string, ...args: string[]): ChildProcess =>
    spawn(LAUNCHER, ['--data', data, 'backup', ...args, '--repo', bucket], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    });
  const until = (what: () => boolean): Promise<void> =>
    expect.poll(what, { timeout: 30_000, interval: 50 }).toBe(true);
  /** Lets so many packs be put and no more; what it returns resolves when one is held up. */
  const holdUpPuts = (passing: number): (() => Promise<void>) => {
    let seen = 0;
    s3.behaviour.fault = ({ method, key }) =>
      method === 'PUT' && key.startsWith('ours/data/') && ++seen > passing
        ? { what: 'slow', ms: 20_000 }
        : undefined;
    return () => until(() => seen > passing);
  };

  it('that are stopped or killed leave nothing that the next does not use or remove', async () => {
    await done('backup', 'repo', 'init', '--repo', bucket);
    await backUp('original', '--repo', bucket);
    await done('volume', 'create', 'large');
    for (const name of ['a', 'b', 'c'])
      writeFileSync(join(mounted('large'), name), randomBytes(16 * MIB));
    const data = cluster.peer(0).dataDirectory;
    let isHeldUp = holdUpPuts(0);
    const stopped = start(data, 'create', 'large');
    const said = stopped.stderr?.setEncoding('utf8').toArray();
    await isHeldUp();
    const busy = await here('backup', 'prune', '--repo', bucket);
    expect([busy.status, busy.stderr]).toEqual([5, expect.stringContaining(`${stopped.pid}`)]);
    stopped.kill('SIGINT');
    expect(await once(stopped, 'exit')).toEqual([1, null]);
    expect((await said)?.join('')).toMatch(/stopped by SIGINT; run it again/);
    expect(await snapshots('large')).toEqual([]);
    isHeldUp = holdUpPuts(1);
    const killed = start(data, 'create', 'large');
    await isHeldUp();
    killed.kill('SIGKILL');
    await once(killed, 'exit');
    expect(await snapshots('large')).toEqual([expect.stringMatching(/^holdfast-backup-/)]);
    await killRestore();
    s3.behaviour.fault = () => undefined;
    const again = await backUp('large', '--repo', bucket);
    expect(again.bytesSent).toBeLessThan(40 * MIB);
    expect(await done('backup', 'verify', '--read-data', '--repo', bucket)).toMatch(/0 problems/);
  });

  const moved = (): string => join(other.peer(0).mountPath, 'moved');
  const toOther = ['restore', 'latest', '--volume', 'original', '--to', 'moved'];
  /** Kills a restore to another cluster after it has made its volume and before it has any file. */
  const killRestore = async (): Promise<void> => {
    const isMade = (): boolean => existsSync(moved()) && readdirSync(moved()).length > 0;
    let isHeld = false;
    s3.behaviour.fault = ({ method, key }) => {
      if (method !== 'GET' || !key.startsWith('ours/data/') || !isMade()) return undefined;
      isHeld = true;
      return { what: 'slow', ms: 20_000 };
    };
    const killed = start(other.peer(0).dataDirectory, ...toOther);
    await until(() => isHeld);
    killed.kill('SIGKILL');
    await once(killed, 'exit');
    expect(readdirSync(moved())).toEqual([expect.stringMatching(/^\.holdfast-import-\w+$/)]);
  };

  it('come back on another cluster, all or nothing, over a store that fails', async () => {
    let count = 0;
    s3.behaviour.fault = () =>
      ++count % 4 === 0 ? FAULTS[(count >> 2) % FAULTS.length] : undefined;
    const { dataDirectory: data } = other.peer(0);
    // Until its session has ended, the killed one may be alive for all that the others know.
    const again = async (): Promise<string> =>
      (await holdfast(['--data', data, 'backup', ...toOther, '--repo', bucket], env)).stderr;
    await expect.poll(again, { timeout: 60_000, interval: 1_000 }).not.toMatch(/being filled/);
    expect(await treeOf(moved())).toEqual(await treeOf(mounted('original')));
    expect(count).toBeGreaterThan(8);
    s3.behaviour.fault = () => undefined;
    const left = async (): Promise<string[]> => {
      expect(await backUp('large', '--repo', bucket)).toMatchObject({ bytesSent: 0 });
      return snapshots('large');
    };
    const one = [expect.stringMatching(KEPT)];
    await expect.poll(left, { timeout: 60_000, interval: 1_000 }).toEqual(one);
  });
});
