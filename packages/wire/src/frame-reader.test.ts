import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeHead, FRAME, FRAME_BYTES, type FrameHead } from './frame.ts';
import { FrameReader } from './frame-reader.ts';

/** What a reader found, as text. */
class Record {
  readonly found: string[] = [];
  readonly places: Buffer[] = [];
  readonly reader = new FrameReader({
    frame: ({ type, id, bodyBytes }, payload) => {
      this.found.push(`${type} ${id} ${bodyBytes} ${payload.toString('hex')}`);
    },
    place: (head: FrameHead) => {
      if (head.id === UNWANTED) return undefined;
      const place = Buffer.alloc(head.payloadBytes);
      this.places.push(place);
      return place;
    },
    filled: ({ id }) => {
      this.found.push(`body ${id} ${this.places.at(-1)?.toString('hex')}`);
    },
  });

  /** False when the reader refused the bytes. */
  push(bytes: Buffer): boolean {
    try {
      this.reader.push(bytes);
      return true;
    } catch {
      return false;
    }
  }
}

const UNWANTED = 99;

function frame(type: (typeof FRAME)[keyof typeof FRAME], id: number, payload: Buffer, body = 0) {
  return Buffer.concat([encodeHead(type, id, payload, body), payload]);
}

const FRAMES = [
  frame(FRAME.request, 1, Buffer.from('header'), 9),
  frame(FRAME.segment, 1, Buffer.from('some bytes of it')),
  frame(FRAME.ping, 0, Buffer.alloc(0)),
  frame(FRAME.segment, UNWANTED, Buffer.from('nobody wants this')),
  frame(FRAME.response, 7, Buffer.from('answer')),
];
const STREAM = Buffer.concat(FRAMES);
const WHOLE = new Record();
WHOLE.push(STREAM);

describe('the frame reader', () => {
  it('finds the frames of a stream', () => {
    const hex = (text: string): string => Buffer.from(text).toString('hex');
    expect(WHOLE.found).toEqual([
      `1 1 9 ${hex('header')}`,
      `body 1 ${hex('some bytes of it')}`,
      '6 0 0 ',
      `2 7 0 ${hex('answer')}`,
    ]);
  });

  it('finds the same however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 })), (sizes) => {
        const record = new Record();
        let at = 0;
        for (const size of sizes) {
          record.push(STREAM.subarray(at, at + size));
          at += size;
        }
        record.push(STREAM.subarray(at));
        expect(record.found).toEqual(WHOLE.found);
      }),
    );
  });

  it('finds only whole frames in a stream that ends early, at any byte', () => {
    const ends = FRAMES.map((_, i) => Buffer.concat(FRAMES.slice(0, i + 1)).length);
    for (let cut = 0; cut < STREAM.length; cut++) {
      const record = new Record();
      expect(record.push(STREAM.subarray(0, cut))).toBe(true);
      const whole = FRAMES.slice(0, ends.filter((end) => end <= cut).length);
      const expected = new Record();
      expected.push(Buffer.concat(whole));
      expect(record.found).toEqual(expected.found);
    }
  });

  it('passes nothing on that has any bit flipped', () => {
    for (let bit = 0; bit < STREAM.length * 8; bit++) {
      const broken = Buffer.from(STREAM);
      broken.writeUInt8(broken.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const record = new Record();
      expect(record.push(broken)).toBe(false);
      expect(WHOLE.found.slice(0, record.found.length)).toEqual(record.found);
    }
  });

  it('refuses frames larger than allowed before they arrive', () => {
    const head = encodeHead(FRAME.segment, 1, Buffer.alloc(65_537));
    expect(new Record().push(head)).toBe(false);
    expect(head).toHaveLength(FRAME_BYTES);
    expect(new Record().push(encodeHead(FRAME.request, 1, Buffer.alloc(1), 2 ** 23))).toBe(false);
  });
});
