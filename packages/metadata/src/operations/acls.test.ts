import {
  ACL_BIT,
  ACL_XATTR,
  type Acl,
  type AclEntry,
  encodeAcl,
  type InodeNumber,
  type Operation,
  ROOT_INODE,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { check } from '../check.ts';
import { xattrsKey } from '../keys.ts';
import { XATTRS } from '../records.ts';
import { TestShard } from '../test-shard.ts';

const entry = (tag: AclEntry['tag'], permissions: number, id?: number): AclEntry =>
  id === undefined ? { tag, permissions } : { tag, permissions, id };
const acl = (owner: number, user: number, group: number, mask: number, other: number): Acl => [
  entry('owner', owner),
  entry('user', user, 1000),
  entry('group', group),
  entry('mask', mask),
  entry('other', other),
];
const MODE = [entry('owner', 7), entry('group', 5), entry('other', 0)];
const { access: ACCESS, default: DEFAULT } = ACL_XATTR;

type SetXattr = Extract<Operation, { op: 'set-xattr' }>;

function set(
  ino: InodeNumber,
  name: string,
  value: Acl | Uint8Array,
  fields: Partial<SetXattr> = {},
): SetXattr {
  const bytes = value instanceof Uint8Array ? value : encodeAcl(value);
  return { op: 'set-xattr', ino, name, value: bytes, mode: 'set', ...fields };
}

async function aclOf(shard: TestShard, ino: InodeNumber, name: string): Promise<string> {
  const wanted = { view: 'xattr', ino, name } as const;
  const code = await shard.viewCode(wanted);
  return code === 'ok' ? Buffer.from((await shard.view(wanted)).value).toString('hex') : code;
}

const hex = (value: Acl): string => Buffer.from(encodeAcl(value)).toString('hex');

describe('an access ACL', () => {
  it('changes the mode when it is set, and leaves it when it is taken away', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a', { mode: 0o4640 });
    const { attributes } = shard.do(set(ino, ACCESS, acl(7, 6, 5, 3, 1)));
    expect(attributes).toMatchObject({ mode: 0o4731, acls: ACL_BIT.access, ctimeNs: shard.nowNs });
    expect(await aclOf(shard, ino, ACCESS)).toBe(hex(acl(7, 6, 5, 3, 1)));
    const removed = shard.do({ op: 'remove-xattr', ino, name: ACCESS });
    expect(removed.attributes?.mode).toBe(0o4731);
    expect(removed.attributes?.acls).toBeUndefined();
    expect(shard.state.get(xattrsKey(shard.volume, ino))).toBeUndefined();
    expect(shard.code({ op: 'remove-xattr', ino, name: ACCESS })).toBe('ENODATA');
  });

  it('that says no more than a mode becomes the mode, also in place of one that does', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    for (const before of [[], [acl(7, 6, 5, 3, 1)]]) {
      for (const one of before) shard.do(set(ino, ACCESS, one));
      const { attributes } = shard.do(set(ino, ACCESS, MODE));
      expect(attributes?.mode).toBe(0o750);
      expect(attributes?.acls).toBeUndefined();
      expect(await shard.view({ view: 'xattr-names', ino })).toEqual({ names: [] });
    }
  });

  it('clears set-group-id when its setter may not keep it', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a', { mode: 0o6755 });
    const kept = shard.do(set(ino, ACCESS, acl(7, 7, 7, 7, 7)));
    expect(kept.attributes?.mode).toBe(0o6777);
    const killed = shard.do(set(ino, ACCESS, acl(7, 7, 7, 7, 7), { killSetGroup: true }));
    expect(killed.attributes?.mode).toBe(0o4777);
  });

  it('follows chmod', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    shard.do(set(ino, ACCESS, acl(7, 6, 5, 3, 1)));
    shard.do({ op: 'set-attributes', ino, mode: 0o1640 });
    expect(await aclOf(shard, ino, ACCESS)).toBe(hex(acl(6, 6, 5, 4, 0)));
    shard.do({ op: 'set-attributes', ino, uid: 5 });
    expect(await aclOf(shard, ino, ACCESS)).toBe(hex(acl(6, 6, 5, 4, 0)));
  });

  it('is taken away by a value without entries, and that is nothing when there is none', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const before = await shard.attributes(ino);
    for (const empty of [new Uint8Array(0), Uint8Array.of(2, 0, 0, 0)]) {
      expect(shard.do(set(ino, ACCESS, empty)).attributes).toEqual(before);
    }
    shard.do(set(ino, ACCESS, acl(7, 6, 5, 3, 1)));
    const { attributes } = shard.do(set(ino, ACCESS, new Uint8Array(0)));
    expect(attributes?.acls).toBeUndefined();
  });

  it.each<[string, Partial<Parameters<TestShard['create']>[1]>, string, string]>([
    ['a link', { kind: 'symlink', target: 't' }, ACCESS, 'ENOTSUP'],
    ['a device', { kind: 'char' }, ACCESS, 'ok'],
    ['a file, as default', {}, DEFAULT, 'EACCES'],
    ['a directory, as default', { kind: 'directory' }, DEFAULT, 'ok'],
  ])('of %s is answered as Linux answers it', (_, fields, name, code) => {
    const shard = new TestShard();
    const { ino } = shard.create('a', fields);
    expect(shard.code(set(ino, name, acl(7, 6, 5, 3, 1)))).toBe(code);
  });

  it('counts as an extended attribute', () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    for (const name of ['user.a', 'user.b']) {
      shard.do(set(ino, name, new Uint8Array(65_536 - 10)));
    }
    expect(shard.code(set(ino, ACCESS, acl(7, 6, 5, 3, 1)))).toBe('ENOSPC');
    expect(shard.code(set(ino, ACCESS, MODE))).toBe('ok');
  });

  it('that was stored when it meant nothing means nothing still', async () => {
    const shard = new TestShard();
    const { ino } = shard.create('a');
    const key = xattrsKey(shard.volume, ino);
    const old = [ACCESS, encodeAcl(acl(7, 7, 7, 7, 7))] as const;
    shard.state.put(key, XATTRS.encode({ birth: 1, entries: [old] }));
    expect(await aclOf(shard, ino, ACCESS)).toBe('ENODATA');
    expect(await shard.view({ view: 'xattr-names', ino })).toEqual({ names: [] });
    shard.do(set(ino, ACCESS, acl(6, 4, 4, 4, 4)));
    expect(await shard.view({ view: 'xattr-names', ino })).toEqual({ names: [ACCESS] });
    expect(await aclOf(shard, ino, ACCESS)).toBe(hex(acl(6, 4, 4, 4, 4)));
  });
});

describe('a default ACL', () => {
  const handed = acl(7, 6, 5, 6, 4);

  function shardWithDefault(): { shard: TestShard; parent: InodeNumber } {
    const shard = new TestShard();
    const parent = shard.mkdir('d');
    shard.do(set(parent, DEFAULT, handed));
    return { shard, parent };
  }

  it('leaves the mode of its directory alone', async () => {
    const { shard, parent } = shardWithDefault();
    expect(await shard.attributes(parent)).toMatchObject({ mode: 0o755, acls: ACL_BIT.default });
  });

  it('becomes the ACL of a new file, as far as its mode goes, whatever the umask', async () => {
    const { shard, parent } = shardWithDefault();
    const { ino, mode, acls } = shard.create('f', { parent, mode: 0o600, unmaskedMode: 0o4660 });
    expect([mode, acls]).toEqual([0o4660, ACL_BIT.access]);
    expect(await aclOf(shard, ino, ACCESS)).toBe(hex(acl(6, 6, 5, 6, 0)));
    expect(await aclOf(shard, ino, DEFAULT)).toBe('ENODATA');
  });

  it('is handed on by a new directory, at any depth', async () => {
    const { shard, parent } = shardWithDefault();
    const first = shard.create('e', {
      parent,
      kind: 'directory',
      mode: 0o700,
      unmaskedMode: 0o777,
    });
    expect([first.mode, first.acls]).toEqual([0o764, ACL_BIT.access | ACL_BIT.default]);
    const second = shard.create('e', { parent: first.ino, kind: 'directory', mode: 0o777 });
    expect(second.acls).toBe(first.acls);
    expect(await aclOf(shard, second.ino, DEFAULT)).toBe(hex(handed));
    expect(await check(shard.state)).toEqual([]);
  });

  it('that is a mode is one, in a file', async () => {
    const { shard, parent } = shardWithDefault();
    shard.do(set(parent, DEFAULT, MODE));
    const { ino, mode, acls } = shard.create('f', { parent, mode: 0o600, unmaskedMode: 0o666 });
    expect([mode, acls]).toEqual([0o640, undefined]);
    expect(shard.state.get(xattrsKey(shard.volume, ino))).toBeUndefined();
  });

  it('does not touch a link, a file that is there, or what is made elsewhere', () => {
    const { shard, parent } = shardWithDefault();
    const masked = { mode: 0o600, unmaskedMode: 0o666 };
    const link = shard.create('l', { parent, kind: 'symlink', target: 't', mode: 0o777 });
    expect([link.mode, link.acls]).toEqual([0o777, undefined]);
    const outside = shard.create('f', masked);
    expect([outside.mode, outside.acls]).toEqual([0o600, undefined]);
    shard.do({ op: 'rename', ...from('f'), newParent: parent, newName: 'f', flag: 'replace' });
    const opened = shard.create('f', { parent, ...masked, exclusive: false });
    expect([opened.mode, opened.acls]).toEqual([0o600, undefined]);
  });

  it('goes on being handed down in a clone, and shown in snapshots as it was', async () => {
    const { shard, parent } = shardWithDefault();
    const { snapshot } = shard.do({ op: 'create-snapshot', name: 's' });
    shard.do({ op: 'remove-xattr', ino: parent, name: DEFAULT });
    const at = snapshot?.generation as number;
    const { attributes } = await shard.view({ view: 'attributes', ino: parent, at });
    expect(attributes.acls).toBe(ACL_BIT.default);
    const old = await shard.view({ view: 'xattr', ino: parent, name: DEFAULT, at });
    expect(Buffer.from(old.value).toString('hex')).toBe(hex(handed));
    expect(await aclOf(shard, parent, DEFAULT)).toBe('ENODATA');
    const volume = 2 as typeof shard.volume;
    const quotas = { quotaBytes: 0, quotaInodes: 0 };
    shard.do(
      { op: 'clone-volume', name: 'c', from: shard.volume, snapshot: 's', ...quotas },
      { volume },
    );
    const made = shard.do({ ...create('f', parent), mode: 0o600, unmaskedMode: 0o666 }, { volume });
    expect(made.attributes).toMatchObject({ mode: 0o664, acls: ACL_BIT.access });
  });
});

function from(name: string): { parent: InodeNumber; name: string } {
  return { parent: ROOT_INODE, name };
}

function create(name: string, parent: InodeNumber): Extract<Operation, { op: 'create' }> {
  const owner = { uid: 1, gid: 2, mode: 0o644 };
  const kind = { kind: 'file', rdev: 0, target: '', exclusive: true } as const;
  return { op: 'create', parent, name, ...owner, ...kind };
}
