import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SNAPSHOT_NUMBERS_FROM, type VolumeNumber } from '@holdfast/protocol';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type SnapshotKey, SnapshotNumbers } from './snapshot-numbers.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-numbers-'));
});
afterEach(() => rmSync(directory, { recursive: true }));
const path = (): string => join(directory, 'snapshots');

function key(volume: number, generation: number): SnapshotKey {
  return { volume: volume as VolumeNumber, generation };
}

describe('numbers of snapshots', () => {
  it('are all different, above those of volumes, and lead back', () => {
    const numbers = new SnapshotNumbers();
    const keys = Array.from({ length: 20_000 }, (_, i) => key(1 + (i % 100), 1 + i));
    const given = keys.map((each) => numbers.numberOf(each));
    expect(new Set(given).size).toBe(keys.length);
    expect(Math.min(...given)).toBeGreaterThanOrEqual(SNAPSHOT_NUMBERS_FROM);
    expect(Math.max(...given)).toBeLessThan(2 ** 23);
    expect(given.every(SnapshotNumbers.isSnapshot)).toBe(true);
    expect(SnapshotNumbers.isSnapshot((SNAPSHOT_NUMBERS_FROM - 1) as VolumeNumber)).toBe(false);
    expect(given.map((number) => numbers.keyOf(number))).toEqual(keys);
    expect(keys.map((each) => numbers.numberOf(each))).toEqual(given);
  });

  it('outlive the process, in whatever order they are asked for again', () => {
    const few = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(fc.array(fc.array(fc.tuple(few, few))), (lives) => {
        rmSync(path(), { force: true });
        const given = new Map<string, VolumeNumber>();
        for (const life of lives) {
          const numbers = new SnapshotNumbers(path());
          for (const [volume, generation] of life) {
            const number = numbers.numberOf(key(volume, generation));
            expect(given.get(`${volume}/${generation}`) ?? number).toBe(number);
            given.set(`${volume}/${generation}`, number);
          }
          for (const [text, number] of given) {
            const [volume = 0, generation = 0] = text.split('/').map(Number);
            expect(numbers.keyOf(number)).toEqual(key(volume, generation));
          }
          numbers.close();
        }
      }),
      { numRuns: 50 },
    );
  });

  it('are the same in another mount', () => {
    const [a, b] = [new SnapshotNumbers(), new SnapshotNumbers(path())];
    for (let i = 1; i < 50; i += 1) a.numberOf(key(7, i));
    expect(b.numberOf(key(7, 30))).toBe(a.numberOf(key(7, 30)));
    b.close();
  });

  it('pass over a line that was cut off, and write over it', () => {
    const first = new SnapshotNumbers(path());
    const number = first.numberOf(key(1, 1));
    first.close();
    const whole = readFileSync(path(), 'latin1');
    appendFileSync(path(), '8999999 99999999 123456789');
    const second = new SnapshotNumbers(path());
    expect(second.numberOf(key(1, 1))).toBe(number);
    const other = second.numberOf(key(1, 2));
    second.close();
    expect(readFileSync(path(), 'latin1').startsWith(`${whole}${other} 1 2\n`)).toBe(true);
    const third = new SnapshotNumbers(path());
    expect(third.keyOf(other)).toEqual(key(1, 2));
    third.close();
  });

  it('refuse what is none, a number nobody was given, and more after the end', () => {
    writeFileSync(path(), 'something else\n');
    expect(() => new SnapshotNumbers(path())).toThrow(expect.objectContaining({ code: 'CORRUPT' }));
    const numbers = new SnapshotNumbers();
    expect(() => numbers.keyOf(SNAPSHOT_NUMBERS_FROM as VolumeNumber)).toThrow(
      expect.objectContaining({ code: 'ESTALE' }),
    );
    numbers.close();
    expect(() => numbers.numberOf(key(1, 1))).toThrow(
      expect.objectContaining({ code: 'SHUTTING_DOWN' }),
    );
  });
});
