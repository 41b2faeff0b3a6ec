import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';
import { startTestS3, type TestS3 } from '../s3/server.ts';
import { seeTree } from '../trees/whole-tree.ts';
import { holdfast, runProgram } from './command-line.ts';
import { HeldRequests, type Hold, RunningCommand } from './held-work.ts';

const PASSWORD = 'pass word';
const KEYS = { accessKeyId: 'AKIA', secretAccessKey: 'secret' };
const MIB = 2 ** 20;
const KEPT = /^holdfast-backup-[0-9a-f]{8}-[0-9a-f]{10}$/;
/** Rounds, each with other moments; more by the environment. */
const ROUNDS = Number(process.env['HOLDFAST_KILL_ROUNDS'] ?? 1);

/** A request for an object of a repository: its method, and how its key goes on. */
type Moment = readonly [method: string, keys: string];
/** Where in its work a command is held up, another place in each round. */
const MOMENTS = {
  create: [
    ['PUT', 'data/'],
    ['PUT', 'locks/'],
    ['PUT', 'index/'],
    ['PUT', 'snapshots/'],
    ['DELETE', 'locks/'],
  ],
  forget: [
    ['DELETE', 'snapshots/'],
    ['PUT', 'locks/'],
    ['DELETE', 'locks/'],
  ],
  prune: [
    ['DELETE', 'data/'],
    ['PUT', 'index/'],
    ['DELETE', 'index/'],
    ['DELETE', 'locks/'],
  ],
  verify: [
    ['GET', 'data/'],
    ['GET', 'index/'],
    ['DELETE', 'locks/'],
  ],
  restore: [
    ['GET', 'data/'],
    ['GET', 'index/'],
    ['DELETE', 'locks/'],
  ],
} as const satisfies Readonly<Record<string, readonly Moment[]>>;

/** A command in the middle of its work. */
interface Work {
  readonly args: readonly string[];
  readonly command: RunningCommand;
  readonly hold: Hold;
  /** What is to be there when it is done, and nothing else. */
  readonly check: () => Promise<void>;
  /** What does it again; none: what came through a pipe is there only once. */
  readonly repeat?: readonly string[];
}

describe('commands whose leaders die in the middle', { timeout: 600_000 * ROUNDS }, () => {
  let cluster: LocalCluster;
  let s3: TestS3;
  let held: HeldRequests;
  let scratch: string;
  let env: Record<string, string>;
  /** What is in a source volume. */
  let original: Awaited<ReturnType<typeof seeTree>>;
  let archive: Buffer;
  /** What is in a volume that was changed since a snapshot `a`, at `b`. */
  let changed: Awaited<ReturnType<typeof seeTree>>;
  /** All that was begun: none may stay behind when a test fails. */
  const begun: Work[] = [];

  beforeAll(async () => {
    scratch = fs.mkdtempSync(join(tmpdir(), 'holdfast-kills-'));
    s3 = await startTestS3({ bucket: 'backups', ...KEYS });
    held = new HeldRequests(s3);
    env = {
      HOLDFAST_BACKUP_PASSWORD: PASSWORD,
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
    };
    cluster = await startLocalCluster({ peers: 3 });
    await until('three members of each shard', async () => {
      const { shards } = await status();
      return shards.every(({ members }) => members.length === 3);
    });
    const source = await cluster.volume('source');
    for (const name of ['one', 'two']) fs.writeFileSync(join(source, name), randomBytes(3 * MIB));
    for (let directory = 0; directory < 6; directory++) {
      const path = join(source, `d${directory}`, 'deep');
      fs.mkdirSync(path, { recursive: true });
      for (let file = 0; file < 6; file++)
        fs.writeFileSync(join(path, `f${file}`), randomBytes(200 + 9_000 * file));
    }
    original = await treeOf(source);
    await done('snapshot', 'create', 'source@base');
    await done('backup', 'repo', 'init', ...repo('empty'));
    copyRepository('empty', 'both');
    await done('backup', 'create', 'source@base', ...repo('both'));
    await cluster.volume('changing');
    fs.writeFileSync(at('changing', 'f'), 'first');
    await done('backup', 'create', 'changing', ...repo('both'));
    // Of a backup that is forgotten there is something to prune.
    fs.writeFileSync(at('changing', 'f'), randomBytes(2 * MIB));
    const second = await done('--json', 'backup', 'create', 'changing', ...repo('both'));
    copyRepository('both', 'one');
    await done('backup', 'forget', (JSON.parse(second) as { id: string }).id, ...repo('one'));
    archive = fs.readFileSync(await exported('source@base'));
    await done('volume', 'send', 'source@base', '-o', stream('whole'));
    await done('volume', 'create', 'moving', '--from', 'source@base');
    await done('snapshot', 'create', 'moving@a');
    await done('volume', 'send', 'moving@a', '-o', stream('a'));
    fs.writeFileSync(at('moving', 'one'), randomBytes(2 * MIB));
    fs.rmSync(at('moving', 'd3'), { recursive: true });
    fs.renameSync(at('moving', 'd1', 'deep'), at('moving', 'd2', 'deeper'));
    fs.cpSync(at('moving', 'd4'), at('moving', 'd5', 'copy'), { recursive: true });
    changed = await treeOf(at('moving'));
    await done('snapshot', 'create', 'moving@b');
    await done('volume', 'send', 'moving@b', '--from', 'a', '-o', stream('b'));
  });
  afterAll(async () => {
    for (const { command } of begun) command.child.kill('SIGKILL');
    await s3?.close();
    await cluster?.close();
    fs.rmSync(scratch, { recursive: true, force: true });
  });

  interface Status {
    readonly shards: readonly { shard: number; leader: number; members: readonly number[] }[];
  }
  const status = async (peer = cluster.peer(0)): Promise<Status> =>
    JSON.parse(await peer.holdfast('--json', 'status')) as Status;
  const repo = (name: string): string[] => [
    '--repo',
    `s3:http://127.0.0.1:${s3.port}/backups/${name}`,
  ];
  const done = async (...args: string[]): Promise<string> => {
    const ended = await holdfast(['--data', cluster.peer(0).dataDirectory, ...args], env);
    expect(ended.status, `${args.join(' ')}: ${ended.stderr}`).toBe(0);
    return ended.stdout;
  };
  const at = (...names: string[]): string => join(cluster.peer(0).mountPath, ...names);
  const treeOf = (path: string): ReturnType<typeof seeTree> => seeTree(new DirectorySource(path));
  const stream = (name: string): string => join(scratch, `${name}.stream`);
  const snapshots = async (volume: string): Promise<string[]> =>
    (JSON.parse(await done('--json', 'snapshot', 'ls', volume)) as { name: string }[]).map(
      ({ name }) => name,
    );
  const copyRepository = (from: string, to: string): void => {
    for (const [key, bytes] of s3.objects) {
      if (key.startsWith(`${from}/`)) s3.objects.set(`${to}${key.slice(from.length)}`, bytes);
    }
  };
  const exported = async (of: string): Promise<string> => {
    const path = join(scratch, `${of}.tar`);
    await done('volume', 'export', of, '-o', path);
    return path;
  };

  const start = (
    host: number,
    args: readonly string[],
    holdOf: (command: RunningCommand) => Hold,
    check: () => Promise<void>,
  ): Work => {
    const data = ['--data', cluster.peer(host % 3).dataDirectory];
    const command = new RunningCommand([...data, ...args], env);
    const repeat = args[1] === 'import' ? {} : { repeat: args };
    return { args, command, hold: holdOf(command), check, ...repeat };
  };
  /** Holds a backup's work up at this round's moment. */
  const atMoment = (what: keyof typeof MOMENTS, repository: string, round: number) => (): Hold => {
    const moments: readonly Moment[] = MOMENTS[what];
    const [method, keys] = moments[round % moments.length] as Moment;
    const isIt = (one: { method: string; key: string }): boolean =>
      one.method === method && one.key.startsWith(`${repository}/${keys}`);
    return held.hold(isIt);
  };
  const stageIn = (path: string) => (): boolean =>
    fs.existsSync(path) && fs.readdirSync(path).some((name) => name.startsWith('.holdfast-'));
  /** Gives a command half of its input, and the rest when it goes on. */
  const feed =
    (bytes: Buffer, into: string) =>
    ({ child: { stdin } }: RunningCommand): Hold => {
      stdin?.write(bytes.subarray(0, bytes.length >> 1));
      const reached = until(`the middle of ${into}`, stageIn(at(into)));
      return { reached, goOn: () => stdin?.end(bytes.subarray(bytes.length >> 1)) };
    };

  const backups = async (round: number): Promise<Work[]> => {
    const [fresh, over] = [`fresh-${round}`, `over-${round}`];
    for (const name of [fresh, over]) await done('volume', 'create', name, '--from', 'source@base');
    copyRepository('empty', fresh);
    for (const name of ['forget', 'prune', 'verify', 'new', over])
      copyRepository(name === 'forget' ? 'both' : 'one', `${name}-${round}`);
    copyRepository('one', over);
    fs.writeFileSync(at(over, 'one'), 'spoilt');
    fs.rmSync(at(over, 'd3'), { recursive: true });
    fs.writeFileSync(at('changing', 'f'), randomBytes(MIB));
    const present = await treeOf(at('changing'));
    const same = async (path: string): Promise<void> =>
      expect(await treeOf(path), path).toEqual(original);
    const restore = ['backup', 'restore', 'latest', '--volume', 'source', '--to'];
    const nothing = async (): Promise<void> => {};
    return [
      start(
        0,
        ['backup', 'create', fresh, ...repo(fresh)],
        atMoment('create', fresh, round),
        async () => {
          await done('backup', 'restore', 'latest', '--to', `${scratch}/${fresh}`, ...repo(fresh));
          await same(join(scratch, fresh));
          expect(await snapshots(fresh)).toEqual([expect.stringMatching(KEPT)]);
        },
      ),
      start(
        1,
        ['backup', 'create', 'changing', ...repo('both')],
        atMoment('create', 'both', round),
        async () => {
          const to = join(scratch, `changing-${round}`);
          await done(
            'backup',
            'restore',
            'latest',
            '--volume',
            'changing',
            '--to',
            to,
            ...repo('both'),
          );
          expect(await treeOf(to)).toEqual(present);
          expect(await snapshots('changing')).toEqual([expect.stringMatching(KEPT)]);
        },
      ),
      start(
        2,
        ['backup', 'forget', '--keep-last', '1', ...repo(`forget-${round}`)],
        atMoment('forget', `forget-${round}`, round),
        nothing,
      ),
      start(
        0,
        ['backup', 'prune', ...repo(`prune-${round}`)],
        atMoment('prune', `prune-${round}`, round),
        nothing,
      ),
      start(
        1,
        ['backup', 'verify', '--read-data', ...repo(`verify-${round}`)],
        atMoment('verify', `verify-${round}`, round),
        nothing,
      ),
      start(
        2,
        [...restore, `new-${round}`, ...repo(`new-${round}`)],
        atMoment('restore', `new-${round}`, round),
        () => same(at(`new-${round}`)),
      ),
      start(
        0,
        [...restore, over, '--overwrite', '--delete', ...repo(over)],
        atMoment('restore', over, round),
        () => same(at(over)),
      ),
    ];
  };

  const archives = async (round: number): Promise<Work[]> => {
    const [out, into, beside] = [`out-${round}`, `into-${round}`, `beside-${round}`];
    await done('volume', 'create', out, '--from', 'source@base');
    for (const name of [into, beside]) await cluster.volume(name);
    const host = join(scratch, beside);
    fs.mkdirSync(host);
    const same = (path: string) => async (): Promise<void> =>
      expect(await treeOf(path), path).toEqual(original);
    const exporting = start(
      1,
      ['volume', 'export', out, '-o', '-', '--format', 'tar'],
      (one) => one.holdOutput(),
      async () => {
        const { stdout } = await exporting.command.ended;
        expect(Buffer.from(stdout, 'latin1').equals(archive)).toBe(true);
        expect(await snapshots(out)).toEqual([]);
      },
    );
    return [
      exporting,
      start(2, ['volume', 'import', into, '-'], feed(archive, into), same(at(into))),
      start(
        0,
        ['snapshot', 'cp', 'source@base', `${beside}:/copy`],
        (one) => one.stopWhen(stageIn(at(beside))),
        same(at(beside, 'copy')),
      ),
      start(
        1,
        ['snapshot', 'cp', 'source@base', join(host, 'copy')],
        (one) => one.stopWhen(stageIn(host)),
        same(join(host, 'copy')),
      ),
    ];
  };

  const receives = async (round: number): Promise<Work[]> => {
    const [got, became] = [`got-${round}`, `became-${round}`];
    await done('volume', 'receive', became, '-i', stream('a'));
    const receive = (
      host: number,
      volume: string,
      [name, what]: readonly [string, Awaited<ReturnType<typeof seeTree>>],
    ): Work => {
      const args = ['volume', 'receive', volume];
      const work = start(host, args, feed(fs.readFileSync(stream(name)), volume), async () =>
        expect(await treeOf(at(volume)), volume).toEqual(what),
      );
      return { ...work, repeat: [...args, '-i', stream(name)] };
    };
    return [receive(2, got, ['whole', original]), receive(1, became, ['b', changed])];
  };

  /**
   * While all are in the middle the leader of their volumes is killed, and back, and then that of the
   * cluster; or the leader of their volumes stands still until they are done.
   */
  const disturb = async (works: readonly Work[], round: number): Promise<void> => {
    let leader = await cluster.leaderOf('source');
    const isStopped = round % 2 === 1;
    if (isStopped) process.kill(leader.nodePid ?? 0, 'SIGSTOP');
    else {
      await leader.killNode();
      leader.startNode();
      await leader.ready();
      leader = await cluster.leaderOfShard(0);
      await leader.killNode();
    }
    for (const { hold } of works) hold.goOn();
    const ended = await Promise.all(
      works.map(async ({ command, ...work }) => ({ ...work, ...(await command.ended) })),
    );
    if (isStopped) process.kill(leader.nodePid ?? 0, 'SIGCONT');
    else leader.startNode();
    await leader.ready();
    const failed = ended.filter(({ status }) => status !== 0);
    for (const { args, repeat = args, status, stderr } of failed) {
      const told = `${args.join(' ')}: ${status} ${stderr}`;
      // Who stood still for longer than a lease, or in the middle of a question for longer than an answer
      // is waited for, says so, and has to be run again.
      expect(told).toMatch(
        /^(snapshot cp|volume receive) .*: (1 .*the session was fenced|3 .*no leader that can be reached)/s,
      );
      await done(...repeat);
    }
  };
  const restic = async (repository: string, ...args: string[]): Promise<string> => {
    const [, place = ''] = repo(repository);
    const own = { ...env, RESTIC_PASSWORD: PASSWORD, RESTIC_REPOSITORY: place };
    const ended = await runProgram('restic', ['--no-cache', ...args], { env: own });
    expect(ended.status, ended.stderr).toBe(0);
    return ended.stdout;
  };

  /** What commands leave behind: nothing. */
  const seeNothingLeft = async (round: number): Promise<void> => {
    const keys = [...s3.objects.keys()];
    expect(keys.filter((key) => key.includes('/locks/'))).toEqual([]);
    const volumes = fs.readdirSync(at());
    const ours = volumes.filter((name) => name.endsWith(`-${round}`));
    expect(ours).toEqual([
      `became-${round}`,
      `beside-${round}`,
      `fresh-${round}`,
      `got-${round}`,
      `into-${round}`,
      `new-${round}`,
      `out-${round}`,
      `over-${round}`,
    ]);
    const hidden = [...volumes.map((name) => at(name)), scratch, join(scratch, `beside-${round}`)];
    for (const path of hidden)
      expect(
        fs.readdirSync(path).filter((name) => name.startsWith('.')),
        path,
      ).toEqual([]);
    const kept = [expect.stringMatching(KEPT)];
    const before = [expect.stringMatching(/^before-restore-/)];
    expect(await snapshots('source')).toEqual(['base']);
    expect(await snapshots('changing')).toEqual(kept);
    expect(await snapshots(`fresh-${round}`)).toEqual(kept);
    expect(await snapshots(`over-${round}`)).toEqual(before);
    expect(await snapshots(`got-${round}`)).toEqual(['base']);
    expect(await snapshots(`became-${round}`)).toEqual(['a', 'b']);
    for (const name of ['beside', 'into', 'new', 'out'])
      expect(await snapshots(`${name}-${round}`), name).toEqual([]);
    // Of three mounts with two shards each; sessions of commands, and what they had locked, are gone.
    await until('the end of all sessions', async () => {
      const leases = await cluster.metric('holdfast_session_leases');
      return leases <= 6;
    });
  };

  /** Asked for once more they do it again; only a volume that is complete is in the way of a new one. */
  const again = async (works: readonly Work[]): Promise<void> => {
    const ends = works
      .flatMap(({ repeat }) => (repeat === undefined ? [] : [repeat]))
      .map(async (args) => {
        const isInTheWay = args[1] === 'restore' && !args.includes('--overwrite');
        const { status } = await holdfast(['--data', cluster.peer(0).dataDirectory, ...args], env);
        return [args.join(' '), status, isInTheWay ? 5 : 0];
      });
    for (const [what, status, wanted] of await Promise.all(ends))
      expect(status, `${what}`).toBe(wanted);
  };

  it.each(Array.from({ length: ROUNDS }, (_, round) => round))(
    'complete by themselves, and leave nothing behind, round %i',
    async (round) => {
      const works = [
        ...(await backups(round)),
        ...(await archives(round)),
        ...(await receives(round)),
      ];
      begun.push(...works);
      await Promise.all(works.map(({ command, hold }) => command.until(hold.reached)));
      await disturb(works, round);
      for (const { check } of works) await check();
      await seeNothingLeft(round);
      const used = [`fresh-${round}`, `forget-${round}`, `prune-${round}`, 'both'];
      const checked = used.map((name) => restic(name, 'check', '--read-data'));
      for (const text of await Promise.all(checked)) expect(text).toContain('no errors were found');
      await again(works);
    },
  );
});
