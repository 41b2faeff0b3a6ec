/**
 * ACLs as text, acl(5): how star, GNU tar and bsdtar keep them in PAX records. GNU tar writes an entry a
 * line, bsdtar puts commas between them, the entries of the mode first and the number of a user or group
 * behind its rights. Both write names where the host has them.
 */
import {
  ACL_XATTR,
  type AclEntry,
  type AclTag,
  checkAcl,
  decodeAcl,
  encodeAcl,
  HoldfastError,
  permissionsOf,
} from '@holdfast/protocol';
import type { Xattr } from '@holdfast/tree';
import type { HostIds } from '../host-ids.ts';
import { ARCHIVE_LIMITS } from '../limits.ts';

/** Records by the extended attributes that they stand for. */
const KEYS: readonly (readonly [xattr: string, key: string])[] = [
  [ACL_XATTR.access, 'SCHILY.acl.access'],
  [ACL_XATTR.default, 'SCHILY.acl.default'],
];

const WORDS: Readonly<Record<AclTag, string>> = {
  owner: 'user',
  user: 'user',
  group: 'group',
  namedGroup: 'group',
  mask: 'mask',
  other: 'other',
};

/** In the order in which an ACL has them. */
const TAGS = Object.keys(WORDS) as readonly AclTag[];

/** An extended attribute as a PAX record with numbers for names; `undefined` when it is no valid ACL. */
export function aclRecord({
  name,
  value,
}: Xattr): readonly [key: string, text: string] | undefined {
  const key = KEYS.find(([xattr]) => xattr === name)?.[1];
  if (key === undefined) return undefined;
  try {
    const acl = decodeAcl(value);
    return acl === undefined ? undefined : [key, acl.map(textOf).join('')];
  } catch {
    return undefined;
  }
}

function textOf({ tag, permissions, id }: AclEntry): string {
  const rights = ['r', 'w', 'x'].map((one, at) => ((permissions >> (2 - at)) & 1 ? one : '-'));
  return `${WORDS[tag]}:${id ?? ''}:${rights.join('')}\n`;
}

/** ACLs in the records of an entry. */
export interface AclsFound {
  readonly xattrs: readonly Xattr[];
  /**
   * What the mode grants by the access ACL. bsdtar puts the owning group's rights into the header, where
   * others have the mask.
   */
  readonly permissions?: number;
  /** What could not be made use of, and why. */
  readonly problems: readonly string[];
  /**
   * Rights of the owning group where the access ACL could not be made use of: the mode has the mask in
   * their place, which may grant more.
   */
  readonly groupRights?: number;
}

/** Reads the ACLs of an entry. */
export function aclsIn(records: ReadonlyMap<string, string>, ids: HostIds): AclsFound {
  const xattrs: Xattr[] = [];
  const problems: string[] = [];
  const found: { permissions?: number; groupRights?: number } = {};
  for (const [name, key] of KEYS) {
    const text = records.get(key);
    if (text === undefined || text === '') continue;
    const lines = linesOf(text);
    try {
      const acl = lines.map((line) => entryOf(line, ids));
      acl.sort((a, b) => TAGS.indexOf(a.tag) - TAGS.indexOf(b.tag));
      checkAcl(acl);
      xattrs.push({ name, value: encodeAcl(acl) });
      if (name === ACL_XATTR.access) found.permissions = permissionsOf(acl);
    } catch (error) {
      problems.push(`has an ACL (${key}) that is left out: ${(error as Error).message}`);
      if (name === ACL_XATTR.access) found.groupRights = groupRightsOf(lines);
    }
  }
  return { xattrs, problems, ...found };
}

interface Line {
  readonly word: string;
  readonly name: string;
  readonly rights: string;
  /** bsdtar's. */
  readonly number: string;
}

function linesOf(text: string): Line[] {
  return text
    .split(/[,\n]/, ARCHIVE_LIMITS.aclLinesMax)
    .map((line) =>
      line
        .replace(/#.*$/, '')
        .replaceAll(/\s/g, '')
        .replace(/^d(efault)?:/, ''),
    )
    .filter((line) => line !== '')
    .map((line) => {
      const [word = '', second = '', third, number = ''] = line.split(':');
      // A mask and others may stand without an empty name.
      if (third === undefined) return { word, name: '', rights: second, number };
      return { word, name: second, rights: third, number };
    });
}

function invalid(why: string): HoldfastError {
  return new HoldfastError('EINVAL', why);
}

function tagOf({ word, name, number }: Line): AclTag {
  const isNamed = name !== '' || number !== '';
  if (/^u(ser)?$/.test(word)) return isNamed ? 'user' : 'owner';
  if (/^g(roup)?$/.test(word)) return isNamed ? 'namedGroup' : 'group';
  if (/^m(ask)?$/.test(word) && !isNamed) return 'mask';
  if (/^o(ther)?$/.test(word) && !isNamed) return 'other';
  throw invalid('an entry is about a user, a group, the mask or others');
}

function bitsOf({ rights }: Line): number {
  return ['r', 'w', 'x'].reduce((bits, one) => bits * 2 + Number(rights.includes(one)), 0);
}

function rightsOf(line: Line): number {
  if (!/^[rwx-]{1,3}$/.test(line.rights)) throw invalid('an entry grants rwx');
  return bitsOf(line);
}

function entryOf(line: Line, ids: HostIds): AclEntry {
  const tag = tagOf(line);
  const entry = { tag, permissions: rightsOf(line) };
  if (tag !== 'user' && tag !== 'namedGroup') return entry;
  const text = line.number === '' ? line.name : line.number;
  if (/^\d{1,10}$/.test(text)) return { ...entry, id: Number(text) };
  const id = ids.idOf(tag === 'user' ? 'user' : 'group', line.name);
  if (id !== undefined) return { ...entry, id };
  throw invalid(`this host knows no ${WORDS[tag]} of a name that it grants rights to`);
}

/** What the owning group may do, for want of the ACL: no more than it and the mask grant. */
function groupRightsOf(lines: readonly Line[]): number {
  const granted = lines.filter(
    ({ word, name, number }) => /^(g(roup)?|m(ask)?)$/.test(word) && name === '' && number === '',
  );
  return granted.reduce((bits, line) => bits & bitsOf(line), 7);
}
