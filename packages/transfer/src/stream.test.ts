import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { HoldfastError } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { FieldWriter } from './fields.ts';
import { END_TYPE, encodeEnd, encodeFrame, type Frame, TYPES } from './frames.ts';
import { encodeHeader, type StreamHeader } from './header.ts';
import { STREAM_LIMITS } from './limits.ts';
import { decodeStream, encodeStream } from './stream.ts';

const HEADER: StreamHeader = {
  volume: 'db',
  snapshot: { name: 'b', id: '0123abcd/3/9' },
  base: { name: 'a', id: '0123abcd/3/7' },
  usedBytes: 5,
  usedInodes: 2,
  policy: { replicas: 3 },
};
const XATTRS = [{ name: 'user.x', value: Buffer.of(0, 255) }];
const ATTRIBUTES = { mode: 0o640, uid: 7, gid: 8, atimeNs: -1n, mtimeNs: 2n ** 62n };
/** One of each kind. */
const FRAMES: readonly Frame[] = [
  { frame: 'begin', header: HEADER },
  { frame: 'locate', id: 5, parent: 1, name: 'caf\xe9', kind: 'directory' },
  { frame: 'unlink', parent: 5, name: 'old' },
  { frame: 'hold', id: 5, parent: 1, name: 'caf\xe9' },
  { frame: 'make', id: 6, parent: 5, name: 'null', kind: 'char', rdev: 259n, target: '' },
  { frame: 'make', id: 9, parent: 1, name: 'way', kind: 'symlink', rdev: 0n, target: '../x' },
  { frame: 'place', id: 5, parent: 1, name: 'e' },
  { frame: 'link', id: 6, parent: 1, name: 'again', isLast: false },
  { frame: 'size', id: 6, size: 2 ** 40 },
  { frame: 'data', id: 6, offset: 4096, bytes: Buffer.from('bytes') },
  { frame: 'hole', id: 6, offset: 8192, length: 4096 },
  { frame: 'finish', id: 6, size: 9, ...ATTRIBUTES, xattrs: XATTRS, isKept: true },
];
/** What they are on the wire: never to change. */
const GOLDEN_DIGEST = 'dcfc6b0020329a87a18da81c9f2f25be52b506850dae036ce61497b710fe163a';
const GOLDEN_FRAMES: readonly string[] = [
  '050000000000000001000000000000000400636166e901',
  '050000000000000003006f6c64',
  '050000000000000001000000000000000400636166e9',
  '0600000000000000050000000000000004006e756c6c0503010000000000000000',
  '09000000000000000100000000000000030077617902000000000000000004002e2e2f78',
  '05000000000000000100000000000000010065',
  '060000000000000001000000000000000500616761696e00',
  '06000000000000000000000000010000',
  '060000000000000000100000000000006279746573',
  '060000000000000000200000000000000010000000000000',
  '06000000000000000900000000000000a0010700000008000000ffffffffffffffff00000000000000400101000600757365722e780200000000ff',
];

async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

async function bytesOf(frames: Iterable<Frame>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of encodeStream(each(frames))) parts.push(part);
  return Buffer.concat(parts);
}

async function framesOf(bytes: Buffer, portion = bytes.length): Promise<Frame[]> {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += portion) chunks.push(bytes.subarray(at, at + portion));
  const frames: Frame[] = [];
  for await (const frame of decodeStream(each(chunks))) frames.push(frame);
  return frames;
}

async function codeOf(bytes: Buffer): Promise<string> {
  return framesOf(bytes).then(
    () => 'taken',
    (error: unknown) => (error instanceof HoldfastError ? error.code : `thrown: ${String(error)}`),
  );
}

/** A stream with right checksums around frames that no sender would write. */
function forged(frames: readonly (readonly [number, Buffer])[], version = 1): Buffer {
  const front = Buffer.from('HFSEND\0\0', 'latin1');
  front.writeUInt16LE(version, 6);
  const parts: Buffer[] = [front];
  let crc = crc32(front);
  let dataBytes = 0;
  const add = (type: number, content: Buffer): void => {
    const head = new FieldWriter().u32(content.length).u8(type).bytes();
    crc = crc32(content, crc32(head, crc));
    parts.push(head, content, new FieldWriter().u32(crc).bytes());
  };
  for (const [type, content] of frames) {
    add(type, content);
    if (type === TYPES.data) dataBytes += content.length - 16;
  }
  const digest = createHash('sha256').update(Buffer.concat(parts)).digest();
  add(END_TYPE, encodeEnd({ frames: frames.length, dataBytes, digest }));
  return Buffer.concat(parts);
}

const BEGIN = [TYPES.begin, encodeHeader(HEADER)] as const;
const { base: _, ...FULL } = HEADER;
const BEGIN_FULL = [TYPES.begin, encodeHeader(FULL)] as const;

function forgedFrame(frame: Frame): Buffer {
  return forged([BEGIN, [TYPES[frame.frame], encodeFrame(frame)]]);
}

describe('a stream', () => {
  it('has these bytes', async () => {
    expect(FRAMES.slice(1).map((frame) => encodeFrame(frame).toString('hex'))).toEqual(
      GOLDEN_FRAMES,
    );
    const digest = createHash('sha256').update(await bytesOf(FRAMES));
    expect(digest.digest('hex')).toBe(GOLDEN_DIGEST);
  });

  it('gives back the frames that it was made of, in portions of any length', async () => {
    const bytes = await bytesOf(FRAMES);
    for (const portion of [1, 7, 64, bytes.length])
      expect(await framesOf(bytes, portion)).toEqual(FRAMES);
  });

  it('is refused when it ends anywhere before its end', async () => {
    const bytes = await bytesOf(FRAMES);
    expect(await codeOf(Buffer.alloc(0))).toBe('BAD_REQUEST');
    for (let length = 1; length < bytes.length; length++)
      expect(await codeOf(bytes.subarray(0, length)), `${length} bytes`).toBe('CORRUPT');
  });

  it('is refused whatever bit of it is another one', async () => {
    const bytes = await bytesOf(FRAMES);
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        bytes[at]! ^= 1 << bit;
        const code = await codeOf(bytes);
        bytes[at]! ^= 1 << bit;
        const inFront = at < 6 ? 'BAD_REQUEST' : 'NEWER_FORMAT';
        expect(code, `bit ${bit} of byte ${at}`).toBe(at < 8 ? inFront : 'CORRUPT');
      }
    }
  });

  it('is refused with a frame that is missing, there twice, or in another place', async () => {
    const parts: Buffer[] = [];
    for await (const part of encodeStream(each(FRAMES))) parts.push(Buffer.from(part));
    for (let at = 1; at < parts.length; at++) {
      const part = parts[at]!;
      expect(await codeOf(Buffer.concat(parts.toSpliced(at, 1)))).toBe('CORRUPT');
      expect(await codeOf(Buffer.concat(parts.toSpliced(at, 0, part)))).toBe('CORRUPT');
      if (at < 2) continue;
      expect(await codeOf(Buffer.concat(parts.toSpliced(at - 1, 2, part, parts[at - 1]!)))).toBe(
        'CORRUPT',
      );
    }
    expect(await codeOf(Buffer.concat([...parts, Buffer.of(0)]))).toBe('CORRUPT');
    expect(await codeOf(Buffer.concat([...parts, ...parts]))).toBe('CORRUPT');
  });

  it('is told from other files and from later versions', async () => {
    for (const text of ['x', 'HFSENT', 'ustar and so on', '\x28\xb5\x2f\xfd'])
      expect(await codeOf(Buffer.from(text, 'latin1'))).toBe('BAD_REQUEST');
    expect(await codeOf(forged([BEGIN], 3))).toBe('NEWER_FORMAT');
    expect(await codeOf(forged([BEGIN]))).toBe('taken');
  });
});

describe('a stream that somebody forged', () => {
  const place = { id: 6, parent: 1, name: 'x' };
  const make = { frame: 'make', ...place, kind: 'file', rdev: 0n, target: '' } as const;
  const finish = {
    frame: 'finish',
    id: 6,
    size: 1,
    ...ATTRIBUTES,
    xattrs: [],
    isKept: false,
  } as const;

  it('names nothing outside of the volume, and nothing that is not content', async () => {
    const long = 'n'.repeat(256);
    for (const name of ['', '.', '..', 'a/b', '/etc', 'a\0', long, '.holdfast-receive'])
      expect(await codeOf(forgedFrame({ ...make, name })), JSON.stringify(name)).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...make, name: '.holdfast-import-0' }))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...make, parent: 7, name: '.holdfast-receive' }))).toBe(
      'taken',
    );
    expect(await codeOf(forgedFrame({ ...make, id: 1 }))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...make, id: 0 }))).toBe('CORRUPT');
  });

  it('has targets, devices, modes, kinds and ranges that can be', async () => {
    const link = { ...make, kind: 'symlink' } as const;
    for (const target of ['', 'a\0b', 't'.repeat(4_096)])
      expect(await codeOf(forgedFrame({ ...link, target }))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...make, target: 'x' }))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...make, rdev: 1n }))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...make, kind: 'block', rdev: 2n ** 32n }))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...finish, mode: 0o10000 }))).toBe('CORRUPT');
    const data = { frame: 'data', id: 6, offset: 2 ** 53 - 3, bytes: Buffer.from('abc') } as const;
    expect(await codeOf(forgedFrame(data))).toBe('CORRUPT');
    expect(await codeOf(forgedFrame({ ...data, offset: 0, bytes: Buffer.alloc(0) }))).toBe(
      'CORRUPT',
    );
    const hole = { frame: 'hole', id: 6, offset: 1, length: 2 ** 53 - 1 } as const;
    expect(await codeOf(forgedFrame(hole))).toBe('CORRUPT');
    const kind = new FieldWriter().u53(6).u53(1).text('x').u8(9).bytes();
    expect(await codeOf(forged([BEGIN, [TYPES.locate, kind]]))).toBe('CORRUPT');
    const size = new FieldWriter()
      .u53(6)
      .u64(2n ** 60n)
      .bytes();
    expect(await codeOf(forged([BEGIN, [TYPES.size, size]]))).toBe('CORRUPT');
  });

  it('makes nobody take memory for what it only announces', async () => {
    const front = forged([BEGIN_FULL]).subarray(0, -57);
    for (const type of [0, TYPES.data, TYPES.finish, 200]) {
      const head = new FieldWriter()
        .u32(2 ** 32 - 1)
        .u8(type)
        .bytes();
      expect(await codeOf(Buffer.concat([front, head]))).toBe('CORRUPT');
    }
    const huge = Buffer.alloc(STREAM_LIMITS.headerBytesMax + 1, ' ');
    expect(await codeOf(forged([[TYPES.begin, huge]]))).toBe('CORRUPT');
    const many = new FieldWriter().u53(6).u53(0).u16(0).u32(0).u32(0).i64(0n).i64(0n).u8(0);
    expect(await codeOf(forged([BEGIN, [TYPES.finish, many.u16(65_535).bytes()]]))).toBe('CORRUPT');
    const value = new FieldWriter().u53(6).u53(0).u16(0).u32(0).u32(0).i64(0n).i64(0n).u8(0).u16(1);
    const claimed = value
      .text('user.x')
      .u32(2 ** 32 - 1)
      .bytes();
    expect(await codeOf(forged([BEGIN, [TYPES.finish, claimed]]))).toBe('CORRUPT');
  });

  it('has its parts in order, and in a full one nothing of a base', async () => {
    const [locate, unlink] = [FRAMES[1]!, FRAMES[2]!].map(
      (frame) => [TYPES[frame.frame], encodeFrame(frame)] as const,
    );
    expect(await codeOf(forged([BEGIN, locate!, unlink!]))).toBe('taken');
    expect(await codeOf(forged([BEGIN, unlink!, locate!]))).toBe('CORRUPT');
    expect(await codeOf(forged([BEGIN_FULL, locate!]))).toBe('CORRUPT');
    expect(await codeOf(forged([BEGIN_FULL, unlink!]))).toBe('CORRUPT');
    expect(await codeOf(forged([BEGIN, BEGIN]))).toBe('CORRUPT');
    expect(await codeOf(forged([locate!]))).toBe('CORRUPT');
    expect(await codeOf(forged([]))).toBe('CORRUPT');
    const longer = Buffer.concat([unlink![1], Buffer.of(0)]);
    expect(await codeOf(forged([BEGIN, [TYPES.unlink, longer]]))).toBe('CORRUPT');
  });

  it('says what it is in a way that can be', async () => {
    const wrong: unknown[] = [
      null,
      [],
      'text',
      { ...HEADER, volume: '../x' },
      { ...HEADER, snapshot: { name: 'b' } },
      { ...HEADER, snapshot: { name: 'b', id: 'x' } },
      { ...HEADER, base: { name: '', id: 'a/1/1' } },
      { ...HEADER, usedBytes: -1 },
      { ...HEADER, policy: [] },
    ];
    for (const header of wrong)
      expect(await codeOf(forged([[TYPES.begin, Buffer.from(JSON.stringify(header))]]))).toBe(
        'CORRUPT',
      );
    expect(await codeOf(forged([[TYPES.begin, Buffer.from('{')]]))).toBe('CORRUPT');
  });
});
