import {
  barOf,
  type ChunkId,
  INTERNAL_SESSION,
  LIMITS,
  type Operation,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { check } from '../check.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard } from '../test-shard.ts';
import { view } from '../views.ts';

/** Number of a chunk that was made in a second. */
const madeAt = (second: number, number = 1): number => second * 2 ** 32 + number;

const SHARD = 0 as VolumeNumber;

function shardWithFile() {
  const shard = new TestShard();
  const { ino } = shard.create('f');
  const writing = (chunk: number): Operation => ({
    op: 'write-extents',
    ino,
    extents: [chunkExtent(0, 10, chunk)],
    append: false,
    killPrivileges: false,
  });
  const bar = (before: number) => shard.internal({ op: 'bar-chunks', before });
  const look = (...chunks: number[]) => {
    const wanted = { view: 'known-chunks', chunks: chunks.map(chunkId) } as const;
    return view(shard.state, { session: INTERNAL_SESSION, volume: SHARD, view: wanted });
  };
  return { shard, ino, writing, bar, look };
}

describe('a bar', () => {
  it('keeps chunks out that were made before it and are named only now, and says so', () => {
    const { shard, writing, bar } = shardWithFile();
    bar(100);
    const refused = shard.run(writing(madeAt(99)));
    expect(refused).toMatchObject({ ok: false, code: 'CHUNK_FREED' });
    expect(barOf(refused.ok ? {} : refused.detail)).toBe(100);
    expect(shard.code(writing(madeAt(100)))).toBe('ok');
  });

  it('lets what is known be named again, and nothing that was given up', () => {
    const { shard, writing, bar } = shardWithFile();
    shard.do(writing(madeAt(5)));
    bar(100);
    expect(shard.code(writing(madeAt(5)))).toBe('ok');
    shard.do(writing(madeAt(100)));
    const late = shard.run(writing(madeAt(5)));
    expect(late).toMatchObject({ ok: false, code: 'CHUNK_FREED' });
    expect(barOf(late.ok ? {} : late.detail)).toBe(0);
  });

  it('holds for what the leader moves', async () => {
    const { shard, ino, bar } = shardWithFile();
    shard.write(ino, inlineExtent(0, '0123456789'));
    const { contentVersion } = await shard.view({ view: 'extents', ino, offset: 0, length: 10 });
    bar(100);
    const moving = (chunk: number): string =>
      shard.code(
        { op: 'move-inline', ino, contentVersion, extents: [chunkExtent(0, 10, chunk)] },
        { session: INTERNAL_SESSION },
      );
    expect(moving(madeAt(99))).toBe('CHUNK_FREED');
    expect(moving(madeAt(100))).toBe('ok');
  });

  it('is never lowered', () => {
    const { shard, writing, bar } = shardWithFile();
    bar(100);
    bar(50);
    expect(shard.code(writing(madeAt(99)))).toBe('CHUNK_FREED');
  });

  it('answers a request that comes again as it did before', () => {
    const { shard, writing, bar } = shardWithFile();
    const done = shard.command(writing(madeAt(5)), { answeredBelow: 0 });
    const first = shard.run(done.operation, done);
    bar(100);
    expect(shard.run(done.operation, done)).toEqual(first);
    const late = shard.command(writing(madeAt(6)), { answeredBelow: 0 });
    const refused = shard.run(late.operation, late);
    bar(200);
    expect(shard.run(late.operation, late)).toEqual(refused);
  });

  it('is put up by the cluster only, for the whole shard, and is a second', async () => {
    const { shard, bar } = shardWithFile();
    expect(shard.code({ op: 'bar-chunks', before: 1 })).toBe('FORBIDDEN');
    for (const before of [-1, 0.5, 2 ** 32]) expect(() => bar(before)).toThrow(/BAD_REQUEST/);
    bar(2 ** 32 - 1);
    expect(await check(shard.state)).toEqual([]);
  });
});

describe('the look for known chunks', () => {
  it('finds those of every volume, given up or not, and no others', async () => {
    const { shard, writing, bar, look } = shardWithFile();
    const other = 9 as VolumeNumber;
    const owner = { mode: 0o755, uid: 0, gid: 0, quotaBytes: 0, quotaInodes: 0 };
    shard.do({ op: 'init-volume', name: 'w', ...owner }, { volume: other });
    shard.do(writing(1));
    shard.do(writing(2));
    const place = { parent: 1, name: 'g', kind: 'file', rdev: 0, target: '' } as const;
    const made = { op: 'create', ...place, ...owner, exclusive: true } as unknown as Operation;
    const ino = shard.do(made, { volume: other }).attributes?.ino as number;
    shard.do({ ...writing(3), ino } as Operation, { volume: other });
    bar(7);
    const { known, barredBefore } = await look(4, 3, 2, 2, 1, 0);
    expect([...known].sort()).toEqual([1, 2, 3].map(chunkId));
    expect(barredBefore).toBe(7);
    expect(await look()).toEqual({ known: [], barredBefore: 7 });
  });

  it('finds those of what was there before a rollback, and of a snapshot that a clone shows', async () => {
    const { shard, writing, look } = shardWithFile();
    shard.do(writing(1));
    shard.do({ op: 'create-snapshot', name: 's' });
    shard.do(writing(2));
    const quotas = { quotaBytes: 0, quotaInodes: 0 };
    const clone = { op: 'clone-volume', name: 'c', from: shard.volume, snapshot: 's' } as const;
    shard.internal({ op: 'rollback-volume', snapshot: 's', keep: 'before' });
    shard.do({ ...clone, ...quotas } as Operation, {
      volume: 9 as VolumeNumber,
      session: INTERNAL_SESSION,
    });
    expect((await look(1, 2, 3)).known).toEqual([1, 2].map(chunkId));
  });

  it('goes through more records than one scan gives, and up to the last number of a tree', async () => {
    const { shard, ino, look } = shardWithFile();
    const count = 2_500;
    for (let from = 0; from < count; from += 500) {
      const extents = Array.from({ length: 500 }, (_, i) =>
        chunkExtent((from + i) * 2, 2, from + i),
      );
      shard.write(ino, ...extents);
    }
    expect((await look(0, 1_023, 1_024, 2_048, count - 1, count)).known).toHaveLength(5);
    const last = Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0x20), Buffer.alloc(16, 0x11)]);
    shard.state.put(last, Buffer.of(1));
    const chunk = '1'.repeat(32) as ChunkId;
    const wanted = { view: 'known-chunks', chunks: [chunk] } as const;
    const asked = { session: INTERNAL_SESSION, volume: SHARD, view: wanted };
    expect((await view(shard.state, asked)).known).toEqual([chunk]);
  });

  it('concludes nothing from a state that is taken away meanwhile', async () => {
    const { shard, bar, look } = shardWithFile();
    bar(7);
    const scan = shard.state.scan.bind(shard.state);
    shard.state.scan = (...range) => {
      for (const [key] of shard.state.entries()) shard.state.delete(key);
      return scan(...range);
    };
    expect(await look(1)).toEqual({ known: [], barredBefore: 0 });
  });

  it('does not say that a chunk never comes which came while it looked, before the bar', async () => {
    const { shard, writing, bar, look } = shardWithFile();
    const scan = shard.state.scan.bind(shard.state);
    shard.state.scan = async function* (...range) {
      yield* scan(...range);
      shard.state.scan = scan;
      shard.do({ ...writing(1), ino: shard.create('g').ino } as Operation);
      bar(7);
    };
    shard.do(writing(2));
    expect(await look(0)).toEqual({ known: [], barredBefore: 0 });
    expect(await look(0, 1)).toEqual({ known: [chunkId(1)], barredBefore: 7 });
  });

  it('is for the cluster itself, and of bounded size', async () => {
    const { shard, look } = shardWithFile();
    expect(await shard.viewCode({ view: 'known-chunks', chunks: [] })).toBe('FORBIDDEN');
    const many = Array.from({ length: LIMITS.knownChunksMax + 1 }, () => 1);
    await expect(look(...many)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});
