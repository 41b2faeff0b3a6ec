import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LocalCluster,
  type LocalPeer,
  startLocalCluster,
  until,
} from '../demo/local-cluster.ts';
import { Clock } from './clock.ts';
import { LAUNCHER } from './command-line.ts';

const HOUR_MS = 3_600_000;

interface Listed {
  readonly name: string;
  readonly generation: number;
  readonly madeBy: string;
}

interface Status {
  readonly shards: readonly { readonly leader: number; readonly members: readonly number[] }[];
  readonly schedules: readonly object[];
}

describe('snapshots on a schedule', () => {
  let cluster: LocalCluster;
  let clock: Clock;
  beforeAll(async () => {
    clock = new Clock();
    cluster = await startLocalCluster({ peers: 3, mounts: false });
    // Before, one that dies may take the quorum with it.
    await until('three members of each shard', async () => {
      const { shards } = await ask<Status>(cluster.peer(0), 'status');
      return shards.every(({ members }) => members.length === 3);
    });
  });
  afterAll(async () => {
    await cluster?.close();
    clock?.close();
  });

  const alive = (): LocalPeer => {
    const peer = cluster.peers.find(({ nodePid }) => nodePid !== undefined);
    if (peer === undefined) throw new Error('all peers were killed');
    return peer;
  };
  const ask = async <T>(peer: LocalPeer, ...args: string[]): Promise<T> =>
    JSON.parse(await peer.holdfast('--json', ...args)) as T;
  const listed = (peer: LocalPeer): Promise<Listed[]> =>
    ask(peer, 'snapshot', 'ls', 'v', '--no-space');
  const nameOf = (timeMs: number): string =>
    `auto-${new Date(timeMs).toISOString().slice(0, 13)}-00Z`;
  const leader = async (): Promise<LocalPeer> => {
    let number = 0;
    await until('a leader of the system shard', async () => {
      const { shards } = await ask<Status>(cluster.peer(0), 'status');
      number = shards[0]?.leader ?? 0;
      return number > 0;
    });
    return cluster.peer(number - 1);
  };
  const isDone = async (peer: LocalPeer, dueMs: number): Promise<boolean> => {
    const { due } = await ask<{ due?: string }>(peer, 'snapshot', 'schedule', 'show', 'v');
    return due === new Date(dueMs).toISOString();
  };

  it('are made once each, whenever the leader is killed, and only the newest is made up', async () => {
    // Half past, so that no hour strikes while the volume is made.
    const hour = (Math.ceil(clock.nowMs / HOUR_MS) + 1) * HOUR_MS;
    clock.moveTo(hour - HOUR_MS / 2);
    const args = ['--snapshot-schedule', '@hourly', '--snapshot-keep', 'last=2'];
    await cluster.peer(0).holdfast('volume', 'create', 'v', ...args);
    await cluster.peer(0).holdfast('snapshot', 'create', 'v@mine');

    // It is due, and a moment later nobody leads.
    const first = await leader();
    clock.moveTo(hour);
    await first.killNode();
    const [others] = cluster.peers.filter((peer) => peer !== first);
    if (others === undefined) throw new Error('three peers were started');
    await until('the first run', () => isDone(others, hour));
    first.startNode();
    await first.ready();

    // It was seen, and at once nobody leads: whether the run was noted is open.
    const second = await leader();
    const [witness] = cluster.peers.filter((peer) => peer !== second);
    if (witness === undefined) throw new Error('three peers were started');
    clock.moveTo(hour + HOUR_MS);
    await until('the second snapshot', async () => (await listed(witness)).length === 3);
    await second.killNode();
    await until('the second run', () => isDone(witness, hour + HOUR_MS));

    // Nobody looked for hours.
    clock.moveTo(hour + 9 * HOUR_MS);
    await until('the run made up', () => isDone(witness, hour + 9 * HOUR_MS));
    await until('the removal of the first', async () => (await listed(witness)).length === 3);
    expect(await listed(witness)).toMatchObject([
      { name: 'mine', generation: 1, madeBy: 'user' },
      // Each took one generation: none was made, removed and made again.
      { name: nameOf(hour + HOUR_MS), generation: 3, madeBy: 'schedule' },
      { name: nameOf(hour + 9 * HOUR_MS), generation: 4, madeBy: 'schedule' },
    ]);
    const { schedules } = await ask<Status>(witness, 'status');
    expect(schedules).toMatchObject([
      { volume: 'v', keep: 'last=2', made: nameOf(hour + 9 * HOUR_MS), isLate: false },
    ]);
  });

  it('stay while a backup is taken from them, and go when it has ended', async () => {
    const peer = alive();
    const repository = mkdtempSync(join(tmpdir(), 'holdfast-held-'));
    const env = {
      ...process.env,
      HOLDFAST_BACKUP_REPO: repository,
      HOLDFAST_BACKUP_PASSWORD: 'secret',
    };
    const run = (...args: string[]): ChildProcess =>
      spawn(LAUNCHER, ['--data', peer.dataDirectory, ...args], { env, stdio: 'ignore' });
    expect(await once(run('backup', 'repo', 'init'), 'exit')).toEqual([0, null]);
    await peer.holdfast('snapshot', 'schedule', 'set', 'v', '@hourly', '--keep', 'last=1');
    const names = async (): Promise<string[]> => (await listed(peer)).map(({ name }) => name);
    const [, , held = ''] = await names();
    const backup = run('backup', 'create', `v@${held}`, '--limit-upload', '1');
    try {
      // It locks the repository when it has the snapshot, and then sends a byte a second.
      const locks = join(repository, 'locks');
      await until('the backup', () => existsSync(locks) && readdirSync(locks).length > 0);
      const hour = Math.ceil(clock.nowMs / HOUR_MS) * HOUR_MS;
      clock.moveTo(hour);
      await until('a removal', async () => (await names()).length === 3 && isDone(peer, hour));
      expect(await names()).toEqual(['mine', held, nameOf(hour)]);
      backup.kill('SIGTERM');
      await once(backup, 'exit');
      clock.moveTo(hour + HOUR_MS);
      const isLeft = async (): Promise<boolean> => (await names()).length === 2;
      await until(
        'the removal of both',
        async () => (await isDone(peer, hour + HOUR_MS)) && isLeft(),
      );
      expect(await names()).toEqual(['mine', nameOf(hour + HOUR_MS)]);
    } finally {
      backup.kill('SIGKILL');
      rmSync(repository, { recursive: true, force: true });
    }
  });

  it('refuse in one sentence what is no schedule', async () => {
    const peer = alive();
    const set = (...args: string[]): Promise<unknown> =>
      peer.holdfast('snapshot', 'schedule', 'set', 'v', ...args);
    await expect(set('61 * * * *')).rejects.toThrow(/'61 \* \* \* \*' is not understood; give min/);
    await expect(set('@daily', '--keep', 'daily')).rejects.toThrow(/such as hourly=24,daily=7/);
    const create = peer.holdfast('snapshot', 'create', 'v@auto-2026-11-23T20-00Z');
    await expect(create).rejects.toThrow(/choose another name/);
  });
});
