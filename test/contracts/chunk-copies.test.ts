/** What a client may rely on when it writes and reads chunks, over real stores and connections. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChunkReader, ChunkWriter } from '@holdfast/chunks';
import {
  type ChunkId,
  madeAtOf,
  makeChunkId,
  type NodeNumber,
  type PartitionId,
} from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cluster } from '../../packages/client/src/cluster/cluster.ts';
import {
  ChunkCluster,
  type ChunkPeer,
} from '../../packages/node/src/repair/testing/chunk-cluster.ts';

const THREE = { replicas: 3, minReplicas: 2 };

describe('chunks of a client', () => {
  let peers: ChunkCluster;
  const clients: Cluster[] = [];

  async function start(...capacities: number[]): Promise<void> {
    peers = new ChunkCluster();
    for (const capacityBytes of capacities) await peers.add({ repairs: false, capacityBytes });
  }

  beforeEach(() => start(0, 0, 0));
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await peers.close();
  });

  function connect(o: { node?: number; operationWaitMs?: number } = {}): Cluster {
    const cluster = new Cluster({
      identity: {
        clusterId: 'c0ffee',
        name: 'h1',
        role: 'client',
        tls: peers.authority.issue('client', 'h1'),
        addresses: peers.peers.map(({ address }) => address),
        ...(o.node === undefined ? {} : { node: o.node as NodeNumber }),
      },
      operationWaitMs: o.operationWaitMs ?? 20_000,
    });
    clients.push(cluster);
    return cluster;
  }

  /** Resolves when so many peers have the chunk. */
  async function heldBy(chunk: ChunkId, count: number): Promise<number[]> {
    while (peers.holders(chunk).length < count) await new Promise(setImmediate);
    return peers.holders(chunk);
  }

  /** Flips a bit of a chunk in the segments of a peer. */
  function damage(peer: ChunkPeer, bytes: Buffer): void {
    for (const name of readdirSync(peer.directory).filter((file) => file.startsWith('segment-'))) {
      const image = readFileSync(join(peer.directory, name));
      const at = image.indexOf(bytes);
      if (at < 0) continue;
      image.writeUInt8(image.readUInt8(at) ^ 1, at);
      writeFileSync(join(peer.directory, name), image);
    }
  }

  it('are on every replica, and read back whole and in part', async () => {
    const cluster = connect();
    const reader = new ChunkReader(cluster);
    const bytes = randomBytes(200_000);
    const { chunk, chunkLength } = await new ChunkWriter(cluster).write(bytes, THREE);
    expect(chunkLength).toBe(bytes.length);
    expect(peers.holders(chunk).length).toBeGreaterThanOrEqual(2);
    expect(await heldBy(chunk, 3)).toEqual([1, 2, 3]);
    expect(bytes.equals(await reader.read(chunk, 0, bytes.length))).toBe(true);
    const part = await reader.read(chunk, 65_000, 1_000);
    expect(bytes.subarray(65_000, 66_000).equals(part)).toBe(true);
  });

  it('say when they were made, and never in a second that was barred', async () => {
    let nowMs = 5_000;
    const writer = new ChunkWriter(connect(), () => nowMs);
    const madeAt = async (): Promise<number> =>
      madeAtOf((await writer.write(randomBytes(10), THREE)).chunk);
    expect(await madeAt()).toBe(5);
    writer.barred(9);
    writer.barred(0);
    expect(await madeAt()).toBe(9);
    nowMs = 12_999;
    expect(await madeAt()).toBe(12);
    nowMs = 1_000;
    expect(await madeAt()).toBe(12);
  });

  it('are on as many peers as their volume wants, who know that', async () => {
    const { chunk } = await new ChunkWriter(connect()).write(randomBytes(10), {
      replicas: 1,
      minReplicas: 1,
    });
    const [holder] = peers.holders(chunk);
    expect(peers.holders(chunk)).toHaveLength(1);
    const { copies } = await peers.peer(holder ?? 0).store.read(chunk, 0, 10);
    expect(copies).toBe(1);
  });

  it('are durable on enough peers while one is silent, and read from the others', async () => {
    const cluster = connect({ node: 1 });
    const writer = new ChunkWriter(cluster);
    const bytes = randomBytes(100_000);
    const before = await writer.write(bytes, THREE);
    await heldBy(before.chunk, 3);
    await peers.peer(1).cut();
    const during = await writer.write(bytes, THREE);
    expect(peers.holders(during.chunk)).toEqual([2, 3]);
    const reader = new ChunkReader(cluster);
    for (const { chunk } of [before, during])
      expect(bytes.equals(await reader.read(chunk, 0, bytes.length))).toBe(true);
  });

  it('are not even offered to a peer that is down', async () => {
    await peers.peer(3).cut();
    peers.change({ op: 'set-node-state', node: 3 as NodeNumber, state: 'down' });
    const cluster = connect();
    const { chunk } = await new ChunkWriter(cluster).write(randomBytes(10), THREE);
    expect(peers.holders(chunk)).toEqual([1, 2]);
    expect(cluster.connections.to(3 as NodeNumber, 'bulk')?.state).toBe('idle');
  });

  it('fail within the bounded wait when too few peers answer, at once when interrupted', async () => {
    const cluster = connect({ operationWaitMs: 500 });
    const writer = new ChunkWriter(cluster);
    const { chunk } = await writer.write(randomBytes(10), { replicas: 1, minReplicas: 1 });
    await Promise.all([1, 2, 3].map((number) => peers.peer(number).cut()));
    await expect(writer.write(randomBytes(10), THREE)).rejects.toMatchObject({
      code: 'NO_REPLICA',
    });
    const reader = new ChunkReader(cluster);
    await expect(reader.read(chunk, 0, 10)).rejects.toMatchObject({ code: 'NO_REPLICA' });
    const controller = new AbortController();
    const read = reader.read(chunk, 0, 10, controller.signal);
    controller.abort();
    await expect(read).rejects.toMatchObject({ code: 'EINTR' });
  });

  it('go where there is room, and are refused at once where too few peers have any', async () => {
    await peers.close();
    await start(0, 0, 1);
    const writer = new ChunkWriter(connect({ operationWaitMs: 0 }));
    for (let i = 0; i < 20; i++) {
      const { chunk } = await writer.write(randomBytes(10), { replicas: 1, minReplicas: 1 });
      expect(peers.holders(chunk)).toHaveLength(1);
    }
    const { chunk } = await writer.write(randomBytes(10), THREE);
    expect(peers.holders(chunk)).toEqual([1, 2]);
    await expect(
      writer.write(randomBytes(10), { replicas: 3, minReplicas: 3 }),
    ).rejects.toMatchObject({ code: 'ENOSPC' });
  });

  it('are placed by the newest map, whatever map the client had', async () => {
    const cluster = connect();
    await cluster.ready();
    const { epoch } = cluster.map;
    peers.change({ op: 'set-node-state', node: 2 as NodeNumber, state: 'draining' });
    peers.change({ op: 'set-node-state', node: 3 as NodeNumber, state: 'draining' });
    const { chunk } = await new ChunkWriter(cluster).write(randomBytes(10), THREE);
    expect(peers.holders(chunk)).toContain(1);
    expect(cluster.map.epoch).toBeGreaterThan(epoch);
  });

  it('whose copy is bad are read from another replica; bad everywhere, nothing is returned', async () => {
    const cluster = connect({ node: 1 });
    const bytes = randomBytes(70_000);
    const { chunk } = await new ChunkWriter(cluster).write(bytes, THREE);
    await heldBy(chunk, 3);
    const reader = new ChunkReader(cluster);
    damage(peers.peer(1), bytes);
    expect(bytes.equals(await reader.read(chunk, 0, bytes.length))).toBe(true);
    expect([...peers.peer(1).store.damaged]).toEqual([chunk]);
    damage(peers.peer(2), bytes);
    damage(peers.peer(3), bytes);
    await expect(reader.read(chunk, 0, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(bytes.subarray(-9).equals(await reader.read(chunk, bytes.length - 9, 9))).toBe(true);
  });

  it('that are nowhere are missing', async () => {
    const chunk = makeChunkId(5 as PartitionId, 'abcdefabcdef', 1);
    await expect(new ChunkReader(connect()).read(chunk, 0, 10)).rejects.toMatchObject({
      code: 'CHUNK_MISSING',
    });
  });

  it('are written many at a time, into buffers that are used again', async () => {
    const cluster = connect();
    const writer = new ChunkWriter(cluster);
    const reader = new ChunkReader(cluster);
    const buffer = Buffer.alloc(300_000);
    const written: { chunk: ChunkId; value: number }[] = [];
    const writes: Promise<unknown>[] = [];
    for (let value = 1; value <= 40; value++) {
      buffer.fill(value);
      writes.push(writer.write(buffer, THREE).then(({ chunk }) => written.push({ chunk, value })));
      await new Promise(setImmediate);
    }
    await Promise.all(writes);
    for (const { chunk, value } of written) {
      const read = await reader.read(chunk, 0, buffer.length);
      expect(read.every((byte) => byte === value)).toBe(true);
    }
  });
});
