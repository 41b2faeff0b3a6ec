import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cipherKeyFrom } from './cipher.ts';
import { compress, decodeDocument, decompress, encodeDocument } from './envelope.ts';
import { storageIdOf } from './ids.ts';
import { indexDocument, packsOfIndex } from './index-file.ts';
import { fromJson, toJson } from './json.ts';
import {
  decodePackHeader,
  encodePackEnd,
  headerLength,
  type PackedBlob,
  packBytes,
} from './pack.ts';
import { choosePolynomial, isIrreducible } from './polynomial.ts';
import { quoteName, unquoteName } from './quote.ts';
import { snapshotDocument, snapshotOf } from './snapshot.ts';
import { timeOf, timeText } from './time.ts';
import { decodeTree, encodeTree, type TreeNode } from './tree.ts';

const id = (text: string): string => storageIdOf(Buffer.from(text));
const latin1Name = fc
  .uint8Array({ minLength: 1, maxLength: 40 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));

describe('names', () => {
  it('survive whatever their bytes', () => {
    fc.assert(
      fc.property(latin1Name, (name) => {
        expect(unquoteName(quoteName(name))).toBe(name);
      }),
    );
  });

  it('read what Go writes', () => {
    expect(unquoteName('a\\"b\\\\\\t\\u00a0\\U0001f600\\xff\\177')).toBe(
      Buffer.concat([Buffer.from('a"b\\\t\u00a0\u{1f600}'), Buffer.from([0xff, 0x7f])]).toString(
        'latin1',
      ),
    );
    expect(() => unquoteName('\\q')).toThrow(/escape/);
    expect(() => unquoteName('\\U00110000')).toThrow(/code point/);
  });

  it('write readable text where it is UTF-8', () => {
    expect(quoteName(Buffer.from('Käse "x"\n').toString('latin1'))).toBe('Käse \\"x\\"\\x0a');
    expect(quoteName('\xff')).toBe('\\xff');
  });
});

describe('times', () => {
  it('keep every nanosecond, before the epoch too', () => {
    fc.assert(
      fc.property(fc.bigInt(-62_167_219_200_000_000_000n, 253_402_300_799_999_999_999n), (ns) => {
        expect(timeOf(timeText(ns), 'a time')).toBe(ns);
      }),
    );
  });

  it('read other zones and refuse what is none', () => {
    expect(timeOf('2015-01-02T18:10:50.895208559+01:00', 't')).toBe(1_420_218_650_895_208_559n);
    expect(() => timeOf('yesterday', 'mtime')).toThrow(/mtime/);
  });

  it('stop at the years that the text can hold', () => {
    expect(timeText(10n ** 21n)).toBe('9999-12-31T23:59:59Z');
  });
});

describe('the chunker polynomial', () => {
  it('is told from a reducible one', () => {
    expect(isIrreducible(0x25b468838dcb75n)).toBe(true);
    expect(isIrreducible(0x25b468838dcb77n)).toBe(false);
    // (x + 1)^2 = x^2 + 1 and x^2 + x + 1.
    expect(isIrreducible(5n)).toBe(false);
    expect(isIrreducible(7n)).toBe(true);
  });

  it('is the first irreducible one of the random numbers', () => {
    const numbers = [0x25b468838dcb77n, 0x25b468838dcb75n];
    expect(choosePolynomial(() => numbers.shift() ?? 0n)).toBe(0x25b468838dcb75n);
  });
});

describe('a pack header', () => {
  const key = cipherKeyFrom(Buffer.alloc(64, 7));
  const iv = Buffer.alloc(16, 1);
  const blobs: PackedBlob[] = [
    { id: id('a'), type: 'data', offset: 0, length: 100, uncompressedLength: 0 },
    { id: id('b'), type: 'tree', offset: 100, length: 50, uncompressedLength: 400 },
    { id: id('c'), type: 'data', offset: 150, length: 60, uncompressedLength: 61 },
  ];

  it('lists the blobs with their places', () => {
    const end = encodePackEnd(blobs, key, iv);
    const length = headerLength(end.subarray(end.length - 4), 10_000);
    expect(decodePackHeader(end.subarray(0, length), key)).toEqual(blobs);
    expect(packBytes(blobs)).toBe(210 + end.length);
  });

  it('is refused with a length that cannot be', () => {
    expect(() => headerLength(Buffer.from([255, 255, 255, 255]), 10_000)).toThrow(/header/);
    expect(() => headerLength(Buffer.from([1, 0, 0, 0]), 10_000)).toThrow(/header/);
  });

  it('goes into an index and comes back', () => {
    const packs = [{ id: id('pack'), blobs }];
    expect(packsOfIndex(fromJson(Buffer.from(toJson(indexDocument(packs))), 'x'))).toEqual(packs);
    expect(() => packsOfIndex({ packs: [{ id: 'short', blobs: [] }] })).toThrow(/id/);
  });
});

describe('documents', () => {
  it('are read compressed, plain, and not at all in an unknown encoding', async () => {
    for (const version of [1, 2] as const)
      expect(await decodeDocument(await encodeDocument({ a: [1] }, version), 'x')).toEqual({
        a: [1],
      });
    await expect(decodeDocument(Buffer.from([3, 1]), 'x')).rejects.toMatchObject({
      code: 'NEWER_FORMAT',
    });
  });

  it('do not decompress beyond what was announced', async () => {
    const bomb = await compress(Buffer.alloc(1_000_000));
    await expect(decompress(bomb, 1000)).rejects.toMatchObject({ code: 'CORRUPT' });
  });

  it('keep the facts of a snapshot', () => {
    const facts = {
      timeNs: 1_700_000_000_123_456_789n,
      tree: id('tree'),
      paths: ['/volumes/pg'],
      hostname: 'cluster',
      username: 'root',
      uid: 0,
      gid: 0,
      tags: ['volume=pg'],
      parent: id('parent'),
    };
    const document = fromJson(Buffer.from(toJson(snapshotDocument(facts))), 'x');
    expect(snapshotOf(document, id('file'))).toEqual({ ...facts, id: id('file') });
    expect(() => snapshotOf({}, id('file'))).toThrow(/tree/);
  });
});

describe('a tree', () => {
  const plain: TreeNode = {
    name: 'b',
    kind: 'file',
    mode: 0o6755,
    uid: 999,
    gid: 4_294_967_294,
    mtimeNs: 1n,
    atimeNs: -1n,
    ctimeNs: 1_700_000_000_123_456_789n,
    inode: 18_446_744_073_709_551_615n,
    deviceId: 9_007_199_254_740_993n,
    links: 2,
    size: 3,
    rdev: 0n,
    target: '',
    xattrs: [{ name: 'user.\xfcber', value: Buffer.from([0, 255]) }],
    content: [id('x'), id('y')],
  };

  it('keeps every attribute and sorts by the bytes of the names', () => {
    const { links: _, ...rest } = plain;
    const others: TreeNode[] = [
      {
        ...rest,
        name: 'c',
        kind: 'directory',
        mode: 0o1777,
        links: 0,
        deviceId: 0n,
        size: 0,
        xattrs: [],
        content: [],
        subtree: id('t'),
      },
      {
        ...rest,
        name: '\xff',
        kind: 'symlink',
        links: 1,
        deviceId: 0n,
        size: 0,
        xattrs: [],
        content: [],
        target: '../\xfe',
      },
      {
        ...rest,
        name: 'a',
        kind: 'char',
        links: 1,
        deviceId: 0n,
        size: 0,
        xattrs: [],
        content: [],
        rdev: 0x503n,
      },
    ];
    const valid = {
      ...plain,
      xattrs: [{ name: Buffer.from('user.über').toString('latin1'), value: Buffer.from([0, 255]) }],
    };
    const read = decodeTree(encodeTree([valid, ...others]));
    expect(read.map(({ name }) => name)).toEqual(['a', 'b', 'c', '\xff']);
    expect(read.toSorted((a, b) => a.name.localeCompare(b.name))).toEqual(
      [valid, ...others].toSorted((a, b) => a.name.localeCompare(b.name)),
    );
  });

  it('does not mistake text inside a string for a wide number', () => {
    const name = '","inode":1234567890123456789,"';
    expect(decodeTree(encodeTree([{ ...plain, name, xattrs: [] }]))[0]?.name).toBe(name);
  });

  it('is refused where it is malformed', () => {
    expect(() =>
      decodeTree(Buffer.from('{"nodes":[{"name":"a","type":"file","content":["x"]}]}')),
    ).toThrow(/id/);
    expect(() => decodeTree(Buffer.from('{"nodes":3}'))).toThrow(/list/);
    expect(() => decodeTree(Buffer.from('{'))).toThrow(/JSON/);
  });
});
