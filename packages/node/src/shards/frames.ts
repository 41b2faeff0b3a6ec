/** Frames in a stream that may be cut anywhere on its way: a length (u32, little-endian), then the bytes. */
import { HoldfastError } from '@holdfast/protocol';

const HEADER_BYTES = 4;
const PIECE_BYTES = 256 * 1024;
const FRAME_BYTES_MAX = 64 * 1024 * 1024;

/** Frames as a stream of pieces of about 256 KiB. */
export async function* packFrames(frames: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  for (const frame of frames) {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(frame.length);
    parts.push(header, frame);
    bytes += HEADER_BYTES + frame.length;
    if (bytes >= PIECE_BYTES) {
      yield Buffer.concat(parts);
      parts = [];
      bytes = 0;
    }
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}

/** The frames of a stream; each is the caller's own. Throws CORRUPT when the stream ends within one. */
export async function* unpackFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0);
  for await (const piece of stream) {
    rest = Buffer.concat([rest, piece]);
    for (;;) {
      if (rest.length < HEADER_BYTES) break;
      const length = rest.readUInt32LE(0);
      if (length > FRAME_BYTES_MAX)
        throw new HoldfastError('CORRUPT', 'a frame is longer than allowed');
      if (rest.length < HEADER_BYTES + length) break;
      yield Uint8Array.from(rest.subarray(HEADER_BYTES, HEADER_BYTES + length));
      rest = rest.subarray(HEADER_BYTES + length);
    }
  }
  if (rest.length > 0) throw new HoldfastError('CORRUPT', 'the stream ends within a frame');
}
