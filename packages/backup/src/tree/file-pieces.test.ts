import type { ByteRange, SourceFile } from '@holdfast/tree';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Chunker, gearTable } from '../format/chunker.ts';
import { filePieces, type KnownBlob, type Piece } from './file-pieces.ts';

const MIB = 1024 * 1024;
const chunker = new Chunker(gearTable('test'), { min: 64, average: 256, max: 1024 });

function fileOf(
  bytes: Uint8Array,
  known: { changed?: readonly ByteRange[]; data?: readonly ByteRange[] } = {},
): SourceFile & { readonly readAt: ByteRange[] } {
  const readAt: ByteRange[] = [];
  return {
    readAt,
    size: bytes.length,
    read: async (into, offset) => {
      const part = bytes.subarray(offset, offset + into.length);
      into.set(part);
      readAt.push({ offset, length: part.length });
      return part.length;
    },
    dataRanges: async () => known.data,
    changedRanges: async () => known.changed,
    close: async () => {},
  };
}

async function piecesOf(file: SourceFile, known?: readonly KnownBlob[]): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for await (const piece of filePieces(file, chunker, known)) pieces.push(piece);
  return pieces;
}

/** The bytes that the pieces stand for; blobs of the parent by their id, which here is their offset. */
function joined(pieces: readonly Piece[], parent: Uint8Array): Buffer {
  return Buffer.concat(
    pieces.map((piece) => {
      if (piece.what === 'bytes') return piece.bytes;
      if (piece.what === 'zeros') return new Uint8Array(piece.length);
      return parent.subarray(Number(piece.id), Number(piece.id) + piece.length);
    }),
  );
}

function knownOf(pieces: readonly Piece[]): KnownBlob[] {
  let at = 0;
  return pieces.map((piece) => {
    const length = piece.what === 'bytes' ? piece.bytes.length : piece.length;
    at += length;
    return { id: String(at - length), length };
  });
}

const noise = (seed: number, length: number): Uint8Array => {
  let state = seed * 2 + 1;
  return new Uint8Array(length).map(() => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
    return state >>> 16;
  });
};

describe('the pieces of a file', () => {
  it('join to the file, within the bounds of the cutter', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat({ max: 20_000 }), async (seed, length) => {
        const bytes = noise(seed, length);
        const pieces = await piecesOf(fileOf(bytes));
        expect(joined(pieces, bytes).equals(bytes)).toBe(true);
        const sizes = knownOf(pieces).map(({ length: size }) => size);
        expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(1024);
        expect(Math.min(64, ...sizes.slice(0, -1))).toBe(64);
      }),
      { numRuns: 50 },
    );
  });

  it('are cut at the same places behind an insertion', async () => {
    const bytes = noise(1, 50_000);
    const before = await piecesOf(fileOf(bytes));
    const after = await piecesOf(fileOf(Buffer.concat([bytes.subarray(0, 7), bytes])));
    const texts = (pieces: Piece[]): string[] =>
      pieces.map((piece) =>
        piece.what === 'bytes' ? Buffer.from(piece.bytes).toString('hex') : '',
      );
    const old = new Set(texts(before));
    expect(texts(after).filter((text) => !old.has(text)).length).toBeLessThan(10);
  });

  it('take from the parent all that no change touches, whatever was written, cut off or added', async () => {
    const range = fc.record({
      offset: fc.nat({ max: 12_000 }),
      length: fc.integer({ min: 1, max: 900 }),
    });
    const change = fc.array(range, { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 10_000 }),
        fc.nat({ max: 12_000 }),
        change,
        async (from, to, writes) => {
          const parent = noise(1, from);
          const bytes = new Uint8Array(to);
          bytes.set(parent.subarray(0, to));
          const changed = [...writes];
          // Whatever lies beyond the old end is a change too.
          if (to > from) changed.push({ offset: from, length: to - from });
          for (const { offset, length } of changed)
            bytes.set(
              noise(offset + 9, Math.max(0, Math.min(length, to - offset))),
              Math.min(offset, to),
            );
          changed.sort((a, b) => a.offset - b.offset);
          const known = knownOf(await piecesOf(fileOf(parent)));
          const file = fileOf(bytes, { changed });
          const pieces = await piecesOf(file, known);
          expect(joined(pieces, parent).equals(bytes)).toBe(true);
          const read = file.readAt.reduce((sum, { length }) => sum + length, 0);
          const touched = changed.reduce((sum, { length }) => sum + length + 2048, 0);
          expect(read).toBeLessThanOrEqual(Math.min(to, touched + 1024));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('are cut as if all was read where a file was appended to, however often', async () => {
    const bytes = noise(1, 5_000);
    let known: KnownBlob[] = [];
    for (let size = 0; size < bytes.length; size += 100) {
      const changed = [{ offset: size, length: 100 }];
      const file = fileOf(bytes.subarray(0, size + 100), { changed });
      const pieces = await piecesOf(file, known);
      known = knownOf(pieces);
      expect(known).toEqual(knownOf(await piecesOf(fileOf(bytes.subarray(0, size + 100)))));
      expect(Math.min(...file.readAt.map(({ offset }) => offset))).toBeGreaterThanOrEqual(
        size - 1024,
      );
    }
  });

  it('are zeros where a hole is long, and not read there', async () => {
    const bytes = new Uint8Array(20 * MIB);
    bytes.set(noise(1, 1000), 0);
    bytes.set(noise(2, 1000), 5 * MIB);
    bytes.set(noise(3, 1000), 5 * MIB + 100_000);
    bytes.set(noise(4, 1000), 19 * MIB);
    const data = [0, 5 * MIB, 5 * MIB + 100_000, 19 * MIB].map((offset) => ({
      offset,
      length: 4096,
    }));
    const file = fileOf(bytes, { data });
    const pieces = await piecesOf(file);
    expect(joined(pieces, bytes).equals(bytes)).toBe(true);
    const read = file.readAt.reduce((sum, { length }) => sum + length, 0);
    expect(read).toBeLessThan(MIB + 120_000);
    const allHole = fileOf(new Uint8Array(9 * MIB), { data: [] });
    expect((await piecesOf(allHole)).map(({ what }) => what)).toEqual(['zeros', 'zeros', 'zeros']);
    expect(allHole.readAt).toEqual([]);
  });
});
