import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SegmentFiles } from './segment-files.ts';

const MIB = 1 << 20;

describe('segment files on a small disk', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-segments-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', directory]);
  });
  afterEach(() => {
    execFileSync('umount', [directory]);
    rmSync(directory, { recursive: true });
  });

  it('set room aside for themselves, but never the reserve', async () => {
    const setAside = async (segment: number, bytes: number): Promise<number> => {
      const files = new SegmentFiles(directory, 4, 3 * MIB);
      await files.create(segment, bytes);
      return statSync(files.path(segment)).blocks * 512;
    };
    expect(await setAside(1, 4 * MIB)).toBe(4 * MIB);
    expect(await setAside(2, 4 * MIB)).toBe(0);
    expect(await setAside(3, MIB / 2)).toBe(MIB / 2);
  });

  it('give their space back when removed, whoever reads them', async () => {
    const files = new SegmentFiles(directory, 4);
    await files.create(1, 4 * MIB);
    const reading = files.use(1, async (file) => {
      await files.remove(1);
      return (await file.stat().catch(() => undefined)) === undefined;
    });
    expect(await reading).toBe(true);
    await expect(files.use(1, async () => {})).rejects.toMatchObject({ code: 'ENOENT' });
    writeFileSync(join(directory, 'other'), Buffer.alloc(7 * MIB));
    expect(readdirSync(directory)).toEqual(['other']);
    await files.close();
  });
});
