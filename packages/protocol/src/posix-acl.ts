/**
 * POSIX access control lists, acl(5): their meaning, and the binary form that the kernel gives them as
 * the value of an extended attribute (linux/posix_acl_xattr.h, version 2, little endian).
 */
import { HoldfastError } from './errors.ts';

/** Extended attributes that hold an ACL: of any inode but a link, and what a directory hands down. */
export const ACL_XATTR = {
  access: 'system.posix_acl_access',
  default: 'system.posix_acl_default',
} as const;

/** Which ACLs an inode has, as bits of Attributes.acls. */
export const ACL_BIT = { access: 1, default: 2 } as const;

/** Entries of one ACL: the kernel's FUSE reads and sends a page of 4 KiB at most. */
export const ACL_ENTRIES_MAX = 511;

/** Who an entry is about, in the order in which entries stand. */
const TAGS = {
  owner: 0x01,
  user: 0x02,
  group: 0x04,
  namedGroup: 0x08,
  mask: 0x10,
  other: 0x20,
} as const;

/** `owner` and `group`: those of the file; `user` and `namedGroup`: of the id that the entry names. */
export type AclTag = keyof typeof TAGS;

/** One entry of an ACL. */
export interface AclEntry {
  readonly tag: AclTag;
  /** Bits of read, write, execute: 0 to 7. */
  readonly permissions: number;
  /** User or group of a named entry; absent in others. */
  readonly id?: number;
}

/** A valid ACL: {@link checkAcl}. */
export type Acl = readonly AclEntry[];

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const NO_ID = 0xffff_ffff;
const ORDER = Object.keys(TAGS) as readonly AclTag[];
const TAG_OF_NUMBER = new Map(ORDER.map((tag) => [TAGS[tag] as number, tag]));

/** The bit of the ACL that an extended attribute holds; 0: it holds none. */
export function aclBitOf(xattr: string): number {
  if (xattr === ACL_XATTR.access) return ACL_BIT.access;
  return xattr === ACL_XATTR.default ? ACL_BIT.default : 0;
}

/** Whether an entry names a user or a group. */
export function isNamed({ tag }: AclEntry): boolean {
  return tag === 'user' || tag === 'namedGroup';
}

function invalid(why: string): HoldfastError {
  return new HoldfastError('EINVAL', `an ACL ${why}`);
}

/**
 * Throws EINVAL unless there is one entry each for the owner, the group and others, no user and no
 * group is named twice, a mask is there where any is named, and entries are in the order owner, users,
 * group, groups, mask, other; E2BIG above ACL_ENTRIES_MAX.
 */
export function checkAcl(acl: Acl): void {
  if (acl.length > ACL_ENTRIES_MAX) {
    throw new HoldfastError('E2BIG', `an ACL has at most ${ACL_ENTRIES_MAX} entries`);
  }
  const seen = new Set<string>();
  let place = 0;
  for (const { tag, permissions, id } of acl) {
    if (ORDER.indexOf(tag) < place) throw invalid('is in the order of acl(5)');
    place = ORDER.indexOf(tag);
    const key = `${tag}:${id ?? ''}`;
    if (seen.has(key)) throw invalid('names nobody twice');
    seen.add(key);
    if (!Number.isInteger(permissions) || permissions < 0 || permissions > 7) {
      throw invalid('grants nothing but rwx');
    }
    const isId = Number.isInteger(id) && (id as number) >= 0 && (id as number) < NO_ID;
    if (isNamed({ tag, permissions }) ? !isId : id !== undefined) {
      throw invalid('names a user or a group in each of its named entries, and in no other');
    }
  }
  for (const tag of ['owner', 'group', 'other'] as const) {
    if (!seen.has(`${tag}:`)) throw invalid('has an entry for the owner, the group and others');
  }
  if (acl.some(isNamed) && !seen.has('mask:')) throw invalid('that names somebody has a mask');
}

/**
 * The ACL in the value of an extended attribute; `undefined` for none: an empty value, or one without
 * entries. EINVAL, E2BIG as {@link checkAcl}; ENOTSUP for another version of the form.
 */
export function decodeAcl(value: Uint8Array): Acl | undefined {
  if (value.length === 0) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length < HEADER_BYTES) throw invalid('has a header of 4 bytes');
  if (view.getUint32(0, true) !== VERSION) {
    throw new HoldfastError('ENOTSUP', `an ACL is of version ${VERSION}`);
  }
  if ((value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) throw invalid('has entries of 8 bytes');
  const acl: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    const tag = TAG_OF_NUMBER.get(view.getUint16(at, true));
    if (tag === undefined) throw invalid('has entries of the six kinds of acl(5)');
    const permissions = view.getUint16(at + 2, true);
    const entry = { tag, permissions };
    acl.push(isNamed(entry) ? { ...entry, id: view.getUint32(at + 4, true) } : entry);
  }
  if (acl.length === 0) return undefined;
  checkAcl(acl);
  return acl;
}

/** An ACL as the value of an extended attribute. */
export function encodeAcl(acl: Acl): Uint8Array {
  const value = new Uint8Array(HEADER_BYTES + acl.length * ENTRY_BYTES);
  const view = new DataView(value.buffer);
  view.setUint32(0, VERSION, true);
  for (const [index, { tag, permissions, id }] of acl.entries()) {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    view.setUint16(at, TAGS[tag], true);
    view.setUint16(at + 2, permissions, true);
    view.setUint32(at + 4, id ?? NO_ID, true);
  }
  return value;
}

/** The entry whose place the group bits of the mode take: the mask, where there is one. */
function isGroupClass({ tag }: AclEntry, hasMask: boolean): boolean {
  return tag === (hasMask ? 'mask' : 'group');
}

/** Bits that a mode's place for an entry is shifted by; `undefined`: it has no place in the mode. */
function shiftOf(entry: AclEntry, hasMask: boolean): number | undefined {
  if (entry.tag === 'owner') return 6;
  if (entry.tag === 'other') return 0;
  return isGroupClass(entry, hasMask) ? 3 : undefined;
}

/** The permission bits that stand for an ACL in a mode: 0 to 0o777 (acl(5), correspondence). */
export function permissionsOf(acl: Acl): number {
  const hasMask = acl.some(({ tag }) => tag === 'mask');
  return acl.reduce((bits, entry) => {
    const shift = shiftOf(entry, hasMask);
    return shift === undefined ? bits : bits | (entry.permissions << shift);
  }, 0);
}

/** Whether a mode says all that an ACL says. */
export function isPlain(acl: Acl): boolean {
  return acl.every((entry) => !isNamed(entry) && entry.tag !== 'mask');
}

/** An ACL after chmod(2). */
export function withPermissions(acl: Acl, mode: number): Acl {
  const hasMask = acl.some(({ tag }) => tag === 'mask');
  return acl.map((entry) => {
    const shift = shiftOf(entry, hasMask);
    return shift === undefined ? entry : { ...entry, permissions: (mode >> shift) & 7 };
  });
}

/** The ACL of what is made with a mode in a directory of this default ACL: both must grant. */
export function inherited(acl: Acl, mode: number): Acl {
  return withPermissions(acl, permissionsOf(acl) & mode);
}
