import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChunkIndex } from './chunk-index.ts';
import { ChunkStore } from './store.ts';

describe('an index that is damaged', () => {
  let directory: string;
  let store: ChunkStore;
  let told: unknown[];
  let kept: { chunk: ChunkId; bytes: Buffer }[];
  let gone: ChunkId[];
  const open = (): Promise<ChunkStore> =>
    ChunkStore.open(directory, {
      registry: new Registry(),
      segmentBytes: 1 << 20,
      reserveBytes: 0,
      onDamage: (fields) => told.push(fields),
    });

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-index-'));
    told = [];
    store = await open();
    const chunks = Array.from({ length: 300 }, (_, i) => ({
      chunk: makeChunkId((i % 7) as PartitionId, 'abcdefabcdef', i),
      bytes: randomBytes(5_000),
    }));
    await Promise.all(chunks.map(({ chunk, bytes }) => store.write(chunk, bytes)));
    gone = chunks.splice(0, 20).map(({ chunk }) => chunk);
    await store.delete(gone);
    kept = chunks;
    // What was in its log goes into a table when it is opened again.
    await store.close();
    store = await open();
    await store.close();
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  function files(suffix: RegExp): string[] {
    const found = readdirSync(join(directory, 'index')).filter((name) => suffix.test(name));
    expect(found.length).toBeGreaterThan(0);
    return found.map((name) => join(directory, 'index', name));
  }

  function rot(path: string): void {
    const image = readFileSync(path);
    for (let at = 100; at < image.length * 0.8; at += 300)
      image.writeUInt8(image.readUInt8(at) ^ 0xff, at);
    writeFileSync(path, image);
  }

  const wrecks: Record<string, () => unknown> = {
    'its list of files overwritten': () => writeFileSync(files(/^CURRENT/)[0] ?? '', 'MANIFEST'),
    'the name of its list of files lost': () => rmSync(files(/^CURRENT/)[0] ?? ''),
    'its manifest lost': () => rmSync(files(/^MANIFEST/)[0] ?? ''),
    'its tables lost': () => files(/ldb$/).map((path) => rmSync(path)),
    'its tables cut': () => files(/ldb$/).map((path) => writeFileSync(path, 'short')),
    'its tables rotten': () => files(/ldb$/).map(rot),
  };

  it.each(Object.keys(wrecks))('is made anew from the segments: %s', async (name) => {
    wrecks[name]?.();
    told = [];
    store = await open();
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({ aside: join(directory, 'index-damaged') });
    expect(readdirSync(join(directory, 'index-damaged')).length).toBeGreaterThan(0);
    for (const { chunk, bytes } of kept)
      expect(bytes.equals((await store.read(chunk, 0, bytes.length)).bytes)).toBe(true);
    for (const chunk of gone) expect(store.isFreed(chunk)).toBe(true);
    await store.close();
    store = await open();
    expect(told).toHaveLength(1);
    expect(kept.every(({ chunk }) => store.length(chunk) === 5_000)).toBe(true);
  });

  it('does not open itself again for a change that comes when it is closed', async () => {
    const index = await ChunkIndex.open(join(directory, 'index'));
    await index.close();
    const late = index.write([{ chunk: kept[0]?.chunk as ChunkId }]);
    await expect(late).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    store = await open();
    expect(told).toEqual([]);
  });

  it('is left alone when another process has it', async () => {
    store = await open();
    const before = readdirSync(join(directory, 'index'));
    await expect(open()).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
    expect(readdirSync(join(directory, 'index'))).toEqual(before);
    expect(store.length(kept[0]?.chunk as ChunkId)).toBe(5_000);
  });
});
