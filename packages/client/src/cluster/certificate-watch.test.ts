import { type AddressInfo, createServer } from 'node:net';
import type { NodeNumber } from '@holdfast/protocol';
import { type TlsMaterial, WireServer } from '@holdfast/wire';
import { TestAuthority } from '@holdfast/wire/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CertificateWatch, certificateLife } from './certificate-watch.ts';
import { Connections } from './connections.ts';

const DAY_MS = 86_400_000;
let authority: TestAuthority;
beforeEach(() => {
  authority = new TestAuthority('c0ffee');
});
afterEach(() => authority.close());

describe('the watch on a certificate', () => {
  let onDisk: TlsMaterial;
  let inUse: TlsMaterial;
  let events: string[];
  let nowMs: number;
  let first: TlsMaterial;

  beforeEach(() => {
    first = authority.issue('client', 'h1', undefined, 9);
    [onDisk, inUse, events] = [first, first, []];
    nowMs = certificateLife(first.cert).fromMs;
  });

  function watch(renew?: () => Promise<void>, random = 0): CertificateWatch {
    return new CertificateWatch({
      tls: first,
      read: async () => onDisk,
      use: (tls) => {
        inUse = tls;
      },
      ...(renew === undefined ? {} : { renew }),
      now: () => nowMs,
      random: () => random,
      report: (event) => events.push(event),
    });
  }

  const renewal = async (): Promise<void> => {
    onDisk = authority.issue('client', 'h1', undefined, 30);
  };

  it('renews at two thirds of its life and not before, later by chance', async () => {
    const eager = watch(renewal);
    const late = watch(renewal, 0.999);
    nowMs += 5.99 * DAY_MS;
    await eager.look();
    await late.look();
    expect([inUse, events]).toEqual([first, []]);
    nowMs += 0.1 * DAY_MS;
    await late.look();
    expect(events).toEqual([]);
    await eager.look();
    expect(events).toEqual(['certificate.renewed']);
    expect(inUse).toBe(onDisk);
    expect(inUse).not.toBe(first);
  });

  it('takes up what another process has renewed, without asking for one', async () => {
    const own = watch(() => Promise.reject(new Error('asked')));
    nowMs += 8 * DAY_MS;
    await renewal();
    await own.look();
    expect([inUse, events]).toEqual([onDisk, ['certificate.renewed']]);
  });

  it('keeps the old one and tries again when renewing fails', async () => {
    let isReachable = false;
    const own = watch(async () => {
      if (!isReachable) throw new Error('no peer');
      await renewal();
    });
    nowMs += 7 * DAY_MS;
    await own.look();
    expect([inUse, events]).toEqual([first, ['certificate.unrenewed']]);
    isReachable = true;
    await own.look();
    expect([inUse, events.at(-1)]).toEqual([onDisk, 'certificate.renewed']);
  });

  it.each([
    ['of another cluster', () => otherCluster()],
    [
      'of another key',
      () => ({ ...authority.issue('client', 'h1', undefined, 30), key: first.key }),
    ],
    ['damaged', () => ({ ...first, cert: first.cert.slice(0, 100) })],
  ])('never uses one that is %s', async (_, make) => {
    onDisk = make();
    await watch().look();
    expect([inUse, events]).toEqual([first, ['certificate.unrenewed']]);
  });

  function otherCluster(): TlsMaterial {
    const other = new TestAuthority('c0ffee');
    const tls = other.issue('client', 'h1', undefined, 30);
    other.close();
    return tls;
  }
});

it('a new certificate is for new connections, and leaves the old ones open', async () => {
  const serial = async (node: number): Promise<string> => {
    const client = connections.to(node as NodeNumber, 'meta');
    return (await client?.call<{ serial: string }>('who', {}))?.header.serial ?? '';
  };
  const servers = await Promise.all(['1', '2'].map((node) => listen(node)));
  let tls = authority.issue('client', 'h1');
  const connections = new Connections({
    tls: () => tls,
    clusterId: 'c0ffee',
    addressOf: (node) => servers[node - 1]?.address,
    onNotice: () => {},
    connectTimeoutMs: 5_000,
  });
  const old = await serial(1);
  tls = authority.issue('client', 'h1');
  expect(await serial(1)).toBe(old);
  const fresh = await serial(2);
  expect(fresh).not.toBe(old);
  // A connection that broke comes back with the new one, though its client was made with the old one.
  await servers[0]?.server.close();
  servers[0] = await listen('1', servers[0]?.address);
  await expect.poll(() => serial(1).catch(() => ''), { timeout: 10_000 }).toBe(fresh);
  await connections.close();
  await Promise.all(servers.map(({ server }) => server.close()));
});

async function listen(node: string, at?: string): Promise<{ server: WireServer; address: string }> {
  const port = at === undefined ? await freePort() : Number(at.split(':')[1]);
  const server = new WireServer({
    tls: authority.issue('node', node),
    host: '127.0.0.1',
    port,
    clusterId: 'c0ffee',
    isRevoked: () => false,
    onProblem: () => {},
  });
  server.handle('who', ['client'], async ({ peer }) => ({ header: { serial: peer.serial } }));
  await server.listen();
  return { server, address: `127.0.0.1:${port}` };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
