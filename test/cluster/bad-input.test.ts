import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { type Ended, holdfast, LAUNCHER, runProgram } from './command-line.ts';

/** A refusal is one clear sentence: no stack trace, a status other than 0, the way out named. */
function expectRefusal(ended: Ended, status: number, text: RegExp): void {
  expect(ended.stderr).toMatch(text);
  expect(ended.stderr).not.toMatch(/^\s+at /m);
  expect(ended.status).toBe(status);
}

/** Every file below a directory with its content, to see that nothing changed. */
function contents(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    files.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(directory.length), readFileSync(path, 'latin1')];
    }),
  );
}

describe('bad input', () => {
  let cluster: LocalCluster;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-bad-'));
    cluster = await startLocalCluster({ peers: 1 });
  });
  afterAll(async () => {
    await cluster?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  const here = (...args: string[]): Promise<Ended> =>
    holdfast(['--data', cluster.peer(0).dataDirectory, ...args]);
  const fresh = (): string => mkdtempSync(join(scratch, 'data-'));

  describe('on the command line', () => {
    it('names the nearest command and flag', async () => {
      expectRefusal(await here('volum'), 2, /volume/);
      expectRefusal(await here('volume', 'ls', '--jsn'), 2, /--json/);
      expectRefusal(await here('volume', 'create'), 2, /name/);
    });

    it.each([
      [['volume', 'create', 'v', '--size', '10X'], /size/],
      [['volume', 'create', 'v', '--size=-1'], /size/],
      [['volume', 'create', 'v', '--replicas', '9'], /from 1 to \d/],
      [['volume', 'create', 'v', '--replicas', 'x'], /from 1 to \d/],
      [['volume', 'create', 'v', '--mode', '999'], /octal/],
      [
        ['volume', 'create', 'v', '--snapshot-schedule', 'at night'],
        /in UTC, such as '0 \* \* \* \*'/,
      ],
      [['volume', 'create', 'v', '--snapshot-keep', 'daily=7'], /give that too/],
      [['snapshot', 'create', 'v', '--command-wait', '0'], /from 1 to 3600/],
      [['token', 'create', '--role', 'king'], /node, client, admin/],
      [['volume', 'create', 'v', '--size', '0'], /none/],
      [['help', 'frob'], /frob/],
    ])('refuses %j', async (args, text) => {
      expectRefusal(await here(...args), 2, text);
    });

    it.each(['', '..', '.', 'a/b', 'x'.repeat(256), '-dash'])(
      'refuses the volume name %j',
      async (name) => {
        const ended = await here('volume', 'create', '--', name);
        expectRefusal(ended, 2, /name/);
        expect(JSON.parse((await here('--json', 'volume', 'ls')).stdout)).toEqual([]);
      },
    );

    it('answers with JSON errors and statuses that scripts can use', async () => {
      const ended = await here('--json', 'volume', 'inspect', 'nothing');
      expect(ended.status).toBe(4);
      expect(JSON.parse(ended.stderr)).toMatchObject({
        error: { message: expect.stringContaining('nothing') },
      });
    });

    it('says that no peer answers, and how to start one', async () => {
      expectRefusal(await holdfast(['--data', fresh(), 'status']), 3, /holdfast run/);
      expectRefusal(await holdfast(['--data', '', 'status']), 2, /--data/);
      const data = ['--data', cluster.peer(0).dataDirectory];
      for (const host of ['foo', 'foo:bar', '127.0.0.1:99999', ':1'])
        expectRefusal(await holdfast([...data, '--host', host, 'status']), 2, /--host must be/);
      const file = ['--data', join(data[1] ?? '', 'VERSION')];
      expectRefusal(await holdfast([...file, 'status']), 2, /not a directory.*--data/);
    });

    it('does not remove a volume with files, and says how', async () => {
      const volume = await cluster.volume('kept');
      writeFileSync(join(volume, 'file'), 'mine');
      expectRefusal(await here('volume', 'rm', 'kept'), 5, /not empty.*--force/);
      expect((await here('volume', 'rm', 'kept', '--force')).status).toBe(0);
    });
  });

  describe('at init and join', () => {
    it.each(['', 'HFTKN', 'HFTKN-1-xyz-1-2', `HFTKN-1-${'0'.repeat(64)}-abcdef-secret`])(
      'refuses the token %j',
      async (token) => {
        const directory = fresh();
        const peer = `127.0.0.1:${cluster.peer(0).port}`;
        const ended = await holdfast([
          '--data',
          directory,
          'join',
          token,
          '--peer',
          peer,
          '--address',
          '127.0.0.1',
          '--port',
          '19400',
        ]);
        expectRefusal(ended, 2, /token/i);
        expect(contents(directory)).toEqual({});
      },
    );

    it.each(['0.0.0.0', '999.1.1.1', '1.2.3', '::', 'a b'])(
      'refuses the address %j',
      async (address) => {
        const directory = fresh();
        const init = ['init', '--address', address, '--port', '19400'];
        expectRefusal(await holdfast(['--data', directory, ...init]), 2, /--address/);
        expect(contents(directory)).toEqual({});
      },
    );

    it('leaves the data of another cluster as it was', async () => {
      const directory = fresh();
      const init = await holdfast([
        '--data',
        directory,
        'init',
        '--name',
        'lone',
        '--address',
        '127.0.0.1',
        '--port',
        '19500',
      ]);
      expect(init.status).toBe(0);
      const before = contents(directory);
      const peer = `127.0.0.1:${cluster.peer(0).port}`;
      const join = await holdfast([
        '--data',
        directory,
        'join',
        cluster.token,
        '--peer',
        peer,
        '--address',
        '127.0.0.1',
        '--port',
        '19500',
      ]);
      expect(join.status).not.toBe(0);
      expect(join.stderr).toMatch(/cluster/);
      const again = await holdfast([
        '--data',
        directory,
        'init',
        '--address',
        '127.0.0.1',
        '--port',
        '19500',
      ]);
      expect(again.status).not.toBe(0);
      expect(contents(directory)).toEqual(before);
    });

    it('refuses a directory with foreign files', async () => {
      const directory = fresh();
      writeFileSync(join(directory, 'thesis.txt'), 'mine');
      const ended = await holdfast([
        '--data',
        directory,
        'init',
        '--address',
        '127.0.0.1',
        '--port',
        '19600',
      ]);
      expectRefusal(ended, 5, /thesis\.txt/);
      expect(contents(directory)).toEqual({ '/thesis.txt': 'mine' });
    });

    it('names the port that is taken', async () => {
      const server: Server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as { port: number };
      try {
        const directory = fresh();
        const ended = await holdfast([
          '--data',
          directory,
          'init',
          '--address',
          '127.0.0.1',
          '--port',
          String(port),
        ]);
        expectRefusal(ended, 5, new RegExp(String(port)));
        expect(contents(directory)).toEqual({});
      } finally {
        server.close();
      }
    });
  });

  describe('at the start of a peer', () => {
    it('refuses data that another process uses', async () => {
      expectRefusal(await here('node'), 5, /use/);
    });

    it('refuses data of a newer version', async () => {
      const directory = fresh();
      await holdfast([
        '--data',
        directory,
        'init',
        '--name',
        'n',
        '--address',
        '127.0.0.1',
        '--port',
        '19700',
      ]);
      writeFileSync(join(directory, 'VERSION'), '99\n');
      const before = contents(directory);
      expectRefusal(await holdfast(['--data', directory, 'node']), 1, /newer version/);
      expect(contents(directory)).toEqual(before);
    });

    it.each([
      ['full', 'dd if=/dev/zero of=fill bs=4k 2>/dev/null', /no room.*--data/],
      ['read-only', 'mount -o remount,ro .', /read-only.*--data/],
    ])('refuses a disk that is %s', async (_, spoil, text) => {
      const directory = fresh();
      mkdirSync(directory, { recursive: true });
      const script = `mount -t tmpfs -o size=64k none "$1" && cd "$1" && mkdir d && ${spoil}; exec "$0" --data "$1/d" init --address 127.0.0.1 --port 19700`;
      const ended = await runProgram('unshare', ['-m', 'sh', '-c', script, LAUNCHER, directory]);
      expectRefusal(ended, 1, text);
    });

    it('refuses a damaged identity', async () => {
      const directory = fresh();
      await holdfast([
        '--data',
        directory,
        'init',
        '--name',
        'n',
        '--address',
        '127.0.0.1',
        '--port',
        '19700',
      ]);
      for (const file of ['identity.json', 'key.pem']) {
        const path = join(directory, 'identity', file);
        const whole = readFileSync(path);
        writeFileSync(path, '{');
        for (const command of ['node', 'run --no-driver --no-mount', 'mount mnt'])
          expectRefusal(
            await holdfast(['--data', directory, ...command.split(' ')]),
            1,
            /identity/,
          );
        writeFileSync(path, whole);
      }
    });

    it.each([
      ['zoen: a', /zone/],
      ['port: many', /port/],
      ['down-after: 5', /duration/],
      ['- a\n- b', /keys and values/],
      ['a: [', /YAML/],
    ])('refuses the configuration %j', async (text, message) => {
      const file = join(fresh(), 'holdfast.yaml');
      writeFileSync(file, text);
      expectRefusal(
        await holdfast(['--data', cluster.peer(0).dataDirectory, 'node', '--config', file]),
        2,
        message,
      );
    });
  });

  describe('at the mount', () => {
    it('needs root', async () => {
      const args = [
        '--reuid',
        '65534',
        '--regid',
        '65534',
        '--clear-groups',
        // The checkout may lie where nobody else may look, such as in /root.
        '--inh-caps=+dac_read_search',
        '--ambient-caps=+dac_read_search',
        LAUNCHER,
        '--data',
        cluster.peer(0).dataDirectory,
      ];
      expectRefusal(
        await runProgram('setpriv', [...args, 'mount', join(scratch, 'mnt')]),
        1,
        /root/,
      );
      for (const command of ['status', 'run'])
        expectRefusal(await runProgram('setpriv', [...args, command]), 1, /root/);
    });

    it('needs /dev/fuse', async () => {
      const hide = 'mount -t tmpfs none /dev && exec "$0" --data "$1" mount "$2"';
      const args = [LAUNCHER, cluster.peer(0).dataDirectory, join(scratch, 'mnt')];
      const ended = await runProgram('unshare', ['-m', 'sh', '-c', hide, ...args]);
      expectRefusal(ended, 1, /\/dev\/fuse/);
    });

    it('needs a cluster, a directory, and a place that is free', async () => {
      expectRefusal(
        await holdfast(['--data', fresh(), 'mount', join(scratch, 'mnt')]),
        4,
        /holdfast join/,
      );
      const file = join(scratch, 'file');
      writeFileSync(file, '');
      expectRefusal(await here('mount', file), 2, /not a directory/);
      expectRefusal(await here('mount', cluster.peer(0).mountPath), 5, /already/);
      expectRefusal(await here('umount', join(scratch, 'nothing')), 4, /nothing/);
      const metrics = (address: string) => here('mount', join(scratch, 'm'), '--metrics', address);
      expectRefusal(await metrics('x'), 2, /HOST:PORT/);
      const taken = createServer().listen(0, '127.0.0.1');
      await once(taken, 'listening');
      const { port } = taken.address() as AddressInfo;
      expectRefusal(await metrics(`127.0.0.1:${port}`), 5, /is taken.*--metrics/);
      taken.close();
    });

    it('hides nothing, and lies neither in another mount nor around its own data', async () => {
      const full = join(scratch, 'full');
      mkdirSync(full);
      writeFileSync(join(full, 'thesis.txt'), 'mine');
      const { dataDirectory, mountPath } = cluster.peer(0);
      for (const command of ['mount', 'run --no-driver --mount-path'])
        expectRefusal(await here(...command.split(' '), full), 5, /not empty.*thesis\.txt/);
      expectRefusal(await here('mount', dataDirectory), 2, /hide it/);
      expectRefusal(await here('mount', dirname(dataDirectory)), 2, /hide it/);
      expectRefusal(await here('mount', join(dataDirectory, 'mnt')), 2, /in the data directory/);
      expectRefusal(await here('mount', join(mountPath, 'x')), 2, /within the mount/);
      expectRefusal(await here('mount', ''), 2, /empty/);
      expect(contents(full)).toEqual({ '/thesis.txt': 'mine' });
    });

    it('answers bad names with the right errno', async () => {
      const volume = await cluster.volume('names');
      expect(() => mkdirSync(join(volume, 'x'.repeat(256)))).toThrow(/ENAMETOOLONG/);
      mkdirSync(join(volume, 'é'.repeat(127)));
      expect(() => writeFileSync(join(cluster.peer(0).mountPath, 'file'), '')).toThrow(/EPERM/);
      expect(() => cpSync(join(volume, 'missing'), join(volume, 'copy'))).toThrow(/ENOENT/);
      expect(readdirSync(volume)).toEqual(['é'.repeat(127)]);
    });
  });
});
