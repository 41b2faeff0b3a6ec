/** A check that finds nothing wrong proves something only if it finds what is: each record is broken in turn. */
import { ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { check } from './check.ts';
import {
  answerKey,
  blobKey,
  chunkKey,
  dentryKey,
  freedChunkKey,
  inodeKey,
  listingKey,
  liveSessionsKey,
  ordinalKey,
  perInodeKey,
  regionKey,
  volumeKey,
} from './keys.ts';
import type { RecordType } from './record-type.ts';
import { CHUNK, DENTRY, INODE, REGION, VOLUME } from './records.ts';
import { LOCKS, ORPHAN } from './shard-records.ts';
import { chunkExtent, chunkId, inlineExtent, TestShard } from './test-shard.ts';

function sound() {
  const shard = new TestShard();
  const d = shard.mkdir('d');
  const { ino } = shard.create('f', { parent: d });
  shard.write(ino, inlineExtent(0, 'abc'), chunkExtent(10, 10, 1), chunkExtent(30, 5, 2));
  shard.write(ino, chunkExtent(30, 5, 3));
  const orphan = shard.create('o').ino;
  shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'o' });
  const lock = { family: 'posix', type: 'read', start: 0, end: 9, owner: '1', pid: 1 } as const;
  shard.do({ op: 'set-lock', ino, lock });
  return { shard, d, ino, orphan };
}

type Sound = ReturnType<typeof sound>;

function change<T>({ shard }: Sound, type: RecordType<T>, key: Uint8Array, fields: Partial<T>) {
  const record = type.decode(shard.state.get(key) as Uint8Array);
  shard.state.put(key, type.encode({ ...record, ...fields }));
}

const V = 1 as Parameters<typeof volumeKey>[0];

const BREAKS: readonly [string, (state: Sound) => void][] = [
  ['a wrong link count', (s) => change(s, INODE, inodeKey(V, s.ino), { nlink: 2 })],
  ['a wrong count of directories', (s) => change(s, INODE, inodeKey(V, s.d), { nlink: 3 })],
  ['a wrong count of children', (s) => change(s, INODE, inodeKey(V, s.d), { children: 2 })],
  ['a wrong parent', (s) => change(s, INODE, inodeKey(V, s.d), { parent: s.d })],
  ['wrong allocated bytes', (s) => change(s, INODE, inodeKey(V, s.ino), { allocatedBytes: 1 })],
  ['wrong inline bytes', (s) => change(s, INODE, inodeKey(V, s.ino), { inlineBytes: 1 })],
  ['data behind the end', (s) => change(s, INODE, inodeKey(V, s.ino), { size: 12 })],
  ['a region behind the last', (s) => change(s, INODE, inodeKey(V, s.ino), { regionEnd: 0 })],
  ['another content', (s) => change(s, INODE, inodeKey(V, s.ino), { content: 77 })],
  ['a birth still to come', (s) => change(s, INODE, inodeKey(V, s.ino), { birth: 9 })],
  [
    'a cut without its mark',
    (s) =>
      change(s, INODE, inodeKey(V, s.ino), { cuts: [{ from: 5, to: 6, epoch: 1, generation: 1 }] }),
  ],
  ['an inode number still to come', (s) => change(s, VOLUME, volumeKey(V), { nextInode: 3 })],
  ['wrong bytes in use', (s) => change(s, VOLUME, volumeKey(V), { usedBytes: 1 })],
  ['wrong inodes in use', (s) => change(s, VOLUME, volumeKey(V), { usedInodes: 1 })],
  ['a pin of the present', (s) => change(s, VOLUME, volumeKey(V), { newestPin: 1 })],
  ['a name of nothing', (s) => change(s, DENTRY, dentryKey(V, s.d, 'f'), { ino: 99 as never })],
  ['a lost name', (s) => s.shard.state.delete(dentryKey(V, s.d, 'f'))],
  ['a lost listing', (s) => s.shard.state.delete(listingKey(V, s.d, 1))],
  ['a lost inode', (s) => s.shard.state.delete(inodeKey(V, s.ino))],
  ['a lost region', (s) => s.shard.state.delete(regionKey(V, s.ino, 0))],
  ['an empty region', (s) => change(s, REGION, regionKey(V, s.ino, 0), { pieces: [] })],
  ['a lost blob', (s) => s.shard.state.delete(blobKey(V, s.ino, 0, 0))],
  [
    'a blob of nobody',
    (s) =>
      s.shard.state.put(
        blobKey(V, s.ino, 0, 9),
        s.shard.state.get(blobKey(V, s.ino, 0, 0)) as Uint8Array,
      ),
  ],
  ['a lost chunk', (s) => s.shard.state.delete(chunkKey(V, chunkId(1)))],
  ['wrong live bytes', (s) => change(s, CHUNK, chunkKey(V, chunkId(1)), { liveBytes: 9 })],
  ['a chunk in use that is freed', (s) => change(s, CHUNK, chunkKey(V, chunkId(1)), { freed: 5 })],
  [
    'an unused chunk that is not freed',
    (s) => change(s, CHUNK, chunkKey(V, chunkId(2)), { freed: 0 }),
  ],
  ['a freed chunk off the list', (s) => s.shard.state.delete(freedChunkKey(1))],
  ['a chunk that is too short', (s) => change(s, CHUNK, chunkKey(V, chunkId(1)), { length: 9 })],
  ['an orphan without its record', (s) => s.shard.state.delete(perInodeKey('orphan', V, s.orphan))],
  [
    'an orphan of nobody',
    (s) => change(s, ORPHAN, perInodeKey('orphan', V, s.orphan), { holders: [] }),
  ],
  [
    'an orphan with a name',
    (s) => s.shard.state.put(perInodeKey('orphan', V, s.ino), ORPHAN.encode({ holders: [1] })),
  ],
  ['an inline file off the list', (s) => s.shard.state.delete(perInodeKey('inlineFile', V, s.ino))],
  [
    'locks of nothing',
    (s) =>
      s.shard.state.put(
        perInodeKey('locks', V, 99 as never),
        s.shard.state.get(perInodeKey('locks', V, s.ino)) as Uint8Array,
      ),
  ],
  [
    'locks in conflict',
    (s) => {
      const one = { holder: 1, owner: 'A', pid: 1, type: 'write', start: 0, end: 9 } as const;
      const posix = [one, { ...one, owner: 'B' }];
      s.shard.state.put(perInodeKey('locks', V, s.ino), LOCKS.encode({ posix, flock: [] }));
    },
  ],
  ['a session off the list', (s) => s.shard.state.delete(liveSessionsKey())],
  ['a session without its ordinal', (s) => s.shard.state.delete(ordinalKey(1))],
  ['a lost answer', (s) => s.shard.state.delete(answerKey(s.shard.session, 8))],
  ['a key of no kind', (s) => s.shard.state.put(Buffer.of(0, 0, 1, 0xee), Buffer.of(1))],
  ['bytes of no record', (s) => s.shard.state.put(inodeKey(V, s.ino), Buffer.of(0xc1))],
  [
    'records of no volume',
    (s) =>
      s.shard.state.put(
        Buffer.of(0, 0, 9, 0x10, 0, 0, 0, 0, 1),
        s.shard.state.get(inodeKey(V, s.ino)) as Uint8Array,
      ),
  ],
];

describe('check', () => {
  it('finds nothing wrong with a sound state', async () => {
    expect(await check(sound().shard.state)).toEqual([]);
  });

  it.each(BREAKS)('finds %s', async (_, breakIt) => {
    const state = sound();
    breakIt(state);
    expect(await check(state.shard.state)).not.toEqual([]);
  });
});
