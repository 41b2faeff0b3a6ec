import { type InodeNumber, LIMITS, type Operation } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { TestShard } from '../test-shard.ts';

type Change = Omit<Extract<Operation, { op: 'set-attributes' }>, 'op' | 'ino'>;

function change(shard: TestShard, ino: InodeNumber, fields: Change) {
  return shard.do({ op: 'set-attributes', ino, ...fields }).attributes;
}

describe('set-attributes', () => {
  it('changes what is given and ctime', () => {
    const shard = new TestShard();
    const before = shard.create('a');
    const after = change(shard, before.ino, { mode: 0o600, atime: -7n, mtime: 2n ** 62n });
    expect(after).toEqual({
      ...before,
      mode: 0o600,
      atimeNs: -7n,
      mtimeNs: 2n ** 62n,
      ctimeNs: shard.nowNs,
    });
  });

  it('takes the time of the command for now', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const after = change(shard, ino, { atime: 'now', mtime: 'now' });
    expect(after).toMatchObject({ atimeNs: shard.nowNs, mtimeNs: shard.nowNs });
  });

  it('sets mtime when the size changes, and only then', () => {
    const shard = new TestShard();
    const { ino, mtimeNs } = shard.create('a');
    expect(change(shard, ino, { size: 0 })).toMatchObject({ mtimeNs, ctimeNs: shard.nowNs });
    expect(change(shard, ino, { size: 9 })).toMatchObject({ mtimeNs: shard.nowNs, size: 9 });
    expect(change(shard, ino, { size: 5, mtime: 3n })).toMatchObject({ mtimeNs: 3n, size: 5 });
  });

  it.each<[string, number, Change, number]>([
    ['chown clears both set-id bits of a program', 0o6755, { uid: 5 }, 0o755],
    ['chgrp too', 0o6755, { gid: 5 }, 0o755],
    ['chown keeps set-gid where the group may not execute', 0o6745, { uid: 5 }, 0o2745],
    ['a mode given beside the owner is taken as it is', 0o755, { uid: 5, mode: 0o4755 }, 0o4755],
    ['a write clears them when asked', 0o6755, { killPrivileges: true }, 0o755],
    ['sticky stays', 0o7777, { killPrivileges: true }, 0o1777],
    ['nothing is cleared otherwise', 0o6755, { atime: 1n }, 0o6755],
  ])('%s', (_, mode, fields, wanted) => {
    const shard = new TestShard();
    const { ino } = shard.create('a', { mode });
    expect(change(shard, ino, fields)?.mode).toBe(wanted);
  });

  it('leaves the set-gid bit of a directory alone', () => {
    const shard = new TestShard();
    const { ino } = shard.create('d', { kind: 'directory', mode: 0o2775 });
    expect(change(shard, ino, { uid: 4, killPrivileges: true })?.mode).toBe(0o2775);
  });

  it('refuses the size of what is no file, and sizes beyond the largest', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const directory = shard.mkdir('d');
    const fifo = shard.create('p', { kind: 'fifo' }).ino;
    const size = (of: InodeNumber, bytes: number) =>
      shard.code({ op: 'set-attributes', ino: of, size: bytes });
    expect(size(directory, 0)).toBe('EISDIR');
    expect(size(fifo, 0)).toBe('EINVAL');
    expect(size(ino, LIMITS.fileBytesMax)).toBe('ok');
    expect(size(ino, 2 ** 63)).toBe('EFBIG');
    expect(size(999 as InodeNumber, 1)).toBe('ESTALE');
  });

  it('leaves an inode as it was when one part is refused', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('p', { kind: 'fifo' });
    const before = await shard.attributes(ino);
    expect(shard.code({ op: 'set-attributes', ino, mode: 0, size: 1 })).toBe('EINVAL');
    expect(await shard.attributes(ino)).toEqual(before);
  });
});
