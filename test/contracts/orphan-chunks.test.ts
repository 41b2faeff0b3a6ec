/** Chunks whose commit never came, on real peers that look for them. */
import { ChunkWriter } from '@holdfast/chunks';
import { ClusterClient } from '@holdfast/client';
import { type ChunkId, HoldfastError, type NodeNumber, ROOT_INODE } from '@holdfast/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../../packages/node/src/testing/peers.ts';

const POLICY = { replicas: 2, minReplicas: 2 };
const ROOT = { uid: 0, gid: 0, pid: 0, requestId: 0 };
const BYTES = Buffer.alloc(100_000, 7);
const PEERS = [1, 2] as NodeNumber[];

describe('a chunk whose commit never came', { timeout: 120_000 }, () => {
  let cluster: TestCluster;
  let client: ClusterClient;
  beforeAll(async () => {
    const flags = { 'orphan-age': '1s' };
    cluster = await TestCluster.begin(flags);
    await cluster.join('n2');
    await cluster.start('n2', flags);
    client = await ClusterClient.connect({ dataDirectory: cluster.data('n1') });
  }, 60_000);
  afterAll(async () => {
    await client?.close();
    await cluster?.close();
  });

  const isOn = async (node: NodeNumber, chunk: ChunkId): Promise<boolean> => {
    const range = { chunk, offset: 0, length: BYTES.length };
    try {
      await client.cluster.connections.to(node, 'bulk')?.call('chunk.read', range);
      return true;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'CHUNK_MISSING') return false;
      throw error;
    }
  };
  const isGone = async (chunk: ChunkId): Promise<boolean> => {
    const there = await Promise.all(PEERS.map((node) => isOn(node, chunk)));
    return !there.includes(true);
  };

  it('is freed on all peers, and files keep theirs', async () => {
    const { number } = await client.volumes.create('v', POLICY);
    const fileSystem = client.fileSystem();
    const root = { volume: number, ino: ROOT_INODE };
    const made = { kind: 'file', mode: 0o644, rdev: 0, target: '', exclusive: true } as const;
    const how = { append: false, killPrivileges: false };
    const files = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => (await fileSystem.create(root, name, made, ROOT)).node),
    );
    const write = (): Promise<unknown> =>
      Promise.all(files.map((file) => fileSystem.write(file, 0, BYTES, how, ROOT)));
    await write();
    const writer = new ChunkWriter(client.cluster);
    const givenUp = await Promise.all([1, 2, 3].map(() => writer.write(BYTES, POLICY)));
    expect(await isGone(givenUp[0]?.chunk as ChunkId)).toBe(false);
    for (const { chunk } of givenUp) {
      // While somebody writes all the time, and may be barred.
      while (!(await isGone(chunk))) await write();
    }
    for (const file of files) {
      const pieces = await fileSystem.read(file, 0, BYTES.length, ROOT);
      expect(Buffer.concat(pieces).equals(BYTES)).toBe(true);
    }
  });
});
