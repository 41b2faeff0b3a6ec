/*
 * A frame, big endian:
 *
 * | offset | bytes | what                                                            |
 * | 0      | 2     | magic 0x4846 ("HF")                                             |
 * | 2      | 1     | version, 1                                                      |
 * | 3      | 1     | type                                                            |
 * | 4      | 4     | request id; 0 for notices and signs of life                     |
 * | 8      | 4     | bytes of payload that follow                                    |
 * | 12     | 4     | bytes of the body that follows in segments (request, response)  |
 * | 16     | 4     | CRC-32 (IEEE) of the payload                                    |
 * | 20     | 4     | CRC-32 of bytes 0 … 19                                          |
 *
 * The payload of request, response, failure and notice is MessagePack; of a segment, raw bytes.
 */
import { crc32 } from 'node:zlib';
import { HoldfastError } from '@holdfast/protocol';
import { WIRE_LIMITS } from './limits.ts';

export const FRAME_BYTES = 24;
const MAGIC = 0x4846;
const VERSION = 1;

/** Types of frames, as on the wire. */
export const FRAME = {
  request: 1,
  response: 2,
  failure: 3,
  notice: 4,
  cancel: 5,
  ping: 6,
  pong: 7,
  segment: 8,
} as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

/** A frame's head, checked. */
export interface FrameHead {
  readonly type: FrameType;
  readonly id: number;
  readonly payloadBytes: number;
  readonly bodyBytes: number;
  readonly payloadCrc: number;
}

const TYPES: ReadonlySet<number> = new Set(Object.values(FRAME));

/** A frame's head for a payload; the payload follows it on the wire. */
export function encodeHead(
  type: FrameType,
  id: number,
  payload: Uint8Array,
  bodyBytes = 0,
): Buffer {
  const head = Buffer.allocUnsafe(FRAME_BYTES);
  head.writeUInt16BE(MAGIC, 0);
  head.writeUInt8(VERSION, 2);
  head.writeUInt8(type, 3);
  head.writeUInt32BE(id, 4);
  head.writeUInt32BE(payload.length, 8);
  head.writeUInt32BE(bodyBytes, 12);
  head.writeUInt32BE(crc32(payload), 16);
  head.writeUInt32BE(crc32(head.subarray(0, 20)), 20);
  return head;
}

/** Reads a head from exactly FRAME_BYTES bytes. Throws CORRUPT when malformed, ENOTSUP for another version. */
export function decodeHead(head: Buffer): FrameHead {
  if (head.readUInt32BE(20) !== crc32(head.subarray(0, 20)) || head.readUInt16BE(0) !== MAGIC) {
    throw new HoldfastError(
      'CORRUPT',
      'a frame on the wire is damaged, or the peer speaks another protocol',
    );
  }
  const version = head.readUInt8(2);
  if (version !== VERSION)
    throw new HoldfastError(
      'ENOTSUP',
      `the peer speaks version ${version} of the wire, this one ${VERSION}`,
    );
  const type = head.readUInt8(3);
  const payloadBytes = head.readUInt32BE(8);
  const bodyBytes = head.readUInt32BE(12);
  const payloadMax = type === FRAME.segment ? WIRE_LIMITS.segmentBytes : WIRE_LIMITS.headerBytesMax;
  if (!TYPES.has(type) || payloadBytes > payloadMax || bodyBytes > WIRE_LIMITS.bodyBytesMax) {
    throw new HoldfastError(
      'CORRUPT',
      `a frame of type ${type} with ${payloadBytes} + ${bodyBytes} bytes is not allowed`,
    );
  }
  return {
    type: type as FrameType,
    id: head.readUInt32BE(4),
    payloadBytes,
    bodyBytes,
    payloadCrc: head.readUInt32BE(16),
  };
}

/** Throws CORRUPT when a payload's checksum is not the one of its head. */
export function checkCrc(head: FrameHead, crc: number): void {
  if (crc !== head.payloadCrc)
    throw new HoldfastError('CORRUPT', 'bytes on the wire do not match their checksum');
}
