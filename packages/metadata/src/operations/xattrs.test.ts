import { type InodeNumber, type Operation, ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { xattrsKey } from '../keys.ts';
import { TestShard } from '../test-shard.ts';

function set(
  ino: InodeNumber,
  name: string,
  length: number,
  mode: 'set' | 'create' | 'replace' = 'set',
): Operation {
  return { op: 'set-xattr', ino, name, value: new Uint8Array(length).fill(7), mode };
}

describe('extended attributes', () => {
  it('are kept, listed in the order of their making, replaced in place and removed', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do(set(ino, 'user.b', 3));
    shard.do(set(ino, 'user.a', 0));
    shard.do(set(ino, 'user.b', 5));
    expect(await shard.view({ view: 'xattr-names', ino })).toEqual({ names: ['user.b', 'user.a'] });
    const { value } = await shard.view({ view: 'xattr', ino, name: 'user.b' });
    expect(Buffer.from(value)).toEqual(Buffer.alloc(5, 7));
    shard.do({ op: 'remove-xattr', ino, name: 'user.b' });
    expect(await shard.viewCode({ view: 'xattr', ino, name: 'user.b' })).toBe('ENODATA');
    shard.do({ op: 'remove-xattr', ino, name: 'user.a' });
    expect(shard.state.get(xattrsKey(shard.volume, ino))).toBeUndefined();
  });

  it('change ctime and nothing else', async () => {
    const shard = new TestShard();
    const before = shard.create('a');
    shard.do(set(before.ino, 'user.a', 1));
    expect(await shard.attributes(before.ino)).toEqual({ ...before, ctimeNs: shard.nowNs });
  });

  it.each<[string, (ino: InodeNumber) => Operation, string]>([
    ['a name without letters', (ino) => set(ino, '', 1), 'ERANGE'],
    ['a long name', (ino) => set(ino, 'n'.repeat(256), 1), 'ERANGE'],
    ['a name with NUL', (ino) => set(ino, 'a\0', 1), 'EINVAL'],
    ['a large value', (ino) => set(ino, 'user.a', 65_537), 'E2BIG'],
    ['the largest value', (ino) => set(ino, 'user.a', 65_536), 'ok'],
    ['creation of what is there', (ino) => set(ino, 'user.there', 1, 'create'), 'EEXIST'],
    ['replacement of what is not there', (ino) => set(ino, 'user.a', 1, 'replace'), 'ENODATA'],
    [
      'removal of what is not there',
      (ino) => ({ op: 'remove-xattr', ino, name: 'user.a' }),
      'ENODATA',
    ],
    ['an inode that is gone', () => set(99 as InodeNumber, 'user.a', 1), 'ESTALE'],
  ])('answer %s with its errno', (_, make, code) => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do(set(ino, 'user.there', 1));
    expect(shard.code(make(ino))).toBe(code);
  });

  it('take at most 128 KiB of one inode together', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do(set(ino, 'user.a', 65_536));
    expect(shard.code(set(ino, 'user.b', 65_536 - 12))).toBe('ok');
    expect(shard.code(set(ino, 'user.c', 0))).toBe('ENOSPC');
    expect(shard.code(set(ino, 'user.b', 65_536 - 11))).toBe('ENOSPC');
    expect(shard.code(set(ino, 'user.b', 1))).toBe('ok');
    expect(shard.code(set(ino, 'user.c', 0))).toBe('ok');
  });

  it('go with their inode, and work on one without a name', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do({ op: 'unlink', parent: ROOT_INODE, name: 'a' });
    shard.do(set(ino, 'user.a', 1));
    shard.do({ op: 'release-orphans', inos: [ino] });
    expect(shard.state.get(xattrsKey(shard.volume, ino))).toBeUndefined();
  });
});
