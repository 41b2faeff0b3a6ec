import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SegmentFiles } from './segment-files.ts';
import { ChunkStore, type ChunkStoreOptions } from './store.ts';

const SEGMENT_BYTES = 1 << 20;
let counter = 0;

interface Sample {
  readonly chunk: ChunkId;
  readonly bytes: Buffer;
}

function samples(count: number, bytes: number): Sample[] {
  return Array.from({ length: count }, () => ({
    chunk: makeChunkId((counter % 5) as PartitionId, 'abcdefabcdef', counter++),
    bytes: randomBytes(bytes),
  }));
}

describe('chunks that come and go', () => {
  let directory: string;
  let store: ChunkStore;
  let registry: Registry;
  const damage: unknown[] = [];
  const open = (options: Partial<ChunkStoreOptions> = {}): Promise<ChunkStore> => {
    registry = new Registry();
    return ChunkStore.open(directory, {
      registry,
      segmentBytes: SEGMENT_BYTES,
      reserveBytes: 0,
      moveBytesPerSecond: Number.POSITIVE_INFINITY,
      onDamage: (fields) => damage.push(fields),
      ...options,
    });
  };

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-chunks-'));
    damage.length = 0;
    store = await open();
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  /** What was counted along the way must be what is found. */
  async function reopen(how: 'whole' | 'without index'): Promise<void> {
    await store.close();
    const before = await liveBytes();
    if (how === 'without index') rmSync(join(directory, 'index'), { recursive: true });
    store = await open();
    expect(await liveBytes()).toBe(before);
  }

  async function liveBytes(): Promise<number> {
    const metric = registry.getSingleMetric('holdfast_chunks_live_bytes');
    return (await metric?.get())?.values[0]?.value ?? Number.NaN;
  }

  async function writeAll(chunks: readonly Sample[]): Promise<void> {
    await Promise.all(chunks.map(({ chunk, bytes }) => store.write(chunk, bytes)));
  }

  async function expectWhole(chunks: readonly Sample[]): Promise<void> {
    for (const { chunk, bytes } of chunks) {
      const read = await store.read(chunk, 0, bytes.length);
      expect(bytes.equals(read.bytes)).toBe(true);
    }
  }

  function present(chunks: readonly Sample[]): ChunkId[] {
    return chunks
      .filter(({ chunk }) => store.length(chunk) !== undefined)
      .map(({ chunk }) => chunk);
  }

  it('keep how many copies they are to have', async () => {
    const [one, all] = samples(2, 10) as [Sample, Sample];
    await store.write(one.chunk, one.bytes, 1);
    await store.write(all.chunk, all.bytes);
    for (const how of ['whole', 'without index'] as const) {
      await reopen(how);
      expect((await store.read(one.chunk, 0, 1)).copies).toBe(1);
      expect((await store.read(all.chunk, 0, 1)).copies).toBe(0);
    }
    await expect(store.write(one.chunk, one.bytes, 256)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
  });

  it('do not come back once deleted, even those that were never here', async () => {
    const chunks = samples(4, 1_000);
    await writeAll(chunks.slice(0, 2));
    await store.delete(chunks.slice(1).map(({ chunk }) => chunk));
    for (const how of ['whole', 'whole', 'without index'] as const) {
      expect(present(chunks)).toEqual([chunks[0]?.chunk]);
      for (const { chunk, bytes } of chunks.slice(1)) {
        expect(store.isFreed(chunk)).toBe(true);
        await expect(store.write(chunk, bytes)).rejects.toMatchObject({ code: 'CHUNK_FREED' });
      }
      await reopen(how);
    }
  });

  it('are gone when a copy was on its way at their deletion, before or behind it', async () => {
    const chunks = samples(20, 100_000);
    const writes = chunks.map(({ chunk, bytes }, index) =>
      index % 2 === 0
        ? store.write(chunk, bytes)
        : Promise.resolve().then(() => store.write(chunk, bytes)),
    );
    const settled = Promise.allSettled(writes);
    await store.delete(chunks.map(({ chunk }) => chunk));
    await settled;
    expect(present(chunks)).toEqual([]);
    await reopen('without index');
    expect(present(chunks)).toEqual([]);
  });

  it('may come back once released to other peers', async () => {
    const chunks = samples(3, 1_000);
    await writeAll(chunks);
    await store.release(chunks.slice(1).map(({ chunk }) => chunk));
    await reopen('without index');
    expect(present(chunks)).toEqual([chunks[0]?.chunk]);
    await writeAll(chunks.slice(1, 2));
    await store.release(chunks.slice(1, 2).map(({ chunk }) => chunk));
    await writeAll(chunks.slice(1, 2));
    for (const how of ['whole', 'without index'] as const) {
      await reopen(how);
      expect(present(chunks)).toEqual(chunks.slice(0, 2).map(({ chunk }) => chunk));
    }
    await expectWhole(chunks.slice(0, 2));
  });

  it('are stored once when written twice at the same time', async () => {
    const [sample] = samples(1, 100_000) as [Sample];
    const before = (await store.space()).usedBytes;
    await Promise.all([1, 2, 3].map(() => store.write(sample.chunk, sample.bytes)));
    expect((await store.space()).usedBytes - before).toBeLessThan(110_000);
    const other = randomBytes(100_000);
    const [next] = samples(1, 1) as [Sample];
    const results = await Promise.allSettled([
      store.write(next.chunk, sample.bytes),
      store.write(next.chunk, other),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  it('stay deleted when compaction moves them at that moment', async () => {
    for (let round = 0; round < 8; round++) {
      const chunks = samples(250, 4_000);
      await writeAll(chunks);
      await writeAll(samples(3, 400_000)); // the segment before is complete
      const doomed = chunks.filter((_, i) => i % 5 !== 0);
      await store.delete(doomed.splice(0, 120).map(({ chunk }) => chunk));
      let isOver = false;
      const compacting = store.compact().finally(() => {
        isOver = true;
      });
      while (!isOver && doomed.length > 0)
        await store.delete(doomed.splice(0, 1).map(({ chunk }) => chunk));
      await compacting;
      await store.delete(doomed.map(({ chunk }) => chunk));
      const kept = chunks.filter((_, i) => i % 5 === 0);
      for (const how of ['whole', 'without index'] as const) {
        expect(present(chunks)).toEqual(kept.map(({ chunk }) => chunk));
        await reopen(how);
      }
      expect(present(chunks)).toEqual(kept.map(({ chunk }) => chunk));
      await expectWhole(kept);
    }
  });

  it('stay deleted when their tombstone outlives its segment, but not theirs', async () => {
    const old = samples(16, 60_000);
    const passing = samples(16, 60_000);
    for (const { chunk, bytes } of old) await store.write(chunk, bytes);
    for (const { chunk, bytes } of passing.slice(0, 8)) await store.write(chunk, bytes);
    await store.delete(old.slice(0, 2).map(({ chunk }) => chunk));
    for (const { chunk, bytes } of passing.slice(8)) await store.write(chunk, bytes);
    await writeAll(samples(2, 600_000));
    await store.delete(passing.map(({ chunk }) => chunk));
    while (await store.compact());
    const left = readdirSync(directory);
    expect(left).toContain('segment-00000001');
    expect(left).not.toContain('segment-00000002');
    await reopen('without index');
    expect(present([...old, ...passing])).toEqual(old.slice(2).map(({ chunk }) => chunk));
  });

  it('are known to be missing when their segment is lost', async () => {
    const [first] = samples(1, 900_000) as [Sample];
    const second = samples(1, 900_000);
    await writeAll([first]);
    await writeAll(second);
    await store.close();
    rmSync(join(directory, 'segment-00000001'));
    store = await open();
    expect(present([first, ...second])).toEqual(second.map(({ chunk }) => chunk));
    await writeAll([first]);
    await expectWhole([first, ...second]);
  });

  it('leave nothing behind in the end, tombstones neither', async () => {
    for (let round = 0; round < 6; round++) {
      const chunks = samples(100, 40_000);
      await writeAll(chunks);
      await store.delete(chunks.map(({ chunk }) => chunk));
      while (await store.compact());
    }
    expect((await store.space()).usedBytes).toBeLessThan(2.5 * SEGMENT_BYTES);
    expect(
      readdirSync(directory).filter((name) => name.startsWith('segment-')).length,
    ).toBeLessThan(4);
    await reopen('without index');
    expect([...store.digests.nonEmpty()]).toEqual([]);
  });

  it('are all there when the index is from before the last changes', async () => {
    const early = samples(30, 60_000);
    await writeAll(early);
    await store.close();
    const aside = mkdtempSync(join(tmpdir(), 'holdfast-index-'));
    cpSync(join(directory, 'index'), aside, { recursive: true });
    store = await open({ checkpointBytes: 200_000 });
    const late = samples(60, 60_000);
    await writeAll(late);
    const gone = [...early, ...late].filter((_, i) => i % 3 !== 0);
    await store.delete(gone.map(({ chunk }) => chunk));
    while (await store.compact());
    await store.close();
    rmSync(join(directory, 'index'), { recursive: true });
    cpSync(aside, join(directory, 'index'), { recursive: true });
    store = await open();
    const kept = [...early, ...late].filter((_, i) => i % 3 === 0);
    expect(present([...early, ...late])).toEqual(kept.map(({ chunk }) => chunk));
    await expectWhole(kept);
    rmSync(aside, { recursive: true });
  });

  it('whose copy is bad are known, hold their segment, and are healed by a write', async () => {
    const chunks = samples(30, 60_000);
    const [bad] = chunks as [Sample];
    await writeAll([bad]);
    await writeAll(chunks.slice(1));
    await store.close();
    const path = join(directory, 'segment-00000001');
    const image = readFileSync(path);
    const at = image.indexOf(bad.bytes);
    image.writeUInt8(image.readUInt8(at + 5) ^ 4, at + 5);
    writeFileSync(path, image);
    store = await open();
    await expect(store.read(bad.chunk, 0, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect([...store.damaged]).toEqual([bad.chunk]);
    await store.delete(chunks.slice(1, -1).map(({ chunk }) => chunk));
    while (await store.compact());
    expect(readdirSync(directory)).toContain('segment-00000001');
    await store.write(bad.chunk, bad.bytes);
    expect([...store.damaged]).toEqual([]);
    while (await store.compact());
    expect(readdirSync(directory)).not.toContain('segment-00000001');
    for (const how of ['whole', 'without index'] as const) {
      await expectWhole([bad, chunks.at(-1) as Sample]);
      await reopen(how);
    }
  });

  it('of the last flush may be torn anywhere, which is no damage; those before may not', async () => {
    const before = samples(1, 3_000);
    const flush = samples(5, 3_000);
    await writeAll(before);
    await writeAll(samples(1, 3_000)); // room is looked at: what follows goes together
    await writeAll(flush);
    await store.close();
    const path = join(directory, 'segment-00000001');
    const image = readFileSync(path);
    for (const [what, at] of [
      ['bytes', image.indexOf(flush[2]?.bytes ?? '')],
      ['head', image.indexOf(flush[2]?.bytes ?? '') - 512],
    ] as const) {
      const torn = Buffer.from(image);
      torn.fill(0, at, at + 512);
      writeFileSync(path, torn);
      rmSync(join(directory, 'index'), { recursive: true });
      store = await open();
      expect([what, damage, [...store.damaged]]).toEqual([what, [], []]);
      expect(present(flush)).not.toContain(flush[2]?.chunk);
      await expectWhole(before);
      await writeAll([flush[2] as Sample]);
      await reopen('without index');
      await expectWhole([...before, flush[2] as Sample]);
      expect([what, damage, [...store.damaged]]).toEqual([what, [], []]);
      await store.close();
    }
    store = await open();
  });

  it('are counted by partition, also across deletions and restarts', async () => {
    const chunks = samples(20, 100);
    await writeAll(chunks);
    await writeAll(chunks);
    await store.delete(chunks.slice(0, 7).map(({ chunk }) => chunk));
    await store.release(chunks.slice(7, 9).map(({ chunk }) => chunk));
    const look = (): unknown => [0, 1, 2, 3, 4].map((p) => store.digests.of(p as PartitionId));
    const before = look();
    for (const how of ['whole', 'without index'] as const) {
      await reopen(how);
      expect(look()).toEqual(before);
    }
  });

  describe('on a small disk', () => {
    const reserveBytes = 1 << 20;
    const stored: Sample[] = [];

    beforeEach(async () => {
      await store.close();
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', directory]);
      store = await open({ reserveBytes });
      stored.length = 0;
    });
    afterEach(async () => {
      await store.close();
      execFileSync('umount', [directory]);
      store = await open();
    });

    async function fill(): Promise<unknown> {
      for (const sample of samples(100, 300_000)) {
        const failure = await store
          .write(sample.chunk, sample.bytes)
          .catch((error: unknown) => error);
        if (failure !== undefined) return failure;
        stored.push(sample);
      }
      return undefined;
    }

    it('are refused when it is full, damage nothing, and have room again after deletions', async () => {
      expect(await fill()).toMatchObject({ code: 'ENOSPC' });
      expect(stored.length).toBeGreaterThan(15);
      await expectWhole(stored);
      const gone = stored.splice(0, stored.length - 4);
      await store.delete(gone.map(({ chunk }) => chunk));
      while (await store.compact());
      const next = samples(4, 300_000);
      await writeAll(next);
      await reopen('without index');
      await expectWhole([...stored, ...next]);
      expect(present(gone)).toEqual([]);
    });

    it('survive that others fill it', async () => {
      stored.push(...samples(2, 300_000));
      await writeAll(stored);
      const other = join(directory, 'other');
      expect(() => writeFileSync(other, Buffer.alloc(16 << 20))).toThrow('ENOSPC');
      for (let i = 0; i < 10; i++) await fill();
      await expectWhole(stored);
      await store.close();
      rmSync(other);
      store = await open({ reserveBytes });
      await expectWhole(stored);
      await writeAll(samples(2, 300_000));
    });
  });
});

describe('segment files', () => {
  it('are open a bounded number at a time, and never closed under whoever uses them', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-segments-'));
    const files = new SegmentFiles(directory, 2);
    const numbers = [1, 2, 3, 4, 5, 6];
    for (const number of numbers) writeFileSync(files.path(number), String(number));
    const read = (number: number): Promise<string> =>
      files.use(number, async (file) => {
        const bytes = Buffer.alloc(1);
        for (let i = 0; i < 5; i++) await file.read(bytes, 0, 1, 0);
        return bytes.toString();
      });
    const calls = Array.from({ length: 60 }, (_, i) => read(1 + (i % 6)));
    expect(await Promise.all(calls)).toEqual(calls.map((_, i) => String(1 + (i % 6))));
    for (const number of numbers) await read(number);
    const opened = readdirSync('/proc/self/fd').length;
    await files.close();
    expect(opened - readdirSync('/proc/self/fd').length).toBe(2);
    await expect(files.use(9, async () => {})).rejects.toMatchObject({ code: 'ENOENT' });
    rmSync(directory, { recursive: true });
  });
});
