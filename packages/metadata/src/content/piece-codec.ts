/**
 * A piece as stored: an array [at, length, kind, ...].
 *
 * | kind | source | then                             |
 * |------|--------|----------------------------------|
 * | 0    | zero   |                                  |
 * | 1    | chunk  | id (16 bytes), offset            |
 * | 2    | blob   | number, offset, content version  |
 */
import { type ChunkId, HoldfastError } from '@holdfast/protocol';
import type { Piece } from './pieces.ts';

/** A piece to its stored form. */
export function packPiece({ at, length, source }: Piece): unknown[] {
  if (source.kind === 'zero') return [at, length, 0];
  if (source.kind === 'chunk') {
    return [at, length, 1, Buffer.from(source.chunk, 'hex'), source.offset];
  }
  return [at, length, 2, source.blob, source.offset, source.version];
}

/** The stored form to a piece. Throws CORRUPT for an unknown kind. */
export function unpackPiece(stored: unknown[]): Piece {
  const [at, length, kind] = stored as [number, number, number];
  if (kind === 0) return { at, length, source: { kind: 'zero' } };
  if (kind === 1) {
    const [, , , id, offset] = stored as [number, number, number, Uint8Array, number];
    const chunk = Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('hex') as ChunkId;
    return { at, length, source: { kind: 'chunk', chunk, offset } };
  }
  if (kind === 2) {
    const [, , , blob, offset, version] = stored as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return { at, length, source: { kind: 'blob', blob, offset, version } };
  }
  throw new HoldfastError('CORRUPT', `a piece of kind ${kind} is unknown`);
}
