import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { WireClient } from '@holdfast/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RpcClient } from '../rpc/client.ts';
import { RPC } from '../rpc/messages.ts';
import { eventually, freePorts, LOOPBACK, TestCluster } from '../testing/peers.ts';
import { certificateDigest, describeCertificate } from './certificates.ts';
import { readIdentity } from './identity.ts';
import { joinCluster } from './join.ts';
import { createToken } from './tokens.ts';

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.begin({ 'down-after': '3s' });
}, 60_000);
afterAll(() => cluster?.close(), 60_000);

async function token(
  role: 'node' | 'client' | 'admin',
  expiresAt = '',
): Promise<{ text: string; id: string }> {
  const { core } = cluster.node('n1');
  const { text, record } = createToken(certificateDigest(core.identity.tls.ca), role, expiresAt);
  await core.registry.execute({ op: 'create-token', token: record });
  return { text, id: record.id };
}

const digest = 'ab'.repeat(32);
const wireAddress = (): string => cluster.node('n1').core.map.current?.nodes[0]?.wireAddress ?? '';

describe('join', () => {
  it('makes a host a client, which sees the cluster but is given no power over it', async () => {
    const joined = await cluster.join('web', { role: 'client', token: cluster.made.tokens.client });
    expect(joined).toEqual({
      clusterId: cluster.made.clusterId,
      name: 'web',
      role: 'client',
      already: false,
    });
    const identity = await readIdentity(cluster.data('web'));
    expect(identity?.authority).toBeUndefined();
    expect(identity?.addresses).toContain(wireAddress());
    const { tls, clusterId } = identity!;
    const wire = new WireClient({
      tls,
      clusterId,
      address: wireAddress(),
      connectTimeoutMs: 2_000,
    });
    const { header } = await wire.call<{ volumes: unknown[] }>(
      'registry.volumes',
      {},
      { deadlineMs: 2_000 },
    );
    expect(header.volumes).toEqual([]);
    await expect(wire.call('registry.execute', {}, { deadlineMs: 2_000 })).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
    for (const what of ['attach', 'detach']) {
      const use = (host: string) =>
        wire.call(`registry.volume-${what}`, { name: 'none', host }, { deadlineMs: 2_000 });
      await expect(use('n1')).rejects.toMatchObject({ code: 'FORBIDDEN' });
      await expect(use('web')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
    await wire.close();
    const rpc = new RpcClient({ address: cluster.made.grpcAddress, clusterId, tls });
    for (const path of [RPC.execute, RPC.view, RPC.heartbeat, RPC.run]) {
      await expect(rpc.call(path, {})).rejects.toMatchObject({ code: 'FORBIDDEN' });
    }
    rpc.close();
  });

  it('is the only call that takes a caller without a certificate', async () => {
    const { ca } = cluster.node('n1').core.identity.tls;
    const { clusterId } = cluster.made;
    const rpc = new RpcClient({ address: cluster.made.grpcAddress, clusterId, tls: { ca } });
    for (const path of Object.values(RPC).filter((path) => path !== RPC.join)) {
      await expect(rpc.call(path, { sinceEpoch: 0 })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    }
    await expect(rpc.call(RPC.join, { nonsense: true })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
    rpc.close();
  });

  it('is refused with a token that is malformed, unknown, of another cluster, expired or revoked', async () => {
    const expired = await token('node', '2001-01-01T00:00:00.000Z');
    const revoked = await token('node');
    await cluster.node('n1').core.registry.execute({ op: 'revoke-token', id: revoked.id });
    const wrongSecret = `${cluster.made.tokens.node.slice(0, -4)}0000`;
    for (const [text, message] of [
      ['HFTKN-1-zz', /malformed/],
      [createToken(digest, 'node', '').text, /another cluster than the token/],
      [wrongSecret, /does not know the token/],
      [expired.text, /expired at 2001/],
      [revoked.text, /was revoked/],
    ] as const) {
      const refused = cluster.join('x', { token: text });
      await expect(refused).rejects.toMatchObject({
        code: 'BAD_TOKEN',
        message: expect.stringMatching(message),
      });
      expect(existsSync(cluster.data('x'))).toBe(false);
    }
  });

  it('is refused for a role that the token does not admit to', async () => {
    const client = await token('client');
    await expect(cluster.join('x', { token: client.text, role: 'node' })).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
    await expect(cluster.join('x', { role: 'admin' })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(existsSync(cluster.data('x'))).toBe(false);
  });

  it('is refused in a directory of another cluster, and says which', async () => {
    const other = await TestCluster.begin();
    await other.stop('n1');
    const refused = cluster.join('x', { directory: other.data('n1') });
    await expect(refused).rejects.toMatchObject({
      code: 'WRONG_CLUSTER',
      message: expect.stringContaining(other.made.clusterId),
    });
    expect((await readIdentity(other.data('n1')))?.clusterId).toBe(other.made.clusterId);
    await other.close();
  });

  it('names the right port when another of that peer answers', async () => {
    const args = { peer: wireAddress(), token: cluster.made.tokens.node, name: 'x' };
    const dataDirectory = cluster.data('x');
    const refused = joinCluster({
      ...args,
      dataDirectory,
      address: LOOPBACK,
      port: await freePorts(),
    });
    await expect(refused).rejects.toThrow(/not the port for joining.*--peer \(7400/);
    expect(existsSync(dataDirectory)).toBe(false);
  });

  it('gives up when no peer answers, naming the address', async () => {
    const { grpcAddress } = cluster.made;
    const silent = { ...cluster.made, grpcAddress: '127.0.0.1:9' };
    Object.assign(cluster, { made: silent });
    await expect(cluster.join('x')).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: expect.stringContaining('127.0.0.1:9'),
    });
    Object.assign(cluster, { made: { ...silent, grpcAddress } });
    expect(existsSync(cluster.data('x'))).toBe(false);
  });

  it('may be repeated: done it changes nothing, cut short it keeps the number', async () => {
    const first = await cluster.join('n2');
    expect(await cluster.join('n2')).toMatchObject({ node: first.node, already: true });
    // As if the power had failed between the answer and the identity: number given, nothing kept but the intent.
    const identity = await readIdentity(cluster.data('n2'));
    const joining = { incarnation: identity?.incarnation, key: identity?.tls.key };
    rmSync(join(cluster.data('n2'), 'identity'), { recursive: true });
    writeFileSync(join(cluster.data('n2'), 'joining.json'), JSON.stringify(joining));
    expect(await cluster.join('n2')).toMatchObject({ node: first.node, already: false });
    expect(existsSync(join(cluster.data('n2'), 'joining.json'))).toBe(false);
  });

  it('under the name of a peer that is up is a conflict; after that lost its disk, a new number and old keys revoked', async () => {
    const number = (await readIdentity(cluster.data('n2')))?.node;
    await cluster.start('n2', { 'down-after': '3s' });
    const { map } = cluster.node('n1').core;
    await eventually('n2 is up', () => map.node(number!)?.state === 'up');
    await expect(cluster.join('n2', { directory: cluster.data('n2-again') })).rejects.toMatchObject(
      {
        code: 'CONFLICT',
        message: expect.stringContaining("up under the name 'n2'"),
      },
    );
    await cluster.stop('n2');
    await eventually('n2 is down', () => map.node(number!)?.state === 'down');
    const old = describeCertificate(
      readFileSync(join(cluster.data('n2'), 'identity', 'cert.pem'), 'utf8'),
    ).identity;
    const again = await cluster.join('n2', { directory: cluster.data('n2-again') });
    expect(again.node).toBe(Number(number) + 1);
    await eventually('the old certificate is revoked', () => map.isRevoked(old.serial));
    const { tls, clusterId } = (await readIdentity(cluster.data('n2')))!;
    const wire = new WireClient({
      tls,
      clusterId,
      address: wireAddress(),
      connectTimeoutMs: 2_000,
    });
    await expect(wire.call('registry.volumes', {}, { deadlineMs: 2_000 })).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    await wire.close();
    const rpc = new RpcClient({ address: cluster.made.grpcAddress, clusterId, tls });
    await expect(rpc.call(RPC.map, { sinceEpoch: 0 })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    rpc.close();
  });

  it('with a certificate of another cluster gets nothing', async () => {
    const other = await TestCluster.begin();
    const stranger = (await readIdentity(other.data('n1')))!;
    const { ca } = cluster.node('n1').core.identity.tls;
    const { clusterId } = cluster.made;
    const rpc = new RpcClient({
      address: cluster.made.grpcAddress,
      clusterId,
      tls: { ...stranger.tls, ca },
    });
    await expect(rpc.call(RPC.map, { sinceEpoch: 0 })).rejects.toThrow(HoldfastError);
    rpc.close();
    copyFileSync(
      join(other.data('n1'), 'identity', 'cert.pem'),
      join(cluster.root, 'stranger.pem'),
    );
    await other.close();
  });
});

describe('start', () => {
  it('is refused in a directory without a cluster, of a client, in use, or whose log is gone', async () => {
    await expect(cluster.start('nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(cluster.start('web')).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringContaining('client'),
    });
    const running = cluster.node('n1');
    await expect(cluster.start('n1')).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
    cluster.running.set('n1', running);
    rmSync(join(cluster.data('n2'), 'raft'), { recursive: true });
    await expect(cluster.start('n2')).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining('join the cluster again'),
    });
    await expect(cluster.start('n2', { name: 'other' })).rejects.toMatchObject({
      code: 'BAD_CONFIG',
    });
  });
});
