import type { ChunkId } from '@holdfast/protocol';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkId } from '../test-shard.ts';
import { holes, type Piece, pieceEndingAt, placed, tallyOf, within, without } from './pieces.ts';

const chunk = (at: number, length: number, id: number, offset = 0): Piece => ({
  at,
  length,
  source: { kind: 'chunk', chunk: chunkId(id), offset },
});
const zero = (at: number, length: number): Piece => ({ at, length, source: { kind: 'zero' } });
const blob = (at: number, length: number, offset: number, version = 1): Piece => ({
  at,
  length,
  source: { kind: 'blob', blob: 1, offset, version },
});

describe('pieces', () => {
  it('are cut where a new one covers them', () => {
    expect(placed([chunk(0, 10, 1)], chunk(3, 4, 2))).toEqual([
      chunk(0, 3, 1),
      chunk(3, 4, 2),
      chunk(7, 3, 1, 7),
    ]);
  });

  it('become one with neighbours that continue them, and only those', () => {
    expect(placed([chunk(0, 3, 1), chunk(7, 3, 1, 7)], chunk(3, 4, 1, 3))).toEqual([
      chunk(0, 10, 1),
    ]);
    expect(placed([zero(0, 3), zero(5, 1)], zero(3, 2))).toEqual([zero(0, 6)]);
    expect(placed([chunk(0, 3, 1)], chunk(3, 3, 1, 4))).toHaveLength(2);
    expect(placed([chunk(0, 3, 1)], chunk(3, 3, 2, 3))).toHaveLength(2);
    expect(placed([blob(0, 3, 0)], blob(3, 3, 3))).toEqual([blob(0, 6, 0)]);
    expect(placed([blob(0, 3, 0)], blob(3, 3, 3, 2))).toHaveLength(2);
    expect(placed([chunk(0, 3, 1)], zero(3, 3))).toHaveLength(2);
  });

  it('give what lies in a range, and what lies outside', () => {
    const list = [chunk(0, 4, 1), zero(6, 4)];
    expect(within(list, 2, 7)).toEqual([chunk(2, 2, 1, 2), zero(6, 1)]);
    expect(without(list, 2, 7)).toEqual([chunk(0, 2, 1), zero(7, 3)]);
    expect(holes(list, 2, 12)).toEqual([
      [4, 6],
      [10, 12],
    ]);
  });

  it('find the one that ends at a place', () => {
    const list = [chunk(0, 4, 1), zero(4, 2)];
    expect(pieceEndingAt(list, 4)).toEqual(chunk(0, 4, 1));
    expect(pieceEndingAt(list, 5)).toBeUndefined();
    expect(pieceEndingAt(list, 0)).toBeUndefined();
  });

  it('count bytes by kind and chunk, and blobs once', () => {
    const list = [chunk(0, 4, 1), zero(4, 2), chunk(6, 1, 1, 9), blob(7, 1, 0), blob(9, 1, 5)];
    expect(tallyOf(list)).toEqual({
      bytes: 9,
      inlineBytes: 2,
      chunks: new Map([[chunkId(1), 5]]),
      blobs: new Set([1]),
    });
  });

  it('equal an array of bytes under random changes', () => {
    const change = fc.record({
      at: fc.nat(40),
      length: fc.integer({ min: 1, max: 15 }),
      id: fc.nat(4),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        let list: Piece[] = [];
        const bytes: (string | undefined)[] = [];
        for (const { at, length, id } of changes) {
          for (let index = 0; index < length; index++) {
            bytes[at + index] = id === 0 ? undefined : `${chunkId(id)} ${at + index}`;
          }
          list =
            id === 0 ? without(list, at, at + length) : placed(list, chunk(at, length, id, at));
        }
        const shown: (string | undefined)[] = [];
        let end = 0;
        for (const piece of list) {
          expect(piece.at).toBeGreaterThanOrEqual(end);
          end = piece.at + piece.length;
          const { chunk: id, offset } = piece.source as { chunk: ChunkId; offset: number };
          for (let index = 0; index < piece.length; index++) {
            shown[piece.at + index] = `${id} ${offset + index}`;
          }
        }
        for (let at = 0; at < 60; at++) expect(shown[at]).toBe(bytes[at]);
      }),
    );
  });
});
