import {
  type Attributes,
  type NodeAnswer,
  SNAPSHOT_NUMBERS_FROM,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import * as encode from './encode.ts';
import { cookieOf, Listing } from './listing.ts';
import * as notify from './notify.ts';

const ATTRIBUTES: Attributes = {
  ino: 77 as never,
  kind: 'file',
  mode: 0o4755,
  uid: 1000,
  gid: 100,
  nlink: 2,
  size: 2 ** 40 + 5,
  allocatedBytes: 513,
  rdev: 0x0501,
  atimeNs: 1_000_000_002n,
  mtimeNs: -1_500_000_000n,
  ctimeNs: 3_000_000_004n,
  birthNs: 0n,
};
const ANSWER: NodeAnswer = {
  node: { volume: 5, ino: 77 } as never,
  attributes: ATTRIBUTES,
  validMs: 1500,
};
const NODE_ID = '4d00000000050000';

/** `fuse_attr`, field by field. */
const ATTRIBUTES_HEX = [
  NODE_ID, // ino
  '0500000000010000', // size
  '0200000000000000', // blocks
  '0100000000000000', // atime
  'feffffffffffffff', // mtime
  '0300000000000000', // ctime
  '02000000', // atimensec
  '0065cd1d', // mtimensec
  '04000000', // ctimensec
  'ed890000', // mode
  '02000000', // nlink
  'e8030000', // uid
  '64000000', // gid
  '01050000', // rdev
  '00000100', // blksize
  '00000000', // flags
].join('');

/** `fuse_entry_out` */
const ENTRY_HEX = [
  NODE_ID,
  '0000000000000000', // generation
  '0100000000000000', // entry_valid
  '0100000000000000', // attr_valid
  '0065cd1d', // entry_valid_nsec
  '0065cd1d', // attr_valid_nsec
  ATTRIBUTES_HEX,
].join('');

const body = (reply: Buffer) => reply.toString('hex', 16);

describe('replies', () => {
  it('carry entries', () => {
    expect(body(encode.encodeEntry(ANSWER))).toBe(ENTRY_HEX);
  });

  it('carry attributes', () => {
    const validity = '01000000000000000065cd1d00000000';
    expect(body(encode.encodeAttributes(ANSWER))).toBe(validity + ATTRIBUTES_HEX);
  });

  it('carry a created file', () => {
    const reply = encode.encodeCreated(ANSWER, 2 ** 32 + 6, 1);
    expect(body(reply)).toBe(`${ENTRY_HEX}06000000010000000100000000000000`);
  });

  it('never let the kernel believe longer than a session is trusted, nor without a time', () => {
    const long = encode.encodeAttributes({ ...ANSWER, validMs: 3_600_000 });
    expect(long.readUInt32LE(16)).toBe(6);
    const node = { volume: SNAPSHOT_NUMBERS_FROM as VolumeNumber, ino: ANSWER.node.ino };
    const unchanging = encode.encodeAttributes({ ...ANSWER, node, validMs: 3_600_000 });
    expect(unchanging.readUInt32LE(16)).toBe(60);
    for (const validMs of [0, -1, Number.NaN]) {
      const none = encode.encodeAttributes({ ...ANSWER, validMs });
      expect(none.toString('hex', 16, 32)).toBe('00'.repeat(16));
    }
  });

  it('carry an open file', () => {
    expect(body(encode.encodeOpen(6, 1))).toBe('06000000000000000100000000000000');
  });

  it('carry lengths, offsets, texts and names', () => {
    expect(body(encode.encodeLength(4096))).toBe('0010000000000000');
    expect(body(encode.encodeOffset(Number.MAX_SAFE_INTEGER))).toBe('ffffffffffff1f00');
    expect(body(encode.encodeText('\xff/a'))).toBe('ff2f61');
    expect(body(encode.encodeNames(['user.a', 'b']))).toBe('757365722e61006200');
  });

  it('carry the space of a volume in units of 4096 bytes', () => {
    const space = { totalBytes: 40_960, freeBytes: 8191, totalInodes: 7, freeInodes: 2 ** 33 };
    expect(body(encode.encodeSpace(space))).toBe(
      [
        '0a00000000000000',
        '0100000000000000',
        '0100000000000000',
        '0700000000000000',
        '0000000002000000',
        '00100000',
        'ff000000',
        '00100000',
        '00'.repeat(28),
      ].join(''),
    );
  });

  it('carry the lock in the way', () => {
    const lock = { family: 'posix', type: 'write', start: 7, end: 9, owner: '1', pid: 17 } as const;
    expect(body(encode.encodeLock(lock))).toBe('070000000000000008000000000000000100000011000000');
    const whole = { ...lock, start: 0, end: Number.MAX_SAFE_INTEGER, type: 'read' } as const;
    expect(body(encode.encodeLock(whole))).toBe('0000000000000000ffffffffffffff7f0000000011000000');
    expect(body(encode.encodeLock(undefined))).toBe(`${'00'.repeat(16)}0200000000000000`);
  });

  it('begin with the length, the negative errno and the id of the request', () => {
    const reply = encode.emptyReply(8);
    encode.finishReply(
      reply,
      { requestId: 2 ** 33 + 6, isResent: false },
      { errno: 2, length: 16 },
    );
    expect(reply.toString('hex', 0, 16)).toBe('10000000feffffff0600000002000000');
    encode.finishReply(reply, { requestId: 6, isResent: true }, { errno: 0, length: 24 });
    expect(reply.toString('hex', 0, 16)).toBe('18000000000000000600000000000080');
  });

  it('know the seven kinds by their type bits', () => {
    const kinds = ['file', 'directory', 'symlink', 'fifo', 'socket', 'char', 'block'] as const;
    for (const kind of kinds) expect(encode.kindOf(encode.typeBits(kind) | 0o644)).toBe(kind);
    expect(encode.kindOf(0o644)).toBe('file');
    expect(encode.kindOf(0o110000)).toBeUndefined();
  });
});

describe('Listing', () => {
  const entry = { ...ANSWER, name: 'a\xffc', cookie: 40 };
  const dirent = `${NODE_ID}2a000000000000000300000008000000`;

  it('packs plain entries after the dots', () => {
    const listing = new Listing(96, { plus: false });
    expect(listing.addDot('.', ANSWER.node)).toBe(true);
    expect(listing.addDot('..', { volume: 0, ino: 1 } as never)).toBe(true);
    expect(listing.add(entry)).toBe(true);
    expect(listing.add(entry)).toBe(false);
    expect(body(listing.finish())).toBe(
      [
        `${NODE_ID}010000000000000001000000040000002e00000000000000`,
        '01000000000000000200000000000000020000000400000' + '02e2e000000000000',
        `${dirent}61ff630000000000`,
      ].join(''),
    );
  });

  it('packs entries with attributes; the dots take no lookup', () => {
    const listing = new Listing(320, { plus: true });
    expect(listing.addDot('.', ANSWER.node)).toBe(true);
    expect(listing.add(entry)).toBe(true);
    expect(listing.add(entry)).toBe(false);
    expect(body(listing.finish())).toBe(
      [
        '00'.repeat(128),
        `${NODE_ID}010000000000000001000000040000002e00000000000000`,
        ENTRY_HEX,
        `${dirent}61ff630000000000`,
      ].join(''),
    );
  });

  it('hands cookies to the kernel and back, also the largest', () => {
    for (const cookie of [1, 2 ** 32 - 2, Number.MAX_SAFE_INTEGER]) {
      const listing = new Listing(64, { plus: false });
      listing.add({ ...entry, cookie });
      expect(cookieOf(listing.finish().readBigUInt64LE(16 + 8))).toBe(cookie);
    }
    expect([0n, 1n, 2n].map(cookieOf)).toEqual([0, 0, 0]);
  });
});

describe('notifications', () => {
  const node = ANSWER.node;

  it('drop an inode', () => {
    const all = `28000000020000000000000000000000${NODE_ID}00000000000000000000000000000000`;
    expect(notify.encodeInvalidateInode(node, 0).toString('hex')).toBe(all);
    expect(notify.encodeInvalidateInode(node, -1).toString('hex', 24, 32)).toBe('ffffffffffffffff');
  });

  it('drop a name', () => {
    expect(notify.encodeInvalidateEntry(node, 'a\xff').toString('hex')).toBe(
      `2300000003000000${'00'.repeat(8)}${NODE_ID}020000000000000061ff00`,
    );
  });

  it('ask for unanswered requests and drop all names', () => {
    expect(notify.encodeResend().toString('hex')).toBe(`1000000007000000${'00'.repeat(8)}`);
    expect(notify.encodeIncrementEpoch().toString('hex')).toBe(`1000000008000000${'00'.repeat(8)}`);
  });
});
