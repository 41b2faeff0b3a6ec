import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Acknowledger } from '../applications/processes.ts';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';

const run = promisify(execFile);
const WRITER = fileURLToPath(new URL('./acknowledged-writer.ts', import.meta.url));
const FIRST_SECONDS = fileURLToPath(new URL('first-seconds.ts', import.meta.url));
const CUT = fileURLToPath(new URL('../lab/power-cut.pl', import.meta.url));
const DISK_BYTES = '4G';
const HOSTS = [0, 1, 2];

/** Makes an ext4 file system in a file and mounts it. */
async function makeDisk(image: string, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  await run('truncate', ['-s', DISK_BYTES, image]);
  const lazy = ['-E', 'lazy_itable_init=1,lazy_journal_init=1'];
  await run('mkfs.ext4', ['-q', '-F', ...lazy, image]);
  await plugIn(image, directory);
  await run('rmdir', [join(directory, 'lost+found')]);
}

/** Not before the last mount of it is gone: a namespace of another test may have a copy for a moment. */
async function plugIn(image: string, directory: string): Promise<void> {
  await until('the end of the last mount', async () => {
    const { stdout } = await run('losetup', ['-j', image]);
    return stdout === '';
  });
  await run('mount', ['-o', 'loop', image, directory]);
}

describe('a power cut right after the first start', () => {
  const root = mkdtempSync(join(tmpdir(), 'holdfast-first-seconds-'));
  const [image, disk] = [join(root, 'image'), join(root, 'disk')];
  beforeAll(() => makeDisk(image, disk));
  afterAll(async () => {
    await run('umount', [disk]);
    rmSync(root, { recursive: true });
  });

  it('leaves databases that open', async () => {
    for (const name of ['first', 'second']) {
      // The directory itself is durable, as `holdfast init` makes it; what is in it is new.
      mkdirSync(join(disk, name));
      await run('sync', ['-f', disk]);
      const peer = new Acknowledger(process.execPath, [FIRST_SECONDS, join(disk, name)]);
      await peer.atLeast(1);
      await run('perl', [CUT, disk]);
      await peer.kill();
      await run('umount', [disk]);
      await plugIn(image, disk);
      const again = new Acknowledger(process.execPath, [FIRST_SECONDS, join(disk, name)]);
      await again.atLeast(1);
      await again.kill();
    }
  });
});

describe('a power cut of all hosts at once', () => {
  let cluster: LocalCluster;
  const disk = (host: number): string => join(cluster.root, `h${host + 1}`, 'data');
  const image = (host: number): string => join(cluster.root, `h${host + 1}`, 'disk');

  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 0 });
    for (const host of HOSTS) await makeDisk(image(host), disk(host));
    await cluster.grow(HOSTS.length);
    await cluster.volume('v');
  });
  afterAll(async () => {
    for (const peer of cluster.peers) await peer.stop();
    for (const host of HOSTS) await run('umount', [disk(host)]).catch(() => undefined);
    await cluster?.close();
  });

  /** What is not on the disks now never gets there. */
  async function cutPower(): Promise<void> {
    await Promise.all(HOSTS.map((host) => run('perl', [CUT, disk(host)])));
    await Promise.all(cluster.peers.map((peer) => peer.killNode()));
    for (const host of HOSTS) await run('umount', [disk(host)]);
  }

  async function powerIsBack(): Promise<void> {
    for (const host of HOSTS) await plugIn(image(host), disk(host));
    for (const peer of cluster.peers) peer.startNode();
    await Promise.all(cluster.peers.map((peer) => peer.ready()));
    await until('the namespace', () =>
      run('ls', [join(cluster.peer(0).mountPath, 'v')]).then(
        () => true,
        () => false,
      ),
    );
  }

  const on = (host: number, ...names: string[]): string =>
    join(cluster.peer(host).mountPath, 'v', ...names);

  function expectComplete(host: number, name: string, acknowledged: number): void {
    const lines = readFileSync(on(host, name, 'log'), 'utf8').split('\n');
    const expected = Array.from({ length: acknowledged }, (_, i) => `line ${i + 1}`);
    expect(lines.slice(0, acknowledged)).toEqual(expected);
    for (let i = 10; i <= acknowledged; i += 10) {
      const bytes = readFileSync(on(host, name, `file-${i}`));
      expect(bytes.equals(Buffer.alloc(100_000, String(i % 10)))).toBe(true);
    }
  }

  it.each([1, 2])('loses nothing that was acknowledged (time %i)', async (round) => {
    const names = HOSTS.map((host) => `round-${round}-of-${host}`);
    const writers = names.map(
      (name, host) => new Acknowledger(process.execPath, [WRITER, on(host, name)]),
    );
    await Promise.all(writers.map((writer) => writer.atLeast(25 * round)));
    await cutPower();
    // A call under way is waited for, so that they end when there is a quorum again.
    const ended = writers.map((writer) => writer.kill());
    await powerIsBack();
    await Promise.all(ended);
    for (const host of HOSTS) {
      for (const [at, name] of names.entries())
        expectComplete(host, name, writers[at]?.acknowledged.length ?? 0);
    }
    // What was there in earlier rounds is there still, and nothing stands in the way of more.
    expect(readdirSync(on(0)).length).toBe(HOSTS.length * round);
  });
});
