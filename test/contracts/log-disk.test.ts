/** Every implementation of the disk under the write-ahead log (packages/node/src/consensus/log-disk.ts). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { directoryDisk, type LogDisk } from '../../packages/node/src/consensus/log-disk.ts';
import { FaultyDisk } from '../../packages/node/src/consensus/testing/faulty-disk.ts';

const directories: string[] = [];

afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
});

const IMPLEMENTATIONS: Readonly<Record<string, () => Promise<LogDisk>>> = {
  'a directory': async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-contract-'));
    directories.push(directory);
    return directoryDisk(directory);
  },
  'a faulty disk without faults': async () => new FaultyDisk(),
};

describe.each(Object.entries(IMPLEMENTATIONS))('%s', (_name, make) => {
  it('makes files of zeros, lists them, opens them again and removes them', async () => {
    const disk = await make();
    expect(await disk.list()).toEqual([]);
    const file = await disk.create('a.wal', 5000);
    expect(await file.size()).toBe(5000);
    expect(Buffer.from(await file.read(0, 5000)).every((byte) => byte === 0)).toBe(true);
    await file.close();
    await (await disk.create('b.wal', 10)).close();
    expect((await disk.list()).sort()).toEqual(['a.wal', 'b.wal']);
    await disk.remove('b.wal');
    expect(await disk.list()).toEqual(['a.wal']);
    const again = await disk.open('a.wal');
    expect(await again.size()).toBe(5000);
    await again.close();
  });

  it('writes parts one after the other and reads them back, at once and after opening', async () => {
    const disk = await make();
    const file = await disk.create('a.wal', 1_000_000);
    // More parts than writev(2) takes in one call.
    const parts = Array.from({ length: 3000 }, (_, i) => Buffer.alloc(i % 7, i));
    const whole = Buffer.concat(parts);
    await file.write(parts, 100);
    await file.sync();
    expect(Buffer.compare(await file.read(100, whole.length), whole)).toBe(0);
    expect(Buffer.compare(file.readSync(100, whole.length), whole)).toBe(0);
    await file.close();
    const again = await disk.open('a.wal');
    expect(Buffer.compare(await again.read(100, whole.length), whole)).toBe(0);
    expect(await again.size()).toBe(1_000_000);
    await again.close();
  });
});
