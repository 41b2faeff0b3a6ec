/**
 * Frames as a stream of bytes. In front: `HFSEND` and the version. A frame: u32 bytes of its content, u8
 * type, the content, u32 CRC-32 of these, begun with the CRC of the frame before: so one that is missing,
 * there twice or in another place is noticed at once. At the end the digest of everything.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { HoldfastError } from '@holdfast/protocol';
import { damaged } from './fields.ts';
import {
  bytesMaxOf,
  decodeEnd,
  decodeFrame,
  END_TYPE,
  encodeEnd,
  encodeFrame,
  type Frame,
  TYPES,
} from './frames.ts';
import type { StreamHeader } from './header.ts';

const MAGIC = Buffer.from('HFSEND');
/** Of a stream that begins at its beginning, and of one that goes on. */
const [WHOLE, RESUMED] = [1, 2];
const FRONT_BYTES = MAGIC.length + 2;
const HEAD_BYTES = 5;

/** How much a stream holds so far. */
export interface StreamCounts {
  frames: number;
  /** Bytes of files. */
  dataBytes: number;
  /** Bytes of the stream. */
  streamBytes: number;
}

/** Counts of nothing yet. */
export function noCounts(): StreamCounts {
  return { frames: 0, dataBytes: 0, streamBytes: 0 };
}

/** A stream's bytes of its frames, the first of which is `begin`. `counts` goes along; `isResumed`: it has a position. */
export async function* encodeStream(
  frames: AsyncIterable<Frame>,
  counts: StreamCounts = noCounts(),
  isResumed = false,
): AsyncGenerator<Uint8Array> {
  const digest = createHash('sha256');
  const front = Buffer.concat([MAGIC, Buffer.alloc(2)]);
  front.writeUInt16LE(isResumed ? RESUMED : WHOLE, MAGIC.length);
  let crc = crc32(front);
  const sealed = (type: number, content: Buffer): Buffer => {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(content.length, 0);
    head.writeUInt8(type, 4);
    crc = crc32(content, crc32(head, crc));
    const tail = Buffer.alloc(4);
    tail.writeUInt32LE(crc);
    const bytes = Buffer.concat([head, content, tail]);
    counts.streamBytes += bytes.length;
    return bytes;
  };
  digest.update(front);
  counts.streamBytes += front.length;
  yield front;
  for await (const frame of frames) {
    const bytes = sealed(TYPES[frame.frame], encodeFrame(frame));
    counts.frames += 1;
    if (frame.frame === 'data') counts.dataBytes += frame.bytes.length;
    digest.update(bytes);
    yield bytes;
  }
  const { frames: total, dataBytes } = counts;
  yield sealed(END_TYPE, encodeEnd({ frames: total, dataBytes, digest: digest.digest() }));
}

/** The bytes of a stream in the portions that are asked for. */
class Portions {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #parts: Buffer[] = [];
  #length = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** So many bytes; fewer only at the end. */
  async take(length: number): Promise<Buffer> {
    while (this.#length < length) {
      const next = await this.#chunks.next();
      if (next.done === true) break;
      const { buffer, byteOffset, byteLength } = next.value;
      this.#parts.push(Buffer.from(buffer, byteOffset, byteLength));
      this.#length += byteLength;
    }
    const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    const part = all.subarray(0, length);
    this.#parts = [all.subarray(part.length)];
    this.#length -= part.length;
    return part;
  }

  async exactly(length: number): Promise<Buffer> {
    const bytes = await this.take(length);
    if (bytes.length === length) return bytes;
    throw new HoldfastError('CORRUPT', 'the stream ends too early: it was cut off; send it again');
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** Which frames may follow one of a kind; those of full streams are only of the last part. */
const PARTS: Readonly<Record<Frame['frame'], number>> = {
  begin: 0,
  locate: 1,
  unlink: 2,
  hold: 2,
  make: 3,
  place: 3,
  link: 3,
  size: 3,
  data: 3,
  hole: 3,
  finish: 3,
};

/** Watches over the order of frames. */
class Order {
  #part = -1;
  #isFull = true;

  check(frame: Frame): void {
    const part = PARTS[frame.frame];
    if ((this.#part === -1) !== (frame.frame === 'begin') || part < this.#part)
      throw damaged('its frames are in another order');
    this.#part = part;
    if (frame.frame === 'begin') this.#isFull = frame.header.base === undefined;
    const isOfBase = part === 1 || part === 2 || frame.frame === 'place';
    if (this.#isFull && isOfBase) throw damaged('it is about a base that it does not have');
  }

  end(): void {
    if (this.#part === -1) throw damaged('it has no first frame');
  }
}

async function checkFront(portions: Portions): Promise<Buffer> {
  const front = await portions.take(FRONT_BYTES);
  if (!front.subarray(0, MAGIC.length).equals(MAGIC.subarray(0, front.length)) || !front.length)
    throw new HoldfastError(
      'BAD_REQUEST',
      "this is no stream of 'holdfast volume send'; archives are read by 'holdfast volume import'",
    );
  if (front.length < FRONT_BYTES) throw damaged('it ends too early');
  const version = front.readUInt16LE(MAGIC.length);
  if (version !== WHOLE && version !== RESUMED)
    throw new HoldfastError(
      'NEWER_FORMAT',
      `the stream has version ${version} of the format, and this holdfast reads ${RESUMED}: update it`,
    );
  return front;
}

/** Who does not know of positions must not take a stream that has one for whole. */
function checkVersion(front: Buffer, { resume }: StreamHeader): void {
  const isResumed = front.readUInt16LE(MAGIC.length) === RESUMED;
  if (isResumed !== (resume !== undefined)) throw damaged('its version is of another stream');
}

/**
 * The frames of a stream, each checked when it comes; the last has been given when the whole was seen to
 * be complete. BAD_REQUEST for what is no stream, NEWER_FORMAT, CORRUPT for what is damaged, cut off, in
 * another order, or followed by something. Memory: one frame.
 */
export async function* decodeStream(
  bytes: AsyncIterable<Uint8Array>,
  counts: StreamCounts = noCounts(),
): AsyncGenerator<Frame> {
  const portions = new Portions(bytes);
  try {
    const front = await checkFront(portions);
    const digest = createHash('sha256').update(front);
    const order = new Order();
    let crc = crc32(front);
    counts.streamBytes += front.length;
    for (;;) {
      const head = await portions.exactly(HEAD_BYTES);
      const [length, type] = [head.readUInt32LE(0), head.readUInt8(4)];
      if (length > bytesMaxOf(type)) throw damaged('a frame is too large, or of no known type');
      const body = await portions.exactly(length + 4);
      const content = body.subarray(0, length);
      crc = crc32(content, crc32(head, crc));
      if (body.readUInt32LE(length) !== crc) throw damaged('a checksum does not fit');
      counts.streamBytes += head.length + body.length;
      if (type === END_TYPE) {
        order.end();
        const end = decodeEnd(content);
        const isWhole =
          end.frames === counts.frames &&
          end.dataBytes === counts.dataBytes &&
          end.digest.equals(digest.digest());
        if (!isWhole) throw damaged('its end does not fit what was before');
        break;
      }
      digest.update(head).update(body);
      const frame = decodeFrame(type, content);
      order.check(frame);
      if (frame.frame === 'begin') checkVersion(front, frame.header);
      counts.frames += 1;
      if (frame.frame === 'data') counts.dataBytes += frame.bytes.length;
      yield frame;
    }
    if ((await portions.take(1)).length > 0) throw damaged('something follows its end');
  } finally {
    await portions.close();
  }
}
