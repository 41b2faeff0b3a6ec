/** What operations cost does not depend on how much there is: counted in records read and written. */
import {
  type Command,
  INTERNAL_SESSION,
  type InodeNumber,
  type Operation,
  ROOT_INODE,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { apply } from './apply.ts';
import { deadContentKey, shardKindRange } from './keys.ts';
import type { StateWriter } from './state.ts';
import { chunkExtent, inlineExtent, TestShard } from './test-shard.ts';
import { view } from './views.ts';

const MiB = 1024 * 1024;

interface Cost {
  readonly reads: number;
  readonly writes: number;
  readonly bytes: number;
}

/** Applies an operation and counts what it does to the state. */
function costOf(shard: TestShard, operation: Operation, fields: Partial<Command> = {}): Cost {
  let reads = 0;
  let writes = 0;
  let bytes = 0;
  const counted: StateWriter = {
    get: (key) => {
      reads++;
      return shard.state.get(key);
    },
    put: (key, value) => {
      writes++;
      bytes += value.length;
      shard.state.put(key, value);
    },
    delete: (key) => {
      writes++;
      shard.state.delete(key);
    },
  };
  const result = apply(counted, shard.command(operation, fields));
  expect(result).toMatchObject({ ok: true });
  return { reads, writes, bytes };
}

/** A shard with a directory of `count` entries. */
function crowded(count: number): { shard: TestShard; parent: InodeNumber } {
  const shard = new TestShard();
  const parent = shard.mkdir('d');
  for (let index = 0; index < count; index++) shard.create(`n${index}`, { parent });
  return { shard, parent };
}

const create = (parent: InodeNumber, name: string): Operation => ({
  op: 'create',
  parent,
  name,
  kind: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  rdev: 0,
  target: '',
  exclusive: true,
});

describe('cost', () => {
  it('of operations on names is the same among 10 and among 100,000 entries', () => {
    const costs = [10, 100_000].map((count) => {
      const { shard, parent } = crowded(count);
      const operations: Operation[] = [
        create(parent, 'new'),
        { op: 'rename', parent, name: 'new', newParent: ROOT_INODE, newName: 'x', flag: 'replace' },
        { op: 'link', ino: 5 as InodeNumber, parent, name: 'other' },
        { op: 'unlink', parent, name: 'n7' },
        { op: 'set-attributes', ino: 4 as InodeNumber, mode: 0o600 },
      ];
      return operations.map((operation) => {
        const { reads, writes } = costOf(shard, operation);
        expect(reads).toBeLessThan(25);
        return { reads, writes };
      });
    });
    expect(costs[1]).toEqual(costs[0]);
  });

  it('of a page of a listing is what the page holds', async () => {
    const { shard, parent } = crowded(20_000);
    let reads = 0;
    let scanned = 0;
    const counted = {
      get: (key: Uint8Array) => {
        reads++;
        return shard.state.get(key);
      },
      async *scan(from: Uint8Array, to: Uint8Array, limit: number) {
        for await (const entry of shard.state.scan(from, to, limit)) {
          scanned++;
          yield entry;
        }
      },
    };
    const { session, volume } = shard;
    const wanted = { view: 'read-directory', ino: parent, after: 15_000, count: 100 } as const;
    const page = await view(counted, { session, volume, view: wanted });
    expect(page.entries).toHaveLength(100);
    expect([scanned <= 101, reads <= 210]).toEqual([true, true]);
    // So it is at a snapshot, with the versions of then beside the entries of now.
    const { snapshot } = shard.do({ op: 'create-snapshot', name: 's' });
    scanned = 0;
    const few = { ...wanted, after: 0, count: 16, at: snapshot?.generation ?? 0 } as const;
    const then = await view(counted, { session, volume, view: few });
    expect(then.entries).toHaveLength(16);
    expect(scanned).toBeLessThanOrEqual(2 * 17);
  });

  it('of a write does not depend on the size of the file', () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    const write = (offset: number): Cost =>
      costOf(shard, {
        op: 'write-extents',
        ino,
        extents: [inlineExtent(offset, 'x'.repeat(4096))],
        append: false,
        killPrivileges: false,
      });
    const first = write(0);
    for (let index = 1; index < 300; index++)
      shard.write(ino, chunkExtent(index * MiB, MiB, index));
    const last = write(500 * MiB);
    expect([last.reads, last.writes]).toEqual([first.reads, first.writes - 1]);
    expect(last.bytes).toBeLessThan(5000);
  });

  it('of an append to a log stays small, however many there were', () => {
    const shard = new TestShard();
    const { ino } = shard.create('log');
    let most = 0;
    for (let index = 0; index < 2000; index++) {
      const extents = [inlineExtent(0, 'l'.repeat(100))];
      const append: Operation = {
        op: 'write-extents',
        ino,
        extents,
        append: true,
        killPrivileges: false,
      };
      most = Math.max(most, costOf(shard, append).bytes);
    }
    expect(most).toBeLessThan(10_000);
  });

  it.each<[string, number]>([
    ['a dense file of a gibibyte', 1024],
    ['a sparse file of eight pebibytes', 10],
  ])('of emptying and of deleting %s is bounded', (_, regions) => {
    const shard = new TestShard();
    const step = regions === 10 ? 2 ** 49 : MiB;
    const make = (name: string): InodeNumber => {
      const { ino } = shard.create(name);
      for (let index = 0; index < regions; index++)
        shard.write(ino, chunkExtent(index * step, 1, ino * 10_000 + index));
      return ino;
    };
    const truncated = costOf(shard, { op: 'set-attributes', ino: make('a'), size: 0 });
    expect(truncated.reads + truncated.writes).toBeLessThan(20);
    const half = costOf(shard, {
      op: 'set-attributes',
      ino: make('b'),
      size: (regions * step) / 2,
    });
    expect(half.reads + half.writes).toBeLessThan(20);
    const ino = make('c');
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'c' });
    const deleted = costOf(shard, { op: 'release-orphans', inos: [ino] });
    expect(deleted.reads + deleted.writes).toBeLessThan(20);
  });

  it('of a file that was cut short is that of a short file: nothing is left for later', () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.write(ino, chunkExtent(20 * MiB, 10, 1));
    shard.do({ op: 'set-attributes', ino, size: 0 });
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    shard.do({ op: 'release-orphans', inos: [ino] });
    expect(shard.state.get(deadContentKey(shard.volume, ino))).toBeUndefined();
    const { from, to } = shardKindRange('deadContent');
    expect(shard.state.entries(from, to)).toEqual([]);
  });

  it('of a snapshot and of a clone, here or in another shard, is the same of 10 files and of 100,000', () => {
    const costs = [10, 100_000].map((count) => {
      const { shard } = crowded(count);
      const snapshot = costOf(shard, { op: 'create-snapshot', name: 's' });
      const volume = 2 as VolumeNumber;
      const from = shard.volume;
      const bounds = { quotaBytes: 0, quotaInodes: 0 };
      const clone = costOf(
        shard,
        { op: 'clone-volume', name: 'c', from, snapshot: 's', ...bounds },
        { volume },
      );
      const generation = 1;
      const afar = { generation, by: 3 as VolumeNumber };
      const internal = { session: INTERNAL_SESSION };
      const hold = costOf(shard, { op: 'hold-snapshot', snapshot: 's', ...afar }, internal);
      const held = { usedBytes: 0, usedInodes: count, nextInode: count + 3, depth: 0 };
      const cloneAfar = costOf(
        new TestShard(),
        {
          op: 'clone-from-afar',
          name: 'c',
          shard: 1 as ShardId,
          from,
          generation,
          held,
          ...bounds,
        },
        { ...internal, volume },
      );
      const letGo = costOf(shard, { op: 'let-go', ...afar }, internal);
      const removal = costOf(shard, { op: 'remove-snapshot', name: 's' });
      return [snapshot, clone, hold, cloneAfar, letGo, removal].map(({ reads, writes }) => ({
        reads,
        writes,
      }));
    });
    expect(costs[1]).toEqual(costs[0]);
    for (const { reads, writes } of costs[0] ?? []) expect(reads + writes).toBeLessThan(20);
  });
});
