/**
 * The pieces of a region as stored: one byte string, piece after piece, big-endian.
 *
 * | bytes | what                                                          |
 * |-------|---------------------------------------------------------------|
 * | 4     | at                                                            |
 * | 4     | length                                                        |
 * | 1     | kind: 0 zero, 1 chunk, 2 blob                                 |
 * | 16, 4 | chunk: id, offset                                             |
 * | 6, 4, 7 | blob: number, offset, content version                       |
 *
 * A region of small synced writes has hundreds of pieces and is rewritten with each of them: this
 * form takes a fraction of the time of nested MessagePack arrays.
 */
import { type ChunkId, HoldfastError } from '@holdfast/protocol';
import type { Piece, PieceSource } from './pieces.ts';

const HEAD_BYTES = 9;
const KIND = { zero: 0, chunk: 1, blob: 2 } as const;
const CHUNK_ID_BYTES = 16;
const CHUNK_BYTES = CHUNK_ID_BYTES + 4;
const BLOB_BYTES = 17;
const BODY_BYTES = { zero: 0, chunk: CHUNK_BYTES, blob: BLOB_BYTES } as const;
const UINT48 = 2 ** 48;

/** Pieces to bytes. */
export function packPieces(pieces: readonly Piece[]): Uint8Array {
  let length = 0;
  for (const { source } of pieces) length += HEAD_BYTES + BODY_BYTES[source.kind];
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.writeUInt32BE(piece.at, at);
    bytes.writeUInt32BE(piece.length, at + 4);
    bytes.writeUInt8(KIND[piece.source.kind], at + 8);
    packSource(bytes, at + HEAD_BYTES, piece.source);
    at += HEAD_BYTES + BODY_BYTES[piece.source.kind];
  }
  return bytes;
}

function packSource(bytes: Buffer, at: number, source: PieceSource): void {
  if (source.kind === 'chunk') {
    bytes.write(source.chunk, at, 'hex');
    bytes.writeUInt32BE(source.offset, at + CHUNK_ID_BYTES);
  } else if (source.kind === 'blob') {
    bytes.writeUIntBE(source.blob, at, 6);
    bytes.writeUInt32BE(source.offset, at + 6);
    bytes.writeUInt8(Math.floor(source.version / UINT48), at + 10);
    bytes.writeUIntBE(source.version % UINT48, at + 11, 6);
  }
}

/** Bytes to pieces. Throws CORRUPT for an unknown kind and for bytes that end too early. */
export function unpackPieces(stored: Uint8Array): Piece[] {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  const pieces: Piece[] = [];
  try {
    for (let at = 0; at < bytes.length; ) {
      const source = unpackSource(bytes, at + HEAD_BYTES, bytes.readUInt8(at + 8));
      pieces.push({ at: bytes.readUInt32BE(at), length: bytes.readUInt32BE(at + 4), source });
      at += HEAD_BYTES + BODY_BYTES[source.kind];
    }
  } catch (cause) {
    throw new HoldfastError('CORRUPT', 'the pieces of a region cannot be decoded', { cause });
  }
  return pieces;
}

const ZERO: PieceSource = { kind: 'zero' };

function unpackSource(bytes: Buffer, at: number, kind: number): PieceSource {
  switch (kind) {
    case KIND.zero:
      return ZERO;
    case KIND.chunk: {
      const chunk = bytes.toString('hex', at, at + CHUNK_ID_BYTES) as ChunkId;
      return { kind: 'chunk', chunk, offset: bytes.readUInt32BE(at + CHUNK_ID_BYTES) };
    }
    case KIND.blob: {
      const version = bytes.readUInt8(at + 10) * UINT48 + bytes.readUIntBE(at + 11, 6);
      const blob = bytes.readUIntBE(at, 6);
      return { kind: 'blob', blob, offset: bytes.readUInt32BE(at + 6), version };
    }
    default:
      throw new HoldfastError('CORRUPT', `a piece of kind ${kind} is unknown`);
  }
}
