import {
  type Extent,
  type ExtentWrite,
  type InodeNumber,
  LIMITS,
  type Operation,
  ROOT_INODE,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { filesWithInline, freedChunks } from '../background.ts';
import { check } from '../check.ts';
import { REGION_BYTES } from '../content/content-editor.ts';
import { blobKey, KIND } from '../keys.ts';
import { BLOB } from '../records.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard } from '../test-shard.ts';

const MiB = REGION_BYTES;
const zero = (offset: number, length: number, allocated: boolean): ExtentWrite => ({
  offset,
  length,
  source: { kind: 'zero', allocated },
});

async function extentsOf(
  shard: TestShard,
  ino: InodeNumber,
  offset = 0,
  length: number = LIMITS.extentsViewBytesMax,
): Promise<readonly Extent[]> {
  return (await shard.view({ view: 'extents', ino, offset, length })).extents;
}

/** Extents in short: a text or chunk number, and where. */
async function shown(shard: TestShard, ino: InodeNumber): Promise<string[]> {
  return (await extentsOf(shard, ino)).map(({ offset, length, source }) => {
    const at = `${offset}+${length}`;
    if (source.kind === 'zero') return `${at} ${source.allocated ? 'zeros' : 'hole'}`;
    if (source.kind === 'inline') return `${at} ${Buffer.from(source.bytes).toString('latin1')}`;
    return `${at} chunk ${Number.parseInt(source.chunk, 16)}@${source.chunkOffset}`;
  });
}

async function freed(shard: TestShard): Promise<number[]> {
  const list = await freedChunks(shard.state, 0, 100);
  return list.map(({ chunk }) => Number.parseInt(chunk, 16));
}

function fileOf(quota: { quotaBytes?: number } = {}) {
  const shard = new TestShard(quota);
  return { shard, ino: shard.create('f').ino };
}

const write = (ino: InodeNumber, extents: readonly ExtentWrite[]): Operation => ({
  op: 'write-extents',
  ino,
  extents,
  append: false,
  killPrivileges: false,
});

describe('write-extents', () => {
  it('shows the latest of what covers a byte, and holes between', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(10, 100, 1), inlineExtent(50, 'xyz'), chunkExtent(200, 5, 2));
    expect(await shown(shard, ino)).toEqual([
      '0+10 hole',
      '10+40 chunk 1@0',
      '50+3 xyz',
      '53+57 chunk 1@43',
      '110+90 hole',
      '200+5 chunk 2@0',
    ]);
    expect(await shard.attributes(ino)).toMatchObject({ size: 205, allocatedBytes: 105 });
  });

  it('sets mtime and ctime and, when asked, clears set-id bits', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f', { mode: 0o6755 });
    const extents = [inlineExtent(0, 'a')];
    shard.do({ op: 'write-extents', ino, extents, append: false, killPrivileges: false });
    expect(await shard.attributes(ino)).toMatchObject({ mode: 0o6755, mtimeNs: shard.nowNs });
    shard.do({ op: 'write-extents', ino, extents, append: false, killPrivileges: true });
    expect(await shard.attributes(ino)).toMatchObject({ mode: 0o755, ctimeNs: shard.nowNs });
  });

  it('appends at the end of the moment, and tells where', () => {
    const { shard, ino } = fileOf();
    const append = { ...write(ino, [inlineExtent(0, 'abc')]), append: true } as Operation;
    expect(shard.do(append).offset).toBe(0);
    expect(shard.do(append)).toMatchObject({ offset: 3, attributes: { size: 6 } });
  });

  it('cuts extents at the borders of regions and shows them whole again', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(MiB - 10, 3 * MiB, 1));
    expect(await shown(shard, ino)).toEqual([
      `0+${MiB - 10} hole`,
      `${MiB - 10}+${3 * MiB} chunk 1@0`,
    ]);
    expect(await check(shard.state)).toEqual([]);
  });

  it('joins short inline writes that follow each other', async () => {
    const { shard, ino } = fileOf();
    for (let index = 0; index < 50; index++)
      shard.write(ino, inlineExtent(index * 100, 'l'.repeat(100)));
    const blobs = shard.state.entries(
      Buffer.of(0, 0, 1, KIND.blob),
      Buffer.of(0, 0, 1, KIND.blob + 1),
    );
    expect(blobs.length).toBe(2);
    expect((await extentsOf(shard, ino)).map(({ length }) => length)).toEqual([4000, 1000]);
  });

  it('puts a chunk up for collection when its last byte is covered, and not before', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 100, 1));
    shard.write(ino, chunkExtent(0, 99, 2));
    expect(await freed(shard)).toEqual([]);
    shard.write(ino, inlineExtent(99, 'x'));
    expect(await freed(shard)).toEqual([1]);
  });

  it('counts a chunk that several files and places show until the last of them is gone', async () => {
    const { shard, ino } = fileOf();
    const other = shard.create('g').ino;
    const packed = { chunk: chunkId(1), chunkLength: 300 };
    const source = { kind: 'chunk', ...packed, chunkOffset: 0 } as const;
    shard.write(ino, { offset: 0, length: 100, source }, { offset: 500, length: 100, source });
    shard.write(other, { offset: 0, length: 200, source: { ...source, chunkOffset: 100 } });
    shard.do({ op: 'set-attributes', ino, size: 0 });
    expect(await freed(shard)).toEqual([]);
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'g' });
    shard.do({ op: 'release-orphans', inos: [other] });
    expect(await freed(shard)).toEqual([1]);
  });

  it('puts a chunk up at once when a later extent of the command covers it', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 10, 1), chunkExtent(0, 10, 2));
    expect(await freed(shard)).toEqual([1]);
  });

  it('never takes a chunk back that was given up', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 10, 1));
    shard.write(ino, chunkExtent(0, 10, 2));
    expect(shard.code(write(ino, [chunkExtent(0, 10, 1)]))).toBe('CHUNK_FREED');
    const places = (await freedChunks(shard.state, 0, 10)).map(({ place }) => place);
    shard.internal({ op: 'chunks-collected', places });
    expect(await freed(shard)).toEqual([]);
    expect(await check(shard.state)).toEqual([]);
  });

  it.each<[string, (ino: InodeNumber) => Operation, string]>([
    [
      'an end beyond the largest file',
      (ino) => write(ino, [inlineExtent(LIMITS.fileBytesMax, 'a')]),
      'EFBIG',
    ],
    ['an offset beyond any number', (ino) => write(ino, [inlineExtent(2 ** 63, 'a')]), 'EFBIG'],
    [
      'more than a gibibyte',
      (ino) => write(ino, [zero(0, 2 ** 30, true), inlineExtent(0, 'a')]),
      'EINVAL',
    ],
    ['an empty range', (ino) => write(ino, [inlineExtent(0, '')]), 'BAD_REQUEST'],
    [
      'too many inline bytes',
      (ino) => write(ino, [inlineExtent(0, 'x'.repeat(32_769))]),
      'BAD_REQUEST',
    ],
    [
      'a range outside its chunk',
      (ino) => write(ino, [{ ...chunkExtent(0, 10, 1), length: 11 }]),
      'BAD_REQUEST',
    ],
    ['a directory', () => write(ROOT_INODE, [inlineExtent(0, 'a')]), 'EISDIR'],
    ['an inode that is gone', () => write(99 as InodeNumber, [inlineExtent(0, 'a')]), 'ESTALE'],
  ])('refuses %s', (_, make, code) => {
    const { shard, ino } = fileOf();
    expect(shard.code(make(ino))).toBe(code);
  });

  it('refuses a chunk that is known with another length', () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 10, 1));
    expect(shard.code(write(ino, [chunkExtent(0, 11, 1)]))).toBe('EINVAL');
  });

  it('publishes all ranges or none', async () => {
    const { shard, ino } = fileOf();
    const extents = [inlineExtent(0, 'abc'), inlineExtent(LIMITS.fileBytesMax, 'd')];
    expect(shard.code(write(ino, extents))).toBe('EFBIG');
    expect((await shard.attributes(ino)).size).toBe(0);
    expect(await filesWithInline(shard.state, undefined, 10)).toEqual([]);
  });

  it('refuses what exceeds the quota, takes what only replaces, and gives space back', async () => {
    const { shard, ino } = fileOf({ quotaBytes: 100 });
    shard.write(ino, chunkExtent(0, 90, 1));
    expect(shard.code(write(ino, [chunkExtent(90, 11, 2)]))).toBe('EDQUOT');
    expect(shard.code(write(ino, [chunkExtent(80, 20, 3)]))).toBe('ok');
    expect(
      shard.code({
        op: 'fallocate',
        ino,
        mode: 'allocate',
        keepSize: true,
        offset: 500,
        length: 1,
      }),
    ).toBe('EDQUOT');
    shard.do({ op: 'set-attributes', ino, size: 50 });
    expect(await shard.view({ view: 'space' })).toMatchObject({ usedBytes: 50, quotaBytes: 100 });
    shard.do({ op: 'set-quota', quotaBytes: 10, quotaInodes: 0 });
    expect(shard.code({ op: 'set-attributes', ino, size: 20 })).toBe('ok');
    expect(shard.code(write(ino, [inlineExtent(0, 'within')]))).toBe('ok');
    expect(shard.code(write(ino, [inlineExtent(30, 'x')]))).toBe('EDQUOT');
  });

  it('asks to wait when a region is in too many pieces, until they have moved into a chunk', () => {
    const { shard, ino } = fileOf();
    let code = 'ok';
    for (let batch = 0; code === 'ok' && batch < 5; batch++) {
      const extents = Array.from({ length: 2500 }, (_, index) =>
        inlineExtent(batch * 5000 + index * 2, 'x'),
      );
      code = shard.code(write(ino, extents));
    }
    expect(code).toBe('OVERLOADED');
  });
});

describe('truncation', () => {
  it('reads as zeros where a file is cut and grown again', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 100, 1));
    shard.do({ op: 'set-attributes', ino, size: 10 });
    shard.do({ op: 'set-attributes', ino, size: 100 });
    expect(await shown(shard, ino)).toEqual(['0+10 chunk 1@0', '10+90 hole']);
  });

  it('costs the same for a file of any size: what it drops is gone at once, deleted in slices', async () => {
    const { shard, ino } = fileOf();
    for (let index = 0; index < 200; index++)
      shard.write(ino, chunkExtent(index * MiB, 10, index + 1));
    shard.do({ op: 'set-attributes', ino, size: 0 });
    expect(await shard.attributes(ino)).toMatchObject({ size: 0, allocatedBytes: 0 });
    expect(await shard.view({ view: 'space' })).toMatchObject({ usedBytes: 0 });
    shard.do({ op: 'set-attributes', ino, size: 200 * MiB });
    expect(await shard.viewCode({ view: 'seek', ino, offset: 0, whence: 'data' })).toBe('ENXIO');
    expect(await freed(shard)).toEqual([]);
    expect(await shard.reclaimAll(50)).toBeGreaterThan(3);
    expect((await freedChunks(shard.state, 0, 1000)).length).toBe(200);
    expect(await check(shard.state)).toEqual([]);
  });

  it('cuts off the far part of a file in one step and never shows it again', async () => {
    const { shard, ino } = fileOf();
    for (let index = 0; index < 200; index++)
      shard.write(ino, chunkExtent(index * MiB, 10, index + 1));
    shard.do({ op: 'set-attributes', ino, size: 5 * MiB + 5 });
    shard.do({ op: 'set-attributes', ino, size: 200 * MiB });
    shard.write(ino, inlineExtent(100 * MiB + 2, 'new'));
    expect(
      (await shard.view({ view: 'seek', ino, offset: 5 * MiB + 5, whence: 'data' })).offset,
    ).toBe(100 * MiB + 2);
    expect(await check(shard.state)).toEqual([]);
    await shard.reclaimAll(7);
    expect((await shard.attributes(ino)).allocatedBytes).toBe(5 * 10 + 5 + 3);
    expect((await freedChunks(shard.state, 0, 1000)).length).toBe(194);
    expect(await check(shard.state)).toEqual([]);
  });

  it('leaves no region behind when a file that was cut short is deleted before they were', async () => {
    const { shard, ino } = fileOf();
    for (let index = 0; index < 100; index++)
      shard.write(ino, chunkExtent(index * MiB, 10, index + 1));
    shard.do({ op: 'set-attributes', ino, size: 10 });
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    shard.do({ op: 'release-orphans', inos: [ino] });
    expect(await shard.view({ view: 'space' })).toMatchObject({ usedBytes: 0 });
    await shard.reclaimAll();
    expect((await freedChunks(shard.state, 0, 1000)).length).toBe(100);
    expect(await check(shard.state)).toEqual([]);
  });

  it('asks to wait when too many cuts of one file are not cleaned up yet', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(2 ** 45, 10, 1));
    const punch = (index: number): Operation => ({
      op: 'fallocate',
      ino,
      mode: 'punch',
      keepSize: true,
      offset: index * 100 * MiB + MiB,
      length: 70 * MiB,
    });
    for (let index = 0; index < 64; index++) expect(shard.code(punch(index))).toBe('ok');
    expect(shard.code(punch(64))).toBe('OVERLOADED');
    await shard.reclaimAll();
    expect(shard.code(punch(64))).toBe('ok');
  });
});

describe('fallocate', () => {
  const fallocate = (
    ino: InodeNumber,
    mode: 'allocate' | 'punch' | 'zero',
    [offset, length]: [number, number],
    keepSize = false,
  ): Operation => ({ op: 'fallocate', ino, mode, keepSize, offset, length });

  it('allocates holes, keeps data, and grows the size unless told not to', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(5, 'abc'));
    shard.do(fallocate(ino, 'allocate', [0, 10]));
    expect(await shown(shard, ino)).toEqual(['0+5 zeros', '5+3 abc', '8+2 zeros']);
    shard.do(fallocate(ino, 'allocate', [0, 50], true));
    expect(await shard.attributes(ino)).toMatchObject({ size: 10, allocatedBytes: 50 });
  });

  it('punches holes without changing the size', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 2 * MiB + 10, 1));
    shard.do(fallocate(ino, 'punch', [5, 2 * MiB], true));
    expect(await shown(shard, ino)).toEqual([
      '0+5 chunk 1@0',
      `5+${2 * MiB} hole`,
      `${2 * MiB + 5}+5 chunk 1@${2 * MiB + 5}`,
    ]);
    expect((await shard.attributes(ino)).size).toBe(2 * MiB + 10);
  });

  it('zeroes a range and keeps it allocated', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 20, 1));
    shard.do(fallocate(ino, 'zero', [5, 100]));
    expect(await shown(shard, ino)).toEqual(['0+5 chunk 1@0', '5+100 zeros']);
    expect(await shard.attributes(ino)).toMatchObject({ size: 105, allocatedBytes: 105 });
  });

  it('refuses empty, too long and far ranges', () => {
    const { shard, ino } = fileOf();
    expect(shard.code(fallocate(ino, 'allocate', [0, 0]))).toBe('EINVAL');
    expect(shard.code(fallocate(ino, 'allocate', [0, 2 ** 30 + 1]))).toBe('EINVAL');
    expect(shard.code(fallocate(ino, 'punch', [0, 2 ** 50], true))).toBe('ok');
    expect(shard.code(fallocate(ino, 'zero', [LIMITS.fileBytesMax, 1]))).toBe('EFBIG');
    expect(shard.code(fallocate(ROOT_INODE, 'zero', [0, 1]))).toBe('EISDIR');
  });
});

describe('move-inline', () => {
  async function move(
    shard: TestShard,
    ino: InodeNumber,
    contentVersion: number,
    extents: ExtentWrite[],
  ) {
    shard.internal({ op: 'move-inline', ino, contentVersion, extents });
    expect(await check(shard.state)).toEqual([]);
    return shown(shard, ino);
  }

  it('moves inline bytes into a chunk and takes the file off the list', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(0, 'abc'), inlineExtent(10, 'def'));
    expect(await filesWithInline(shard.state, undefined, 10)).toEqual([{ volume: 1, ino }]);
    const before = await shard.attributes(ino);
    const found = await move(shard, ino, 1, [chunkExtent(0, 13, 5)]);
    expect(found).toEqual(['0+3 chunk 5@0', '3+7 hole', '10+3 chunk 5@10']);
    expect(await filesWithInline(shard.state, undefined, 10)).toEqual([]);
    expect(await shard.attributes(ino)).toEqual(before);
  });

  it('leaves bytes alone that were written since', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(0, 'x'.repeat(5000)));
    shard.write(ino, inlineExtent(100, 'NEW'));
    const found = await move(shard, ino, 1, [chunkExtent(0, 5000, 5)]);
    expect(found).toEqual(['0+100 chunk 5@0', '100+3 NEW', `103+4897 chunk 5@103`]);
  });

  it('leaves holes and chunks alone that came since', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(0, 'x'.repeat(30)));
    shard.write(ino, chunkExtent(10, 5, 1));
    shard.do({ op: 'fallocate', ino, mode: 'punch', keepSize: true, offset: 20, length: 5 });
    expect(await move(shard, ino, 1, [chunkExtent(0, 30, 5)])).toEqual([
      '0+10 chunk 5@0',
      '10+5 chunk 1@0',
      '15+5 chunk 5@15',
      '20+5 hole',
      '25+5 chunk 5@25',
    ]);
  });

  it('takes fragments of chunks over where nothing changed since', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 10, 1), chunkExtent(10, 10, 2), inlineExtent(20, 'abc'));
    expect(await move(shard, ino, 1, [chunkExtent(0, 23, 5)])).toEqual(['0+23 chunk 5@0']);
    expect(await freed(shard)).toEqual([1, 2]);
  });

  it('takes over what is still as it was seen, though the region has changed', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, chunkExtent(0, 100, 1), inlineExtent(20, 'abc'), zero(90, 10, true));
    const seen = (await extentsOf(shard, ino)).filter(({ source }) => source.kind !== 'inline');
    const { source } = chunkExtent(0, 100, 1);
    if (source.kind !== 'chunk') throw new TypeError('a chunk');
    const shifted = { offset: 70, length: 5, source: { ...source, chunkOffset: 5 } };
    shard.write(ino, inlineExtent(50, 'NEW'), chunkExtent(60, 5, 2), shifted);
    const extents = [chunkExtent(0, 100, 5)];
    shard.internal({ op: 'move-inline', ino, contentVersion: 1, extents, seen });
    expect(await check(shard.state)).toEqual([]);
    expect(await shown(shard, ino)).toEqual([
      '0+50 chunk 5@0',
      '50+3 NEW',
      '53+7 chunk 5@53',
      '60+5 chunk 2@0',
      '65+5 chunk 5@65',
      // Of a chunk that was seen, but not here.
      '70+5 chunk 1@5',
      '75+25 chunk 5@75',
    ]);
  });

  it('fills holes that were seen as such, whatever the quota; not what was data then', async () => {
    const { shard, ino } = fileOf({ quotaBytes: 10 });
    shard.write(ino, inlineExtent(0, 'abc'), inlineExtent(10, 'def'), inlineExtent(20, 'ghi'));
    const seen = [zero(3, 7, false), zero(13, 7, false)];
    shard.do({ op: 'fallocate', ino, mode: 'punch', keepSize: true, offset: 11, length: 4 });
    shard.write(ino, inlineExtent(5, 'X'));
    const extents = [chunkExtent(0, 23, 5)];
    shard.internal({ op: 'move-inline', ino, contentVersion: 1, extents, seen });
    expect(await check(shard.state)).toEqual([]);
    expect(await shown(shard, ino)).toEqual([
      '0+5 chunk 5@0',
      '5+1 X',
      '6+5 chunk 5@6',
      '11+2 hole',
      '13+10 chunk 5@13',
    ]);
    expect(shard.code(write(ino, [inlineExtent(11, 'Y')]))).toBe('EDQUOT');
  });

  it('gives a chunk up of which nothing is used', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(0, 'abc'));
    shard.do({ op: 'set-attributes', ino, size: 0 });
    expect(await move(shard, ino, 1, [chunkExtent(0, 3, 5)])).toEqual([]);
    expect(await freed(shard)).toEqual([5]);
  });

  it('deletes the bytes that it moved', async () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(0, 'abc'));
    const key = blobKey(shard.volume, ino, 0, 0);
    expect(Buffer.from(BLOB.decode(shard.state.get(key) as Uint8Array).bytes).toString()).toBe(
      'abc',
    );
    await move(shard, ino, 1, [chunkExtent(0, 3, 5)]);
    expect(shard.state.get(key)).toBeUndefined();
  });
});
