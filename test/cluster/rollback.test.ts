import { constants, readdirSync, readFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';
import { Probe } from '../posix/support/probe.ts';

const { O_CREAT, O_RDWR } = constants;
/** ESTALE, for which Node.js has no name. */
const STALE = /^(ESTALE|UNKNOWN|Unknown system error -116)$/;

interface Listed {
  readonly name: string;
  readonly chunkBytes: number;
}

/** A volume that two hosts use, through their mounts, while it is rolled back. */
describe('a rollback', () => {
  let cluster: LocalCluster;
  let probes: [Probe, Probe];
  const at = (host: number, ...names: string[]): string =>
    join(cluster.peer(host).mountPath, ...names);
  const holdfast = (...args: string[]): Promise<string> => cluster.peer(0).holdfast(...args);
  const snapshots = async (volume: string): Promise<Listed[]> =>
    JSON.parse(await holdfast('--json', 'snapshot', 'ls', volume)) as Listed[];
  /** Rolls back and gives the name of the snapshot that keeps what was there. */
  const rollBack = async (target: string, ...options: string[]): Promise<string> => {
    const text = await holdfast('--json', 'snapshot', 'rollback', target, ...options);
    return (JSON.parse(text) as { kept: { name: string } }).kept.name;
  };
  const codeOf = async (action: Promise<unknown>): Promise<string> => {
    try {
      await action;
      return 'done';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code ?? String(error);
    }
  };

  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    probes = [new Probe(), new Probe()];
  });
  afterAll(async () => {
    await Promise.all(probes?.map((probe) => probe.close()) ?? []);
    await cluster?.close();
  });

  it('is seen by all hosts at once, and makes void what they have open', async () => {
    await cluster.volume('v');
    await fs.mkdir(at(0, 'v', 'd'));
    await fs.writeFile(at(0, 'v', 'd', 'f'), 'first');
    await fs.writeFile(at(1, 'v', 'gone'), 'x');
    await holdfast('snapshot', 'create', 'v@s');
    await fs.writeFile(at(1, 'v', 'd', 'f'), 'second');
    await fs.unlink(at(0, 'v', 'gone'));
    await fs.writeFile(at(0, 'v', 'young'), 'y');
    const open = await Promise.all(
      probes.map((probe, host) => probe.call('open', at(host, 'v', 'd', 'f'), O_RDWR)),
    );
    for (const [host, probe] of probes.entries()) {
      expect(String(await probe.call('read', open[host] ?? 0, 0, 9))).toBe('second');
    }

    const kept = await rollBack('v@s');
    for (const host of [0, 1]) {
      expect(await fs.readFile(at(host, 'v', 'd', 'f'), 'utf8')).toBe('first');
      expect((await fs.readdir(at(host, 'v'))).sort()).toEqual(['d', 'gone']);
      const before = at(host, 'v', '.snapshots', kept);
      expect(await fs.readFile(join(before, 'd', 'f'), 'utf8')).toBe('second');
      expect((await fs.readdir(before)).sort()).toEqual(['d', 'young']);
    }
    for (const [host, probe] of probes.entries()) {
      const fd = open[host] ?? 0;
      const calls = [
        probe.call('write', fd, Buffer.from('old'), 0),
        probe.call('read', fd, 0, 9),
        probe.call('ftruncate', fd, 1),
        probe.call('fallocate', fd, 0, 0, 100),
        probe.call('lock', fd, 'set', 'write', 0, 1),
        probe.call('fsync', fd),
      ];
      const codes = await Promise.all(calls.map(codeOf));
      expect(codes).toEqual(calls.map(() => expect.stringMatching(STALE)));
      await probe.call('close', fd);
      const again = await probe.call('open', at(host, 'v', 'd', 'f'), O_RDWR);
      await probe.call('write', again, Buffer.from(`${host}`), host);
      await probe.call('fsync', again);
      await probe.call('close', again);
    }
    expect(await fs.readFile(at(1, 'v', 'd', 'f'), 'utf8')).toBe('01rst');

    // And there again.
    const later = await rollBack(`v@${kept}`);
    expect(await fs.readFile(at(1, 'v', 'd', 'f'), 'utf8')).toBe('second');
    expect(await fs.readFile(at(0, 'v', 'young'), 'utf8')).toBe('y');
    const names = (await snapshots('v')).map(({ name }) => name);
    expect(names).toEqual(['s', kept, later]);
  });

  it('stays one for files that were open when the mount daemon was killed', async () => {
    await cluster.volume('w');
    await fs.writeFile(at(1, 'w', 'f'), 'first');
    await holdfast('snapshot', 'create', 'w@s');
    const [, probe] = probes;
    const fd = await probe.call('open', at(1, 'w', 'f'), O_RDWR);
    const unheard = await probe.call('open', at(1, 'w', 'g'), O_RDWR | O_CREAT);
    await rollBack('w@s');
    expect(await codeOf(probe.call('write', fd, Buffer.from('old'), 0))).toMatch(STALE);
    const killed = await cluster.peer(1).mountDaemonPid();
    process.kill(killed, 'SIGKILL');
    await until('another daemon', async () => (await cluster.peer(1).mountDaemonPid()) !== killed);
    expect(await codeOf(probe.call('write', fd, Buffer.from('old'), 0))).toMatch(STALE);
    expect(await codeOf(probe.call('write', unheard, Buffer.from('x'), 0))).toMatch(STALE);
    expect(await fs.readFile(at(1, 'w', 'f'), 'utf8')).toBe('first');
    await Promise.all([fd, unheard].map((one) => probe.call('close', one)));
    // Killed before it has heard of one, it hears of it from the shard.
    const next = await probe.call('open', at(1, 'w', 'f'), O_RDWR);
    const pid = await cluster.peer(1).mountDaemonPid();
    process.kill(pid, 'SIGKILL');
    await rollBack('w@s');
    await until('a third daemon', async () => (await cluster.peer(1).mountDaemonPid()) !== pid);
    expect(await codeOf(probe.call('write', next, Buffer.from('old'), 0))).toMatch(STALE);
    await probe.call('close', next);
    expect(await fs.readFile(at(1, 'w', 'f'), 'utf8')).toBe('first');
  });

  it('is whole or not at all when the leader dies, and leaves nothing behind in the end', async () => {
    await cluster.volume('x');
    await until('three members of each shard', async () => {
      const text = await cluster.peer(1).holdfast('--json', 'status');
      const { shards } = JSON.parse(text) as { shards: { members: unknown[] }[] };
      return shards.every(({ members }) => members.length === 3);
    });
    const data = (letter: string): Buffer => Buffer.alloc(300_000, letter);
    await fs.writeFile(at(1, 'x', 'f'), data('a'));
    await holdfast('snapshot', 'create', 'x@s');
    for (const letter of ['b', 'c']) {
      await fs.writeFile(at(1, 'x', 'f'), data(letter));
      const leader = await cluster.leaderOf('x');
      const witness = cluster.peers.find((peer) => peer !== leader) ?? leader;
      const rolling = witness.holdfast('snapshot', 'rollback', 'x@s').catch(String);
      await leader.killNode();
      await rolling;
      // Asked for again, whatever became of it: each time the answer is the whole snapshot.
      await until('a rollback', async () =>
        witness.holdfast('snapshot', 'rollback', 'x@s').then(
          () => true,
          () => false,
        ),
      );
      expect((await fs.readFile(at(1, 'x', 'f'))).equals(data('a'))).toBe(true);
      leader.startNode();
      await leader.ready();
    }
    const shown = async (letter: string): Promise<boolean> => {
      const names = readdirSync(at(1, 'x', '.snapshots'));
      const contents = names.map((name) => readFileSync(at(1, 'x', '.snapshots', name, 'f')));
      return contents.some((content) => content.equals(data(letter)));
    };
    expect([await shown('b'), await shown('c')]).toEqual([true, true]);
    const before = (await snapshots('x')).filter(({ name }) => name !== 's');
    for (const { name } of before) await holdfast('snapshot', 'rm', `x@${name}`);
    expect((await snapshots('x')).map(({ name }) => name)).toEqual(['s']);
    expect((await fs.readFile(at(1, 'x', 'f'))).equals(data('a'))).toBe(true);
  });
});
