import { lstat, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { DirectorySink } from '@holdfast/tree';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { importTree } from '../import.ts';
import { centralHeader, endRecords, localHeader } from './records.ts';

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-zip-'));
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

const S = 1_000_000_000n;
/** 2026-11-30T19:06:16.5Z, in nanoseconds since the epoch, and since 1601 in steps of 100. */
const WHEN_NS = 1_796_065_576_500_000_000n;
const WHEN_TICKS = WHEN_NS / 100n + 116_444_736_000_000_000n;
/** So far away that the headers have no times in seconds; the time of MS-DOS ends there. */
const FAR_NS = 20_000_000_000n * S;

/** An archive of one file, with the times of NTFS. */
function zip(mtime: bigint, atime: bigint): Buffer {
  const content = Buffer.from('x');
  const entry = {
    name: Buffer.from('a'),
    flags: 0,
    method: 0,
    mode: 0o100644,
    isDirectory: false,
    uid: 0,
    gid: 0,
    mtimeNs: FAR_NS,
    atimeNs: FAR_NS,
    offset: 0,
    isWide: false,
  };
  const sizes = { crc: crc32(content), packed: content.length, plain: content.length };
  const ntfs = Buffer.alloc(36);
  ntfs.writeUInt16LE(0x000a, 0);
  ntfs.writeUInt16LE(32, 2);
  ntfs.writeUInt16LE(1, 8);
  ntfs.writeUInt16LE(24, 10);
  ntfs.writeBigUInt64LE(mtime, 12);
  ntfs.writeBigUInt64LE(atime, 20);
  const local = Buffer.concat([localHeader(entry, sizes), content]);
  const central = centralHeader(entry, sizes);
  central.writeUInt16LE(central.readUInt16LE(30) + ntfs.length, 30);
  const directory = Buffer.concat([central, ntfs]);
  const end = endRecords({ count: 1, offset: local.length, length: directory.length });
  return Buffer.concat([local, directory, end]);
}

async function timesIn(bytes: Buffer): Promise<{ mtimeNs: bigint; atimeNs: bigint }> {
  const tree = join(scratch, 'tree');
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield bytes;
  }
  await importTree(whole(), new DirectorySink(tree));
  const { mtimeNs, atimeNs } = await lstat(join(tree, 'a'), { bigint: true });
  return { mtimeNs, atimeNs };
}

it('takes the times of NTFS', async () => {
  const times = await timesIn(zip(WHEN_TICKS, WHEN_TICKS - 10_000_000n));
  expect(times).toEqual({ mtimeNs: WHEN_NS, atimeNs: WHEN_NS - S });
});

it('takes the modification time where 7-Zip has left out the others', async () => {
  expect(await timesIn(zip(WHEN_TICKS, 0n))).toEqual({ mtimeNs: WHEN_NS, atimeNs: WHEN_NS });
});

it('takes the time of MS-DOS where NTFS has none', async () => {
  const { mtimeNs } = await timesIn(zip(0n, 0n));
  expect(new Date(Number(mtimeNs / 1_000_000n)).getUTCFullYear()).toBeGreaterThan(2100);
});
