import { type InodeNumber, LIMITS, type Operation, ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { inodeKey } from '../keys.ts';
import { INODE } from '../records.ts';
import { TestShard } from '../test-shard.ts';

type Create = Extract<Operation, { op: 'create' }>;

const create: Create = {
  op: 'create',
  parent: ROOT_INODE,
  name: 'n',
  kind: 'file',
  mode: 0o644,
  uid: 1,
  gid: 2,
  rdev: 0,
  target: '',
  exclusive: true,
};
const unlink = (name: string, parent = ROOT_INODE): Operation => ({ op: 'unlink', parent, name });
const rmdir = (name: string, parent = ROOT_INODE): Operation => ({ op: 'rmdir', parent, name });

describe('create', () => {
  it('gives an inode all times of its command and its directory a new mtime and ctime', async () => {
    const shard = new TestShard();
    const file = shard.create('a');
    const now = shard.nowNs;
    expect(file).toEqual({
      ino: 2,
      kind: 'file',
      mode: 0o644,
      uid: 1,
      gid: 2,
      nlink: 1,
      size: 0,
      allocatedBytes: 0,
      rdev: 0,
      atimeNs: now,
      mtimeNs: now,
      ctimeNs: now,
      birthNs: now,
    });
    expect(await shard.attributes(ROOT_INODE)).toMatchObject({ mtimeNs: now, ctimeNs: now });
  });

  it.each([
    ['', 'EINVAL'],
    ['.', 'EINVAL'],
    ['..', 'EINVAL'],
    ['a/b', 'EINVAL'],
    ['a\0', 'EINVAL'],
    ['x'.repeat(256), 'ENAMETOOLONG'],
    ['x'.repeat(255), 'ok'],
    ['\xff\x80 \n', 'ok'],
    ['\u0100', 'BAD_REQUEST'],
  ])('answers the name %j with %s', (name, code) => {
    expect(new TestShard().code({ ...create, name })).toBe(code);
  });

  it('opens an existing regular file unless it is exclusive, and nothing else', () => {
    const shard = new TestShard();
    const { ino } = shard.create('n');
    shard.mkdir('d');
    const again = shard.do({ ...create, exclusive: false, mode: 0o600 });
    expect(again).toMatchObject({ created: false, attributes: { ino, mode: 0o644 } });
    expect(shard.code(create)).toBe('EEXIST');
    expect(shard.code({ ...create, name: 'd', exclusive: false })).toBe('EEXIST');
    expect(shard.code({ ...create, kind: 'fifo', exclusive: false })).toBe('EEXIST');
  });

  it('keeps the device number of devices and the target of symbolic links only', async () => {
    const shard = new TestShard();
    const rdev = 0x801;
    const target = '../\xff';
    for (const kind of ['char', 'block', 'fifo', 'socket', 'file'] as const) {
      const made = shard.create(kind, { kind, rdev, target });
      const isDevice = kind === 'char' || kind === 'block';
      expect(made).toMatchObject({ kind, rdev: isDevice ? rdev : 0, size: 0 });
    }
    const { ino, size } = shard.create('l', { kind: 'symlink', target });
    expect(size).toBe(4);
    expect(await shard.view({ view: 'read-link', ino })).toEqual({ target });
  });

  it.each([
    ['', 'ENOENT'],
    ['a\0', 'EINVAL'],
    ['t'.repeat(4096), 'ENAMETOOLONG'],
    ['t'.repeat(4095), 'ok'],
  ])('answers a symbolic link of such a target with its errno (%#)', (target, code) => {
    expect(new TestShard().code({ ...create, kind: 'symlink', target })).toBe(code);
  });

  it('hands the group of a set-gid directory down, to directories the bit too', () => {
    const shard = new TestShard();
    const parent = shard.create('d', { kind: 'directory', mode: 0o2775, gid: 77 }).ino;
    expect(shard.create('f', { parent, mode: 0o640 })).toMatchObject({ gid: 77, mode: 0o640 });
    const below = shard.create('e', { parent, kind: 'directory', mode: 0o700 });
    expect(below).toMatchObject({ gid: 77, mode: 0o2700 });
  });

  it('counts directories as links of their parent', async () => {
    const shard = new TestShard();
    shard.mkdir('a');
    shard.mkdir('b');
    shard.create('f');
    expect((await shard.attributes(ROOT_INODE)).nlink).toBe(4);
    shard.do(rmdir('a'));
    expect((await shard.attributes(ROOT_INODE)).nlink).toBe(3);
  });

  it('refuses a parent that is no directory, that is gone, or that was removed', () => {
    const shard = new TestShard();
    const file = shard.create('f').ino;
    const removed = shard.mkdir('d');
    shard.do(rmdir('d'));
    expect(shard.code({ ...create, parent: file })).toBe('ENOTDIR');
    expect(shard.code({ ...create, parent: 999 as InodeNumber })).toBe('ESTALE');
    expect(shard.code({ ...create, parent: removed })).toBe('ENOENT');
  });

  it('refuses more inodes than the quota has, and takes more once some are gone', () => {
    const shard = new TestShard({ quotaInodes: 3 });
    const a = shard.create('a').ino;
    shard.create('b');
    expect(shard.code(create)).toBe('EDQUOT');
    shard.do(unlink('a'));
    expect(shard.code(create)).toBe('EDQUOT');
    shard.do({ op: 'release-orphans', inos: [a] });
    expect(shard.code(create)).toBe('ok');
  });
});

describe('link', () => {
  it('adds a name, a link and a new ctime', async () => {
    const shard = new TestShard();
    const { ino, mtimeNs } = shard.create('a');
    const { attributes } = shard.do({ op: 'link', ino, parent: ROOT_INODE, name: 'b' });
    expect(attributes).toMatchObject({ ino, nlink: 2, mtimeNs, ctimeNs: shard.nowNs });
    expect(await shard.names()).toEqual(['a', 'b']);
  });

  it('refuses directories, present names, files without a name, and too many links', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const link = { op: 'link', ino, parent: ROOT_INODE, name: 'b' } as const;
    expect(shard.code({ ...link, ino: shard.mkdir('d') })).toBe('EPERM');
    expect(shard.code({ ...link, name: 'a' })).toBe('EEXIST');
    const key = inodeKey(shard.volume, ino);
    const record = INODE.decode(shard.state.get(key) as Uint8Array);
    shard.state.put(key, INODE.encode({ ...record, nlink: LIMITS.linksMax }));
    expect(shard.code(link)).toBe('EMLINK');
    shard.state.put(key, INODE.encode(record));
    shard.do(unlink('a'));
    expect(shard.code(link)).toBe('ENOENT');
  });
});

describe('unlink and rmdir', () => {
  it('refuse the wrong kind, what is not there, and what is not empty', () => {
    const shard = new TestShard();
    shard.create('f');
    const d = shard.mkdir('d');
    shard.mkdir('e', d);
    expect(shard.code(unlink('d'))).toBe('EISDIR');
    expect(shard.code(rmdir('f'))).toBe('ENOTDIR');
    expect(shard.code(unlink('x'))).toBe('ENOENT');
    expect(shard.code(rmdir('d'))).toBe('ENOTEMPTY');
    expect(shard.code(rmdir('.'))).toBe('EINVAL');
  });

  it('leave an orphan when the last name goes, not before', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do({ op: 'link', ino, parent: ROOT_INODE, name: 'b' });
    expect(shard.do(unlink('a')).orphan).toBeUndefined();
    const last = shard.do(unlink('b'));
    expect(last).toMatchObject({ orphan: ino, attributes: { nlink: 0, ctimeNs: shard.nowNs } });
    expect((await shard.attributes(ino)).nlink).toBe(0);
  });

  it('leave a removed directory that lists as empty and takes no names', async () => {
    const shard = new TestShard();
    const d = shard.mkdir('d');
    shard.do(rmdir('d'));
    expect(await shard.attributes(d)).toMatchObject({ nlink: 0 });
    expect(await shard.names(d)).toEqual([]);
    expect(shard.code({ ...create, parent: d })).toBe('ENOENT');
  });
});
