import type { ChunkId } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { blockChecksums, decodeHead, encodeHead, type RecordHead } from './record.ts';

const bytes = Buffer.alloc(70_000, 'holdfast');
const head: RecordHead = {
  kind: 'chunk',
  chunk: '0123456789abcdef0123456789abcdef' as ChunkId,
  length: bytes.length,
  copies: 2,
  blocks: blockChecksums(bytes),
};

describe("a record's head", () => {
  it('has the bytes that its layout says', () => {
    const encoded = encodeHead(head, true);
    expect(encoded).toHaveLength(512);
    expect(encoded.subarray(0, 40).toString('hex')).toBe(
      `4846434b01010200${head.chunk}7011010002010000${encoded.toString('hex', 32, 40)}`,
    );
    expect([encoded.readUInt32LE(32), encoded.readUInt32LE(36)]).toEqual(head.blocks);
    expect(encoded.subarray(40, 508).every((byte) => byte === 0)).toBe(true);
  });

  it('comes back, of every kind', () => {
    expect(decodeHead(encodeHead(head, true))).toEqual({ ...head, isFirst: true });
    for (const kind of ['tombstone', 'departure'] as const) {
      const farewell = { kind, chunk: head.chunk, length: 0, copies: 0, blocks: [] };
      expect(decodeHead(encodeHead(farewell, false))).toEqual({ ...farewell, isFirst: false });
    }
  });

  it('is none with any bit flipped or any byte cut off', () => {
    const encoded = encodeHead(head, true);
    for (let bit = 0; bit < 512 * 8; bit++) {
      const broken = Buffer.from(encoded);
      broken.writeUInt8(broken.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(decodeHead(broken)).toBeUndefined();
    }
    for (let cut = 0; cut < 512; cut++)
      expect(decodeHead(encoded.subarray(0, cut))).toBeUndefined();
  });
});
