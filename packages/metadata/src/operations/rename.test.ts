import { type InodeNumber, type Operation, ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { check } from '../check.ts';
import { TestShard } from '../test-shard.ts';

type Rename = Extract<Operation, { op: 'rename' }>;
type Place = readonly [parent: InodeNumber, name: string];

function rename([parent, name]: Place, to: Place, flag: Rename['flag'] = 'replace'): Rename {
  return { op: 'rename', parent, name, newParent: to[0], newName: to[1], flag };
}

/** Root: files a and b (two links: c), directories d (with e in it) and empty. */
function tree() {
  const shard = new TestShard();
  const a = shard.create('a').ino;
  const b = shard.create('b').ino;
  shard.do({ op: 'link', ino: b, parent: ROOT_INODE, name: 'c' });
  const d = shard.mkdir('d');
  const e = shard.mkdir('e', d);
  const empty = shard.mkdir('empty');
  return { shard, a, b, d, e, empty };
}

describe('rename', () => {
  it('moves a file; both directories and the file change their times', async () => {
    const { shard, a, d } = tree();
    const { attributes } = shard.do(rename([ROOT_INODE, 'a'], [d, 'x']));
    const now = shard.nowNs;
    expect(attributes).toMatchObject({ ino: a, ctimeNs: now, nlink: 1 });
    expect(await shard.attributes(ROOT_INODE)).toMatchObject({ mtimeNs: now, ctimeNs: now });
    expect(await shard.attributes(d)).toMatchObject({ mtimeNs: now, ctimeNs: now });
    expect(await shard.names(d)).toEqual(['e', 'x']);
  });

  it('moves a directory with its link and its parent', async () => {
    const { shard, d, e, empty } = tree();
    shard.do(rename([d, 'e'], [empty, 'e']));
    expect((await shard.attributes(d)).nlink).toBe(2);
    expect((await shard.attributes(empty)).nlink).toBe(3);
    expect(await shard.view({ view: 'parent', ino: e })).toEqual({ parent: empty });
  });

  it('replaces a file, which becomes an orphan', async () => {
    const { shard, a, d } = tree();
    const over = shard.create('x', { parent: d }).ino;
    const answer = shard.do(rename([ROOT_INODE, 'a'], [d, 'x']));
    expect(answer).toMatchObject({ attributes: { ino: a }, orphan: over, replaced: { nlink: 0 } });
    expect((await shard.view({ view: 'lookup', parent: d, name: 'x' })).attributes.ino).toBe(a);
  });

  it('replaces one of two names without an orphan', () => {
    const { shard, b } = tree();
    const answer = shard.do(rename([ROOT_INODE, 'a'], [ROOT_INODE, 'b']));
    expect(answer.orphan).toBeUndefined();
    expect(answer.replaced).toMatchObject({ ino: b, nlink: 1 });
  });

  it('replaces an empty directory', async () => {
    const { shard, d, e, empty } = tree();
    const answer = shard.do(rename([d, 'e'], [ROOT_INODE, 'empty']));
    expect(answer).toMatchObject({ orphan: empty, attributes: { ino: e } });
    expect((await shard.attributes(ROOT_INODE)).nlink).toBe(4);
    expect((await shard.attributes(d)).nlink).toBe(2);
  });

  it('keeps the place of a replaced name in the listing', async () => {
    const { shard } = tree();
    shard.do(rename([ROOT_INODE, 'c'], [ROOT_INODE, 'a']));
    expect(await shard.names()).toEqual(['a', 'b', 'd', 'empty']);
  });

  it('does nothing for two names of one inode', async () => {
    const { shard, b } = tree();
    const before = await shard.attributes(b);
    shard.do(rename([ROOT_INODE, 'b'], [ROOT_INODE, 'c']));
    shard.do(rename([ROOT_INODE, 'b'], [ROOT_INODE, 'b']));
    expect(await shard.attributes(b)).toEqual(before);
    expect(await shard.names()).toContain('b');
  });

  it('swaps two names, of a file and a directory too', async () => {
    const { shard, a, d, e } = tree();
    const answer = shard.do(rename([ROOT_INODE, 'a'], [d, 'e'], 'exchange'));
    expect(answer).toMatchObject({ attributes: { ino: a }, replaced: { ino: e } });
    expect((await shard.attributes(d)).nlink).toBe(2);
    expect((await shard.attributes(ROOT_INODE)).nlink).toBe(5);
    expect(await shard.view({ view: 'parent', ino: e })).toEqual({ parent: ROOT_INODE });
    expect(await check(shard.state)).toEqual([]);
  });

  it.each<[string, (t: ReturnType<typeof tree>) => Rename, string]>([
    ['a name that is not there', () => rename([ROOT_INODE, 'x'], [ROOT_INODE, 'y']), 'ENOENT'],
    ['a directory over a file', () => rename([ROOT_INODE, 'd'], [ROOT_INODE, 'a']), 'ENOTDIR'],
    ['a file over a directory', () => rename([ROOT_INODE, 'a'], [ROOT_INODE, 'empty']), 'EISDIR'],
    [
      'a directory over a full one',
      () => rename([ROOT_INODE, 'empty'], [ROOT_INODE, 'd']),
      'ENOTEMPTY',
    ],
    ['a directory into itself', ({ d }) => rename([ROOT_INODE, 'd'], [d, 'x']), 'EINVAL'],
    ['a directory below itself', ({ e }) => rename([ROOT_INODE, 'd'], [e, 'x']), 'EINVAL'],
    ['over a parent', ({ d }) => rename([d, 'e'], [ROOT_INODE, 'd']), 'ENOTEMPTY'],
    ['a swap with a parent', ({ d }) => rename([d, 'e'], [ROOT_INODE, 'd'], 'exchange'), 'EINVAL'],
    [
      'a swap with what is below',
      ({ d }) => rename([ROOT_INODE, 'd'], [d, 'e'], 'exchange'),
      'EINVAL',
    ],
    [
      'a swap with nothing',
      () => rename([ROOT_INODE, 'a'], [ROOT_INODE, 'x'], 'exchange'),
      'ENOENT',
    ],
    [
      'a present name with noreplace',
      () => rename([ROOT_INODE, 'a'], [ROOT_INODE, 'b'], 'noreplace'),
      'EEXIST',
    ],
    ['a bad new name', () => rename([ROOT_INODE, 'a'], [ROOT_INODE, '..']), 'EINVAL'],
    [
      'a long new name',
      () => rename([ROOT_INODE, 'a'], [ROOT_INODE, 'x'.repeat(256)]),
      'ENAMETOOLONG',
    ],
    ['into a file', ({ a }) => rename([ROOT_INODE, 'b'], [a, 'x']), 'ENOTDIR'],
  ])('refuses %s and changes nothing', (_, make, code) => {
    const t = tree();
    const before = t.shard.state.size;
    expect(t.shard.code(make(t))).toBe(code);
    expect(t.shard.state.size).toBe(before);
  });

  it('refuses to enter a directory that was removed', () => {
    const { shard, empty } = tree();
    shard.do({ op: 'rmdir', parent: ROOT_INODE, name: 'empty' });
    expect(shard.code(rename([ROOT_INODE, 'a'], [empty, 'a']))).toBe('ENOENT');
  });

  it('searches deep trees for a loop, but not without bound', () => {
    const shard = new TestShard();
    let parent: InodeNumber = ROOT_INODE;
    const moved = shard.mkdir('moved');
    for (let depth = 0; depth < 200; depth++) parent = shard.mkdir('deep', parent);
    expect(shard.code(rename([ROOT_INODE, 'moved'], [parent, 'x']))).toBe('ok');
    expect(shard.code(rename([ROOT_INODE, 'deep'], [moved, 'x']))).toBe('EINVAL');
  });
});
