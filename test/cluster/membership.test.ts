import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  freePorts,
  type LocalCluster,
  type LocalPeer,
  startLocalCluster,
  until,
} from '../demo/local-cluster.ts';

interface Status {
  readonly epoch: number;
  readonly nodes: readonly {
    number: number;
    state: string;
    grpcAddress: string;
    discoveryAddress: string;
    epoch?: number;
  }[];
  readonly shards: readonly { shard: number; leader: number; members: readonly number[] }[];
}

async function statusOn(peer: LocalPeer): Promise<Status> {
  return JSON.parse(await peer.holdfast('--json', 'status')) as Status;
}

/** Resolves when the peer shows such a status; a peer that cannot answer yet is asked again. */
async function untilStatus(
  peer: LocalPeer,
  what: string,
  holds: (status: Status) => boolean,
): Promise<void> {
  await until(what, async () => {
    try {
      return holds(await statusOn(peer));
    } catch {
      return false;
    }
  });
}

const membersAre =
  (...members: number[]) =>
  (status: Status) =>
    status.shards.length > 0 &&
    status.shards.every(
      (shard) =>
        shard.leader !== 0 && [...shard.members].sort((a, b) => a - b).join() === members.join(),
    );

const statesAre =
  (...states: string[]) =>
  (status: Status) =>
    status.nodes.map((node) => node.state).join() === states.join();

/** Everybody has said where to be found, and everybody has heard of it. */
const isKnown = (status: Status): boolean =>
  status.nodes.every(({ discoveryAddress }) => discoveryAddress !== '') &&
  status.nodes.every(({ epoch }) => epoch === status.epoch);

describe('membership on real processes', () => {
  let cluster: LocalCluster;
  beforeEach(async () => {
    // Of every process that is started from here.
    process.env['HOLDFAST_DOWN_AFTER'] = '3s';
    process.env['HOLDFAST_OUT_AFTER'] = '5s';
    cluster = await startLocalCluster({ peers: 3, mounts: false, discovery: true });
  });
  afterEach(async () => {
    await cluster?.close();
    delete process.env['HOLDFAST_DOWN_AFTER'];
    delete process.env['HOLDFAST_OUT_AFTER'];
  });

  it('replaces a dead voter by a fourth peer that joined meanwhile, and serves all the time', async () => {
    const [first] = cluster.peers as [LocalPeer];
    await untilStatus(first, 'three members in every shard', membersAre(1, 2, 3));
    await cluster.addPeer();
    await first.holdfast('volume', 'create', 'before');
    await cluster.peer(1).killNode();
    await first.holdfast('volume', 'create', 'with-one-dead');
    await untilStatus(first, 'the dead peer out and replaced', membersAre(1, 3, 4));
    await untilStatus(first, 'the dead peer out', statesAre('up', 'out', 'up', 'up'));
    cluster.peer(1).startNode();
    await untilStatus(first, 'the peer back', statesAre('up', 'up', 'up', 'up'));
    const names = (
      JSON.parse(await cluster.peer(3).holdfast('--json', 'volume', 'ls')) as { name: string }[]
    ).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['before', 'with-one-dead']));
  });

  it('finds peers that all restarted on other ports, through one that stayed', async () => {
    const [first] = cluster.peers as [LocalPeer];
    await untilStatus(first, 'three members in every shard', membersAre(1, 2, 3));
    await cluster.addPeer();
    await untilStatus(first, 'four peers up', statesAre('up', 'up', 'up', 'up'));
    // What was agreed on must have come to everyone's disk before nobody can ask any more.
    for (const peer of cluster.peers) await untilStatus(peer, 'the newest map', isKnown);
    // Every voter is gone from the address that the others know; the fourth holds no shard.
    const moved = cluster.peers.slice(0, 3);
    await Promise.all(moved.map((peer) => peer.stop()));
    const ports: number[] = [];
    for (const peer of moved) {
      const port = await freePorts();
      peer.startNode({ HOLDFAST_PORT: String(port) });
      ports.push(port);
    }
    const isMoved = (status: Status): boolean =>
      ports.every((port, index) => status.nodes[index]?.grpcAddress === `127.0.0.1:${port}`);
    for (const peer of cluster.peers) {
      await untilStatus(
        peer,
        `the new addresses on ${peer.name}`,
        (status) => isMoved(status) && statesAre('up', 'up', 'up', 'up')(status),
      );
    }
    await cluster.peer(3).holdfast('volume', 'create', 'after');
  });
});
