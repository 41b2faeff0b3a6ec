import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LocalCluster,
  type LocalPeer,
  startLocalCluster,
  until,
} from '../demo/local-cluster.ts';

const WRITER = fileURLToPath(new URL('./ordered-writer.ts', import.meta.url));
const WRITERS = 3;
const SNAPSHOTS = 6;
/** The snapshot during which the leader dies. */
const KILL_AT = 3;

/** A program that writes on one host; the last number that it said to be safe. */
class Writer {
  readonly #child: ChildProcess;
  safe = 0;

  constructor(directory: string, other?: string) {
    const args = other === undefined ? [directory] : [directory, other];
    this.#child = spawn(process.execPath, [WRITER, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { stdout } = this.#child;
    if (stdout === null) throw new Error('a writer says what is safe');
    createInterface({ input: stdout }).on('line', (line) => {
      this.safe = Number(line);
    });
  }

  async stop(): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

describe('snapshots of a volume that three hosts use', { timeout: 300_000 }, () => {
  let cluster: LocalCluster;
  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    await until('three members of each shard', async () => {
      const text = await cluster.peer(0).holdfast('--json', 'status');
      const { shards } = JSON.parse(text) as { shards: { members: unknown[] }[] };
      return shards.every(({ members }) => members.length === 3);
    });
  });
  afterAll(async () => {
    await cluster?.close();
  });

  const at = (host: number, ...names: string[]): string =>
    join(cluster.peer(host).mountPath, ...names);
  const names = async (volume: string, peer: LocalPeer = cluster.peer(0)): Promise<string[]> =>
    (JSON.parse(await peer.holdfast('--json', 'snapshot', 'ls', volume)) as { name: string }[]).map(
      ({ name }) => name,
    );
  const numberIn = (...path: string[]): number =>
    Number(fs.readFileSync(join(...path), 'utf8').trim() || '0');

  /** Takes the snapshot of the writers, if so wished while the leader of their volume dies. */
  const snapshotWhile = async (dying: LocalPeer | undefined, n: number): Promise<void> => {
    const peer = cluster.peer(cluster.peer(n % 3) === dying ? (n + 1) % 3 : n % 3);
    const create = (): Promise<string> => peer.holdfast('snapshot', 'create', `v@s${n}`);
    const first = create();
    if (dying === undefined) return void (await first);
    const done = first.then(
      () => true,
      () => false,
    );
    await dying.killNode();
    // One that failed is there or is not; asked for again, it is.
    if (!(await done))
      await create().catch((error: unknown) => expect(String(error)).toMatch(/has a snapshot/));
    dying.startNode();
    await dying.ready();
  };

  it('show all that was safe before, and nothing without what came before it', async () => {
    await cluster.volume('v');
    const writers = Array.from({ length: WRITERS }, (_, host) => {
      const before = host === 0 ? undefined : at(host, 'v', `w${host - 1}`);
      if (before !== undefined) fs.mkdirSync(before, { recursive: true });
      if (before !== undefined) fs.closeSync(fs.openSync(join(before, 'first'), 'a'));
      return new Writer(at(host, 'v', `w${host}`), before);
    });
    const safe: number[][] = [];
    try {
      for (let n = 0; n < SNAPSHOTS; n++) {
        const reached = writers.map((writer) => writer.safe);
        await until('three more steps of each', async () =>
          writers.every((writer, host) => writer.safe >= (reached[host] ?? 0) + 3),
        );
        safe.push(writers.map((writer) => writer.safe));
        await snapshotWhile(n === KILL_AT ? await cluster.leaderOf('v') : undefined, n);
      }
    } finally {
      await Promise.all(writers.map((writer) => writer.stop()));
    }
    for (const [n, then] of safe.entries()) {
      const below = at(n % 3, 'v', '.snapshots', `s${n}`);
      for (const [host, least] of then.entries()) {
        const told = `writer ${host} in s${n}, safe to ${least}`;
        const directory = join(below, `w${host}`);
        const [first, second] = ['first', 'second'].map((name) => numberIn(directory, name));
        expect(second, told).toBeGreaterThanOrEqual(least);
        expect([second, (second ?? 0) + 1], told).toContain(first);
        const renamed = fs.readFileSync(join(directory, 'renamed'), 'utf8');
        expect(renamed.length % 1000, told).toBe(0);
        const number = renamed.slice(0, renamed.length / 1000);
        expect(renamed === number.repeat(1000), told).toBe(true);
        expect(Number(number), told).toBeGreaterThanOrEqual(least);
        expect(Number(number), told).toBeLessThanOrEqual(second ?? 0);
        if (host === 0) continue;
        // What this host saw of the other one's work is there as well.
        const other = numberIn(below, `w${host - 1}`, 'first');
        expect(numberIn(directory, 'seen'), told).toBeLessThanOrEqual(other);
      }
    }
  });

  it('are made, removed and cloned whole or not at all when the leader dies', async () => {
    await cluster.volume('l');
    fs.writeFileSync(at(0, 'l', 'f'), 'one');
    await cluster.peer(0).holdfast('snapshot', 'create', 'l@one');
    const commands = [
      ['snapshot', 'create', 'l@two'],
      ['snapshot', 'rm', 'l@one'],
      ['volume', 'create', 'c', '--from', 'l@two'],
    ];
    fs.writeFileSync(at(0, 'l', 'f'), 'two');
    for (const command of commands) {
      const leader = await cluster.leaderOf('l');
      const witness = cluster.peers.find((peer) => peer !== leader) ?? leader;
      const running = witness.holdfast(...command).then(
        () => 'done',
        (error: unknown) => String(error),
      );
      await leader.killNode();
      await running;
      // Asked for again it says that it is done, or does it.
      await until(command.join(' '), async () =>
        witness.holdfast(...command).then(
          () => true,
          (error: unknown) => /EEXIST|has a snapshot|no snapshot|NOT_FOUND/.test(String(error)),
        ),
      );
      leader.startNode();
      await leader.ready();
    }
    expect(await names('l')).toEqual(['two']);
    expect(fs.readFileSync(at(1, 'c', 'f'), 'utf8')).toBe('two');
    expect(fs.readFileSync(at(2, 'l', '.snapshots', 'two', 'f'), 'utf8')).toBe('two');
    const refused = cluster.peer(0).holdfast('volume', 'rm', 'l', '--force');
    await expect(refused).rejects.toThrow(/clone/);
    await cluster.peer(0).holdfast('volume', 'rm', 'c', '--force');
    await cluster.peer(0).holdfast('volume', 'rm', 'l', '--force');
    expect(fs.readdirSync(at(1))).toEqual(['v']);
  });
});
