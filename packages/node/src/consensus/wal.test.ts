import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Entry, membershipOf } from '@holdfast/raft';
import { afterEach, describe, expect, it } from 'vitest';
import type { LogDisk } from './log-disk.ts';
import { type DiskFault, FaultyDisk } from './testing/faulty-disk.ts';
import { Wal, type WalOptions } from './wal.ts';
import { BATCH_HEADER_BYTES, recordBytes, SEGMENT_HEADER_BYTES } from './wal-format.ts';

const MEMBERS = membershipOf([1, 2, 3]);
const NOBODY_SYNC = { mustSync: true } as const;
const open: Wal[] = [];

async function openWal(disk: string | LogDisk, options: Partial<WalOptions> = {}): Promise<Wal> {
  const onFatal = (error: Error) => {
    throw error;
  };
  const wal = await Wal.open({ segmentBytes: 16_384, retryMs: 1, onFatal, ...options, disk });
  open.push(wal);
  return wal;
}

afterEach(async () => {
  for (const wal of open.splice(0)) await wal.abandon();
});

function entry(index: number, term = 1, data: string | Uint8Array = `entry ${index}`): Entry {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  return { index, term, kind: 'normal', data: bytes };
}

function textOf(wal: Wal, group: number): string[] {
  const log = wal.groups.get(group)!;
  const entries = log.entries(log.firstIndex(), log.lastIndex() + 1, Number.MAX_SAFE_INTEGER);
  if (entries === 'compacted') throw new RangeError('compacted');
  return entries.map(({ term, data }) => `${term}:${new TextDecoder().decode(data)}`);
}

/** Three groups, two batches, hard states: then the disk. */
async function writtenDisk(): Promise<FaultyDisk> {
  const disk = new FaultyDisk();
  const wal = await openWal(disk);
  await Promise.all([1, 2, 3].map((group) => wal.create(group, MEMBERS)));
  const hardState = { term: 1, vote: 2, commit: 0 };
  await Promise.all([
    wal.append({ group: 1, entries: [entry(1), entry(2)], hardState, ...NOBODY_SYNC }),
    wal.append({ group: 2, entries: [entry(1)], hardState, ...NOBODY_SYNC }),
  ]);
  await wal.append({ group: 1, entries: [entry(3)], ...NOBODY_SYNC });
  await wal.abandon();
  return disk;
}

describe('write-ahead log', () => {
  it('gives back after a restart what was durable: entries, hard state, membership', async () => {
    const wal = await openWal((await writtenDisk()).afterCrash());
    expect(textOf(wal, 1)).toEqual(['1:entry 1', '1:entry 2', '1:entry 3']);
    expect(textOf(wal, 2)).toEqual(['1:entry 1']);
    expect(wal.groups.get(1)!.hardState).toEqual({ term: 1, vote: 2, commit: 0 });
    expect(wal.groups.get(3)!.snapshot()).toEqual({ index: 0, term: 0, membership: MEMBERS });
    expect(wal.groups.get(1)!.term(0)).toBe(0);
  });

  it('puts an entry in the place of those that differ', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    await wal.append({ group: 1, entries: [entry(1), entry(2), entry(3)], ...NOBODY_SYNC });
    await wal.append({ group: 1, entries: [entry(2, 2, 'other')], ...NOBODY_SYNC });
    expect(textOf(wal, 1)).toEqual(['1:entry 1', '2:other']);
    const again = await openWal(disk.afterCrash());
    expect(textOf(again, 1)).toEqual(['1:entry 1', '2:other']);
    expect(again.groups.get(1)!.hardState.term).toBe(2);
  });

  it('makes all that waits durable with one flush while another runs', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    for (let group = 1; group <= 10; group += 1) await wal.create(group, MEMBERS);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const before = disk.syncs;
    disk.beforeSync = () => held;
    const first = wal.append({ group: 1, entries: [entry(1)], ...NOBODY_SYNC });
    await new Promise((resolve) => setImmediate(resolve));
    const others = [];
    for (let index = 1; index <= 20; index += 1) {
      for (let group = 2; group <= 10; group += 1) {
        others.push(wal.append({ group, entries: [entry(index)], ...NOBODY_SYNC }));
      }
    }
    release();
    await Promise.all([first, ...others]);
    expect(disk.syncs - before).toBe(2);
  });

  it('loses nothing acknowledged and tears nothing, whichever sectors of the rest survive', async () => {
    for (let seed = 0; seed < 200; seed += 1) {
      const disk = new FaultyDisk();
      const wal = await openWal(disk);
      await wal.create(1, MEMBERS);
      await wal.append({ group: 1, entries: [entry(1), entry(2)], ...NOBODY_SYNC });
      let written = () => {};
      const isWritten = new Promise<void>((resolve) => {
        written = resolve;
      });
      let letGo = () => {};
      const held = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      disk.beforeSync = async () => {
        written();
        await held;
      };
      const big = new Uint8Array(3000).fill(seed + 1);
      const entries = [entry(2, 2, big), entry(3, 2)];
      const waiting = wal.append({ group: 1, entries, ...NOBODY_SYNC });
      await isWritten;
      // Seed chooses which sectors of the unsynced write reached the platter.
      const crashed = disk.afterCrash(
        (sector) => ((seed * 2_654_435_761) >>> (sector % 31)) % 2 === 1,
      );
      const again = await openWal(crashed);
      const log = again.groups.get(1)!;
      expect([2, 3]).toContain(log.lastIndex());
      expect(log.term(2)).toBe(log.lastIndex() === 3 ? 2 : 1);
      await again.append({ group: 1, entries: [entry(log.lastIndex() + 1, 3)], ...NOBODY_SYNC });
      const last = await openWal(crashed.afterCrash());
      expect(last.groups.get(1)!.lastIndex()).toBe(log.lastIndex());
      letGo();
      await waiting;
    }
  });

  it('comes back from a crash in any of its flushes, segments and compactions among them', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    await wal.create(2, MEMBERS);
    await wal.append({ group: 2, entries: [entry(1)], ...NOBODY_SYNC });
    const crashes: { readonly acknowledged: number; readonly disk: FaultyDisk }[] = [];
    let acknowledged = 0;
    let seed = 7;
    disk.beforeSync = async () => {
      for (let i = 0; i < 4; i += 1) {
        seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
        const mask = seed;
        // Of what is not flushed yet: nothing, all, or a random half of the sectors.
        const keep = (sector: number) => i === 1 || (i > 1 && (mask >>> (sector % 32)) % 2 === 1);
        crashes.push({ acknowledged, disk: disk.afterCrash(keep) });
      }
    };
    for (let round = 0; round < 12; round += 1) {
      for (let index = round * 5 + 1; index <= round * 5 + 5; index += 1) {
        await fill(wal, 1, index, 1);
        acknowledged = index;
      }
      wal.compact(1, { index: round * 5 + 2, term: 1, membership: MEMBERS });
    }
    expect(wal.segmentCount).toBeLessThan(4);
    for (const crash of crashes) {
      const again = await openWal(crash.disk);
      const log = again.groups.get(1)!;
      expect(log.lastIndex()).toBeGreaterThanOrEqual(crash.acknowledged);
      expect(log.firstIndex()).toBeLessThanOrEqual(Math.max(1, crash.acknowledged));
      expect(textOf(again, 2)).toEqual(['1:entry 1']);
      await again.append({ group: 1, entries: [entry(log.lastIndex() + 1)], ...NOBODY_SYNC });
      await open.pop()!.abandon();
    }
  });

  it('cuts off the last batch at whatever byte its write ended', async () => {
    const disk = await writtenDisk();
    const [name] = [...disk.files.keys()];
    const length = BATCH_HEADER_BYTES + recordBytes(entry(3).data.length);
    const end = lastNonZero(disk.files.get(name!)!.bytes) + 1;
    const start = Math.floor((end - length + 8) / 8) * 8;
    for (let cut = start; cut < end; cut += 1) {
      const torn = disk.copy();
      torn.files.get(name!)!.bytes.fill(0, cut);
      const wal = await openWal(torn);
      expect(textOf(wal, 1), `cut at ${cut}`).toEqual(['1:entry 1', '1:entry 2']);
      await wal.append({ group: 1, entries: [entry(3, 1, 'again')], ...NOBODY_SYNC });
      await wal.abandon();
      const again = await openWal(torn.afterCrash());
      expect(textOf(again, 1).at(-1)).toBe('1:again');
      expect(again.tornBytes).toBe(0);
    }
  });

  it('never returns a flipped bit: the last batch is cut off, damage before it is refused', async () => {
    const disk = await writtenDisk();
    const name = [...disk.files.keys()][0]!;
    const { bytes } = disk.files.get(name)!;
    const end = lastNonZero(bytes) + 1;
    const lastBatch = lastBatchOffset(bytes, end);
    for (let bit = 0; bit < end * 8; bit += 1) {
      const damaged = disk.copy();
      const content = damaged.files.get(name)!;
      content.bytes[bit >> 3]! ^= 1 << (bit & 7);
      const outcome = await openWal(damaged).then(
        (wal) => textOf(wal, 1).length,
        (error: { code: string }) => error.code,
      );
      const isLast = bit >> 3 >= lastBatch;
      expect(outcome, `bit ${bit}`).toBe(isLast ? 2 : 'CORRUPT');
      await open.pop()?.abandon();
    }
  });

  it('tells how to rebuild the replica when a record in the middle is damaged', async () => {
    const disk = await writtenDisk();
    [...disk.files.values()][0]!.bytes[SEGMENT_HEADER_BYTES + 40]! ^= 1;
    await expect(openWal(disk)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining('holdfast join'),
    });
  });

  it('notices damage to the last batch after an orderly stop', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    await wal.append({ group: 1, entries: [entry(1)], ...NOBODY_SYNC });
    const end = lastNonZero([...disk.files.values()][0]!.bytes);
    await wal.close();
    [...disk.files.values()][0]!.bytes[end]! ^= 1;
    await expect(openWal(disk)).rejects.toMatchObject({ code: 'CORRUPT' });
  });

  it('refuses a lost segment', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    await fill(wal, 1, 1, 40);
    await wal.abandon();
    const names = [...disk.files.keys()].sort();
    expect(names.length).toBeGreaterThan(3);
    disk.files.delete(names[1]!);
    await expect(openWal(disk)).rejects.toMatchObject({ code: 'CORRUPT' });
  });

  it('writes a commit index without a flush of its own, at the latest when it closes', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    const hardState = { term: 1, vote: 1, commit: 0 };
    await wal.append({ group: 1, entries: [entry(1)], hardState, ...NOBODY_SYNC });
    const { syncs } = disk;
    await wal.append({ group: 1, hardState: { ...hardState, commit: 1 }, mustSync: false });
    expect(disk.syncs).toBe(syncs);
    await wal.close();
    const again = await openWal(disk.afterCrash());
    expect(again.groups.get(1)!.hardState.commit).toBe(1);
  });

  it('stops for good when a flush fails', async () => {
    for (const fault of ['sync-fails', 'write-fails'] satisfies DiskFault[]) {
      const disk = new FaultyDisk();
      const fatal: Error[] = [];
      const wal = await openWal(disk, { onFatal: (error) => fatal.push(error) });
      await wal.create(1, MEMBERS);
      disk.fault = fault;
      const failed = { code: 'DISK_FAILED' };
      const request = { group: 1, entries: [entry(1)], ...NOBODY_SYNC };
      await expect(wal.append(request)).rejects.toMatchObject(failed);
      disk.fault = 'none';
      await expect(wal.append(request)).rejects.toMatchObject(failed);
      expect(fatal).toHaveLength(1);
    }
  });

  it('waits for space when the disk is full, says so beforehand, and goes on', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    disk.fault = 'full';
    await fill(wal, 1, 1, 12);
    while (!wal.isFull) await fill(wal, 1, wal.groups.get(1)!.lastIndex() + 1, 1);
    let isDone = false;
    const first = wal.groups.get(1)!.lastIndex() + 1;
    const waiting = fill(wal, 1, first, 30).then(() => {
      isDone = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isDone).toBe(false);
    const crashed = await openWal(disk.afterCrash((sector) => sector % 2 === 0));
    expect(crashed.groups.get(1)!.lastIndex()).toBeGreaterThanOrEqual(first - 1);
    disk.fault = 'none';
    await waiting;
    expect(wal.isFull).toBe(false);
    const again = await openWal(disk.afterCrash());
    expect(again.groups.get(1)!.lastIndex()).toBe(first + 29);
  });

  it('gives segments back that all groups have compacted, though one group is idle', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    await wal.create(2, MEMBERS);
    const hardState = { term: 7, vote: 3, commit: 1 };
    const idle = { group: 2, entries: [entry(1, 7, 'idle'), entry(2, 7, 'idler')], hardState };
    await wal.append({ ...idle, ...NOBODY_SYNC });
    for (let round = 0; round < 20; round += 1) {
      await fill(wal, 1, round * 20 + 1, 20);
      wal.compact(1, { index: round * 20 + 18, term: 1, membership: MEMBERS });
    }
    expect(wal.segmentCount).toBeLessThan(5);
    const again = await openWal(disk.afterCrash());
    expect(textOf(again, 2)).toEqual(['7:idle', '7:idler']);
    expect(again.groups.get(2)!.hardState).toEqual(hardState);
    expect(again.groups.get(1)!.firstIndex()).toBeLessThanOrEqual(399);
    expect(again.groups.get(1)!.lastIndex()).toBe(400);
    expect(textOf(again, 1)).toHaveLength(400 - again.groups.get(1)!.firstIndex() + 1);
  });

  it('asks a group that pins much of an old segment to compact', async () => {
    const pinned = new Set<number>();
    const wal = await openWal(new FaultyDisk(), { onPinned: (group) => pinned.add(group) });
    await wal.create(1, MEMBERS);
    await fill(wal, 1, 1, 40);
    expect([...pinned]).toEqual([1]);
  });

  it('reads entries back that memory had no room for', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk, { cacheBytesMax: 3000 });
    await wal.create(1, MEMBERS);
    await fill(wal, 1, 1, 40);
    const log = wal.groups.get(1)!;
    expect(log.cachedBytes).toBeLessThanOrEqual(3000);
    expect(textOf(wal, 1).map((text) => text.slice(0, 8))).toEqual(
      Array.from({ length: 40 }, (_, i) => `1:${i + 1}`.padEnd(8, '.')),
    );
    const again = await openWal(disk.afterCrash(), { cacheBytesMax: 3000 });
    expect(again.groups.get(1)!.cachedBytes).toBeLessThanOrEqual(3000);
    expect(textOf(again, 1)).toEqual(textOf(wal, 1));
  });

  it('starts a log anew after an installed snapshot, keeping term and vote', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    const hardState = { term: 4, vote: 2, commit: 0 };
    await wal.append({ group: 1, entries: [entry(1, 4)], hardState, ...NOBODY_SYNC });
    const restart = { index: 90, term: 4, membership: membershipOf([1, 2]) };
    await wal.append({ group: 1, restart, entries: [entry(91, 4)], ...NOBODY_SYNC });
    const log = (await openWal(disk.afterCrash())).groups.get(1)!;
    expect([log.firstIndex(), log.lastIndex(), log.term(90)]).toEqual([91, 91, 4]);
    expect(log.snapshot().membership).toEqual(restart.membership);
    expect(log.hardState).toEqual({ term: 4, vote: 2, commit: 90 });
  });

  it('forgets a dropped group and may take it in again', async () => {
    const disk = new FaultyDisk();
    const wal = await openWal(disk);
    await wal.create(1, MEMBERS);
    await wal.append({ group: 1, entries: [entry(1)], ...NOBODY_SYNC });
    await wal.drop(1);
    const without = await openWal(disk.afterCrash());
    expect(without.groups.has(1)).toBe(false);
    await wal.create(1, membershipOf([9]));
    expect((await openWal(disk.afterCrash())).groups.get(1)!.lastIndex()).toBe(0);
  });
});

describe('write-ahead log on a real directory', () => {
  it('keeps preallocated segments of full length, and one that is made ahead', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-wal-'));
    try {
      const wal = await openWal(directory);
      await expect(openWal(directory)).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
      await wal.create(1, MEMBERS);
      await fill(wal, 1, 1, 40);
      await wal.close();
      const names = await readdir(directory);
      expect(names.length).toBeGreaterThan(3);
      for (const name of names) expect((await stat(join(directory, name))).size).toBe(16_384);
      const again = await openWal(directory, { cacheBytesMax: 0 });
      expect(textOf(again, 1)).toHaveLength(40);
      await again.close();
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

/** Entries of about 1000 bytes, each a flush of its own. */
async function fill(wal: Wal, group: number, from: number, count: number): Promise<void> {
  for (let index = from; index < from + count; index += 1) {
    const data = `${index}`.padEnd(1000, '.');
    await wal.append({ group, entries: [entry(index, 1, data)], ...NOBODY_SYNC });
  }
}

function lastNonZero(bytes: Uint8Array): number {
  return bytes.findLastIndex((byte) => byte !== 0);
}

function lastBatchOffset(bytes: Buffer, end: number): number {
  for (let at = end - (end % 8); at > 0; at -= 8) {
    if (bytes.readUInt32LE(at) === 0x42574648) return at;
  }
  return 0;
}
