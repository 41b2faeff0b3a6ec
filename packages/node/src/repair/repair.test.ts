import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChunkId, type NodeNumber, type PartitionId, partitionOf } from '@holdfast/protocol';
import { WireClient } from '@holdfast/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ChunkCluster, type ChunkPeer } from './testing/chunk-cluster.ts';

const WAIT = { timeout: 30_000, interval: 20 };

function until(check: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(check, WAIT);
}

describe('repair', () => {
  let cluster: ChunkCluster;
  beforeEach(() => {
    cluster = new ChunkCluster();
  });
  afterEach(() => cluster.close());

  const replicas = (chunk: ChunkId): number[] =>
    [...(cluster.map.partitions[partitionOf(chunk)]?.replicas ?? [])].sort((a, b) => a - b);
  const write = async (
    peers: readonly ChunkPeer[],
    count: number,
    partition: (index: number) => number = (index) => index * 601,
  ): Promise<Map<ChunkId, Buffer>> => {
    const chunks = new Map<ChunkId, Buffer>();
    for (let index = 0; index < count; index++) {
      const chunk = cluster.chunkIn(partition(index) % 16_384);
      const bytes = randomBytes(1_000 + index);
      chunks.set(chunk, bytes);
      for (const peer of peers) await peer.store.write(chunk, bytes);
    }
    return chunks;
  };
  const expectWhole = async (peer: ChunkPeer, chunks: Map<ChunkId, Buffer>): Promise<void> => {
    for (const [chunk, bytes] of chunks) {
      const read = await peer.store.read(chunk, 0, bytes.length);
      expect(bytes.equals(read.bytes)).toBe(true);
    }
  };
  const metric = async (peer: ChunkPeer, name: string, reason?: string): Promise<number> => {
    const { values } = (await peer.metrics.getSingleMetric(name)?.get()) ?? { values: [] };
    return values
      .filter(({ labels }) => reason === undefined || labels['reason'] === reason)
      .reduce((sum, { value }) => sum + value, 0);
  };
  const allSettled = (): Promise<void> => until(() => expect(cluster.moving).toBe(0));
  const client = async (number: number, role: string): Promise<WireClient> =>
    new WireClient({
      tls: cluster.authority.issue(role, role === 'node' ? '9' : 'app'),
      clusterId: cluster.authority.clusterId,
      address: cluster.peer(number).address,
      expectNode: number as NodeNumber,
      connectTimeoutMs: 2_000,
    });

  it('brings a store up to date that missed writes, many in one partition too', async () => {
    const [one, two, three] = [await cluster.add(), await cluster.add(), await cluster.add()];
    await allSettled();
    const scattered = await write([one, two], 60);
    const together = await write([two], 150, () => 5);
    await until(() => {
      for (const chunk of [...scattered.keys(), ...together.keys()])
        expect(cluster.holders(chunk)).toEqual([1, 2, 3]);
    });
    for (const chunks of [scattered, together]) {
      await expectWhole(three, chunks);
      await expectWhole(one, chunks);
    }
    await until(() =>
      expect(three.repair.status()).toEqual({ behindPartitions: 0, missingChunks: 0 }),
    );
    expect(await metric(three, 'holdfast_repair_chunks_total', 'missing')).toBe(210);
  });

  it('moves partitions to new peers, says so, and drops them where they are no more', async () => {
    const one = await cluster.add();
    const chunks = await write([one], 80);
    for (let count = 0; count < 3; count++) await cluster.add();
    await allSettled();
    expect(cluster.map.partitions.every(({ previous }) => previous === undefined)).toBe(true);
    await until(() => {
      for (const chunk of chunks.keys()) expect(cluster.holders(chunk)).toEqual(replicas(chunk));
    });
    for (const peer of cluster.peers) {
      const own = [...chunks].filter(([chunk]) => replicas(chunk).includes(peer.number));
      await expectWhole(peer, new Map(own));
      expect(peer.repair.status()).toEqual({ behindPartitions: 0, missingChunks: 0 });
    }
    expect(await metric(one, 'holdfast_repair_dropped_chunks_total')).toBeGreaterThan(0);
  });

  it('heals a chunk that rotted, from a good copy', async () => {
    const [one] = [await cluster.add(), await cluster.add()];
    await allSettled();
    const chunks = await write(cluster.peers, 3);
    const [[chunk, bytes]] = [...chunks] as [[ChunkId, Buffer]];
    rot(one, bytes);
    await expect(one.store.read(chunk, 0, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
    await until(() => expectWhole(one, chunks));
    await until(() => expect(one.repair.status().missingChunks).toBe(0));
    expect(await metric(one, 'holdfast_repair_chunks_total', 'damaged')).toBe(1);
  });

  it('goes on with the others while a peer cannot be reached, and waits with its word', async () => {
    const [one, two, three] = [await cluster.add(), await cluster.add(), await cluster.add()];
    await allSettled();
    await three.cut();
    const chunks = await write([two], 30);
    await until(() => expectWhole(one, chunks));
    // The table moves while peer 3 is away: it might have what nobody else has.
    await cluster.add();
    await until(() => {
      for (const chunk of chunks.keys()) {
        const reachable = replicas(chunk).filter((number) => number !== 3);
        expect(cluster.holders(chunk)).toEqual(expect.arrayContaining(reachable));
      }
    });
    expect(cluster.moving).toBeGreaterThan(0);
    cluster.change({ op: 'set-node-state', node: 3 as NodeNumber, state: 'out' });
    await allSettled();
    for (const chunk of chunks.keys())
      expect(cluster.holders(chunk)).toEqual(expect.arrayContaining(replicas(chunk)));
  });

  it('waits for an old holder that does not know yet that it is one', async () => {
    const one = await cluster.add();
    const chunks = await write([one], 10);
    one.isListening = false;
    const two = await cluster.add();
    await until(() => expectWhole(two, chunks));
    expect(cluster.moving).toBeGreaterThan(0);
    cluster.listen(one);
    await allSettled();
  });

  it('gives strays to the replicas before it lets go of them', async () => {
    for (let count = 0; count < 4; count++) await cluster.add();
    await allSettled();
    const [chunk, lost] = [cluster.chunkIn(77), cluster.chunkIn(77)];
    const stranger = cluster.peers.find(({ number }) => !replicas(chunk).includes(number));
    if (stranger === undefined) throw new Error('every peer holds the partition');
    // Whatever is left of a chunk that nobody else has stays: what rotted may be all there is.
    const bytes = randomBytes(100);
    await stranger.store.write(lost, bytes);
    rot(stranger, bytes);
    await stranger.store.write(chunk, Buffer.from('written with an old map'));
    stranger.repair.wake();
    await until(() => expect(cluster.holders(chunk)).toEqual(replicas(chunk)));
    expect(cluster.holders(lost)).toEqual([stranger.number]);
  });

  it('keeps chunks of few copies on the first replicas only, wherever those move', async () => {
    const [one] = [await cluster.add(), await cluster.add(), await cluster.add()];
    await allSettled();
    const few = Array.from({ length: 40 }, (_, index) => cluster.chunkIn(index * 400));
    for (const chunk of few) await one.store.write(chunk, Buffer.from(`bytes of ${chunk}`), 2);
    const areOnFirstTwo = (): void => {
      for (const chunk of few) {
        const row = cluster.map.partitions[partitionOf(chunk)]?.replicas ?? [];
        expect(cluster.holders(chunk)).toEqual(row.slice(0, 2).sort((a, b) => a - b));
      }
    };
    await cluster.add();
    await allSettled();
    await until(areOnFirstTwo);
    const [chunk] = few as [ChunkId];
    const holder = cluster.peer(cluster.holders(chunk)[0] ?? 0);
    expect(await holder.store.read(chunk, 0, 5)).toMatchObject({ copies: 2 });
  });

  it('refuses writers with an old map, but not those with a newer one', async () => {
    for (let count = 0; count < 4; count++) await cluster.add({ repairs: count === 3 });
    const chunk = cluster.chunkIn(77);
    const stranger = cluster.peers.find(({ number }) => !replicas(chunk).includes(number));
    const wire = await client(stranger?.number ?? 0, 'client');
    const { epoch } = cluster.map;
    const body = Buffer.from('bytes');
    await expect(wire.call('chunk.write', { chunk, epoch }, { body })).rejects.toMatchObject({
      code: 'STALE_MAP',
      detail: { epoch },
    });
    await wire.call('chunk.write', { chunk, epoch: epoch + 1 }, { body });
    expect(cluster.holders(chunk)).toEqual([stranger?.number]);
    await wire.close();
  });

  it('carries on a deletion that a replica missed, and takes nothing back from it', async () => {
    const [one, two] = [await cluster.add(), await cluster.add()];
    await allSettled();
    const [chunk] = [...(await write([one, two], 1)).keys()] as [ChunkId];
    const wire = await client(1, 'node');
    await wire.call('chunk.delete', { chunks: [chunk] });
    await until(() => expect(cluster.holders(chunk)).toEqual([]));
    expect(await metric(one, 'holdfast_repair_chunks_total')).toBe(0);
    const push = wire.call('chunk.write', { chunk, epoch: 0 }, { body: Buffer.from('x') });
    await expect(push).rejects.toMatchObject({ code: 'CHUNK_FREED' });
    await wire.close();
    expect(one.repair.status()).toEqual({ behindPartitions: 0, missingChunks: 0 });
  });

  it('takes the bytes from another holder when the first has them damaged', async () => {
    const [one, two] = [await cluster.add(), await cluster.add()];
    await allSettled();
    const chunks = await write([one, two], 1, () => 9);
    const [[chunk, bytes]] = [...chunks] as [[ChunkId, Buffer]];
    rot(one, bytes);
    const three = await cluster.add();
    expect(cluster.map.partitions[9 as PartitionId]?.replicas).toContain(3);
    await until(() => expectWhole(three, chunks));
    await until(() => expectWhole(one, new Map([[chunk, bytes]])));
  });
});

/** Flips a bit of some bytes on a peer's disk. */
function rot(peer: ChunkPeer, bytes: Buffer): void {
  for (const name of readdirSync(peer.directory).filter((file) => file.startsWith('segment'))) {
    const path = join(peer.directory, name);
    const image = readFileSync(path);
    const at = image.indexOf(bytes);
    if (at < 0) continue;
    image.writeUInt8(image.readUInt8(at) ^ 1, at);
    writeFileSync(path, image);
    return;
  }
  throw new Error('the bytes are not on the disk');
}
