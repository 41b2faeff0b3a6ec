/** Where the data of a sparse file lies, as GNU tar writes it: a list of stretches in ascending order. */
import { HoldfastError } from '@holdfast/protocol';
import type { ByteRange } from '@holdfast/tree';
import { ARCHIVE_LIMITS } from '../limits.ts';
import { BLOCK, numberAt, paddingOf } from './header.ts';
import { type PaxRecord, parsePaxNumber } from './pax.ts';

/** The form of GNU tar's version 1.0: numbers in lines before the data, whole blocks. */
export function encodeSparseMap(ranges: readonly ByteRange[]): Buffer {
  const numbers = ranges.flatMap(({ offset, length }) => [offset, length]);
  const text = `${[ranges.length, ...numbers].join('\n')}\n`;
  return Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(paddingOf(text.length))]);
}

/**
 * The stretches of a file of `size` bytes that an archive keeps, in whole blocks as GNU tar reads them
 * (only the end of the file may lie within one). Short holes are filled, the shortest first until
 * there are few enough. `undefined` when no hole is worth it.
 */
export function stretchesOf(
  ranges: readonly ByteRange[] | undefined,
  size: number,
): readonly ByteRange[] | undefined {
  if (ranges === undefined || size === 0) return undefined;
  let kept: ByteRange[] = [];
  for (let hole: number = ARCHIVE_LIMITS.holeBytesMin; ; hole *= 2) {
    kept = withoutHolesBelow(kept.length === 0 ? ranges : kept, size, hole);
    if (kept.length <= ARCHIVE_LIMITS.stretchesMax) break;
  }
  const [only] = kept;
  if (kept.length === 1 && only?.offset === 0 && only.length >= size) return undefined;
  return kept;
}

function withoutHolesBelow(ranges: readonly ByteRange[], size: number, least: number): ByteRange[] {
  const kept: ByteRange[] = [];
  let end = 0;
  for (const range of ranges) {
    const offset = range.offset - (range.offset % BLOCK);
    const rangeEnd = range.offset + range.length;
    const stop = Math.min(size, rangeEnd + paddingOf(rangeEnd));
    if (range.length === 0 || stop <= offset) continue;
    const last = kept.at(-1);
    if (offset - end < least) {
      const start = last?.offset ?? 0;
      if (last !== undefined) kept.pop();
      kept.push({ offset: start, length: stop - start });
    } else kept.push({ offset, length: stop - offset });
    end = stop;
  }
  const last = kept.at(-1);
  if (last !== undefined && size > end && size - end < least) {
    kept.pop();
    kept.push({ offset: last.offset, length: size - last.offset });
  }
  return kept;
}

function corrupt(why: string): HoldfastError {
  return new HoldfastError('CORRUPT', `the archive is damaged: ${why}`);
}

/** Checks a list that was read: ascending, without overlap, inside the file, as long as what is stored. */
export function checkStretches(
  ranges: readonly ByteRange[],
  { size, stored }: { readonly size: number; readonly stored: number },
): readonly ByteRange[] {
  let end = 0;
  let sum = 0;
  for (const { offset, length } of ranges) {
    if (offset < end || offset + length > size)
      throw corrupt('the stretches of a sparse file overlap or lie outside of it');
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) throw corrupt('the stretches of a sparse file do not add up to its data');
  return ranges.filter(({ length }) => length > 0);
}

function pairs(numbers: readonly number[]): ByteRange[] {
  const ranges: ByteRange[] = [];
  for (let at = 0; at + 1 < numbers.length; at += 2)
    ranges.push({ offset: numbers[at]!, length: numbers[at + 1]! });
  return ranges;
}

function checkCount(count: number): void {
  if (count > ARCHIVE_LIMITS.stretchesMax)
    throw new HoldfastError(
      'TOO_LARGE',
      `a sparse file of the archive has ${count} stretches; ${ARCHIVE_LIMITS.stretchesMax} are allowed`,
    );
}

/** The lists of versions 0.0 and 0.1, which stand in PAX records; `undefined` when there is none. */
export function stretchesInPax(records: readonly PaxRecord[]): ByteRange[] | undefined {
  const map = records.findLast(([key]) => key === 'GNU.sparse.map');
  if (map !== undefined) {
    const numbers = map[1] === '' ? [] : map[1].split(',');
    checkCount(numbers.length / 2);
    return pairs(numbers.map((text) => parsePaxNumber(text, 'a place of a sparse file')));
  }
  const numbers = records
    .filter(([key]) => key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes')
    .map(([, value]) => parsePaxNumber(value, 'a place of a sparse file'));
  checkCount(numbers.length / 2);
  if (numbers.length > 0) return pairs(numbers);
  return records.some(([key]) => key === 'GNU.sparse.numblocks') ? [] : undefined;
}

/** Reads the list of version 1.0 from the start of the content; the bytes it took are whole blocks. */
export async function readSparseMap(
  nextBlock: () => Promise<Buffer>,
): Promise<{ ranges: ByteRange[]; bytes: number }> {
  const numbers: number[] = [];
  let wanted = 1;
  let digits = '';
  let bytes = 0;
  while (numbers.length < wanted) {
    const block = await nextBlock();
    bytes += BLOCK;
    for (const byte of block) {
      if (byte !== 0x0a) {
        digits += String.fromCharCode(byte);
        if (digits.length > 16) throw corrupt('the list of a sparse file holds no numbers');
        continue;
      }
      numbers.push(parsePaxNumber(digits, 'a place of a sparse file'));
      digits = '';
      if (numbers.length === 1) {
        checkCount(numbers[0]!);
        wanted = 1 + 2 * numbers[0]!;
      }
      if (numbers.length === wanted) break;
    }
  }
  return { ranges: pairs(numbers.slice(1)), bytes };
}

/** The list of the old GNU format: 4 places in the header, 21 in each block that follows it. */
export async function readOldSparseMap(
  header: Buffer,
  nextBlock: () => Promise<Buffer>,
): Promise<{ ranges: ByteRange[]; size: number }> {
  const ranges: ByteRange[] = [];
  const take = (block: Buffer, start: number, count: number): void => {
    for (let at = start; at < start + count * 24; at += 24) {
      if (block[at] === 0) break;
      const offset = numberAt(block, at, 12, 'a place of a sparse file');
      const length = numberAt(block, at + 12, 12, 'a place of a sparse file');
      if (offset < 0 || length < 0) throw corrupt('a place of a sparse file is negative');
      ranges.push({ offset, length });
    }
    checkCount(ranges.length);
  };
  take(header, 386, 4);
  for (let isLast = header[482] === 0; !isLast; ) {
    const block = await nextBlock();
    take(block, 0, 21);
    isLast = block[504] === 0;
  }
  return { ranges, size: numberAt(header, 483, 12, 'the size of a sparse file') };
}
