import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Host } from '../lab/host.ts';
import { Lab } from '../lab/lab.ts';
import { run, waitFor } from '../lab/processes.ts';
import { packRootfs } from '../lab/rootfs.ts';

// The lab is what the other tests here stand on, so its own promises are tested first.
describe('the lab', () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;
  let h3: Host;
  const tar = join(tmpdir(), `holdfast-lab-test-${process.pid}.tar`);

  beforeAll(async () => {
    [lab] = await Promise.all([Lab.up({ hosts: 3 }), packRootfs(tar)]);
    [h1, h2, h3] = [lab.host(1), lab.host(2), lab.host(3)];
    await lab.image('lab-test:1', tar);
  });

  afterAll(async () => {
    rmSync(tar, { force: true });
    await lab?.down();
  });

  const hears = async (from: Host, to: Host): Promise<boolean> => {
    const ping = ['busybox', 'ping', '-c', '1', '-W', '1', to.address];
    return (await from.exec(ping, { check: false })).status === 0;
  };

  it('has the same image on every host', async () => {
    const images = lab.hosts.map((host) =>
      host.docker(['images', '-q', '--no-trunc', 'lab-test:1']),
    );
    const ids = (await Promise.all(images)).map((result) => result.stdout.trim());
    expect(ids[0]).toMatch(/^sha256:/);
    expect(new Set(ids).size).toBe(1);
  });

  it('runs a privileged container that sees /dev/fuse', async () => {
    const fuse = ['run', '--rm', '--privileged', 'lab-test:1', 'test', '-c', '/dev/fuse'];
    expect((await h2.docker(fuse)).status).toBe(0);
  });

  it('cuts a host off from all others and from one, both ways and one way', async () => {
    await lab.partition(h1);
    expect([await hears(h1, h2), await hears(h3, h1), await hears(h2, h3)]).toEqual([
      false,
      false,
      true,
    ]);
    await lab.heal(h1);
    await lab.partition(h1, h2);
    expect([await hears(h1, h2), await hears(h1, h3)]).toEqual([false, true]);
    await lab.heal();
    await lab.cut(h1, h2);
    expect(await hears(h2, h1)).toBe(false); // the answer is lost
    await lab.heal();
    expect(await hears(h1, h2)).toBe(true);
  });

  it('loses at a power cut what was not flushed, and keeps what was', async () => {
    const write = 'cd /var/lib/holdfast; echo a >flushed; sync flushed; sync .; echo b >unflushed';
    await h2.exec(['sh', '-c', write]);
    await h2.powercut();
    expect(h2.isUp).toBe(false);
    await h2.start();
    expect((await h2.exec(['ls', '/var/lib/holdfast'])).stdout.trim()).toBe('flushed');
  });

  it('keeps at a kill what was written', async () => {
    await h2.exec(['sh', '-c', 'echo c >/var/lib/holdfast/written']);
    await h2.kill();
    await h2.start();
    expect((await h2.exec(['cat', '/var/lib/holdfast/written'])).stdout).toBe('c\n');
  });

  it('stops all of a host for a while, and its processes go on afterwards', async () => {
    await h3.freeze();
    await expect(h3.docker(['version'], { timeoutMs: 1_500 })).rejects.toThrow('no end within');
    await h3.thaw();
    expect((await h3.docker(['version'])).status).toBe(0);
  });

  it('moves a service away from a host that lost its power', async () => {
    await lab.ready();
    const options = ['-d', '--no-resolve-image', '--endpoint-mode', 'dnsrr', '--name', 'wanderer'];
    // Not on h1, which is asked, and not on the leader, whose loss takes an election longer.
    const place = ['--constraint', 'node.hostname!=h1'];
    await h1.docker(['service', 'create', ...options, ...place, 'lab-test:1', 'sleep', '86400']);
    const whereabouts = async (): Promise<string | undefined> => {
      const list = ['service', 'ps', 'wanderer', '--filter', 'desired-state=running'];
      const answer = await h1.docker([...list, '--format', '{{.Node}} {{.CurrentState}}'], {
        check: false,
      });
      return /^(h\d) Running/m.exec(answer.stdout)?.[1];
    };
    await waitFor('the service to run', async () => (await whereabouts()) !== undefined, 60_000);
    const first = (await whereabouts()) ?? '';
    await lab.host(first).powercut();
    const second = first === 'h2' ? 'h3' : 'h2';
    await waitFor(
      `the service to run on ${second}`,
      async () => (await whereabouts()) === second,
      120_000,
    );
  });

  it('leaves nothing when it is taken down', async () => {
    const other = await Lab.up({ hosts: 2, kind: 'none' });
    const { root } = other;
    expect((await other.host(2).exec(['hostname'])).stdout).toBe('h2\n');
    await other.down();
    const name = root.slice(root.lastIndexOf('/') + 1);
    expect(
      (await run(['find', '/sys/fs/cgroup', tmpdir(), '-maxdepth', '2', '-name', name])).stdout,
    ).toBe('');
    expect((await run(['losetup', '-a'])).stdout).not.toContain(name);
    expect(lab.host(1).isUp).toBe(true); // the one beside it is untouched
  });
});
