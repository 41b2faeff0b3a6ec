/**
 * POSIX ACLs, acl(5): extended attributes that the mode goes along with. Which an inode has, its own
 * record says, so that who has none pays for none.
 */
import {
  ACL_BIT,
  ACL_XATTR,
  type Acl,
  aclBitOf,
  decodeAcl,
  encodeAcl,
  HoldfastError,
  inherited,
  isPlain,
  type Operation,
  type OperationAnswer,
  permissionsOf,
  withPermissions,
} from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { attributesOf, changeInode, type Inode, inodeOf } from '../inodes.ts';
import { putXattrs, withoutXattr, withXattr, type Xattrs, xattrsOf } from '../xattr-entries.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

const PERMISSIONS = 0o777;
const SET_GROUP_ID = 0o2000;

/** setxattr(2) of an ACL, as far as posix_acl_update_mode and its callers in Linux go. */
export function setAcl(context: Context, operation: Of<'set-xattr'>): OperationAnswer {
  const { ino, name, mode } = operation;
  const inode = inodeOf(context, ino);
  const bit = aclBitOf(name);
  const acl = decodeAcl(operation.value);
  checkKind(inode, bit);
  const exists = (inode.record.acls & bit) !== 0;
  if (mode === 'create' && exists) throw new HoldfastError('EEXIST');
  if (mode === 'replace' && !exists) throw new HoldfastError('ENODATA');
  if (acl === undefined) {
    return exists ? dropAcl(context, inode, name) : { attributes: attributesOf(inode) };
  }
  if (bit === ACL_BIT.default) return putAcl(context, inode, { name, acl });
  const kept = inode.record.mode & ~(PERMISSIONS | (operation.killSetGroup ? SET_GROUP_ID : 0));
  const change = { mode: kept | permissionsOf(acl) };
  if (!isPlain(acl)) return putAcl(context, inode, { name, acl, change });
  return dropAcl(context, inode, name, change);
}

function checkKind({ record: { kind } }: Inode, bit: number): void {
  if (kind === 'symlink') throw new HoldfastError('ENOTSUP', 'a symbolic link has no ACL');
  if (bit === ACL_BIT.default && kind !== 'directory') {
    throw new HoldfastError('EACCES', 'only a directory has a default ACL');
  }
}

function putAcl(
  context: Context,
  { ino, record }: Inode,
  { name, acl, change = {} }: { name: string; acl: Acl; change?: { readonly mode?: number } },
): OperationAnswer {
  putXattrs(context, { ino, record }, withXattr(xattrsOf(context, ino), name, encodeAcl(acl)));
  const acls = record.acls | aclBitOf(name);
  const changed = changeInode(context, ino, { ...change, acls, ctimeNs: context.nowNs });
  return { attributes: attributesOf(changed) };
}

function dropAcl(
  context: Context,
  { ino, record }: Inode,
  name: string,
  change: { readonly mode?: number } = {},
): OperationAnswer {
  const bit = aclBitOf(name);
  if ((record.acls & bit) !== 0) {
    putXattrs(context, { ino, record }, withoutXattr(xattrsOf(context, ino), name));
  }
  const acls = record.acls & ~bit;
  const changed = changeInode(context, ino, { ...change, acls, ctimeNs: context.nowNs });
  return { attributes: attributesOf(changed) };
}

/** removexattr(2) of an ACL: the mode stays. ENODATA when there is none. */
export function removeAcl(context: Context, { ino, name }: Of<'remove-xattr'>): OperationAnswer {
  const inode = inodeOf(context, ino);
  if ((inode.record.acls & aclBitOf(name)) === 0) throw new HoldfastError('ENODATA');
  return dropAcl(context, inode, name);
}

/** What chmod(2) does to an access ACL. */
export function changeAclMode(context: Context, { ino, record }: Inode, mode: number): void {
  if ((record.acls & ACL_BIT.access) === 0) return;
  const entries = xattrsOf(context, ino);
  const changed = withPermissions(aclAmong(entries, ACL_XATTR.access), mode);
  putXattrs(context, { ino, record }, withXattr(entries, ACL_XATTR.access, encodeAcl(changed)));
}

/** What an inode is made with. */
export interface Inheritance {
  readonly mode: number;
  readonly acls: number;
  /** Its extended attributes. */
  readonly xattrs: Xattrs;
}

/** What a new inode takes over of its directory's default ACL (posix_acl_create in Linux). */
export function inheritAcls(
  context: Context,
  directory: Inode,
  { kind, mode, unmaskedMode = mode }: Of<'create'>,
): Inheritance {
  if (kind === 'symlink' || (directory.record.acls & ACL_BIT.default) === 0) {
    return { mode, acls: 0, xattrs: [] };
  }
  const handedDown = aclAmong(xattrsOf(context, directory.ino), ACL_XATTR.default);
  const own = inherited(handedDown, unmaskedMode);
  const isOwn = !isPlain(own);
  const isDirectory = kind === 'directory';
  return {
    mode: (unmaskedMode & ~PERMISSIONS) | permissionsOf(own),
    acls: (isOwn ? ACL_BIT.access : 0) | (isDirectory ? ACL_BIT.default : 0),
    xattrs: [
      ...(isOwn ? [[ACL_XATTR.access, encodeAcl(own)] as const] : []),
      ...(isDirectory ? [[ACL_XATTR.default, encodeAcl(handedDown)] as const] : []),
    ],
  };
}

function aclAmong(entries: Xattrs, wanted: string): Acl {
  const entry = entries.find(([name]) => name === wanted);
  const acl = entry === undefined ? undefined : decodeAcl(entry[1]);
  if (acl === undefined) throw new HoldfastError('CORRUPT', `an inode lacks its ${wanted}`);
  return acl;
}
