import { type ClusterMap, HoldfastError, type ShardId } from '@holdfast/protocol';
import { WireServer } from '@holdfast/wire';
import { TestAuthority } from '@holdfast/wire/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cluster } from './cluster.ts';

const CLUSTER = 'c0ffee';
const SHARD = 1 as ShardId;

describe('the cluster as a client sees it', () => {
  let authority: TestAuthority;
  let server: WireServer;
  let cluster: Cluster;
  /** Calls of the shard's leader that have come. */
  let calls: number;
  let hasCome: PromiseWithResolvers<void>;
  let answers: PromiseWithResolvers<void>;

  beforeEach(async () => {
    [calls, hasCome, answers] = [0, Promise.withResolvers(), Promise.withResolvers()];
    authority = new TestAuthority(CLUSTER);
    const place = { clusterId: CLUSTER, host: '127.0.0.1', port: 0 };
    const tls = authority.issue('node', '1');
    server = new WireServer({ ...place, tls, isRevoked: () => false });
    const { port } = await server.listen();
    const address = `127.0.0.1:${port}`;
    const node = { number: 1, name: 'n1', state: 'up', wireAddress: address };
    const map = { epoch: 1, nodes: [node], shards: [{ shard: SHARD, members: [1] }] };
    server.handle('registry.map', ['client'], async () => ({
      header: { map: map as unknown as ClusterMap },
    }));
    server.handle('meta.keepalive', ['client'], async () => {
      calls++;
      hasCome.resolve();
      await answers.promise;
      return { header: {} };
    });
    const identity = { clusterId: CLUSTER, role: 'client', name: 'h1', addresses: [address] };
    cluster = new Cluster({
      identity: { ...identity, tls: authority.issue('client', 'h1') } as never,
    });
  });
  afterEach(async () => {
    answers.resolve();
    await cluster.close();
    await server.close();
    authority.close();
  });

  it('connects to nobody any more once it is closed, also not for a call under way', async () => {
    const call = cluster.callLeader(SHARD, 'meta.keepalive', {}).catch((error: unknown) => error);
    await hasCome.promise;
    await cluster.close();
    expect(await call).toBeInstanceOf(HoldfastError);
    await expect(cluster.callLeader(SHARD, 'meta.keepalive', {})).rejects.toMatchObject({
      code: 'SHUTTING_DOWN',
    });
    expect(calls).toBe(1);
  });
});
