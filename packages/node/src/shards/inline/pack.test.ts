import { type ChunkId, type InodeNumber, LIMITS, type VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { InlineLimits } from './limits.ts';
import { Pack } from './pack.ts';

const CHUNK = '0'.repeat(32) as ChunkId;

function packOf(limits: Partial<InlineLimits> = {}) {
  const usual = { filesPerChunk: 10, partsPerChunk: 10, rangesPerPart: 10 };
  return new Pack(1 as VolumeNumber, { ...usual, ...limits });
}

function seen(ino: number, offset: number, text: string, contentVersion = 1) {
  return { ino: ino as InodeNumber, contentVersion, offset, bytes: Buffer.from(text) };
}

/** Commands in short: inode and version, then offset+length@place. */
function shown(pack: Pack): string[] {
  return pack.operations(CHUNK).map(({ ino, contentVersion, extents }) => {
    const ranges = extents.map(({ offset, length, source }) => {
      const isRight = source.kind === 'chunk' && source.chunkLength === pack.length;
      return `${offset}+${length}@${isRight ? source.chunkOffset : 'wrong'}`;
    });
    return `${ino} v${contentVersion} ${ranges.join(' ')}`;
  });
}

describe('pack', () => {
  it('lays bytes one behind the other, neighbours as one range, a command a file', () => {
    const pack = packOf();
    for (const bytes of [seen(1, 0, 'ab'), seen(1, 2, 'cd'), seen(1, 9, 'e'), seen(2, 0, 'fg')]) {
      expect(pack.add(bytes)).toBe(true);
    }
    expect(Buffer.from(pack.body()).toString()).toBe('abcdefg');
    expect(shown(pack)).toEqual(['1 v1 0+4@0 9+1@4', '2 v1 0+2@5']);
  });

  it('keeps what was seen at different versions apart', () => {
    const pack = packOf();
    pack.add(seen(1, 0, 'ab', 3));
    pack.add(seen(1, 2, 'cd', 4));
    expect(shown(pack)).toEqual(['1 v3 0+2@0', '1 v4 2+2@2']);
  });

  it('names what was seen beside inline bytes in the same command, up to its bound', () => {
    const pack = packOf({ rangesPerPart: 3 });
    const hole = (offset: number) =>
      ({ offset, length: 1, source: { kind: 'zero', allocated: false } }) as const;
    pack.add(seen(1, 0, 'plain'));
    pack.add({ ...seen(1, 10, 'ab'), beside: [hole(10)] });
    pack.add({ ...seen(1, 20, 'cd'), beside: [hole(20), hole(21)] });
    pack.add({ ...seen(1, 30, 'ef'), beside: [hole(30)] });
    const named = pack.operations(CHUNK).map((operation) => operation.seen?.map((e) => e.offset));
    expect(named).toEqual([undefined, [10, 20, 21], [30]]);
  });

  it('takes no more than a chunk holds', () => {
    const pack = packOf();
    expect(pack.add(seen(1, 0, 'x'.repeat(LIMITS.chunkBytesMax - 1)))).toBe(true);
    expect(pack.add(seen(1, LIMITS.chunkBytesMax, 'yz'))).toBe(false);
    expect(pack.add(seen(1, LIMITS.chunkBytesMax, 'y'))).toBe(true);
    expect(pack.length).toBe(LIMITS.chunkBytesMax);
  });

  it('lets few files share a chunk', () => {
    const pack = packOf({ filesPerChunk: 2 });
    const files = [1, 2, 3, 1, 2];
    const added = files.map((ino, index) => pack.add(seen(ino, index, 'x')));
    expect(added).toEqual([true, true, false, true, true]);
  });

  it('bounds the ranges of a command and the commands of a chunk', () => {
    const pack = packOf({ partsPerChunk: 2, rangesPerPart: 2 });
    const added = [0, 10, 20, 30, 40].map((offset) => pack.add(seen(1, offset, 'x')));
    expect(added).toEqual([true, true, true, true, false]);
    expect(shown(pack)).toEqual(['1 v1 0+1@0 10+1@1', '1 v1 20+1@2 30+1@3']);
    expect(pack.add(seen(2, 0, 'x'))).toBe(false);
  });
});
