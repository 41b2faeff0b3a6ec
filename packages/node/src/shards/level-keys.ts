/** Keys of the store of volume shards; the layout is told in level-store.ts. */
import type { ShardId } from '@holdfast/protocol';

const HEAD_KIND = 0x6d;
const STATE_KIND = 0x73;
/** Bytes before a shard's own keys. */
export const PREFIX_BYTES = 7;

/** What is known of a shard's state on disk. */
export interface Head {
  /** Version of the layout; 1. */
  readonly v: 1;
  readonly incarnation: number;
  readonly applied: number;
}

/** Bytes as latin1 text, which sorts as they do. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** Inverse of {@link textOf}. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Where a shard's head record is. */
export function headKey(shard: ShardId): string {
  return String.fromCharCode(HEAD_KIND, shard >>> 8, shard & 0xff);
}

/** What the keys of one incarnation of a shard's state begin with. */
export function prefixOf(shard: ShardId, incarnation: number): string {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix[0] = STATE_KIND;
  prefix.writeUInt16BE(shard, 1);
  prefix.writeUInt32BE(incarnation, 3);
  return textOf(prefix);
}
