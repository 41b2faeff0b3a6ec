import type { InodeNumber, VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { chunkExtent, inlineExtent, TestShard } from '../test-shard.ts';
import { REGION_BYTES } from './content-editor.ts';
import { inlineFile, inlineRegion, nextInlineRegion } from './inline-look.ts';

function fileOf() {
  const shard = new TestShard();
  const { ino } = shard.create('f');
  return { shard, ino, file: { volume: shard.volume, ino } };
}

async function regionsOf({ shard, file }: ReturnType<typeof fileOf>): Promise<number[]> {
  const found: number[] = [];
  for (let from = 0; ; ) {
    const region = await nextInlineRegion(shard.state, file, from);
    if (region === undefined) return found;
    found.push(region);
    from = region + 1;
  }
}

describe('a look at inline bytes', () => {
  it('reads those that a clone shows of its snapshot', () => {
    const { shard, ino } = fileOf();
    shard.write(ino, inlineExtent(0, 'of the snapshot'));
    shard.do({ op: 'create-snapshot', name: 's' });
    const volume = 2 as VolumeNumber;
    const bounds = { quotaBytes: 0, quotaInodes: 0 };
    const from = shard.volume;
    shard.do({ op: 'clone-volume', name: 'c', from, snapshot: 's', ...bounds }, { volume });
    const extents = [inlineExtent(3, 'THE')];
    const write = {
      op: 'write-extents',
      ino,
      extents,
      append: false,
      killPrivileges: false,
    } as const;
    shard.do(write, { volume });
    const look = inlineRegion(shard.state, { volume, ino }, 0)!;
    const bytes = look.inline.map((piece) => Buffer.from(look.read(piece)).toString());
    expect(bytes.join('')).toBe('of THE snapshot');
  });

  it('finds the regions that have some, and passes over the others', async () => {
    const world = fileOf();
    const { shard, ino } = world;
    shard.write(ino, chunkExtent(0, 3 * REGION_BYTES, 1));
    shard.write(ino, inlineExtent(REGION_BYTES + 5, 'ab'), inlineExtent(9 * REGION_BYTES, 'cd'));
    shard.write(shard.create('other').ino, inlineExtent(4 * REGION_BYTES, 'no'));
    expect(await regionsOf(world)).toEqual([1, 9]);
  });

  it('shows the inline pieces of a region with their age, and their bytes', () => {
    const { shard, ino, file } = fileOf();
    shard.write(ino, inlineExtent(REGION_BYTES, 'x'.repeat(5000)));
    shard.write(ino, inlineExtent(REGION_BYTES + 10, 'NEW'));
    shard.write(ino, chunkExtent(REGION_BYTES + 100, 50, 1));
    const look = inlineRegion(shard.state, file, 1)!;
    expect(look).toMatchObject({ contentVersion: 3, pieceCount: 5, chunkCount: 1 });
    const shown = look.inline.map((piece) => {
      const bytes = look.read(piece);
      expect(bytes.length).toBe(piece.length);
      return [piece.offset - REGION_BYTES, piece.length, piece.version, bytes[0]];
    });
    const x = 'x'.charCodeAt(0);
    expect(shown).toEqual([
      [0, 10, 1, x],
      [10, 3, 2, 'N'.charCodeAt(0)],
      [13, 87, 1, x],
      [150, 4850, 1, x],
    ]);
  });

  it('tells when a file changed last, and nothing of what is no file', () => {
    const { shard, ino, file } = fileOf();
    shard.write(ino, inlineExtent(0, 'abc'));
    expect(inlineFile(shard.state, file)).toEqual({
      contentVersion: 1,
      ctimeNs: shard.nowNs,
      inlineBytes: 3,
    });
    const gone = { ...file, ino: 99 as InodeNumber };
    expect(inlineFile(shard.state, gone)).toBeUndefined();
    expect(inlineRegion(shard.state, gone, 0)).toBeUndefined();
    const directory = { ...file, ino: shard.mkdir('d') };
    expect(inlineFile(shard.state, directory)).toBeUndefined();
  });

  it('sees nothing in what was cut off and is not deleted yet', () => {
    const { shard, ino, file } = fileOf();
    shard.write(ino, chunkExtent(0, 1, 1), inlineExtent(200 * REGION_BYTES, 'abc'));
    shard.do({ op: 'set-attributes', ino, size: 1 });
    shard.do({ op: 'set-attributes', ino, size: 300 * REGION_BYTES });
    expect(inlineRegion(shard.state, file, 200)?.inline ?? []).toEqual([]);
  });
});
