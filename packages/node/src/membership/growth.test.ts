import type { ClusterMap, NodeNumber } from '@holdfast/protocol';
import { WireClient } from '@holdfast/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RpcClient } from '../rpc/client.ts';
import { RPC } from '../rpc/messages.ts';
import { eventually, TestCluster } from '../testing/peers.ts';
import { readIdentity } from './identity.ts';

const flags = { 'down-after': '3s' };
let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.begin(flags);
  for (const name of ['n2', 'n3']) {
    await cluster.join(name);
    await cluster.start(name, flags);
  }
}, 60_000);
afterAll(() => cluster?.close(), 60_000);

const mapOn = (name: string): ClusterMap | undefined => cluster.node(name).core.map.current;
const votersOn = (name: string): readonly string[] => {
  const { host } = cluster.node(name).core;
  return host
    .shards()
    .map(
      (shard) =>
        `${host.leaderOf(shard) === 0 ? '?' : ''}${host.status(shard)?.membership.voters.join()}`,
    );
};

describe('a cluster that grows', () => {
  it('has three voters in every shard by itself, and the same map everywhere', async () => {
    for (const name of ['n1', 'n2', 'n3']) {
      await eventually(
        `three voters, seen by ${name}`,
        () => votersOn(name).join(';') === '1,2,3;1,2,3;1,2,3',
      );
    }
    await eventually(
      'one epoch',
      () => new Set(['n1', 'n2', 'n3'].map((name) => mapOn(name)?.epoch)).size === 1,
    );
    expect(mapOn('n3')).toEqual(mapOn('n1'));
  });

  it('makes volumes through any peer, wherever the leaders are', async () => {
    const made = await Promise.all(
      ['n1', 'n2', 'n3'].map((name) => cluster.node(name).core.volumes.create(`by-${name}`, {})),
    );
    expect(made.map((volume) => volume.state)).toEqual(['ready', 'ready', 'ready']);
    const { volumes } = await cluster.node('n3').core.registry.view({ view: 'volumes' });
    expect(volumes.map((volume) => volume.name).sort()).toEqual(['by-n1', 'by-n2', 'by-n3']);
    await cluster.node('n2').core.volumes.remove('by-n1', false);
    expect(
      (await cluster.node('n1').core.registry.view({ view: 'volume', name: 'by-n1' })).volume,
    ).toBeUndefined();
  });

  it('goes on without its founder: leaders move, a host joins by another peer, clients hear of each map', async () => {
    const { tls, clusterId } = (await readIdentity(cluster.data('n2')))!;
    const address = mapOn('n2')!.nodes[1]!.wireAddress;
    let heard = 0;
    const onNotice = (method: string, header: unknown): void => {
      if (method === 'map.epoch') heard = (header as { epoch: number }).epoch;
    };
    const wire = new WireClient({ tls, clusterId, address, connectTimeoutMs: 2_000, onNotice });
    await wire.call('registry.map', { sinceEpoch: 0 }, { deadlineMs: 5_000 });
    await cluster.stop('n1');
    const peer = mapOn('n2')!.nodes[1]!.grpcAddress;
    const joined = await cluster.join('n4', { peer });
    expect(joined).toMatchObject({ node: 4, already: false });
    await cluster.start('n4', flags);
    for (const name of ['n2', 'n3', 'n4']) {
      await eventually(`n1 down and n4 up, seen by ${name}`, () => {
        const states = mapOn(name)
          ?.nodes.map((node) => node.state)
          .join();
        return states === 'down,up,up,up';
      });
    }
    await eventually('the notice of the newest map', () => heard === mapOn('n2')?.epoch);
    await wire.close();
  });

  it('replaces a peer that is removed, and lets it in no more', async () => {
    await cluster
      .node('n3')
      .core.registry.execute({ op: 'remove-node', node: 1 as NodeNumber, force: false });
    for (const name of ['n2', 'n3', 'n4']) {
      await eventually(
        `n4 in the place of n1, seen by ${name}`,
        () => votersOn(name).join(';') === '2,3,4;2,3,4;2,3,4',
      );
    }
    expect(mapOn('n4')?.revoked).toHaveLength(1);
    const { tls, clusterId } = (await readIdentity(cluster.data('n1')))!;
    for (const { grpcAddress } of mapOn('n4')!.nodes) {
      const rpc = new RpcClient({ address: grpcAddress, clusterId, tls });
      await expect(rpc.call(RPC.map, { sinceEpoch: 0 })).rejects.toMatchObject({
        code: 'FORBIDDEN',
      });
      rpc.close();
    }
    const status = await cluster.node('n4').core.registry.view({ view: 'volumes' });
    expect(status.volumes).toHaveLength(2);
  });
});
