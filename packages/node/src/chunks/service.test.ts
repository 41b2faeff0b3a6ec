import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeChunkId, type PartitionId } from '@holdfast/protocol';
import { WireClient, WireServer } from '@holdfast/wire';
import { TestAuthority } from '@holdfast/wire/testing';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveChunks } from './service.ts';
import { ChunkStore } from './store.ts';

const CLUSTER = 'c0ffee';

describe('the chunk service', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-chunks-'));
  const authority = new TestAuthority(CLUSTER);
  let store: ChunkStore;
  let server: WireServer;
  let node: WireClient;
  let client: WireClient;

  beforeAll(async () => {
    store = await ChunkStore.open(directory, { registry: new Registry(), reserveBytes: 0 });
    server = new WireServer({
      tls: authority.issue('node', '1'),
      host: '127.0.0.1',
      port: 0,
      clusterId: CLUSTER,
      isRevoked: () => false,
    });
    serveChunks(server, store);
    const { port } = await server.listen();
    const connect = (role: string): WireClient =>
      new WireClient({
        tls: authority.issue(role, '2'),
        clusterId: CLUSTER,
        address: `127.0.0.1:${port}`,
        connectTimeoutMs: 10_000,
      });
    node = connect('node');
    client = connect('client');
  });
  afterAll(async () => {
    await Promise.all([node.close(), client.close()]);
    await server.close();
    await store.close();
    authority.close();
    rmSync(directory, { recursive: true });
  });

  const chunk = makeChunkId(7 as PartitionId, 'abcdefabcdef', 1);

  it('writes, reads, lists and deletes', async () => {
    const body = randomBytes(100_000);
    await client.call('chunk.write', { chunk, epoch: 1, copies: 2 }, { body });
    const read = await client.call('chunk.read', { chunk, offset: 70_000, length: 20 });
    expect(read.header).toEqual({ length: 100_000, copies: 2 });
    expect(body.subarray(70_000, 70_020).equals(read.body)).toBe(true);
    const listing = { partition: 7, after: '', count: 10 };
    expect((await node.call('chunk.list', listing)).header).toEqual({
      chunks: [{ chunk, length: 100_000, copies: 2 }],
      end: true,
    });
    await node.call('chunk.delete', { chunks: [chunk] });
    await expect(client.call('chunk.read', { chunk, offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'CHUNK_MISSING',
    });
    await expect(client.call('chunk.write', { chunk, epoch: 1 }, { body })).rejects.toMatchObject({
      code: 'CHUNK_FREED',
    });
  });

  it('serves many large reads at once', async () => {
    const large = makeChunkId(8 as PartitionId, 'abcdefabcdef', 2);
    const body = randomBytes(4 * 2 ** 20);
    await client.call('chunk.write', { chunk: large, epoch: 1 }, { body });
    const whole = { chunk: large, offset: 0, length: body.length };
    const reads = Array.from({ length: 40 }, () => client.call('chunk.read', whole));
    for (const read of await Promise.all(reads)) expect(body.equals(read.body)).toBe(true);
  });

  it('refuses malformed requests', async () => {
    const wrong: [string, unknown][] = [
      ['chunk.write', { chunk: 'x', epoch: 1 }],
      ['chunk.write', { chunk: [chunk], epoch: 1 }],
      ['chunk.write', { chunk, epoch: 1, copies: -1 }],
      ['chunk.write', {}],
      ['chunk.read', { chunk: 7, offset: 0, length: 1 }],
      ['chunk.read', { chunk, offset: 0.5, length: 1 }],
      ['chunk.read', { chunk, offset: 0, length: -1 }],
      ['chunk.read', { chunk, offset: 0, length: 2 ** 40 }],
      ['chunk.list', { partition: 16_384, after: '', count: 1 }],
      ['chunk.list', { partition: 1.5, after: '', count: 1 }],
      ['chunk.list', { partition: 3, after: chunk, count: 1 }],
      ['chunk.list', { partition: 7, after: '', count: 0 }],
      ['chunk.list', { partition: 7, after: '', count: 1.5 }],
      ['chunk.delete', { chunks: [[chunk]] }],
      ['chunk.delete', { chunks: 'all' }],
      ['chunk.delete', { chunks: ['x'] }],
      ['chunk.delete', null],
    ];
    for (const [method, header] of wrong) {
      await expect(node.call(method, header, { body: randomBytes(1) })).rejects.toMatchObject({
        code: 'BAD_REQUEST',
      });
    }
  });

  it('lets clients read and write only', async () => {
    for (const method of ['chunk.list', 'chunk.delete', 'chunk.digest'])
      await expect(client.call(method, {})).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(
      (await client.call<{ totalBytes: number }>('chunk.space', {})).header.totalBytes,
    ).toBeGreaterThan(0);
  });
});
