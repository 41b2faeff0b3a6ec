import type { InodeNumber, NodeReference, VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { Readers } from './readers.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const FILE = node(2);

function node(ino: number): NodeReference {
  return { volume: 1 as VolumeNumber, ino: ino as InodeNumber };
}

describe('who reads on and on', () => {
  it('has ever more brought ahead, up to a bound, and nothing twice', () => {
    const readers = new Readers();
    let ahead = 0;
    let steps = 0;
    const begins: number[] = [];
    const wanted: number[] = [];
    for (let at = 0; at < 64 * MIB; at += 4 * KIB) {
      const stretch = readers.read(FILE, at, 4 * KIB);
      if (stretch !== undefined) {
        begins.push(stretch.from);
        wanted.push(Math.max(ahead, at + 4 * KIB));
        ahead = stretch.to;
        steps += 1;
      }
      expect(ahead).toBeGreaterThan(at + 4 * KIB);
      expect(ahead - at).toBeLessThanOrEqual(8 * MIB + 4 * KIB);
    }
    expect(begins).toEqual(wanted);
    expect(ahead).toBeGreaterThan(67 * MIB);
    expect(steps).toBeLessThan(25);
  });

  it('is told apart from who reads here and there', () => {
    const readers = new Readers();
    expect(readers.read(FILE, 5 * MIB, KIB)).toBeUndefined();
    expect(readers.read(FILE, 3 * MIB, KIB)).toBeUndefined();
    expect(readers.read(FILE, 3 * MIB + KIB, KIB)?.from).toBe(3 * MIB + 2 * KIB);
    expect(readers.read(FILE, 9 * MIB, KIB)).toBeUndefined();
  });

  it('may begin anew from the front', () => {
    const readers = new Readers();
    readers.read(FILE, 0, MIB);
    readers.read(FILE, MIB, MIB);
    expect(readers.read(FILE, 0, MIB)?.from).toBe(MIB);
  });

  it('is remembered for each file, the last thousand', () => {
    const readers = new Readers();
    readers.read(FILE, 7 * MIB, KIB);
    readers.read(node(3), 7 * MIB, KIB);
    expect(readers.read(FILE, 7 * MIB + KIB, KIB)).toBeDefined();
    for (let ino = 10; ino < 1_034; ino++) readers.read(node(ino), MIB, KIB);
    expect(readers.read(FILE, 7 * MIB + 2 * KIB, KIB)).toBeUndefined();
  });
});
