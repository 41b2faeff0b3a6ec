import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordBytes } from './record.ts';
import { ChunkStore, type ChunkStoreOptions } from './store.ts';

const SEGMENT_BYTES = 1 << 20;
let counter = 0;

function id(partition = 7): ChunkId {
  return makeChunkId(partition as PartitionId, 'abcdefabcdef', counter++);
}

describe('the chunk store', () => {
  let directory: string;
  let store: ChunkStore;
  const damage: unknown[] = [];
  const open = (options: Partial<ChunkStoreOptions> = {}): Promise<ChunkStore> =>
    ChunkStore.open(directory, {
      registry: new Registry(),
      segmentBytes: SEGMENT_BYTES,
      reserveBytes: 0,
      onDamage: (fields) => damage.push(fields),
      ...options,
    });
  const segment = (number: number): string => join(directory, `segment-0000000${number}`);
  const whole = async (from: ChunkStore, chunk: ChunkId): Promise<Buffer> =>
    Buffer.from((await from.read(chunk, 0, from.length(chunk) ?? 0)).bytes);

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-chunks-'));
    damage.length = 0;
    store = await open();
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  async function reopen(): Promise<void> {
    await store.close();
    store = await open();
  }

  it('gives back what was written, whole and in part, also after a restart', async () => {
    const sizes = [1, 511, 512, 65_535, 65_536, 65_537, 300_000];
    const chunks = sizes.map((bytes) => ({ chunk: id(), bytes: randomBytes(bytes) }));
    await Promise.all(chunks.map(({ chunk, bytes }) => store.write(chunk, bytes)));
    for (const round of [0, 1]) {
      for (const { chunk, bytes } of chunks) {
        expect((await whole(store, chunk)).equals(bytes)).toBe(true);
        const from = Math.floor(bytes.length / 3);
        const part = await store.read(chunk, from, bytes.length - from);
        expect(bytes.subarray(from).equals(part.bytes)).toBe(true);
        expect(part.chunkLength).toBe(bytes.length);
      }
      if (round === 0) await reopen();
    }
  });

  it('refuses ranges outside, unknown chunks, and other bytes under a known id', async () => {
    const chunk = id();
    await store.write(chunk, Buffer.from('abc'));
    await expect(store.read(chunk, 1, 3)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(store.read(id(), 0, 1)).rejects.toMatchObject({ code: 'CHUNK_MISSING' });
    await expect(store.write(chunk, Buffer.from('abd'))).rejects.toMatchObject({ code: 'CORRUPT' });
    await store.write(chunk, Buffer.from('abc'));
    expect((await whole(store, chunk)).toString()).toBe('abc');
  });

  it('lists a partition in order, page by page', async () => {
    const chunks = [id(3), id(3), id(3), id(4), id(2)];
    for (const chunk of chunks) await store.write(chunk, Buffer.from('x'));
    const first = await store.list(3 as PartitionId, '', 2);
    expect(first).toEqual({
      chunks: chunks.slice(0, 2).map((chunk) => ({ chunk, length: 1, copies: 0 })),
      end: false,
    });
    const rest = await store.list(3 as PartitionId, first.chunks[1]?.chunk ?? '', 2);
    expect(rest).toEqual({ chunks: [{ chunk: chunks[2], length: 1, copies: 0 }], end: true });
  });

  it('keeps deleted chunks deleted after a restart and after the loss of the index', async () => {
    const [kept, gone] = [id(), id()];
    await store.write(kept, randomBytes(1000));
    await store.write(gone, randomBytes(1000));
    await store.delete([gone, id()]);
    for (const lose of [false, true]) {
      await store.close();
      if (lose) rmSync(join(directory, 'index'), { recursive: true });
      store = await open();
      expect(store.length(gone)).toBeUndefined();
      expect(store.length(kept)).toBe(1000);
    }
  });

  it('makes the index anew from the segments alone', async () => {
    const chunks = Array.from({ length: 40 }, () => ({ chunk: id(), bytes: randomBytes(100_000) }));
    for (const { chunk, bytes } of chunks) await store.write(chunk, bytes);
    await store.close();
    rmSync(join(directory, 'index'), { recursive: true });
    store = await open();
    for (const { chunk, bytes } of chunks)
      expect((await whole(store, chunk)).equals(bytes)).toBe(true);
    expect(damage).toEqual([]);
  });

  it('drops a torn last record at whatever byte it was cut, and goes on writing', async () => {
    const [sound, torn] = [id(), id()];
    const bytes = randomBytes(2_000);
    await store.write(sound, bytes);
    await store.write(torn, bytes);
    await store.close();
    const start = recordBytes(bytes.length);
    const image = readFileSync(segment(1)).subarray(0, start + recordBytes(bytes.length));
    for (let cut = start; cut < start + 512 + bytes.length; cut += 97) {
      rmSync(join(directory, 'index'), { recursive: true });
      writeFileSync(segment(1), image);
      truncateSync(segment(1), cut);
      store = await open();
      expect(store.length(torn)).toBeUndefined();
      expect((await whole(store, sound)).equals(bytes)).toBe(true);
      const next = id();
      await store.write(next, Buffer.from('after the crash'));
      await reopen();
      expect((await whole(store, next)).toString()).toBe('after the crash');
      await store.close();
    }
    store = await open();
    expect(damage).toEqual([]);
  });

  it('passes over a record whose head lost any bit, tells of it, and keeps its neighbours', async () => {
    const chunks = [id(), id(), id()];
    for (const chunk of chunks) await store.write(chunk, Buffer.from(`bytes of ${chunk}`));
    await store.close();
    const image = readFileSync(segment(1)).subarray(0, 4096);
    for (let bit = 0; bit < 36 * 8; bit += 7) {
      const broken = Buffer.from(image);
      const at = 1024 + (bit >> 3);
      broken.writeUInt8(broken.readUInt8(at) ^ (1 << (bit & 7)), at);
      writeFileSync(segment(1), broken);
      rmSync(join(directory, 'index'), { recursive: true });
      damage.length = 0;
      store = await open();
      expect(damage).toHaveLength(1);
      expect(chunks.map((chunk) => store.length(chunk) === undefined)).toEqual([
        false,
        true,
        false,
      ]);
      await store.close();
    }
    store = await open();
  });

  it('never answers rotten bytes, and takes a good copy in their place', async () => {
    const chunk = id();
    const bytes = randomBytes(200_000);
    await store.write(chunk, bytes);
    await store.close();
    const image = readFileSync(segment(1));
    image.writeUInt8(image.readUInt8(512 + 70_000) ^ 1, 512 + 70_000);
    writeFileSync(segment(1), image);
    store = await open();
    await expect(store.read(chunk, 65_536, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect((await store.read(chunk, 0, 65_536)).bytes).toHaveLength(65_536);
    expect(damage).toHaveLength(1);
    await store.write(chunk, bytes);
    expect((await whole(store, chunk)).equals(bytes)).toBe(true);
    await reopen();
    expect((await whole(store, chunk)).equals(bytes)).toBe(true);
  });

  it('takes a chunk for sound again when its bytes could not be read only for a while', async () => {
    const chunk = id();
    const bytes = randomBytes(1_000);
    await store.write(chunk, bytes);
    const image = readFileSync(segment(1));
    writeFileSync(segment(1), Buffer.alloc(image.length));
    await expect(store.read(chunk, 0, 1)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect([...store.damaged]).toEqual([chunk]);
    writeFileSync(segment(1), image);
    const before = (await store.space()).usedBytes;
    await store.write(chunk, bytes);
    expect([...store.damaged]).toEqual([]);
    expect((await store.space()).usedBytes).toBe(before);
  });

  it('has everything that was acknowledged when only what was flushed survives', async () => {
    const chunk = id();
    await store.write(chunk, randomBytes(5_000));
    const survivors = mkdtempSync(join(tmpdir(), 'holdfast-chunks-'));
    copyFileSync(segment(1), join(survivors, 'segment-00000001'));
    const second = await ChunkStore.open(survivors, {
      registry: new Registry(),
      segmentBytes: SEGMENT_BYTES,
    });
    expect((await whole(second, chunk)).equals(await whole(store, chunk))).toBe(true);
    await second.close();
    rmSync(survivors, { recursive: true });
  });

  it('gives back the space of deleted chunks and keeps the others, tombstones included', async () => {
    const chunks = Array.from({ length: 60 }, () => ({ chunk: id(), bytes: randomBytes(100_000) }));
    for (const { chunk, bytes } of chunks) await store.write(chunk, bytes);
    const before = (await store.space()).usedBytes;
    const gone = chunks.filter((_, index) => index % 5 !== 0);
    await store.delete(gone.map(({ chunk }) => chunk));
    while (await store.compact());
    expect((await store.space()).usedBytes).toBeLessThan(before / 2);
    await store.close();
    rmSync(join(directory, 'index'), { recursive: true });
    store = await open();
    for (const { chunk } of gone) expect(store.length(chunk)).toBeUndefined();
    for (const { chunk, bytes } of chunks.filter((_, index) => index % 5 === 0))
      expect((await whole(store, chunk)).equals(bytes)).toBe(true);
  });

  it('refuses writes beyond its capacity and recovers when there is room', async () => {
    await store.close();
    store = await open({ capacityBytes: 150_000 });
    const first = id();
    await store.write(first, randomBytes(100_000));
    await expect(store.write(id(), randomBytes(100_000))).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(store.length(first)).toBe(100_000);
    expect(statSync(segment(1)).size).toBeLessThanOrEqual(SEGMENT_BYTES);
  });
});
