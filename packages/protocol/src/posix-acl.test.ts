import { describe, expect, it } from 'vitest';
import {
  type Acl,
  type AclEntry,
  checkAcl,
  decodeAcl,
  encodeAcl,
  inherited,
  isPlain,
  permissionsOf,
  withPermissions,
} from './posix-acl.ts';

const owner: AclEntry = { tag: 'owner', permissions: 6 };
const user = (id: number, permissions = 7): AclEntry => ({ tag: 'user', permissions, id });
const group: AclEntry = { tag: 'group', permissions: 5 };
const named = (id: number, permissions = 4): AclEntry => ({ tag: 'namedGroup', permissions, id });
const mask: AclEntry = { tag: 'mask', permissions: 3 };
const other: AclEntry = { tag: 'other', permissions: 1 };
const FULL: Acl = [owner, user(1000), group, named(0), mask, other];
const PLAIN: Acl = [owner, group, other];
const HEX =
  '02000000 01000600ffffffff 02000700e8030000 04000500ffffffff 0800040000000000 10000300ffffffff 20000100ffffffff';
const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const codeOf = (act: () => unknown): string => {
  try {
    act();
    return 'ok';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('an ACL as the value of an extended attribute', () => {
  it('has the form that the kernel gives it', () => {
    expect(Buffer.from(encodeAcl(FULL))).toEqual(bytes(HEX));
    expect(decodeAcl(bytes(HEX))).toEqual(FULL);
  });

  it('is read from any place in memory, and whatever stands for nobody', () => {
    const within = Buffer.concat([Buffer.alloc(3), bytes(HEX), Buffer.alloc(3)]);
    expect(decodeAcl(within.subarray(3, -3))).toEqual(FULL);
    expect(decodeAcl(bytes(HEX.replace('01000600ffffffff', '0100060007000000')))).toEqual(FULL);
  });

  it('is none when it is empty', () => {
    expect(decodeAcl(new Uint8Array(0))).toBeUndefined();
    expect(decodeAcl(bytes('02000000'))).toBeUndefined();
  });

  it.each([
    ['part of a header', '020000', 'EINVAL'],
    ['another version', HEX.replace('02', '03'), 'ENOTSUP'],
    ['part of an entry', HEX.slice(0, -2), 'EINVAL'],
    ['an unknown kind of entry', HEX.replace(' 2000', ' 4000'), 'EINVAL'],
    ['a right beside rwx', HEX.replace(' 20000100', ' 20000800'), 'EINVAL'],
    ['the id that stands for nobody', HEX.replace('e8030000', 'ffffffff'), 'EINVAL'],
  ])('is refused as %s', (_, hex, code) => {
    expect(codeOf(() => decodeAcl(bytes(hex)))).toBe(code);
  });
});

describe('an ACL', () => {
  const many = (count: number): Acl => [
    owner,
    ...Array.from({ length: count - 4 }, (_, id) => user(id)),
    group,
    mask,
    other,
  ];

  it.each<[string, Acl, string]>([
    ['with all kinds of entries', FULL, 'ok'],
    ['that is a mode', PLAIN, 'ok'],
    ['with a mask and nobody named', [owner, group, mask, other], 'ok'],
    ['with users in any order', [owner, user(9), user(2), group, mask, other], 'ok'],
    ['of 511 entries', many(511), 'ok'],
    ['of 512 entries', many(512), 'E2BIG'],
    ['without owner', FULL.slice(1), 'EINVAL'],
    ['without group', [owner, mask, other], 'EINVAL'],
    ['without others', FULL.slice(0, -1), 'EINVAL'],
    ['that names a user and has no mask', [owner, user(1), group, other], 'EINVAL'],
    ['that names a group and has no mask', [owner, group, named(1), other], 'EINVAL'],
    ['that names a user twice', [owner, user(1), user(1, 0), group, mask, other], 'EINVAL'],
    ['that names a group twice', [owner, group, named(1), named(1), mask, other], 'EINVAL'],
    ['with two masks', [owner, group, mask, mask, other], 'EINVAL'],
    ['in another order', [owner, group, user(1), mask, other], 'EINVAL'],
    ['whose owner has a number', [{ ...owner, id: 1 }, group, other], 'EINVAL'],
    ['whose named user has none', [owner, { ...user(1), id: -1 }, group, mask, other], 'EINVAL'],
  ])('%s is judged as acl(5) says', (_, acl, code) => {
    expect(codeOf(() => checkAcl(acl))).toBe(code);
  });

  it('stands in a mode with its mask, or its group where there is none', () => {
    expect(permissionsOf(FULL)).toBe(0o631);
    expect(permissionsOf(PLAIN)).toBe(0o651);
    expect([isPlain(FULL), isPlain([owner, group, mask, other]), isPlain(PLAIN)]).toEqual([
      false,
      false,
      true,
    ]);
  });

  it('follows chmod in what stands in the mode, and only in that', () => {
    const changed = withPermissions(FULL, 0o4750);
    expect(permissionsOf(changed)).toBe(0o750);
    expect(changed.slice(1, 4)).toEqual(FULL.slice(1, 4));
    expect(withPermissions(PLAIN, 0o640).map(({ permissions }) => permissions)).toEqual([6, 4, 0]);
  });

  it('hands down what both it and the mode of a new file grant', () => {
    expect(permissionsOf(inherited(FULL, 0o666))).toBe(0o620);
    expect(inherited(FULL, 0o000).filter(({ permissions }) => permissions > 0)).toEqual([
      user(1000),
      group,
      named(0),
    ]);
  });
});
