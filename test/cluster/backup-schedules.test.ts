import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RepositoryRecord, VolumeRecord } from '@holdfast/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LocalCluster,
  type LocalPeer,
  startLocalCluster,
  until,
} from '../demo/local-cluster.ts';
import { startTestS3, type TestS3 } from '../s3/server.ts';
import { Clock } from './clock.ts';
import { LAUNCHER, runProgram } from './command-line.ts';

const HOUR_MS = 3_600_000;
const MIB = 2 ** 20;
const KEYS = { accessKeyId: 'AKIA', secretAccessKey: 'secret' };
/** Milliseconds for a run to be taken up on a busy machine: silence, a pause, the backups one after the other. */
const TAKEN_UP_MS_MAX = 120_000;
const VOLUMES = ['v', 'w'] as const;

interface Status {
  readonly health: string;
  readonly shards: readonly { readonly leader: number; readonly members: readonly number[] }[];
  readonly backups: readonly {
    readonly volume: string;
    readonly isOverdue: boolean;
    readonly job?: { readonly running?: { readonly host: string; readonly progress?: object } };
  }[];
  readonly repositories: readonly object[];
}

/** A backup as plain restic lists it. */
interface Listed {
  readonly paths: readonly string[];
  readonly tags: readonly string[];
}

/** The worker of a host, and what it said. */
class Worker {
  readonly peer: LocalPeer;
  readonly #child: ChildProcess;
  #log = '';

  constructor(peer: LocalPeer) {
    this.peer = peer;
    this.#child = spawn(LAUNCHER, ['--data', peer.dataDirectory, 'backup', 'worker'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, AWS_EC2_METADATA_DISABLED: 'true' },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log += text;
      });
  }

  get log(): string {
    return this.#log;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async end(name: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill(name);
    await ended;
  }
}

describe('backups on a schedule', () => {
  let cluster: LocalCluster;
  let clock: Clock;
  let s3: TestS3;
  let scratch: string;
  let workers: Worker[] = [];
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-backup-schedules-'));
    clock = new Clock();
    s3 = await startTestS3({ bucket: 'backups', ...KEYS });
    cluster = await startLocalCluster({ peers: 3, mounts: false });
    // Before, one that dies may take the quorum with it.
    await until('three members of each shard', async () => {
      const { shards } = await ask<Status>('status');
      return shards.every(({ members }) => members.length === 3);
    });
    workers = cluster.peers.map((peer) => new Worker(peer));
  });
  afterAll(async () => {
    s3.behaviour.fault = () => undefined;
    await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
    await cluster?.close();
    await s3?.close();
    clock?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  const alive = (): LocalPeer => {
    const peer = cluster.peers.find(({ nodePid }) => nodePid !== undefined);
    if (peer === undefined) throw new Error('all peers were killed');
    return peer;
  };
  const ask = async <T>(...args: string[]): Promise<T> =>
    JSON.parse(await alive().holdfast('--json', ...args)) as T;
  const doneAt = async (volume: string): Promise<string | undefined> =>
    (await ask<VolumeRecord>('volume', 'inspect', volume)).backupRuns?.due;
  const areDone = async (dueMs: number): Promise<boolean> => {
    const due = new Date(dueMs).toISOString();
    return (await Promise.all(VOLUMES.map(doneAt))).every((at) => at === due);
  };
  const running = async (): Promise<Map<string, string>> => {
    const { backups } = await ask<Status>('status');
    return new Map(
      backups.flatMap(({ volume, job }) =>
        job?.running === undefined ? [] : [[volume, job.running.host] as const],
      ),
    );
  };
  const workerOf = (host: string | undefined): Worker => {
    const worker = workers.find(({ peer }) => peer.name === host);
    if (worker === undefined) throw new Error(`no worker on ${host}`);
    return worker;
  };
  const restic = async (...args: string[]): Promise<string> => {
    const ended = await runProgram('restic', ['--no-cache', ...args], {
      env: {
        RESTIC_PASSWORD: 'secret',
        RESTIC_REPOSITORY: `s3:http://127.0.0.1:${s3.port}/backups/sched`,
        AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
        AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
        NODE_OPTIONS: '',
      },
    });
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };
  /** Times of the runs whose backups of a volume there are, as restic lists them. */
  const runsOf = async (volume: string): Promise<string[]> => {
    const all = JSON.parse(await restic('snapshots', '--no-lock', '--json')) as Listed[];
    return all
      .filter(({ paths }) => paths.includes(`/volumes/${volume}`))
      .map(({ tags }) => tags.find((tag) => tag.startsWith('holdfast-run='))?.split('/')[1] ?? '');
  };
  const leader = async (): Promise<LocalPeer> => {
    let number = 0;
    await until('a leader of the system shard', async () => {
      number = (await ask<Status>('status')).shards[0]?.leader ?? 0;
      return number > 0;
    });
    return cluster.peer(number - 1);
  };
  const iso = (timeMs: number): string => new Date(timeMs).toISOString();

  it('are made once each over a host that dies, one that stands still, and a leader that dies', async () => {
    const password = join(scratch, 'password');
    const keys = join(scratch, 'keys');
    writeFileSync(password, 'secret\n');
    writeFileSync(keys, 'AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=secret\n');
    const place = `s3:http://127.0.0.1:${s3.port}/backups/sched`;
    const secrets = ['--password-file', password, '--credentials-file', keys];
    await alive().holdfast('backup', 'repo', 'add', 'nightly', '-r', place, '--init', ...secrets);
    // Half past, so that no hour strikes while the volumes are made.
    const hour = (Math.ceil(clock.nowMs / HOUR_MS) + 1) * HOUR_MS;
    clock.moveTo(hour - HOUR_MS / 2);
    for (const name of VOLUMES) {
      const tree = join(scratch, name);
      mkdirSync(tree);
      writeFileSync(join(tree, 'file'), randomBytes(4 * MIB));
      expect((await runProgram('tar', ['-cf', `${tree}.tar`, '-C', tree, '.'])).status).toBe(0);
      const options = ['--backup-repository', 'nightly', '--backup-schedule', '@hourly'];
      await alive().holdfast('volume', 'create', name, ...options, '--backup-keep', 'last=2');
      await alive().holdfast('volume', 'import', name, `${tree}.tar`);
    }

    // Two workers are in the middle of their runs: all packs are held up.
    s3.behaviour.fault = ({ method, key }) =>
      method === 'PUT' && key.startsWith('sched/data/') ? { what: 'slow', ms: 60_000 } : undefined;
    clock.moveTo(hour);
    let hosts = new Map<string, string>();
    await until('two runs', async () => {
      hosts = await running();
      return hosts.size === 2;
    });
    const [dying, halted] = [workerOf(hosts.get('v')), workerOf(hosts.get('w'))];
    expect(dying).not.toBe(halted);
    await until('a pack of each', () => s3.requests.filter(isPack).length >= 2);
    await dying.end('SIGKILL');
    await dying.peer.killNode();
    halted.signal('SIGSTOP');
    s3.behaviour.fault = () => undefined;
    await until('the first runs, by others', () => areDone(hour), TAKEN_UP_MS_MAX);
    halted.signal('SIGCONT');
    await until('the word of the halted', () => /"backup\.lost"/.test(halted.log));
    expect(await runsOf('v')).toEqual([iso(hour)]);
    expect(await runsOf('w')).toEqual([iso(hour)]);
    dying.peer.startNode();
    await dying.peer.ready();
    workers = workers.map((worker) => (worker === dying ? new Worker(dying.peer) : worker));

    // Runs are due, and at once nobody leads.
    clock.moveTo(hour + HOUR_MS);
    const led = await leader();
    await led.killNode();
    await until('the second runs', () => areDone(hour + HOUR_MS));
    led.startNode();
    await led.ready();
    for (const name of VOLUMES)
      expect(await runsOf(name)).toEqual([iso(hour), iso(hour + HOUR_MS)]);
  });

  it('are kept by their rule, pruned and verified in turn, shown, and whole for restic', async () => {
    const upkeep = ['--prune', '@hourly', '--verify', '@hourly', '--verify-parts', '2'];
    await alive().holdfast('backup', 'repo', 'schedule', 'nightly', ...upkeep);
    const hour = Math.ceil(clock.nowMs / HOUR_MS) * HOUR_MS;
    const known = (): Promise<RepositoryRecord> => ask('backup', 'repo', 'inspect', 'nightly');
    for (const turn of [0, 1]) {
      clock.moveTo(hour + turn * HOUR_MS);
      await until('backups, prune and verification', async () => {
        const { pruneRuns, verifyRuns } = await known();
        const due = iso(hour + turn * HOUR_MS);
        const isKept = pruneRuns?.due === due && verifyRuns?.due === due;
        return isKept && (await areDone(hour + turn * HOUR_MS));
      });
    }
    const { lastVerification, verifyRuns } = await known();
    expect(verifyRuns).toMatchObject({ done: 2, failures: 0 });
    expect(lastVerification).toMatchObject({ problems: 0 });
    // A run at once, and what no rule keeps any more goes with the prune at the latest.
    await alive().holdfast('backup', 'schedule', 'run', 'v');
    await until('the run that was asked for', async () => {
      const { due = '' } = (await ask<VolumeRecord>('volume', 'inspect', 'v')).backupRuns ?? {};
      return due > iso(hour + HOUR_MS);
    });
    await alive().holdfast('backup', 'repo', 'run', 'nightly', 'prune');
    await until('the last prune', async () => ((await known()).pruneRuns?.done ?? 0) === 3);
    expect(await runsOf('v')).toEqual([iso(hour + HOUR_MS), expect.any(String)]);
    expect(await runsOf('w')).toEqual([iso(hour), iso(hour + HOUR_MS)]);

    const { backups, repositories } = await ask<Status>('status');
    expect(backups).toMatchObject([
      { volume: 'v', isOverdue: false, periodMs: 2 * HOUR_MS, job: { failures: 0 } },
      { volume: 'w', isOverdue: false, repository: 'nightly', keep: 'last=2' },
    ]);
    expect(repositories).toMatchObject([{ name: 'nightly', verification: { problems: 0 } }]);
    expect(await cluster.metric('holdfast_backup_overdue')).toBe(0);
    expect(await cluster.metric('holdfast_backup_runs_total')).toBeGreaterThan(0);
    expect(await cluster.metric('holdfast_backup_repository_last_prune_timestamp_seconds')).toBe(
      Date.parse((await known()).pruneRuns?.doneAt ?? '') / 1_000,
    );
    expect(await restic('check', '--read-data')).toContain('no errors were found');
    await cluster.peer(0).holdfast('backup', 'schedule', 'rm', 'w');
    await cluster.peer(0).holdfast('backup', 'schedule', 'rm', 'v');
    await cluster.peer(0).holdfast('backup', 'repo', 'rm', 'nightly');
  });
});

function isPack({ method, key }: { readonly method: string; readonly key: string }): boolean {
  return method === 'PUT' && key.startsWith('sched/data/');
}
