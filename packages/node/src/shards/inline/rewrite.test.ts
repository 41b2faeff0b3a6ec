import type { ChunkId, Extent } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { assembled, chunkRangesOf, rewritesOf } from './rewrite.ts';

const A = 'a'.padStart(32, '0') as ChunkId;
const B = 'b'.padStart(32, '0') as ChunkId;

/** Extents one behind the other from 0: a text, a hole's length, or a part of a chunk. */
function extentsOf(...parts: (string | number | [ChunkId, number, number])[]): Extent[] {
  let offset = 0;
  return parts.map((part): Extent => {
    const at = offset;
    if (typeof part === 'string') {
      offset += part.length;
      const bytes = Buffer.from(part);
      return { offset: at, length: part.length, source: { kind: 'inline', bytes } };
    }
    if (typeof part === 'number') {
      offset += part;
      return { offset: at, length: part, source: { kind: 'zero', allocated: false } };
    }
    const [chunk, chunkOffset, length] = part;
    offset += length;
    const source = { kind: 'chunk', chunk, chunkOffset, chunkLength: 4_000_000 } as const;
    return { offset: at, length, source };
  });
}

function shown(extents: Extent[], extentsMax = 100, isEvery = false): string[] {
  return rewritesOf(extents, { extentsMax, isEvery }).map(
    (part) => `${part.offset}+${part.length} of ${part.extents.length}`,
  );
}

describe('rewriting a region in many pieces', () => {
  it('takes everything between long holes, short ones included', () => {
    expect(shown(extentsOf(10, 'ab', 100, [A, 0, 5], 4096, 'c', 4095, 'd', 50))).toEqual([
      '10+107 of 3',
      '4213+4097 of 3',
    ]);
  });

  it('leaves alone what is in one piece, unless every chunk is to go', () => {
    const parts = extentsOf([A, 0, 500], 5000, [B, 0, 7], 3);
    expect(shown(parts)).toEqual([]);
    expect(shown(parts, 100, true)).toEqual(['0+500 of 1', '5500+7 of 1']);
    expect(shown(extentsOf('ab'))).toEqual(['0+2 of 1']);
    expect(shown(extentsOf(7))).toEqual([]);
  });

  it('is cut into parts that a command can hold', () => {
    const parts = extentsOf('a', [A, 1, 1], 'b', [A, 3, 1], 'c');
    expect(shown(parts, 2)).toEqual(['0+2 of 2', '2+2 of 2', '4+1 of 1']);
  });

  it('reads near parts of a chunk at once', () => {
    const parts = extentsOf([A, 100, 10], 'x', [B, 0, 5], [A, 300, 10], 'y', [A, 300_000, 10]);
    expect(chunkRangesOf(parts)).toEqual([
      { chunk: A, from: 100, to: 310 },
      { chunk: A, from: 300_000, to: 300_010 },
      { chunk: B, from: 0, to: 5 },
    ]);
  });

  it('puts the bytes together', () => {
    const [part] = rewritesOf(extentsOf(5, 'ab', 2, [A, 7, 3], 'c'), { extentsMax: 100 });
    const bytes = assembled(part!, (chunk, at, length) => {
      expect(chunk).toBe(A);
      return Buffer.from('0123456789xyz').subarray(at, at + length);
    });
    expect(Buffer.from(bytes).toString()).toBe('ab\0\x00789c');
  });
});
