import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ACL_XATTR, type Acl, decodeAcl, encodeAcl } from '@holdfast/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostIds } from '../host-ids.ts';
import { aclRecord, aclsIn } from './acl-text.ts';

const ACL: Acl = [
  { tag: 'owner', permissions: 6 },
  { tag: 'user', permissions: 6, id: 1 },
  { tag: 'user', permissions: 4, id: 4001 },
  { tag: 'group', permissions: 4 },
  { tag: 'namedGroup', permissions: 5, id: 20 },
  { tag: 'mask', permissions: 7 },
  { tag: 'other', permissions: 0 },
];
const NUMBERS =
  'user::rw-\nuser:1:rw-\nuser:4001:r--\ngroup::r--\ngroup:20:r-x\nmask::rwx\nother::---\n';

describe('the text of an ACL in an archive', () => {
  let directory: string;
  let ids: HostIds;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-ids-'));
    const [user, group] = [join(directory, 'passwd'), join(directory, 'group')];
    writeFileSync(
      user,
      'root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nbj\u00f6rn:x:9:9\nbad:x::1\n',
    );
    writeFileSync(group, 'daemon:x:20:\n');
    ids = new HostIds({ user, group });
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  const read = (text: string, key = 'access'): ReturnType<typeof aclsIn> =>
    aclsIn(new Map([[`SCHILY.acl.${key}`, text]]), ids);

  it('has numbers for names, an entry a line', () => {
    const record = aclRecord({ name: ACL_XATTR.access, value: encodeAcl(ACL) });
    expect(record).toEqual(['SCHILY.acl.access', NUMBERS]);
    const handed = aclRecord({ name: ACL_XATTR.default, value: encodeAcl(ACL) });
    expect(handed?.[0]).toBe('SCHILY.acl.default');
    expect(aclRecord({ name: 'user.a', value: encodeAcl(ACL) })).toBeUndefined();
    expect(aclRecord({ name: ACL_XATTR.access, value: Buffer.from('x') })).toBeUndefined();
  });

  it.each([
    ['as it is written', NUMBERS],
    [
      'as GNU tar writes it, with names of this host',
      'user::rw-\nuser:daemon:rw-\nuser:4001:r--\ngroup::r--\ngroup:daemon:r-x\nmask::rwx\nother::---\n',
    ],
    [
      'as bsdtar writes it, with numbers behind names that this host need not know',
      'user::rw-,group::r--,other::---,user:nobody here:rw-:1,user:4001:r--,group:x:r-x:20,mask::rwx',
    ],
    [
      'in short words, with comments',
      'u::rw\nu:1:rw\t#effective:rw-\nu:4001:r\ng::r\ng:20:rx\nm:rwx\no:---\n',
    ],
  ])('is read %s', (_, text) => {
    const { xattrs, problems, permissions } = read(text);
    expect(problems).toEqual([]);
    expect(xattrs.map(({ name }) => name)).toEqual([ACL_XATTR.access]);
    expect(decodeAcl(xattrs[0]!.value)).toEqual(ACL);
    expect(permissions).toBe(0o670);
    const handed = read(text, 'default');
    expect(handed).toMatchObject({ problems: [], xattrs: [{ name: ACL_XATTR.default }] });
    expect(handed.permissions).toBeUndefined();
  });

  it('knows names by their bytes', () => {
    const name = Buffer.from('björn').toString('latin1');
    const { xattrs } = read(`user::rw-,user:${name}:r--,group::r--,mask::r--,other::---`);
    expect(decodeAcl(xattrs[0]!.value)?.[1]).toMatchObject({ id: 9 });
  });

  it.each([
    ['a name that nobody has here', 'user::rwx,user:who:rwx,group::r-x,mask::rwx,other::---', 0o5],
    ['a mask below the group', 'user::rwx,user:who:rwx,group::rwx,mask::--x,other::---', 0o1],
    ['no mask', 'user::rwx,user:1:rwx,group::r-x,other::---', 0o5],
    ['nonsense', 'nobody may do anything', 0o7],
    ['other rights', 'user::rws,group::r-x,other::---', 0o5],
    ['a number too large', 'user::rwx,user:4294967295:r--,group::---,mask::rwx,other::---', 0o0],
  ])(
    'is left out and told with %s, and grants the group no more than it did',
    (_, text, rights) => {
      const { xattrs, problems, groupRights } = read(text);
      expect(xattrs).toEqual([]);
      expect(problems).toHaveLength(1);
      expect(problems[0]).toMatch(/^has an ACL \(SCHILY.acl.access\) that is left out: /);
      expect(groupRights).toBe(rights);
    },
  );

  it('says nothing when it is empty', () => {
    expect(read('')).toEqual({ xattrs: [], problems: [] });
  });
});
