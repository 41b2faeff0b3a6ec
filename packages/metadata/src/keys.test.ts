import type { InodeNumber, VolumeNumber } from '@holdfast/protocol';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  blobKey,
  chunkKey,
  contentCutKey,
  contentRange,
  deathKey,
  deathsRange,
  dentryKey,
  headOfDeath,
  headOfHistory,
  headOfVersions,
  historyKey,
  inodeKey,
  KIND,
  keyAfter,
  listingKey,
  listingRange,
  parseKey,
  rangeOf,
  regionKey,
  SHARD_KIND,
  shardKindRange,
  versionsKey,
  volumeRange,
} from './keys.ts';
import { chunkId } from './test-shard.ts';

const V = 0x010203 as VolumeNumber;
const INO = 0x0405060708 as InodeNumber;
const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex');
const isIn = (key: Uint8Array, { from, to }: { from: Uint8Array; to: Uint8Array }): boolean =>
  Buffer.compare(key, from) >= 0 && Buffer.compare(key, to) < 0;

describe('keys', () => {
  it('have the bytes that are on disk', () => {
    expect(hex(inodeKey(V, INO))).toBe('010203' + '10' + '0405060708');
    expect(hex(dentryKey(V, INO, 'a\xff'))).toBe('010203' + '11' + '0405060708' + '61ff');
    expect(hex(listingKey(V, INO, 2 ** 52 + 1))).toBe('010203120405060708' + '10000000000001');
    expect(hex(regionKey(V, INO, 2 ** 33 - 1))).toBe('010203140405060708' + '01ffffffff');
    expect(hex(blobKey(V, INO, 1, 2))).toBe('010203150405060708' + '0000000001' + '000000000002');
    expect(hex(chunkKey(V, chunkId(0xabc)))).toBe(`01020320${'0abc'.padStart(32, '0')}`);
    expect(hex(contentCutKey(V, INO, 3))).toBe(
      '000000' + '14' + '010203' + '0405060708' + '00000000000003',
    );
  });

  it('come apart into what they were made of', () => {
    expect(parseKey(regionKey(V, INO, 9))).toMatchObject({
      volume: V,
      kind: KIND.region,
      ino: INO,
      number: 9,
    });
    expect(parseKey(listingKey(V, INO, 2 ** 53 - 1)).number).toBe(2 ** 53 - 1);
    const cut = { volume: 0, kind: SHARD_KIND.contentCut, subject: V, ino: INO, number: 77 };
    expect(parseKey(contentCutKey(V, INO, 77))).toEqual(cut);
  });

  it('are taken apart whatever their bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (key) => {
        expect(Number.isSafeInteger(parseKey(key).volume)).toBe(true);
      }),
    );
  });

  it('sort listings by cookie and regions by offset', () => {
    const number = fc.maxSafeNat();
    fc.assert(
      fc.property(number, number, (a, b) => {
        const order = Buffer.compare(listingKey(V, INO, a), listingKey(V, INO, b));
        expect(order).toBe(Math.sign(a - b));
      }),
    );
  });

  it('lie in the range of what holds them and in no other', () => {
    const other = (INO + 1) as InodeNumber;
    expect(isIn(listingKey(V, INO, 5), listingRange(V, INO))).toBe(true);
    expect(isIn(listingKey(V, other, 5), listingRange(V, INO))).toBe(false);
    expect(isIn(regionKey(V, INO, 5), contentRange(V, INO))).toBe(true);
    expect(isIn(regionKey(V, INO, 5), volumeRange(V))).toBe(true);
    expect(isIn(regionKey((V + 1) as VolumeNumber, INO, 5), volumeRange(V))).toBe(false);
    expect(isIn(contentCutKey(V, INO, 1), shardKindRange('contentCut', V))).toBe(true);
  });

  it('end ranges after bytes of 255 where the next prefix begins', () => {
    expect(hex(rangeOf(Uint8Array.of(1, 0xff, 0xff)).to)).toBe('02');
    expect(() => rangeOf(Uint8Array.of(0xff))).toThrow(RangeError);
    expect(hex(keyAfter(Uint8Array.of(1)))).toBe('0100');
  });

  it('keep older versions of a name apart from those of longer names', () => {
    const a = dentryKey(V, INO, 'a');
    expect(headOfHistory(historyKey(a, 5))).toEqual({ head: a, death: 5 });
    expect(headOfDeath(deathKey(a, 5))).toEqual({ head: a, death: 5 });
    expect(headOfVersions(versionsKey(a))).toEqual(a);
    // A name that looks as if a death came after it.
    const longer = dentryKey(V, INO, 'a\x01\x01\x01\x01\x01\x01\x01');
    expect(headOfHistory(historyKey(longer, 5))).toEqual({ head: longer, death: 5 });
  });

  it('order versions by death, then by kind', () => {
    const range = deathsRange(V, 3, 4);
    expect(isIn(deathKey(inodeKey(V, INO), 3), range)).toBe(true);
    expect(isIn(deathKey(chunkKey(V, chunkId(1)), 4), range)).toBe(true);
    expect(isIn(deathKey(inodeKey(V, INO), 5), range)).toBe(false);
    expect(isIn(deathKey(inodeKey(V, INO), 2), range)).toBe(false);
  });
});
