import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Host } from '../lab/host.ts';
import { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/processes.ts';
import { packRootfs } from '../lab/rootfs.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const COMPOSE = ['docker-compose', '-p', 'holdfast', '-f', join(PROJECT, 'docker/compose.yaml')];
const BASE = 'holdfast-base:1';
const IMAGE = 'holdfast:test';

describe('Docker volumes on three hosts', () => {
  let lab: Lab;
  const host = (number: number): Host => lab.host(number);
  const tar = join(tmpdir(), `holdfast-docker-test-${process.pid}.tar`);

  /** Starts a host's peer, mount and volume driver from the compose file that every host shares. */
  async function composeUp(target: Host, join: Record<string, string>): Promise<void> {
    const env = {
      HOLDFAST_IMAGE: IMAGE,
      HOLDFAST_ADDRESS: target.address,
      HOLDFAST_NAME: target.name,
      ...join,
    };
    await target.exec([...COMPOSE, 'up', '-d'], {
      env: { ...process.env, ...env },
      timeoutMs: 60_000,
    });
    await waitFor(`the driver on ${target.name}`, () => hasDriver(target), 90_000);
  }

  async function hasDriver(target: Host): Promise<boolean> {
    const listed = await target.docker(['volume', 'create', '-d', 'holdfast', 'probe'], {
      check: false,
    });
    return listed.status === 0;
  }

  const inContainer = (
    target: Host,
    command: string,
    volume = 'data',
  ): Promise<{ stdout: string }> =>
    target.docker(['run', '--rm', '-v', `${volume}:/data`, BASE, 'sh', '-c', command]);

  beforeAll(async () => {
    [lab] = await Promise.all([Lab.up({ hosts: 3 }), packRootfs(tar, { node: 'program' })]);
    await lab.image(BASE, tar);
    const build = [
      'build',
      '-q',
      '-f',
      join(PROJECT, 'docker/Dockerfile'),
      '--build-arg',
      `BASE_IMAGE=${BASE}`,
      '-t',
      IMAGE,
      PROJECT,
    ];
    await host(1).docker(build, {
      timeoutMs: 280_000,
      env: { ...process.env, DOCKER_BUILDKIT: '0' },
    });
    await lab.share(IMAGE, host(1));
    await composeUp(host(1), {});
    const made = await host(1).exec(
      [...COMPOSE, 'exec', '-T', 'holdfast', 'holdfast', 'token', 'create'],
      {
        env: { ...process.env, HOLDFAST_IMAGE: IMAGE },
      },
    );
    const join_ = {
      HOLDFAST_JOIN_TOKEN: made.stdout.trim(),
      HOLDFAST_JOIN_PEER: `${host(1).address}:7400`,
    };
    await composeUp(host(2), join_);
    await composeUp(host(3), join_);
  }, 600_000);

  afterAll(async () => {
    rmSync(tar, { force: true });
    await lab?.down();
  });

  it('shows on every host what a container wrote on one', async () => {
    await host(1).docker(['volume', 'create', '-d', 'holdfast', '-o', 'size=1G', 'data']);
    await inContainer(host(1), 'echo hello >/data/greeting');
    for (const number of [2, 3]) {
      expect((await host(number).docker(['volume', 'ls', '-q'])).stdout.split('\n')).toContain(
        'data',
      );
      expect((await inContainer(host(number), 'cat /data/greeting')).stdout).toBe('hello\n');
    }
    const df = await inContainer(host(3), "df -P /data | tail -1 | awk '{print $2}'");
    expect(Number(df.stdout)).toBe(1024 * 1024);
  });

  it('is a global driver and refuses options that it does not know', async () => {
    const scope = await host(2).docker([
      'volume',
      'inspect',
      '-f',
      '{{.Scope}} {{.Driver}}',
      'data',
    ]);
    expect(scope.stdout.trim()).toBe('global holdfast');
    const refused = await host(2).docker(
      ['volume', 'create', '-d', 'holdfast', '-o', 'sise=1G', 'other'],
      { check: false },
    );
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toMatch(/size/);
  });

  it('makes a volume as a clone of a snapshot, and either goes on by itself', async () => {
    const holdfast = (...args: string[]): Promise<unknown> =>
      host(1).exec([...COMPOSE, 'exec', '-T', 'holdfast', 'holdfast', ...args], {
        env: { ...process.env, HOLDFAST_IMAGE: IMAGE },
      });
    await holdfast('snapshot', 'create', 'data@then');
    await inContainer(host(2), 'echo later >/data/greeting');
    const from = ['-o', 'from=data@then'];
    await host(3).docker(['volume', 'create', '-d', 'holdfast', ...from, 'copy']);
    const seen = await inContainer(
      host(3),
      'cat /data/greeting; echo mine >/data/greeting',
      'copy',
    );
    expect(seen.stdout).toBe('hello\n');
    expect((await inContainer(host(1), 'cat /data/greeting', 'copy')).stdout).toBe('mine\n');
    expect((await inContainer(host(1), 'cat /data/greeting')).stdout).toBe('later\n');
    const refused = await host(2).docker(['volume', 'rm', 'data'], { check: false });
    expect(refused.stderr).toMatch(/has clones.*copy/);
    await host(2).docker(['volume', 'rm', 'copy']);
    await holdfast('snapshot', 'rm', 'data@then');
  });

  it('makes a volume from a backup, which a container gets when it is complete', async () => {
    const holdfast = (...args: string[]): ReturnType<Host['exec']> => {
      const password = ['-e', 'HOLDFAST_BACKUP_PASSWORD=pass word'];
      return host(1).exec(
        [...COMPOSE, 'exec', '-T', ...password, 'holdfast', 'holdfast', ...args],
        { env: { ...process.env, HOLDFAST_IMAGE: IMAGE } },
      );
    };
    // A directory that every host has: a volume of its own.
    await host(1).docker(['volume', 'create', '-d', 'holdfast', 'vault']);
    const place = ['--repo', '/mnt/cluster/vault/r', '--init', '--on', 'all'];
    await holdfast('backup', 'repo', 'add', 'vault', ...place);
    await holdfast('backup', 'create', 'data', '--repo', 'vault');
    const from = ['-o', 'from-backup=vault:data'];
    await host(2).docker(['volume', 'create', '-d', 'holdfast', ...from, 'again']);
    expect((await inContainer(host(2), 'cat /data/greeting', 'again')).stdout).toBe('later\n');
    expect((await inContainer(host(3), 'cat /data/greeting', 'again')).stdout).toBe('later\n');
    const state = await host(3).docker([
      'volume',
      'inspect',
      '-f',
      '{{.Status.madeFrom}}',
      'again',
    ]);
    expect(state.stdout.trim()).toBe('vault:data');
    await host(2).docker(['volume', 'rm', 'again']);
  });

  it('is not rolled back under a container, unless it is forced: then what it has open is void', async () => {
    const holdfast = (...args: string[]): ReturnType<Host['exec']> =>
      host(1).exec([...COMPOSE, 'exec', '-T', 'holdfast', 'holdfast', ...args], {
        env: { ...process.env, HOLDFAST_IMAGE: IMAGE },
        check: false,
      });
    await host(1).docker(['volume', 'create', '-d', 'holdfast', 'rolled']);
    await inContainer(host(1), 'echo then >/data/f', 'rolled');
    await holdfast('snapshot', 'create', 'rolled@then');
    await inContainer(host(3), 'echo now >/data/f', 'rolled');
    const script =
      'exec 3>>/data/f; touch /tmp/open; until [ -e /tmp/go ]; do sleep 0.1; done; (echo late >&3) && echo written; cat /data/f';
    const run = ['run', '-d', '--name', 'roller', '-v', 'rolled:/data', BASE, 'sh', '-c', script];
    await host(2).docker(run);
    const inside = (...command: string[]): ReturnType<Host['docker']> =>
      host(2).docker(['exec', 'roller', ...command], { check: false });
    await waitFor(
      'the open file',
      async () => (await inside('test', '-e', '/tmp/open')).status === 0,
      30_000,
    );
    const refused = await holdfast('snapshot', 'rollback', 'rolled@then');
    expect([refused.status, refused.stderr]).toEqual([
      5,
      expect.stringMatching(/in use on .*--force/),
    ]);
    expect((await inside('cat', '/data/f')).stdout).toBe('now\n');
    const forced = await holdfast('snapshot', 'rollback', 'rolled@then', '--force');
    expect([forced.status, forced.stderr]).toEqual([0, '']);
    await inside('touch', '/tmp/go');
    await host(2).docker(['wait', 'roller']);
    const { stdout, stderr } = await host(2).docker(['logs', 'roller']);
    expect(stdout).toBe('then\n');
    expect(stderr).toMatch(/Stale file handle/);
    await host(2).docker(['rm', 'roller']);
    expect((await inContainer(host(3), 'cat /data/f', 'rolled')).stdout).toBe('then\n');
  });

  it('refuses to remove a volume that another host uses', async () => {
    await host(1).docker(['volume', 'create', '-d', 'holdfast', 'busy']);
    await host(1).docker(['run', '-d', '--name', 'user', '-v', 'busy:/data', BASE, 'sleep', '600']);
    const refused = await host(2).docker(['volume', 'rm', 'busy'], { check: false });
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toMatch(/h1/);
    await host(1).docker(['rm', '-f', 'user']);
    await host(2).docker(['volume', 'rm', 'busy']);
    expect((await host(3).docker(['volume', 'ls', '-q'])).stdout.split('\n')).not.toContain('busy');
  });

  it('fills an empty volume from the image, and takes and gives files by docker cp', async () => {
    const docker = async (...command: string[]): Promise<string> =>
      (await host(1).docker(command)).stdout;
    const seed =
      'mkdir /data; echo seed >/data/a; ln -s a /data/l; chmod 640 /data/a; chown 7:8 /data/a';
    await docker('run', '--name', 'seed', BASE, 'sh', '-c', seed);
    await docker('commit', 'seed', 'seeded:1');
    await docker('volume', 'create', '-d', 'holdfast', 'copied');
    await docker('run', '-d', '--name', 'copier', '-v', 'copied:/data', 'seeded:1', 'sleep', '600');
    expect((await inContainer(host(2), 'cat /data/l', 'copied')).stdout).toBe('seed\n');
    const kept = await host(2).exec(['stat', '-c', '%a %u %g', '/mnt/cluster/copied/a']);
    expect(kept.stdout).toBe('640 7 8\n');
    // The engine mounts a second time under the running container's id, and unmounts once.
    await host(1).exec(['sh', '-c', 'echo in >/tmp/in']);
    await docker('cp', '/tmp/in', 'copier:/data/in');
    await docker('cp', 'copier:/data/a', '/tmp/out');
    expect((await host(1).exec(['cat', '/tmp/out'])).stdout).toBe('seed\n');
    expect(await docker('exec', 'copier', 'cat', '/data/in')).toBe('in\n');
    for (const [number, words] of [
      [1, /in use/],
      [2, /in use on h1/],
    ] as const) {
      const refused = await host(number).docker(['volume', 'rm', 'copied'], { check: false });
      expect(refused.status).not.toBe(0);
      expect(refused.stderr).toMatch(words);
    }
    await docker('rm', '-f', 'copier', 'seed');
    await host(2).docker(['volume', 'rm', 'copied']);
  });

  it('keeps a running container working when the peer and the mount daemon are killed', async () => {
    const loop =
      'i=0; while :; do i=$((i+1)); echo $i >>/data/ticks || exit 1; sync /data/ticks; done';
    await host(2).docker([
      'run',
      '-d',
      '--name',
      'ticker',
      '-v',
      'data:/data',
      BASE,
      'sh',
      '-c',
      loop,
    ]);
    const ticks = async (): Promise<number> =>
      Number((await inContainer(host(3), 'wc -l </data/ticks || echo 0')).stdout);
    await waitFor('ticks', async () => (await ticks()) > 5, 60_000);
    const victims = {
      'the mount daemon': 'kill -9 $(cat /run/holdfast/mounts/mnt_cluster/daemon.pid)',
      'the peer':
        "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' <$p/cmdline)\" in *' node ') kill -9 $(basename $p);; esac; done",
    };
    for (const [victim, kill] of Object.entries(victims)) {
      await host(2).exec([...COMPOSE, 'exec', '-T', 'holdfast', 'sh', '-c', kill], {
        env: { ...process.env, HOLDFAST_IMAGE: IMAGE },
      });
      const before = await ticks();
      await waitFor(
        `ticks after the end of ${victim}`,
        async () => (await ticks()) > before + 5,
        60_000,
      );
    }
    const state = await host(2).docker(['inspect', '-f', '{{.State.Running}}', 'ticker']);
    expect(state.stdout.trim()).toBe('true');
    await host(2).docker(['rm', '-f', 'ticker']);
  });

  it('moves a Swarm service to another host, with its data, when its host loses power', async () => {
    await lab.ready();
    const mount = 'type=volume,volume-driver=holdfast,source=state,target=/data';
    const script =
      'hostname >>/data/starts; n=$(cat /data/n 2>/dev/null || echo 0); while :; do n=$((n+1)); echo $n >/data/new; sync /data/new; mv /data/new /data/n; done';
    const options = [
      '-d',
      '--no-resolve-image',
      '--endpoint-mode',
      'dnsrr',
      '--name',
      'keeper',
      '--mount',
      mount,
    ];
    await host(1).docker([
      'service',
      'create',
      ...options,
      '--constraint',
      'node.hostname!=h1',
      BASE,
      'sh',
      '-c',
      script,
    ]);
    const where = async (): Promise<string | undefined> => {
      const list = [
        'service',
        'ps',
        'keeper',
        '--filter',
        'desired-state=running',
        '--format',
        '{{.Node}} {{.CurrentState}}',
      ];
      return /^(h\d) Running/m.exec((await host(1).docker(list, { check: false })).stdout)?.[1];
    };
    const count = async (): Promise<number> =>
      Number((await host(1).exec(['cat', '/mnt/cluster/state/n'], { check: false })).stdout);
    await waitFor(
      'the service',
      async () => (await where()) !== undefined && (await count()) > 10,
      120_000,
    );
    const first = (await where()) ?? '';
    const acknowledged = await count();
    await lab.host(first).powercut();
    const second = first === 'h2' ? 'h3' : 'h2';
    await waitFor(`the service on ${second}`, async () => (await where()) === second, 150_000);
    await waitFor('progress', async () => (await count()) > acknowledged + 10, 60_000);
    const starts = await host(1).exec(['cat', '/mnt/cluster/state/starts']);
    expect(starts.stdout.trim().split('\n')).toHaveLength(2);
  });

  it('runs three peers on one machine from compose.demo.yaml', async () => {
    const demo = ['docker-compose', '-p', 'demo', '-f', join(PROJECT, 'docker/compose.demo.yaml')];
    const compose = (...command: string[]) =>
      host(1).exec([...demo, ...command], {
        env: { ...process.env, HOLDFAST_IMAGE: IMAGE },
        timeoutMs: 120_000,
      });
    const shell = (script: string) => host(1).exec(['sh', '-c', script], { check: false });
    await compose('up', '-d');
    const isMounted = 'for p in 1 2 3; do mountpoint -q /mnt/holdfast-demo/peer$p || exit 1; done';
    await waitFor('three mounts', async () => (await shell(isMounted)).status === 0, 120_000);
    await shell('cd /mnt/holdfast-demo/peer1 && mkdir photos && echo sunrise >photos/one');
    const seen = await shell('cd /mnt/holdfast-demo && cat peer2/photos/one peer3/photos/one');
    expect(seen.stdout).toBe('sunrise\nsunrise\n');
    await compose('kill', 'peer3');
    await shell('echo noon >>/mnt/holdfast-demo/peer2/photos/one');
    expect((await shell('cat /mnt/holdfast-demo/peer1/photos/one')).stdout).toBe('sunrise\nnoon\n');
    await compose('down', '-v');
  });
});
