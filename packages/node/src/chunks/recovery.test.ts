import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockChecksums, encodeHead, RECORD_ALIGNMENT } from './record.ts';
import { ChunkStore } from './store.ts';

let counter = 0;

function id(): ChunkId {
  return makeChunkId(7 as PartitionId, 'abcdefabcdef', counter++);
}

describe('the end of the segment that grew', () => {
  let directory: string;
  let store: ChunkStore;
  const damage: unknown[] = [];

  const open = async (): Promise<void> => {
    store = await ChunkStore.open(directory, {
      registry: new Registry(),
      segmentBytes: 1 << 20,
      reserveBytes: 0,
      onDamage: (fields) => damage.push(fields),
    });
  };
  const segment = (): string => join(directory, 'segment-00000001');

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-end-'));
    damage.length = 0;
    await open();
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  async function add(bytes = randomBytes(3_000)): Promise<{ chunk: ChunkId; bytes: Buffer }> {
    const chunk = id();
    await store.write(chunk, bytes);
    return { chunk, bytes };
  }

  function dropIndex(): void {
    rmSync(join(directory, 'index'), { recursive: true });
  }

  /** Closes the store, changes the segment's bytes and opens it again. */
  async function meanwhile(change: (image: Buffer) => void): Promise<void> {
    await store.close();
    const image = readFileSync(segment());
    change(image);
    writeFileSync(segment(), image);
    await open();
  }

  it.each(['head', 'bytes'])(
    'keeps a last record whose %s rotted, if it was known: told, not written over, healed by a copy',
    async (what) => {
      const sound = await add();
      const rotten = await add();
      let from = 0;
      await meanwhile((image) => {
        from = image.indexOf(rotten.bytes) - RECORD_ALIGNMENT;
        const at = from + (what === 'head' ? 40 : RECORD_ALIGNMENT + 40);
        image.writeUInt8(image.readUInt8(at) ^ 1, at);
      });
      expect(damage).toEqual([expect.objectContaining({ segment: 1, offset: from })]);
      expect([...store.damaged]).toEqual([rotten.chunk]);
      const before = readFileSync(segment()).subarray(from, from + 3_512);
      const next = await add();
      expect(
        readFileSync(segment())
          .subarray(from, from + 3_512)
          .equals(before),
      ).toBe(true);
      await store.write(rotten.chunk, rotten.bytes);
      expect([...store.damaged]).toEqual([]);
      for (const { chunk, bytes } of [sound, rotten, next])
        expect(bytes.equals((await store.read(chunk, 0, 3_000)).bytes)).toBe(true);
    },
  );

  it('holds no records in the bytes of one that was torn', async () => {
    const bytes = Buffer.from('of nobody');
    const foreign = id();
    const blocks = blockChecksums(bytes);
    const head = {
      kind: 'chunk' as const,
      chunk: foreign,
      length: bytes.length,
      copies: 0,
      blocks,
    };
    const image = Buffer.concat([encodeHead(head, true), bytes, Buffer.alloc(600)]);
    const torn = await add(Buffer.concat([image.subarray(0, 1024), image, randomBytes(3_000)]));
    await store.close();
    dropIndex(); // as a crash leaves it: not in the index
    const file = readFileSync(segment());
    file.fill(0, file.indexOf(torn.bytes) + torn.bytes.length - 100);
    writeFileSync(segment(), file);
    await open();
    expect(store.length(torn.chunk)).toBeUndefined();
    const small = await add(randomBytes(10));
    await store.close();
    dropIndex();
    await open();
    expect(store.length(foreign)).toBeUndefined();
    expect(store.length(small.chunk)).toBe(10);
    expect(damage).toEqual([]);
  });
});
