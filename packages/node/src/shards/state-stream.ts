/**
 * A shard's state as a stream: blocks of keys and values in ascending order, then an empty block.
 * Numbers are little-endian; a stream may be cut into pieces anywhere on its way.
 *
 *     u32  bytes of the body       body, again and again:  u32  bytes of the key
 *     u32  CRC-32 of the body                              u32  bytes of the value
 *     body                                                 key, value
 *
 * The body of the last block is empty, and its CRC field holds the count of all pairs modulo 2^32.
 */
import { crc32 } from 'node:zlib';
import { HoldfastError } from '@holdfast/protocol';

/** Bytes of a body after which a block ends. */
const BLOCK_BYTES = 128 * 1024;
/** A body holds one pair at least, and no pair is larger. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;

/** A key and its value. */
export type Pair = readonly [key: Uint8Array, value: Uint8Array];

/** Pairs to stream. */
export async function* packPairs(pairs: AsyncIterable<Pair>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  let count = 0;
  for await (const [key, value] of pairs) {
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32LE(key.length, 0);
    lengths.writeUInt32LE(value.length, 4);
    parts.push(lengths, key, value);
    bytes += 8 + key.length + value.length;
    count += 1;
    if (bytes < BLOCK_BYTES) continue;
    yield blockOf(parts);
    parts = [];
    bytes = 0;
  }
  if (parts.length > 0) yield blockOf(parts);
  const end = Buffer.alloc(8);
  end.writeUInt32LE(count % 2 ** 32, 4);
  yield end;
}

function blockOf(parts: readonly Uint8Array[]): Uint8Array {
  const block = Buffer.concat([Buffer.alloc(8), ...parts]);
  block.writeUInt32LE(block.length - 8, 0);
  block.writeUInt32LE(crc32(block.subarray(8)), 4);
  return block;
}

/** Stream to pairs, block by block; throws CORRUPT unless the whole stream is as it was packed. */
export async function* unpackPairs(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Pair[]> {
  const reader = new PieceReader(stream);
  let count = 0;
  for (;;) {
    const head = await reader.take(8);
    const bytes = head.readUInt32LE(0);
    const check = head.readUInt32LE(4);
    if (bytes === 0) {
      if (check !== count % 2 ** 32) throw corrupt('pairs are missing');
      await reader.expectEnd();
      return;
    }
    if (bytes > BODY_BYTES_MAX) throw corrupt('a block is longer than allowed');
    const body = await reader.take(bytes);
    if (crc32(body) !== check) throw corrupt('a block does not match its checksum');
    const pairs = pairsOf(body);
    count += pairs.length;
    yield pairs;
  }
}

function pairsOf(body: Buffer): Pair[] {
  const pairs: Pair[] = [];
  for (let at = 0; at < body.length; ) {
    if (at + 8 > body.length) throw corrupt('a pair is cut off');
    const keyEnd = at + 8 + body.readUInt32LE(at);
    const end = keyEnd + body.readUInt32LE(at + 4);
    if (end > body.length) throw corrupt('a pair is cut off');
    pairs.push([body.subarray(at + 8, keyEnd), body.subarray(keyEnd, end)]);
    at = end;
  }
  return pairs;
}

/** Takes exact lengths from a stream that comes in pieces of any length. */
class PieceReader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#pieces = stream[Symbol.asyncIterator]();
  }

  async take(bytes: number): Promise<Buffer> {
    while (this.#heldBytes < bytes) {
      const next = await this.#pieces.next();
      if (next.done === true) throw corrupt('it ends early');
      this.#held.push(next.value);
      this.#heldBytes += next.value.length;
    }
    const all = Buffer.concat(this.#held);
    this.#held = [all.subarray(bytes)];
    this.#heldBytes = all.length - bytes;
    return all.subarray(0, bytes);
  }

  async expectEnd(): Promise<void> {
    const next = await this.#pieces.next();
    if (this.#heldBytes > 0 || next.done !== true) throw corrupt('bytes follow its end');
  }
}

function corrupt(why: string): HoldfastError {
  return new HoldfastError('CORRUPT', `the snapshot of a shard is damaged: ${why}`);
}
