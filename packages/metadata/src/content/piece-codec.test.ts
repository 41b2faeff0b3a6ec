import { HoldfastError } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { chunkId } from '../test-shard.ts';
import { packPieces, unpackPieces } from './piece-codec.ts';
import type { Piece } from './pieces.ts';

const PIECES: readonly Piece[] = [
  { at: 1, length: 2, source: { kind: 'zero' } },
  { at: 3, length: 0xffffd, source: { kind: 'chunk', chunk: chunkId(0xab), offset: 4_194_303 } },
  {
    at: 0x100000,
    length: 1,
    source: { kind: 'blob', blob: 2 ** 47, offset: 32_767, version: Number.MAX_SAFE_INTEGER },
  },
];

const GOLDEN =
  '000000010000000200' +
  '00000003000ffffd01000000000000000000000000000000ab003fffff' +
  '001000000000000102800000000000' +
  '00007fff1fffffffffffff';

describe('pieces in bytes', () => {
  it('have the form that is on disk', () => {
    expect(Buffer.from(packPieces(PIECES)).toString('hex')).toBe(GOLDEN);
    expect(unpackPieces(Buffer.from(GOLDEN, 'hex'))).toEqual(PIECES);
    expect(unpackPieces(packPieces([]))).toEqual([]);
  });

  it('are refused when they end too early or are of no known kind', () => {
    const refused = (bytes: Uint8Array): string => {
      try {
        return `taken: ${unpackPieces(bytes).length}`;
      } catch (error) {
        return error instanceof HoldfastError ? error.code : String(error);
      }
    };
    const whole = Buffer.from(GOLDEN, 'hex');
    const ends = [0, 9, 38, whole.length];
    for (let length = 1; length < whole.length; length++) {
      const wanted = ends.includes(length) ? `taken: ${ends.indexOf(length)}` : 'CORRUPT';
      expect(refused(whole.subarray(0, length))).toBe(wanted);
    }
    const unknown = Buffer.from(whole);
    unknown[8] = 3;
    expect(refused(unknown)).toBe('CORRUPT');
  });
});
