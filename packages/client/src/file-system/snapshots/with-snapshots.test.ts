import {
  ACL_XATTR,
  encodeAcl,
  type FileSystem,
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type NodeReference,
  ROOT_INODE,
  ROOT_VOLUME,
  type ShardId,
  SNAPSHOTS_INODE,
  type VolumeNumber,
} from '@holdfast/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { CONTEXT, FILE, ROOT, VOLUME, World } from './test-world.ts';

const LIST: NodeReference = { volume: VOLUME, ino: SNAPSHOTS_INODE };

const ACL = encodeAcl([
  { tag: 'owner', permissions: 7 },
  { tag: 'user', permissions: 5, id: 9 },
  { tag: 'group', permissions: 0 },
  { tag: 'mask', permissions: 5 },
  { tag: 'other', permissions: 0 },
]);

describe('.snapshots of a volume', () => {
  let world: World;
  let fileSystem: FileSystem;
  beforeEach(() => {
    world = new World();
    fileSystem = world.fileSystem;
  });
  const names = async (node: NodeReference, count = 100): Promise<string[]> => {
    const found: string[] = [];
    for (let cookie = 0; ; ) {
      const { entries, end } = await fileSystem.readDirectory(node, cookie, count, CONTEXT);
      found.push(...entries.map(({ name }) => name));
      cookie = entries.at(-1)?.cookie ?? cookie;
      if (end || entries.length === 0) return found; // as the kernel has it
    }
  };

  it('is found but not listed, belongs to whom the root belongs, and lists the snapshots', async () => {
    expect(await names(await world.past())).toEqual([]);
    for (const name of ['c', 'a', 'b']) world.say({ op: 'create-snapshot', name });
    world.say({ op: 'remove-snapshot', name: 'a' });
    const found = await fileSystem.lookup(ROOT, '.snapshots', CONTEXT);
    expect(found).toMatchObject({ node: LIST, validMs: 0 });
    expect(found.attributes).toMatchObject({ kind: 'directory', mode: 0o550, uid: 5, gid: 6 });
    expect(await names(LIST, 1)).toEqual(['c', 'b']);
    expect(await names(ROOT)).toEqual([]);
    expect(await fileSystem.parentOf(LIST, CONTEXT)).toEqual(ROOT);
    expect(await fileSystem.parentOf(await world.past('b'), CONTEXT)).toEqual(LIST);
    const isNone = expect.objectContaining({ code: 'ENOENT' });
    await expect(world.past('a')).rejects.toEqual(isNone);
    // Nowhere but in the root of a volume.
    const list = { volume: ROOT_VOLUME, ino: ROOT_INODE };
    await expect(fileSystem.lookup(await world.past('b'), '.snapshots', CONTEXT)).rejects.toEqual(
      isNone,
    );
    await expect(fileSystem.create(list, '.snapshots', FILE, CONTEXT)).rejects.toThrow(
      expect.objectContaining({ code: 'EPERM' }),
    );
  });

  it('is opened and closed by the ACL of the root', async () => {
    const { access: name } = ACL_XATTR;
    const none = fileSystem.getXattr(LIST, name, CONTEXT);
    await expect(none).rejects.toMatchObject({ code: 'ENODATA' });
    await fileSystem.setXattr(ROOT, name, ACL, { mode: 'set' }, CONTEXT);
    await fileSystem.setXattr(ROOT, ACL_XATTR.default, ACL, { mode: 'set' }, CONTEXT);
    expect(await fileSystem.getXattr(LIST, name, CONTEXT)).toEqual(ACL);
    expect(await fileSystem.listXattrs(LIST, CONTEXT)).toEqual([name]);
  });

  it('asks once for an ACL where there is none, as long as the snapshot is trusted', async () => {
    await world.file('bare', Buffer.from('b'));
    const listed = await world.file('listed', Buffer.from('l'));
    await fileSystem.setXattr(listed, ACL_XATTR.access, ACL, { mode: 'set' }, CONTEXT);
    world.say({ op: 'create-snapshot', name: 's' });
    const root = await world.past('s');
    const { entries } = await fileSystem.readDirectory(root, 0, 10, CONTEXT);
    const [bare, marked] = entries.map(({ node }) => node) as [NodeReference, NodeReference];
    const ask = (node: NodeReference): Promise<Uint8Array> =>
      fileSystem.getXattr(node, ACL_XATTR.access, CONTEXT);
    const looks = world.views.length;
    await expect(ask(bare)).rejects.toMatchObject({ code: 'ENODATA' });
    expect(world.views.length).toBe(looks);
    expect(await ask(marked)).toEqual(ACL);
    expect(world.views.length).toBe(looks + 1);
    world.say({ op: 'remove-snapshot', name: 's' });
    world.nowMs += LIMITS.sessionTrustMs;
    await expect(ask(bare)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('shows names, attributes and bytes of then, kept apart by snapshot', async () => {
    const small = await world.file('small', Buffer.from('first'));
    const large = await world.file('large', Buffer.alloc(3 * 2 ** 20, 'a'));
    world.say({ op: 'create-snapshot', name: 'one' });
    await world.write(small, Buffer.from('second'));
    await world.write(large, Buffer.alloc(2 ** 20, 'b'));
    world.say({ op: 'create-snapshot', name: 'two' });
    await fileSystem.unlink(ROOT, 'small', CONTEXT);
    const [one, two] = [await world.past('one', 'small'), await world.past('two', 'small')];
    expect(one.ino).toBe(small.ino);
    expect(two).toEqual({ volume: expect.any(Number), ino: small.ino });
    expect(new Set([one.volume, two.volume, VOLUME]).size).toBe(3);
    for (let round = 0; round < 2; round += 1) {
      expect(await world.read(one)).toBe('first');
      expect(await world.read(two)).toBe('second');
      expect(await world.read(await world.past('one', 'large'))).toBe('a'.repeat(10));
      expect(await world.read(await world.past('two', 'large'))).toBe('b'.repeat(10));
    }
    expect((await fileSystem.getAttributes(one, CONTEXT)).attributes.size).toBe(5);
    expect(await names(await world.past('one'))).toEqual(['small', 'large']);
    expect(await names(ROOT)).toEqual(['large']);
    expect(await fileSystem.space(one, CONTEXT)).toEqual({
      totalBytes: 3 * 2 ** 20 + 5,
      freeBytes: 0,
      totalInodes: 3,
      freeInodes: 0,
    });
  });

  it('asks for what it knows only when it has not heard of the snapshot for long', async () => {
    await world.file('f', Buffer.from('bytes'));
    world.say({ op: 'create-snapshot', name: 's' });
    const file = await world.past('s', 'f');
    expect(await world.read(file)).toBe('bytes');
    const looks = world.views.length;
    for (let i = 0; i < 5; i += 1) expect(await world.read(file)).toBe('bytes');
    expect(world.views.length).toBe(looks);
    world.say({ op: 'remove-snapshot', name: 's' });
    world.nowMs += 60_000;
    const isGone = expect.objectContaining({ code: 'ESTALE' });
    await expect(world.read(file)).rejects.toEqual(isGone);
    await expect(fileSystem.getAttributes(file, CONTEXT)).rejects.toEqual(isGone);
    await expect(fileSystem.open(file, { write: false, truncate: false }, CONTEXT)).rejects.toEqual(
      isGone,
    );
  });

  it('is stale, not damaged, when its bytes went with it', async () => {
    const node = await world.file('f', Buffer.alloc(100_000, 'a'));
    world.say({ op: 'create-snapshot', name: 's' });
    await world.write(node, Buffer.alloc(100_000, 'b'));
    const file = await world.past('s', 'f');
    expect(await world.read(file)).toBe('a'.repeat(10));
    world.chunks.clear();
    await expect(world.read(file)).rejects.toEqual(expect.objectContaining({ kind: 'damage' }));
    world.say({ op: 'remove-snapshot', name: 's' });
    await expect(world.read(file)).rejects.toEqual(expect.objectContaining({ code: 'ESTALE' }));
  });

  it('never shows the old tree under a name that is used again', async () => {
    const node = await world.file('f', Buffer.from('old'));
    world.say({ op: 'create-snapshot', name: 's' });
    const old = await world.past('s', 'f');
    expect(await world.read(old)).toBe('old');
    await world.write(node, Buffer.from('new'));
    world.say({ op: 'remove-snapshot', name: 's' });
    await expect(world.past('s')).rejects.toEqual(expect.objectContaining({ code: 'ENOENT' }));
    world.say({ op: 'create-snapshot', name: 's' });
    const young = await world.past('s', 'f');
    expect(young.volume).not.toBe(old.volume);
    expect(await world.read(young)).toBe('new');
    // The way to a file is looked at anew each time; what is below may be believed.
    expect((await fileSystem.lookup(LIST, 's', CONTEXT)).validMs).toBe(0);
    const root = await world.past('s');
    expect((await fileSystem.lookup(root, 'f', CONTEXT)).validMs).toBeGreaterThan(1_000);
  });

  it('refuses all changes', async () => {
    const live = await world.file('f', Buffer.from('bytes'));
    world.say({ op: 'create-snapshot', name: 's' });
    const [root, f] = [await world.past('s'), await world.past('s', 'f')];
    const lock = {
      family: 'flock',
      start: 0,
      end: Number.MAX_SAFE_INTEGER,
      owner: '1',
      pid: 1,
    } as const;
    const none = { append: false, killPrivileges: false };
    const space = { mode: 'punch', keepSize: true, offset: 0, length: 1 } as const;
    const place = { parent: root, name: 'f' };
    const free = { parent: root, name: 'g' };
    const here = { parent: ROOT, name: 'f' };
    const changes = (node: NodeReference, parent: NodeReference): (() => Promise<unknown>)[] => [
      () => fileSystem.setAttributes(node, { mode: 0 }, CONTEXT),
      () => fileSystem.create(parent, 'g', FILE, CONTEXT),
      () => fileSystem.link(node, parent, 'g', CONTEXT),
      () => fileSystem.link(live, parent, 'g', CONTEXT),
      () => fileSystem.unlink(parent, 'f', CONTEXT),
      () => fileSystem.removeDirectory(parent, 'f', CONTEXT),
      () => fileSystem.open(node, { write: true, truncate: false }, CONTEXT),
      () => fileSystem.open(node, { write: false, truncate: true }, CONTEXT),
      () => fileSystem.write(node, 0, Buffer.from('x'), none, CONTEXT),
      () => fileSystem.allocate(node, space, CONTEXT),
      () => fileSystem.setXattr(node, 'user.a', Buffer.from('x'), { mode: 'set' }, CONTEXT),
      () => fileSystem.removeXattr(node, 'user.a', CONTEXT),
      () => fileSystem.setLock(node, { ...lock, type: 'write' }, { wait: true }, CONTEXT),
    ];
    const all = [
      ...changes(f, root),
      ...changes(LIST, LIST),
      () => fileSystem.rename(place, free, 'replace', CONTEXT),
      () => fileSystem.rename(place, { parent: ROOT, name: 'g' }, 'replace', CONTEXT),
      () => fileSystem.rename(here, free, 'replace', CONTEXT),
      () => fileSystem.rename({ parent: LIST, name: 's' }, here, 'exchange', CONTEXT),
    ];
    for (const change of all) {
      await expect(change()).rejects.toEqual(expect.objectContaining({ code: 'EROFS' }));
    }
    await expect(fileSystem.link(f, ROOT, 'g', CONTEXT)).rejects.toEqual(
      expect.objectContaining({ code: 'EXDEV' }),
    );
    await fileSystem.setLock(f, { ...lock, type: 'read' }, { wait: false }, CONTEXT);
    await fileSystem.setLock(f, { ...lock, type: 'unlock' }, { wait: false }, CONTEXT);
    expect(await fileSystem.testLock(f, { ...lock, type: 'write' }, CONTEXT)).toBeUndefined();
    expect(await world.read(f)).toBe('bytes');
    expect(await names(ROOT)).toEqual(['f']);
  });

  it('opens and closes files there without a word to the shard about them', async () => {
    await world.file('f', Buffer.from('bytes'));
    world.say({ op: 'create-snapshot', name: 's' });
    const f = await world.past('s', 'f');
    fileSystem.reopen(f, { write: false });
    const looks = world.views.length;
    await fileSystem.open(f, { write: false, truncate: false }, CONTEXT);
    await fileSystem.flush(f, '1', CONTEXT);
    await fileSystem.releaseLocks(f, 'flock', '1');
    await fileSystem.sync(f, { dataOnly: false }, CONTEXT);
    await fileSystem.release(f, { write: false });
    expect(world.views.length).toBe(looks);
  });

  const place = { parent: ROOT, name: '.snapshots' };
  /** How each attempt at making, moving or removing the directory itself ends. */
  const attempts = async (): Promise<string[]> => {
    const file = await world.file('f', Buffer.from('bytes'));
    const other = { parent: ROOT, name: 'g' };
    const actions: (() => Promise<unknown>)[] = [
      () => fileSystem.create(ROOT, '.snapshots', FILE, CONTEXT),
      () => fileSystem.create(ROOT, '.snapshots', { ...FILE, exclusive: false }, CONTEXT),
      () => fileSystem.link(file, ROOT, '.snapshots', CONTEXT),
      () => fileSystem.rename({ parent: ROOT, name: 'f' }, place, 'replace', CONTEXT),
      () => fileSystem.rename(place, other, 'replace', CONTEXT),
      () => fileSystem.removeDirectory(ROOT, '.snapshots', CONTEXT),
      () => fileSystem.unlink(ROOT, '.snapshots', CONTEXT),
    ];
    const codes: string[] = [];
    for (const action of actions) {
      const code = await action().then(
        () => 'done',
        (error: unknown) => (error instanceof HoldfastError ? error.code : String(error)),
      );
      codes.push(code);
    }
    return codes;
  };
  const REFUSALS = ['EEXIST', 'EEXIST', 'EEXIST', 'EEXIST', 'EBUSY', 'EBUSY', 'EISDIR'];

  it('cannot be made, moved or removed', async () => {
    expect(await attempts()).toEqual(REFUSALS);
    expect(await names(ROOT)).toEqual(['f']);
  });

  it('waits until an entry of that name from before is gone', async () => {
    const inode = { ...FILE, uid: 0, gid: 0 };
    world.say({ op: 'create', ...inode, parent: ROOT_INODE, name: '.snapshots' });
    const own = await world.past();
    expect(own.ino).not.toBe(SNAPSHOTS_INODE);
    expect(await names(ROOT)).toEqual(['.snapshots']);
    await world.write(own, Buffer.from('own'));
    const open = { ...FILE, exclusive: false };
    const again = await fileSystem.create(ROOT, '.snapshots', open, CONTEXT);
    expect(again).toMatchObject({ created: false, node: own });
    await fileSystem.rename(place, { parent: ROOT, name: 'kept' }, 'replace', CONTEXT);
    expect(await world.past()).toEqual(LIST);
    expect(await world.read(own)).toBe('own');
    expect(await attempts()).toEqual(REFUSALS);
    expect(await names(ROOT)).toEqual(['kept', 'f']);
  });

  it('goes on behind snapshots that are removed while it is listed', async () => {
    for (const name of ['a', 'b', 'c']) world.say({ op: 'create-snapshot', name });
    let gone = ['a', 'b'];
    world.afterView = ({ view: looked }) => {
      if (looked !== 'snapshots') return;
      for (const name of gone) world.say({ op: 'remove-snapshot', name });
      gone = [];
    };
    expect(await names(LIST, 1)).toEqual(['c']);
  });

  it('finds the last of more snapshots than the shard names at once', async () => {
    for (let i = 1; i <= 1_100; i += 1) world.say({ op: 'create-snapshot', name: `s${i}` });
    expect((await world.past('s1100')).ino).toBe(ROOT_INODE);
    expect((await names(LIST)).length).toBe(1_100);
    await expect(world.past('s1101')).rejects.toEqual(expect.objectContaining({ code: 'ENOENT' }));
  });

  it('is gone with the volume', async () => {
    await world.file('f', Buffer.from('bytes'));
    world.say({ op: 'create-snapshot', name: 's' });
    const [root, file] = [await world.past('s'), await world.past('s', 'f')];
    // As its delegation is recalled first.
    const session = world.session.id;
    world.say({ op: 'expire-session', expired: session }, ROOT_VOLUME);
    world.session.notice({ shard: 1 as ShardId, session, notice: { notice: 'expired' } });
    world.say({ op: 'destroy-volume', force: true });
    const isGone = expect.objectContaining({ code: 'ESTALE' });
    await expect(fileSystem.getAttributes(file, CONTEXT)).rejects.toEqual(isGone);
    await expect(world.read(file)).rejects.toEqual(isGone);
    await expect(fileSystem.lookup(root, 'f', CONTEXT)).rejects.toBeInstanceOf(HoldfastError);
  });

  it('answers a node that no one was given with ESTALE', async () => {
    const node = { volume: (2 ** 23 - 1) as VolumeNumber, ino: 1 as InodeNumber };
    await expect(fileSystem.getAttributes(node, CONTEXT)).rejects.toEqual(
      expect.objectContaining({ code: 'ESTALE' }),
    );
  });
});
