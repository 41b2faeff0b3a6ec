import { decode, encode, HoldfastError, type InodeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { freshInode } from './operations/names.ts';
import { INODE, type InodeRecord, REGION, XATTRS } from './records.ts';
import { LOCKS } from './shard-records.ts';
import { chunkId } from './test-shard.ts';

const inode: InodeRecord = {
  ...freshInode(-5n),
  birth: 3,
  kind: 'directory',
  mode: 0o2755,
  nlink: 2,
  parent: 1 as InodeNumber,
};

function codeOf(act: () => unknown): string {
  try {
    act();
    return 'none';
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
}

describe('record types', () => {
  it('leave absent values out and bring them back', () => {
    const stored = decode<Record<string, unknown>>(INODE.encode(inode));
    expect(Object.keys(stored)).toEqual(['v', 'b', 'k', 'm', 'n', 'at', 'mt', 'ct', 'bt', 'p']);
    expect(INODE.decode(INODE.encode(inode))).toEqual(inode);
  });

  it('give equal bytes whatever the order in which fields were set', () => {
    const reversed = Object.fromEntries(Object.entries(inode).reverse()) as unknown as InodeRecord;
    expect(Buffer.compare(INODE.encode(reversed), INODE.encode(inode))).toBe(0);
  });

  it('keep pieces, cuts, locks and bytes', () => {
    const region = {
      birth: 1,
      owner: 4 as InodeNumber,
      epoch: 2,
      modified: 9,
      nextBlob: 3,
      pieces: [
        { at: 0, length: 5, source: { kind: 'zero' } },
        { at: 5, length: 2, source: { kind: 'chunk', chunk: chunkId(7), offset: 4_000_000 } },
        { at: 9, length: 1, source: { kind: 'blob', blob: 2, offset: 0, version: 2 ** 40 } },
      ],
    } as const;
    expect(REGION.decode(REGION.encode(region))).toEqual(region);
    const cuts = [
      { from: 1, to: 2 ** 33, epoch: 1, generation: 1 },
      { from: 0, to: 2, epoch: 2, generation: 3 },
    ];
    expect(INODE.decode(INODE.encode({ ...inode, cuts })).cuts).toEqual(cuts);
    const lock = {
      holder: 1,
      owner: '18446744073709551615',
      pid: 2,
      type: 'write',
      start: 0,
      end: 9,
    } as const;
    expect(LOCKS.decode(LOCKS.encode({ posix: [lock], flock: [] }))).toEqual({
      posix: [lock],
      flock: [],
    });
    const entries = [['user.\xff', Uint8Array.of(1, 2)]] as const;
    const [entry] = XATTRS.decode(XATTRS.encode({ birth: 1, entries })).entries;
    expect(entry?.[0]).toBe('user.\xff');
    expect(Buffer.from(entry?.[1] ?? [])).toEqual(Buffer.of(1, 2));
  });

  it('refuse bytes that are no record, and records of a later version', () => {
    expect(codeOf(() => INODE.decode(Uint8Array.of(0xc1)))).toBe('CORRUPT');
    expect(codeOf(() => INODE.decode(encode('text')))).toBe('CORRUPT');
    expect(codeOf(() => INODE.decode(encode({ b: 1 })))).toBe('CORRUPT');
    expect(codeOf(() => INODE.decode(encode({ v: 2 })))).toBe('NEWER_FORMAT');
  });

  it('refuse bytes that end too early', () => {
    const bytes = INODE.encode(inode);
    for (let length = 0; length < bytes.length; length++) {
      expect(codeOf(() => INODE.decode(bytes.subarray(0, length)))).toBe('CORRUPT');
    }
  });
});
