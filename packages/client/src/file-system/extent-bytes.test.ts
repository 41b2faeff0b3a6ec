import type { ChunkId, Extent } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { bringAhead, bytesBetween, type ChunkSource } from './extent-bytes.ts';

const CHUNK = 'c'.repeat(32) as ChunkId;

/** A chunk of the bytes 0, 1, 2 …, shown in pieces of three; what was wanted ahead is noted. */
function chunks(): ChunkSource & { readonly wanted: (readonly number[])[] } {
  const wanted: (readonly number[])[] = [];
  return {
    wanted,
    read: (_chunk, chunkLength, offset, length) => {
      const whole = Uint8Array.from({ length: chunkLength }, (_, i) => i);
      const bytes = whole.subarray(offset, offset + length);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += 3) pieces.push(bytes.subarray(at, at + 3));
      return Promise.resolve(pieces);
    },
    ahead: (_chunk, _chunkLength, offset, length) => wanted.push([offset, length]),
  };
}

/** Bytes 100 … 119: four inline, ten of a chunk from its byte 5, a hole. */
const EXTENTS: readonly Extent[] = [
  { offset: 100, length: 4, source: { kind: 'inline', bytes: Uint8Array.of(71, 72, 73, 74) } },
  {
    offset: 104,
    length: 10,
    source: { kind: 'chunk', chunk: CHUNK, chunkOffset: 5, chunkLength: 20 },
  },
  { offset: 114, length: 6, source: { kind: 'zero', allocated: false } },
];
const BYTES = [71, 72, 73, 74, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 0, 0, 0, 0, 0];

describe('bytes of extents', () => {
  it('are right wherever a stretch begins and ends', async () => {
    const source = chunks();
    for (let from = 100; from <= 120; from++) {
      for (let to = from; to <= 120; to++) {
        const bytes = Buffer.concat(await bytesBetween(source, EXTENTS, from, to));
        expect(bytes).toEqual(Buffer.from(BYTES.slice(from - 100, to - 100)));
      }
    }
  });

  it('may be zeros without end', async () => {
    const hole: Extent = { offset: 0, length: 2 ** 22, source: { kind: 'zero', allocated: true } };
    const pieces = await bytesBetween(chunks(), [hole], 1, 2 ** 22);
    expect(pieces.reduce((sum, piece) => sum + piece.length, 0)).toBe(2 ** 22 - 1);
  });

  it.each([
    ['before', EXTENTS.slice(1)],
    ['between', [...EXTENTS.slice(0, 1), ...EXTENTS.slice(2)]],
    ['behind', EXTENTS.slice(0, 2)],
  ])('are refused when an extent is missing %s', async (_where, extents) => {
    await expect(bytesBetween(chunks(), extents, 100, 120)).rejects.toMatchObject({
      code: 'CORRUPT',
    });
  });

  it('are refused when a chunk is shorter than its extent', async () => {
    const source = { ...chunks(), read: () => Promise.resolve([Uint8Array.of(1, 2)]) };
    await expect(bytesBetween(source, EXTENTS, 104, 110)).rejects.toMatchObject({
      code: 'CORRUPT',
    });
  });

  it('are brought ahead where they are in chunks', () => {
    const source = chunks();
    bringAhead(source, EXTENTS, 106, 200);
    expect(source.wanted).toEqual([[7, 8]]);
  });
});
