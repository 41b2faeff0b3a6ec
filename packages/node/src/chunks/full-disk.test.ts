/** A disk that others fill: nothing is lost, everything that is here can be read, and it passes. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockChecksums } from './record.ts';
import { scanSegment } from './scan.ts';
import { SegmentFiles } from './segment-files.ts';
import { type Append, SegmentWriter } from './segment-writer.ts';
import { ChunkStore, type ChunkStoreOptions } from './store.ts';

const MIB = 1 << 20;
let counter = 0;

function id(): ChunkId {
  return makeChunkId(7 as PartitionId, 'abcdefabcdef', counter++);
}

describe('a chunk store whose disk others fill', () => {
  let directory: string;
  let store: ChunkStore;
  let registry: Registry;

  const open = (options: Partial<ChunkStoreOptions> = {}): Promise<ChunkStore> => {
    registry = new Registry();
    return ChunkStore.open(directory, {
      registry,
      segmentBytes: MIB,
      reserveBytes: 0,
      moveBytesPerSecond: Number.POSITIVE_INFINITY,
      ...options,
    });
  };

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', directory]);
    store = await open();
  });
  afterEach(async () => {
    await store.close();
    execFileSync('umount', [directory]);
    rmSync(directory, { recursive: true });
  });

  async function liveBytes(): Promise<number> {
    const metric = registry.getSingleMetric('holdfast_chunks_live_bytes');
    return (await metric?.get())?.values[0]?.value ?? Number.NaN;
  }

  async function writeMany(count: number): Promise<{ chunk: ChunkId; bytes: Buffer }[]> {
    const chunks = Array.from({ length: count }, () => ({ chunk: id(), bytes: randomBytes(600) }));
    await Promise.all(chunks.map(({ chunk, bytes }) => store.write(chunk, bytes)));
    return chunks;
  }

  /** Takes what is left of the disk, but some bytes; answers how to give it back. */
  function fill(leftBytes = 0): () => void {
    const path = join(directory, 'other');
    const file = openSync(path, 'w');
    const { bavail, bsize } = statfsSync(directory);
    const bytes = Math.max(0, bavail * bsize - leftBytes);
    for (let at = 0; at < bytes; at += 4096) writeSync(file, Buffer.alloc(4096));
    closeSync(file);
    return () => rmSync(path);
  }

  interface Deletions {
    readonly failure: unknown;
    readonly gone: ChunkId[];
    /** Whose deletion was refused. */
    readonly refused: ChunkId | undefined;
  }

  /** Deletes one after the other until it fails. */
  async function deleteAll(chunks: readonly { chunk: ChunkId }[]): Promise<Deletions> {
    const gone: ChunkId[] = [];
    for (const { chunk } of chunks) {
      const failure = await store.delete([chunk]).catch((error: unknown) => error);
      if (failure !== undefined) return { failure, gone, refused: chunk };
      gone.push(chunk);
    }
    return { failure: undefined, gone, refused: undefined };
  }

  /** What was answered is what is so: in every view of the store. */
  async function expectAnswered({ gone, refused }: Deletions): Promise<void> {
    expect(gone.length).toBeGreaterThan(0);
    for (const chunk of gone) expect(store.isFreed(chunk)).toBe(true);
    const listed = (await store.list(7 as PartitionId, '', 10_000)).chunks.map(
      ({ chunk }) => chunk,
    );
    expect(gone.filter((chunk) => listed.includes(chunk))).toEqual([]);
    expect(listed).toContain(refused);
    expect(store.length(refused as ChunkId)).toBe(600);
  }

  it('goes on by itself when there is room again, and has counted right', async () => {
    const doomed = await writeMany(300);
    const kept = await writeMany(30);
    const all: Deletions[] = [];
    for (let round = 0; round < 3; round++) {
      const makeRoom = fill();
      const refused = { code: 'ENOSPC' };
      const deletions = await deleteAll(doomed.splice(0, 100));
      expect(deletions.failure).toMatchObject(refused);
      await expectAnswered(deletions);
      all.push(deletions);
      await expect(store.delete([id()])).rejects.toMatchObject(refused);
      for (const { chunk, bytes } of kept)
        expect(bytes.equals((await store.read(chunk, 0, 600)).bytes)).toBe(true);
      makeRoom();
      kept.push(...(await writeMany(5)));
    }
    for (const deletions of all) await expectAnswered(deletions);
    const counted = await liveBytes();
    const { digests } = store;
    await store.close();
    store = await open();
    expect(await liveBytes()).toBe(counted);
    expect(store.digests.of(7 as PartitionId)).toEqual(digests.of(7 as PartitionId));
    for (const deletions of all) await expectAnswered(deletions);
    for (const { chunk, bytes } of kept)
      expect(bytes.equals((await store.read(chunk, 0, 600)).bytes)).toBe(true);
  });

  it('closes, and opens with all that was promised once there is room', async () => {
    const doomed = await writeMany(100);
    const kept = await writeMany(10);
    const makeRoom = fill();
    const deletions = await deleteAll(doomed);
    expect(deletions.failure).toMatchObject({ code: 'ENOSPC' });
    await store.close();
    await expect(open()).rejects.toMatchObject({ code: 'ENOSPC' });
    makeRoom();
    store = await open();
    await expectAnswered(deletions);
    for (const { chunk, bytes } of kept)
      expect(bytes.equals((await store.read(chunk, 0, 600)).bytes)).toBe(true);
  });

  it('writes nothing at all where others have taken most of the reserve', async () => {
    const [one] = await writeMany(20);
    const chunk = one?.chunk ?? id();
    await store.close();
    const makeRoom = fill(10 * MIB); // which is enough for an index
    store = await open({ reserveBytes: 48 * MIB });
    const { usedBytes } = await store.space();
    await expect(store.delete([chunk])).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(store.length(chunk)).toBe(600);
    expect((await store.space()).usedBytes).toBe(usedBytes);
    makeRoom();
    await store.delete([chunk]);
    expect(store.length(chunk)).toBeUndefined();
  });

  it('leaves nothing of a batch that did not fit behind the next one', async () => {
    const files = new SegmentFiles(directory, 4, Number.POSITIVE_INFINITY);
    await files.create(50, MIB);
    const writer = new SegmentWriter({
      files,
      segmentBytes: 64 * MIB,
      segment: 50,
      offset: 0,
      ready: async () => {},
      isCurrent: () => true,
      onDurable: async () => {},
      onFlush: () => {},
    });
    const record = (bytes: Buffer): Append => {
      const blocks = blockChecksums(bytes);
      const head = { kind: 'chunk' as const, chunk: id(), length: bytes.length, copies: 0, blocks };
      return { head, bytes };
    };
    const damage: number[] = [];
    const scanned = async (): ReturnType<typeof scanSegment> => {
      const file = await openFile(files.path(50), 'r');
      try {
        return await scanSegment(file, 0, (offset) => damage.push(offset));
      } finally {
        await file.close();
      }
    };
    // Three at a time; of those that do not fit in all, one or two do.
    const batch = Array.from({ length: 12 }, () => writer.append(record(randomBytes(4 * MIB))));
    const results = await Promise.allSettled(batch);
    expect(results.at(-1)).toMatchObject({ reason: { code: 'ENOSPC' } });
    const sound = results.filter(({ status }) => status === 'fulfilled').length;
    // Nor for a start right now.
    expect((await scanned()).records).toHaveLength(sound);
    const last = record(randomBytes(100));
    await writer.append(last);
    await writer.settled();
    const { records } = await scanned();
    await files.close();
    expect(damage).toEqual([]);
    expect(records).toHaveLength(sound + 1);
    expect(records.at(-1)?.head.chunk).toBe(last.head.chunk);
    rmSync(files.path(50));
  });
});
