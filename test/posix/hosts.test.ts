import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';
import { Probe } from './support/probe.ts';
import { SEED, useAtRandom } from './support/random-use.ts';
import { Workload } from './support/workload.ts';

const { O_APPEND, O_CREAT, O_RDWR, O_WRONLY } = constants;

/** The namespace of a real cluster, seen through the mounts of two hosts. */
describe('two hosts', () => {
  let cluster: LocalCluster;
  let one: Probe;
  let two: Probe;
  const path = (host: number, name: string) => join(cluster.peer(host).mountPath, 'posix', name);

  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    await cluster.volume('posix');
    [one, two] = [new Probe(), new Probe()];
  });
  afterAll(async () => {
    await Promise.all([one?.close(), two?.close()]);
    await cluster?.close();
  });

  it('see one file, whoever wrote last', { timeout: 300_000 }, async () => {
    console.log(`HOLDFAST_SEED=${SEED}`);
    const users = [
      { probe: one, path: path(0, 'fsx') },
      { probe: two, path: path(1, 'fsx') },
    ];
    // A mapping is coherent across hosts at msync and lock boundaries only.
    await useAtRandom(users, { rounds: 300 });
  });

  it('see each name as soon as the other has made, moved or removed it', async () => {
    await fs.mkdir(path(0, 'd'));
    await fs.writeFile(path(1, 'd/a'), 'a');
    expect(await fs.readdir(path(0, 'd'))).toEqual(['a']);
    await fs.rename(path(0, 'd/a'), path(0, 'd/b'));
    expect(await fs.readFile(path(1, 'd/b'), 'utf8')).toBe('a');
    await expect(fs.stat(path(1, 'd/a'))).rejects.toMatchObject({ code: 'ENOENT' });
    await fs.unlink(path(1, 'd/b'));
    await fs.rmdir(path(0, 'd'));
    await expect(fs.stat(path(1, 'd'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('cannot both make a name exclusively', async () => {
    for (let round = 0; round < 10; round += 1) {
      const attempts = [0, 1].map((host) =>
        fs.writeFile(path(host, `x${round}`), `${host}`, { flag: 'wx' }),
      );
      const outcomes = await Promise.allSettled(attempts);
      expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(1);
    }
  });

  it('append without losing a line', async () => {
    const append = async (probe: Probe, host: number) => {
      const fd = await probe.call('open', path(host, 'log'), O_WRONLY | O_CREAT | O_APPEND);
      for (let line = 0; line < 100; line += 1) {
        await probe.call('write', fd, Buffer.from(`${host} ${line}\n`), null);
      }
      await probe.call('close', fd);
    };
    await Promise.all([append(one, 0), append(two, 1)]);
    const lines = (await fs.readFile(path(0, 'log'), 'utf8')).split('\n').slice(0, -1);
    expect(lines.length).toBe(200);
    expect(lines.filter((line) => line.startsWith('0'))).toEqual(
      Array.from({ length: 100 }, (_, n) => `0 ${n}`),
    );
  });

  it('keep each other out with locks, until the lock or its holder is gone', async () => {
    const fd1 = await one.call('open', path(0, 'locked'), O_RDWR | O_CREAT);
    const fd2 = await two.call('open', path(1, 'locked'), O_RDWR | O_CREAT);
    await one.call('lock', fd1, 'set', 'write', 0, 10);
    await expect(two.call('lock', fd2, 'set', 'write', 5, 1)).rejects.toMatchObject({
      code: 'EAGAIN',
    });
    expect(await two.call('lock', fd2, 'get', 'write', 0, 0)).toMatchObject({
      type: 1,
      start: 0,
      length: 10,
    });
    const waiting = two.call('lock', fd2, 'wait', 'write', 0, 0);
    await one.close();
    await waiting;
    await two.call('close', fd2);
    one = new Probe();
  });

  it('hide kills of their mount daemons from running programs', { timeout: 300_000 }, async () => {
    const directories = await Promise.all(
      [0, 1].map((host) => fs.mkdtemp(path(host, `workload-${host}-`))),
    );
    const workloads = directories.map((directory) => new Workload(directory));
    for (let kills = 0; kills < 3; kills += 1) {
      await Promise.all(workloads.map((workload) => workload.more(2)));
      for (const host of [0, 1]) {
        const pid = await cluster.peer(host).mountDaemonPid();
        process.kill(pid, 'SIGKILL');
        await until(
          'another mount daemon',
          async () => (await cluster.peer(host).mountDaemonPid()) !== pid,
        );
      }
    }
    await Promise.all(workloads.map((workload) => workload.more(2)));
    expect(await Promise.all(workloads.map((workload) => workload.stop()))).toEqual([0, 0]);
    expect(workloads.map(({ errors }) => errors)).toEqual(['', '']);
  });
});
