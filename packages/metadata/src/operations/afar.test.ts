import {
  HoldfastError,
  INTERNAL_SESSION,
  type InodeNumber,
  type Operation,
  ROOT_INODE,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { freedChunks } from '../background.ts';
import { check } from '../check.ts';
import { dentryKey, inodeKey, keyIn, regionKey, volumeRange } from '../keys.ts';
import {
  BaseMemory,
  type LentStateParts,
  nextCopy,
  partialShadows,
  planAdoption,
  viewWithBase,
} from '../lent-state.ts';
import { REGION } from '../records.ts';
import { FIRST_TREE } from '../shard-records.ts';
import { chunkExtent, inlineExtent, TestShard, textOf } from '../test-shard.ts';
import { view } from '../views.ts';

type Adopt = Extract<Operation, { op: 'adopt-base-records' }>;

const NEAR = 1 as ShardId;
const CLONE = 9 as VolumeNumber;
const SHADOW = FIRST_TREE as VolumeNumber;
const BOUNDS = { quotaBytes: 0, quotaInodes: 0 };
const OF_CLONE = { volume: CLONE };

/** A volume with a snapshot in one shard, and a clone of that in another, of which nothing is copied. */
class TwoShards {
  readonly base = new TestShard();
  readonly there = new TestShard();
  readonly directory: InodeNumber;
  readonly file: InodeNumber;
  generation = 0;
  /** Whether the shard of the base can be reached. */
  isReachable = true;
  asked = 0;

  constructor() {
    this.directory = this.base.mkdir('d');
    this.file = this.base.create('f').ino;
    this.base.write(this.file, chunkExtent(0, 1000, 1), inlineExtent(1000, 'end'));
    for (const name of ['a', 'b', 'c']) this.base.create(name, { parent: this.directory });
    const { snapshot } = this.base.do({ op: 'create-snapshot', name: 's' });
    this.generation = snapshot?.generation ?? 0;
    const held = this.hold().held;
    if (held === undefined) throw new Error('nothing is held');
    const where = { shard: NEAR, from: this.base.volume, generation: this.generation };
    this.make({ op: 'clone-from-afar', name: 'c', ...where, held, ...BOUNDS });
  }

  hold(): ReturnType<TestShard['do']> {
    const { generation } = this;
    return this.base.internal({ op: 'hold-snapshot', snapshot: 's', generation, by: CLONE });
  }

  letGo(shard = this.base, volume = this.base.volume): void {
    const operation = { op: 'let-go', generation: this.generation, by: CLONE } as const;
    shard.do(operation, { session: INTERNAL_SESSION, answeredBelow: 0, volume });
  }

  make(operation: Operation): ReturnType<TestShard['do']> {
    const own = { session: INTERNAL_SESSION, answeredBelow: 0, ...OF_CLONE };
    return this.there.do(operation, own);
  }

  get parts(): LentStateParts {
    return {
      state: this.there.state,
      memory: new BaseMemory(),
      look: async ({ volume }, wanted) => {
        this.asked++;
        if (!this.isReachable) throw new HoldfastError('NO_QUORUM');
        return view(this.base.state, { session: INTERNAL_SESSION, volume, view: wanted });
      },
    };
  }

  adopt(operation: Adopt): string {
    const volume = 0 as VolumeNumber;
    return this.there.code(operation, { session: INTERNAL_SESSION, answeredBelow: 0, volume });
  }

  /** A command of a client of the clone, as the leader carries it out. */
  async carryOut(operation: Operation): Promise<string> {
    const command = this.there.command(operation, OF_CLONE);
    for (const adoption of await planAdoption(this.parts, command)) this.adopt(adoption);
    return this.there.code(operation, OF_CLONE);
  }

  async copyAll(count = 2): Promise<void> {
    for (;;) {
      const step = await nextCopy(this.parts, SHADOW, count);
      if (step === undefined) return;
      if (this.adopt(step) !== 'ok') throw new Error('a page was refused');
    }
  }

  problems(): Promise<string[]> {
    return Promise.all([check(this.base.state), check(this.there.state)]).then((all) => all.flat());
  }
}

const create = (name: string, parent: InodeNumber = ROOT_INODE): Operation => ({
  op: 'create',
  parent,
  name,
  kind: 'file',
  mode: 0o644,
  uid: 1,
  gid: 2,
  rdev: 0,
  target: '',
  exclusive: true,
});

describe('a clone of which nothing is copied', () => {
  it('takes what it does not have for nothing but missing, and changes nothing then', () => {
    const { there, file, directory } = new TwoShards();
    const records = (): string[] =>
      textOf(there.state).filter((line) => !/^000000(03|04)/.test(line)); // sessions and answers
    const before = records();
    const operations: Operation[] = [
      create('f'),
      create('new'),
      { op: 'unlink', parent: ROOT_INODE, name: 'f' },
      {
        op: 'rename',
        parent: ROOT_INODE,
        name: 'd',
        newParent: ROOT_INODE,
        newName: 'e',
        flag: 'replace',
      },
      { op: 'set-attributes', ino: file, mode: 0o600 },
      {
        op: 'write-extents',
        ino: file,
        extents: [inlineExtent(0, 'x')],
        append: true,
        killPrivileges: false,
      },
      { op: 'set-xattr', ino: directory, name: 'user.a', value: new Uint8Array(1), mode: 'set' },
      {
        op: 'set-lock',
        ino: file,
        lock: {
          family: 'flock',
          type: 'read',
          start: 0,
          end: Number.MAX_SAFE_INTEGER,
          owner: '1',
          pid: 1,
        },
      },
    ];
    const codes = operations.map((operation) => there.code(operation, OF_CLONE));
    expect(codes).toEqual(operations.map(() => 'BASE_MISSING'));
    expect(records()).toEqual(before);
  });

  it('refuses looks at what is not there, ranges too', async () => {
    const { there, directory } = new TwoShards();
    const request = { session: INTERNAL_SESSION, ...OF_CLONE };
    const looks = [
      { view: 'lookup', parent: ROOT_INODE, name: 'f' },
      { view: 'lookup', parent: ROOT_INODE, name: 'none' },
      { view: 'read-directory', ino: directory, after: 0, count: 9 },
    ] as const;
    for (const wanted of looks) {
      const looking = view(there.state, { ...request, view: wanted });
      await expect(looking).rejects.toMatchObject({ code: 'BASE_MISSING' });
    }
  });

  it('asks, and then answers and changes as any other, whatever the shard of its base does since', async () => {
    const pair = new TwoShards();
    const { there, base, directory, file } = pair;
    base.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    base.create('younger', { parent: directory });
    const request = { session: INTERNAL_SESSION, ...OF_CLONE };
    const wanted = { view: 'read-directory', ino: directory, after: 0, count: 9 } as const;
    const { entries } = await viewWithBase(pair.parts, { ...request, view: wanted });
    expect(entries.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    const range = { view: 'extents', ino: file, offset: 0, length: 2000 } as const;
    const { extents } = await viewWithBase(pair.parts, { ...request, view: range });
    expect(extents.map(({ source }) => source.kind)).toEqual(['chunk', 'inline']);
    // Looks leave no trace in the shard.
    expect(there.state.entries(...bounds(volumeRange(SHADOW))).length).toBeLessThan(5);
    expect(await pair.carryOut(create('f'))).toBe('EEXIST');
    expect(await pair.carryOut(create('new'))).toBe('ok');
    const extent = inlineExtent(0, 'over');
    const write = { op: 'write-extents', ino: file, extents: [extent] } as const;
    expect(await pair.carryOut({ ...write, append: false, killPrivileges: false })).toBe('ok');
    expect(await pair.carryOut({ op: 'unlink', parent: directory, name: 'b' })).toBe('ok');
    expect(await pair.carryOut({ op: 'unlink', parent: directory, name: 'none' })).toBe('ENOENT');
    expect(await pair.problems()).toEqual([]);
    const left = await viewWithBase(pair.parts, { ...request, view: wanted });
    expect(left.entries.map(({ name }) => name)).toEqual(['a', 'c']);
    await pair.copyAll();
    expect(await partialShadows(there.state)).toEqual([]);
    const { entries: same } = await view(there.state, { ...request, view: wanted });
    expect(same).toEqual(left.entries);
    expect(await pair.problems()).toEqual([]);
  });

  it('fails with the outage when its base cannot be reached, without a guess and without an effect', async () => {
    const pair = new TwoShards();
    pair.isReachable = false;
    await expect(pair.carryOut(create('new'))).rejects.toMatchObject({ code: 'NO_QUORUM' });
    const wanted = { view: 'lookup', parent: ROOT_INODE, name: 'none' } as const;
    const request = { session: INTERNAL_SESSION, ...OF_CLONE, view: wanted };
    await expect(viewWithBase(pair.parts, request)).rejects.toMatchObject({ code: 'NO_QUORUM' });
    pair.isReachable = true;
    expect(await pair.carryOut(create('new'))).toBe('ok');
    await expect(viewWithBase(pair.parts, request)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('asks no more once all is copied, nor for what is younger than the snapshot', async () => {
    const pair = new TwoShards();
    expect(await pair.carryOut(create('dir', pair.directory))).toBe('ok');
    await pair.copyAll(1);
    const { asked } = pair;
    pair.isReachable = false;
    for (const name of ['x', 'y']) expect(await pair.carryOut(create(name))).toBe('ok');
    expect(pair.asked).toBe(asked);
  });

  it('costs a few questions for the first change of a name', async () => {
    const pair = new TwoShards();
    await pair.carryOut({ op: 'unlink', parent: pair.directory, name: 'b' });
    expect(pair.asked).toBeLessThan(6);
  });
});

const bounds = ({ from, to }: ReturnType<typeof volumeRange>): [Uint8Array, Uint8Array] => [
  from,
  to,
];

describe('adopted records', () => {
  const nothing = { op: 'adopt-base-records', shadow: SHADOW, records: [], chunks: [] } as const;

  it('stay as they came first, also those that are known to be absent', async () => {
    const pair = new TwoShards();
    const absent = dentryKey(SHADOW, ROOT_INODE, 'none').subarray(3);
    expect(pair.adopt({ ...nothing, records: [[absent, null]] })).toBe('ok');
    const before = textOf(pair.there.state);
    const step = (await nextCopy(pair.parts, SHADOW, 3)) as Adopt;
    expect(pair.adopt(step)).toBe('ok');
    const after = textOf(pair.there.state);
    expect(after).not.toEqual(before);
    const nulls = step.records.map(([key]) => [key, null] as const);
    expect(pair.adopt({ ...nothing, records: nulls })).toBe('ok');
    expect(pair.adopt({ ...nothing, records: [[absent, step.records[0]?.[1] ?? null]] })).toBe(
      'ok',
    );
    expect(pair.adopt(step)).toBe('ok');
    expect(textOf(pair.there.state)).toEqual(after);
  });

  it('count as a range only where the one before ended', async () => {
    const pair = new TwoShards();
    const first = (await nextCopy(pair.parts, SHADOW, 1)) as Adopt;
    pair.adopt(first);
    const second = (await nextCopy(pair.parts, SHADOW, 1)) as Adopt;
    const beyond = { from: second.copied?.to ?? first.records[0]![0], to: Uint8Array.of(0x16) };
    pair.adopt({ ...nothing, copied: beyond });
    expect(await partialShadows(pair.there.state)).toEqual([SHADOW]);
    expect(await nextCopy(pair.parts, SHADOW, 1)).toEqual(second);
  });

  it('are refused when they are none, or lack the chunks that they show', async () => {
    const pair = new TwoShards();
    const region = regionKey(SHADOW, pair.file, 0).subarray(3);
    const { records } = await view(pair.base.state, {
      session: INTERNAL_SESSION,
      volume: pair.base.volume,
      view: { view: 'base-records', at: pair.generation, by: CLONE, keys: [region] },
    });
    const found = records.filter(([, bytes]) => bytes !== null);
    expect(pair.adopt({ ...nothing, records: found })).toBe('BAD_REQUEST');
    const inode = inodeKey(SHADOW, ROOT_INODE).subarray(3);
    const wrong = [
      [[Uint8Array.of(0x01), null]],
      [[Uint8Array.of(0x20, 1), null]],
      [[inode, Uint8Array.of(1, 2, 3)]],
      [
        [
          region,
          REGION.encode({
            birth: 2,
            owner: ROOT_INODE,
            epoch: 0,
            modified: 0,
            nextBlob: 0,
            pieces: [],
          }),
        ],
      ],
    ] as const;
    for (const some of wrong) expect(pair.adopt({ ...nothing, records: some })).toBe('BAD_REQUEST');
    expect(pair.there.state.get(keyIn(SHADOW, region))).toBeUndefined();
  });

  it('are without effect once the clone is gone', async () => {
    const pair = new TwoShards();
    const step = (await nextCopy(pair.parts, SHADOW, 9)) as Adopt;
    pair.make({ op: 'destroy-volume', force: true });
    await pair.there.reclaimAll();
    const before = textOf(pair.there.state);
    expect(pair.adopt(step)).toBe('ok');
    expect(textOf(pair.there.state)).toEqual(before);
  });
});

describe('what a clone holds in another shard', () => {
  it('stays until it lets go, whatever becomes of the snapshot and its volume', async () => {
    const pair = new TwoShards();
    const { base } = pair;
    pair.hold(); // again: no change
    base.do({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    base.do({ op: 'release-orphans', inos: [pair.file] });
    base.do({ op: 'remove-snapshot', name: 's' });
    await base.reclaimAll();
    expect(await freedChunks(base.state, 0, 9)).toEqual([]);
    expect(base.code({ op: 'destroy-volume', force: true })).toBe('EBUSY');
    await pair.copyAll();
    expect(await pair.problems()).toEqual([]);

    pair.make({ op: 'destroy-volume', force: true });
    await pair.there.reclaimAll();
    expect(pair.there.state.entries(...bounds(volumeRange(SHADOW)))).toEqual([]);
    expect(await freedChunks(pair.there.state, 0, 9)).toEqual([]);
    pair.letGo(pair.there, CLONE);
    pair.letGo();
    pair.letGo();
    await base.reclaimAll();
    expect(await freedChunks(base.state, 0, 9)).toHaveLength(1);
    expect(await pair.problems()).toEqual([]);
    expect(base.code({ op: 'destroy-volume', force: true })).toBe('ok');
  });

  it('is let go by nobody who is there, and held by nobody who has let go', () => {
    const pair = new TwoShards();
    expect(() => pair.letGo(pair.there, CLONE)).toThrow(/EBUSY/);
    pair.letGo();
    expect(() => pair.hold()).toThrow(/CONFLICT/);
    pair.make({ op: 'destroy-volume', force: true });
    pair.letGo(pair.there, CLONE);
    const held = { usedBytes: 0, usedInodes: 1, nextInode: 2, depth: 0 };
    const where = { shard: NEAR, from: pair.base.volume, generation: 1 };
    const late = { op: 'clone-from-afar', name: 'c', ...where, held, ...BOUNDS } as const;
    expect(() => pair.make(late)).toThrow(/CONFLICT/);
  });

  it('is shown to nobody else', async () => {
    const { base, generation } = new TwoShards();
    const range = { from: new Uint8Array(), to: Uint8Array.of(0xff), count: 9 };
    const wanted = { view: 'base-range', at: generation, ...range } as const;
    await expect(base.view({ ...wanted, by: CLONE })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    const { volume } = base;
    const other = { ...wanted, by: 8 as VolumeNumber };
    await expect(
      view(base.state, { session: INTERNAL_SESSION, volume, view: other }),
    ).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('is of clients no business', () => {
    const { base, there } = new TwoShards();
    const hold = { op: 'hold-snapshot', snapshot: 's', generation: 1, by: CLONE } as const;
    const adopt = { op: 'adopt-base-records', shadow: SHADOW, records: [], chunks: [] } as const;
    expect(base.code(hold)).toBe('FORBIDDEN');
    expect(base.code({ op: 'let-go', generation: 1, by: CLONE })).toBe('FORBIDDEN');
    expect(there.code(adopt, { volume: 0 as VolumeNumber })).toBe('FORBIDDEN');
  });
});
