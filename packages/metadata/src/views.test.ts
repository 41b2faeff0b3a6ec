import { type InodeNumber, ROOT_INODE, type View, type VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { inlineExtent, TestShard } from './test-shard.ts';
import { view } from './views.ts';

const GONE = 99 as InodeNumber;

describe('views', () => {
  it('find a name', async () => {
    const shard = new TestShard();
    const made = shard.create('\xff');
    const found = await shard.view({ view: 'lookup', parent: ROOT_INODE, name: '\xff' });
    expect(found.attributes).toEqual(made);
  });

  it.each<[View, string]>([
    [{ view: 'lookup', parent: ROOT_INODE, name: 'x' }, 'ENOENT'],
    [{ view: 'lookup', parent: ROOT_INODE, name: '..' }, 'EINVAL'],
    [{ view: 'lookup', parent: ROOT_INODE, name: 'x'.repeat(256) }, 'ENAMETOOLONG'],
    [{ view: 'lookup', parent: 2 as InodeNumber, name: 'x' }, 'ENOTDIR'],
    [{ view: 'lookup', parent: GONE, name: 'x' }, 'ESTALE'],
    [{ view: 'attributes', ino: GONE }, 'ESTALE'],
    [{ view: 'read-directory', ino: 2 as InodeNumber, after: 0, count: 1 }, 'ENOTDIR'],
    [{ view: 'read-directory', ino: ROOT_INODE, after: 0, count: 0 }, 'BAD_REQUEST'],
    [{ view: 'read-link', ino: 2 as InodeNumber }, 'EINVAL'],
    [{ view: 'xattr', ino: 2 as InodeNumber, name: 'user.x' }, 'ENODATA'],
    [{ view: 'xattr-names', ino: GONE }, 'ESTALE'],
    [{ view: 'extents', ino: ROOT_INODE, offset: 0, length: 1 }, 'EISDIR'],
    [{ view: 'extents', ino: 2 as InodeNumber, offset: 0, length: 2 ** 40 }, 'BAD_REQUEST'],
    [{ view: 'extents', ino: 2 as InodeNumber, offset: -1, length: 1 }, 'BAD_REQUEST'],
    [{ view: 'seek', ino: 2 as InodeNumber, offset: 0, whence: 'data' }, 'ENXIO'],
    [{ view: 'parent', ino: 2 as InodeNumber }, 'ENOTDIR'],
    [{ view: 'nonsense' } as unknown as View, 'BAD_REQUEST'],
    [{ view: 'toString' } as unknown as View, 'BAD_REQUEST'],
  ])('refuse %j with %s', async (wanted, code) => {
    const shard = new TestShard();
    shard.create('f');
    expect(await shard.viewCode(wanted)).toBe(code);
  });

  it('refuse volumes that do not exist', async () => {
    const shard = new TestShard();
    for (const volume of [0, 9] as VolumeNumber[]) {
      const request = { session: shard.session, volume, view: { view: 'space' } } as const;
      await expect(view(shard.state, request)).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  it('list a directory in pages that go on while names come and go', async () => {
    const shard = new TestShard();
    for (const name of 'abcdefgh') shard.create(name);
    const page = (after: number) =>
      shard.view({ view: 'read-directory', ino: ROOT_INODE, after, count: 3 });
    const first = await page(0);
    expect(first.entries.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    for (const name of 'acd') shard.do({ op: 'unlink', parent: ROOT_INODE, name });
    shard.create('i');
    shard.create('a');
    const second = await page(first.entries[2]?.cookie ?? 0);
    expect(second.entries.map(({ name }) => name)).toEqual(['e', 'f', 'g']);
    expect(second.end).toBe(false);
    const third = await page(second.entries[2]?.cookie ?? 0);
    expect(third.entries.map(({ name }) => name)).toEqual(['h', 'i', 'a']);
    expect(third.end).toBe(true);
  });

  it('list attributes of all names in the same answer', async () => {
    const shard = new TestShard();
    const file = shard.create('f');
    const { entries } = await shard.view({
      view: 'read-directory',
      ino: ROOT_INODE,
      after: 0,
      count: 9,
    });
    expect(entries).toEqual([{ name: 'f', cookie: 1, attributes: file }]);
  });

  it('cut extents at the end of file and answer nothing behind it', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    shard.write(ino, inlineExtent(0, 'abcdef'));
    const at = (offset: number, length: number) =>
      shard.view({ view: 'extents', ino, offset, length });
    const { extents, contentVersion, attributes } = await at(2, 100);
    expect(extents).toMatchObject([{ offset: 2, length: 4 }]);
    expect([contentVersion, attributes.size]).toEqual([1, 6]);
    expect((await at(6, 10)).extents).toEqual([]);
    expect((await at(0, 0)).extents).toEqual([]);
  });

  it('seek data and holes: allocated zeros are holes, the end of file is one', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    const far = 2 ** 43;
    shard.write(ino, inlineExtent(10, 'ab'), inlineExtent(far, 'cd'));
    shard.do({ op: 'fallocate', ino, mode: 'allocate', keepSize: true, offset: 0, length: 100 });
    const seek = async (offset: number, whence: 'data' | 'hole') =>
      (await shard.view({ view: 'seek', ino, offset, whence })).offset;
    expect(await seek(0, 'data')).toBe(10);
    expect(await seek(10, 'hole')).toBe(12);
    expect(await seek(12, 'data')).toBe(far);
    expect(await seek(far, 'hole')).toBe(far + 2);
    expect(await seek(0, 'hole')).toBe(0);
    expect(await shard.viewCode({ view: 'seek', ino, offset: far + 2, whence: 'hole' })).toBe(
      'ENXIO',
    );
  });
});
