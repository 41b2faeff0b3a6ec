import { execFile } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Acknowledger } from '../applications/processes.ts';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { Probe } from '../posix/support/probe.ts';
import { SEED, useAtRandom } from '../posix/support/random-use.ts';
import { nameAtRandom } from './names-at-random.ts';

const run = promisify(execFile);

// Synchronous calls are fine here: the mounts are served by other processes.
describe('one truth on every host', () => {
  let cluster: LocalCluster;
  const on = (peer: number, ...names: string[]): string =>
    join(cluster.peer(peer).mountPath, 'v', ...names);
  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    await cluster.volume('v');
  });
  afterAll(async () => {
    await cluster?.close();
  });

  it('shows names, contents, attributes and removals of one host to the next call of another', () => {
    for (let i = 0; i < 20; i++) {
      const [a, b] = [i % 3, (i + 1) % 3];
      writeFileSync(on(a, 'f'), `round ${i}`);
      expect(readFileSync(on(b, 'f'), 'utf8')).toBe(`round ${i}`);
      appendFileSync(on(b, 'f'), '!');
      expect(statSync(on(a, 'f')).size).toBe(`round ${i}!`.length);
      utimesSync(on(a, 'f'), 1, i);
      expect(statSync(on(b, 'f')).mtimeMs).toBe(i * 1000);
      renameSync(on(b, 'f'), on(b, `g${i}`));
      expect(existsSync(on(a, 'f'))).toBe(false);
      expect(readdirSync(on(a))).toContain(`g${i}`);
      unlinkSync(on(a, `g${i}`));
      expect(existsSync(on(b, `g${i}`))).toBe(false);
    }
  });

  it('shows writes through an open descriptor to a descriptor that was open before', () => {
    const here = openSync(on(0, 'shared'), 'w+');
    const there = openSync(on(1, 'shared'), 'r+');
    const buffer = Buffer.alloc(64);
    for (let i = 0; i < 20; i++) {
      writeSync(here, `from here ${i};`, 0);
      expect(buffer.toString('utf8', 0, readSync(there, buffer, 0, 64, 0))).toMatch(
        `from here ${i};`,
      );
      writeSync(there, `and there ${i};`, 0);
      expect(buffer.toString('utf8', 0, readSync(here, buffer, 0, 64, 0))).toMatch(
        `and there ${i};`,
      );
    }
    truncateSync(on(2, 'shared'), 3);
    expect(readSync(here, buffer, 0, 64, 0)).toBe(3);
    closeSync(here);
    closeSync(there);
  });

  it('lets exactly one of three hosts create, link or make the same name', async () => {
    for (let i = 0; i < 10; i++) {
      const attempts = await Promise.allSettled(
        [0, 1, 2].map((peer) =>
          run('sh', ['-c', 'set -C; echo $1 >"$0"', on(peer, `once${i}`), String(peer)]),
        ),
      );
      const winners = attempts.flatMap((attempt, peer) =>
        attempt.status === 'fulfilled' ? [String(peer)] : [],
      );
      expect(winners).toHaveLength(1);
      expect(readFileSync(on(i % 3, `once${i}`), 'utf8').trim()).toBe(winners[0]);
      const made = await Promise.allSettled(
        [0, 1, 2].map((peer) => run('mkdir', [on(peer, `dir${i}`)])),
      );
      expect(made.filter((attempt) => attempt.status === 'fulfilled')).toHaveLength(1);
    }
  });

  it('keeps every line that three hosts append at once', async () => {
    const lines = 100;
    const script = `for i in $(seq ${lines}); do echo "$1 $i" >>"$0"; done`;
    await Promise.all(
      [0, 1, 2].map((peer) => run('sh', ['-c', script, on(peer, 'log'), `host${peer}`])),
    );
    const found = readFileSync(on(0, 'log'), 'utf8').trim().split('\n').sort();
    const expected = [0, 1, 2].flatMap((peer) =>
      Array.from({ length: lines }, (_, i) => `host${peer} ${i + 1}`),
    );
    expect(found).toEqual(expected.sort());
  });

  it('keeps an unlinked file readable where it is open, wherever it was unlinked', () => {
    writeFileSync(on(0, 'held'), 'still here');
    const held = openSync(on(1, 'held'), 'r+');
    unlinkSync(on(0, 'held'));
    const buffer = Buffer.alloc(64);
    expect(buffer.toString('utf8', 0, readSync(held, buffer, 0, 64, 0))).toBe('still here');
    writeSync(held, 'and writable', 0);
    expect(buffer.toString('utf8', 0, readSync(held, buffer, 0, 64, 0))).toBe('and writable');
    closeSync(held);
  });

  it('locks across hosts', async () => {
    writeFileSync(on(0, 'lock'), '');
    const holder = new Acknowledger('flock', [on(0, 'lock'), 'sh', '-c', 'echo locked; read line']);
    await holder.atLeast(1);
    await expect(run('flock', ['--nonblock', on(1, 'lock'), 'true'])).rejects.toThrow(/flock/);
    const waiter = run('flock', [on(2, 'lock'), 'echo', 'mine']);
    holder.child.stdin?.end('go\n');
    expect((await waiter).stdout).toBe('mine\n');
  });

  it('keeps hard links, symbolic links and directories the same everywhere', () => {
    writeFileSync(on(0, 'one'), 'x');
    linkSync(on(1, 'one'), on(1, 'two'));
    expect(statSync(on(2, 'one')).nlink).toBe(2);
    expect(statSync(on(2, 'one')).ino).toBe(statSync(on(0, 'two')).ino);
    mkdirSync(on(2, 'tree'));
    writeFileSync(on(0, 'tree', 'leaf'), '');
    expect(() => rmdirSync(on(1, 'tree'))).toThrow(/ENOTEMPTY/);
    rmSync(on(1, 'tree'), { recursive: true });
    expect(existsSync(on(0, 'tree'))).toBe(false);
  });

  // Used by one host alone a volume is delegated to it; used by several it goes to and fro.
  it.each([
    ['one host', [0], 1_500],
    ['two hosts in turn', [0, 1], 60],
  ])(
    `answers as one file system does under random use by %s (HOLDFAST_SEED=${SEED})`,
    async (title, peers, rounds) => {
      const mirror = mkdtempSync('/tmp/holdfast-mirror-');
      try {
        const roots = peers.map((peer) => on(peer, title));
        mkdirSync(roots[0] ?? '');
        nameAtRandom(roots, mirror, { rounds, seed: SEED });
        const probes = peers.map(() => new Probe());
        const users = probes.map((probe, i) => ({ probe, path: join(roots[i] ?? '', 'contents') }));
        await useAtRandom(users, { rounds: peers.length === 1 ? rounds / 10 : rounds });
        await Promise.all(probes.map((probe) => probe.close()));
      } finally {
        rmSync(mirror, { recursive: true });
      }
    },
  );

  it('shows a new volume everywhere at once, and its removal', () => {
    mkdirSync(join(cluster.peer(0).mountPath, 'fresh'));
    expect(readdirSync(cluster.peer(1).mountPath).sort()).toEqual(['fresh', 'v']);
    writeFileSync(join(cluster.peer(2).mountPath, 'fresh', 'a'), '');
    expect(() => rmdirSync(join(cluster.peer(1).mountPath, 'fresh'))).toThrow(/ENOTEMPTY/);
    unlinkSync(join(cluster.peer(1).mountPath, 'fresh', 'a'));
    rmdirSync(join(cluster.peer(1).mountPath, 'fresh'));
    expect(existsSync(join(cluster.peer(0).mountPath, 'fresh'))).toBe(false);
  });
});
