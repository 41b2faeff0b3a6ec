/**
 * Extended attributes of the model, and what acl(5) says of those that are ACLs. Written from the man
 * page on tables of who may do what, without a look at packages/protocol.
 */
import type { Operation } from '@holdfast/protocol';
import type { ModelNode } from './model-node.ts';
import { refuse } from './refused.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';

/** Rights by whom: 'u', 'g', 'm', 'o', and with a number behind a user or a group. */
type Rights = Map<string, number>;

const LETTERS: Readonly<Record<number, string>> = {
  1: 'u',
  2: 'u',
  4: 'g',
  8: 'g',
  16: 'm',
  32: 'o',
};

/** The rights that a value grants; undefined: it is empty. Refused as setxattr(2) refuses it. */
function parse(value: Uint8Array): Rights | undefined {
  const bytes = Buffer.from(value);
  if (bytes.length === 0) return undefined;
  if (bytes.length < 4) refuse('EINVAL');
  if (bytes.readUInt32LE(0) !== 2) refuse('ENOTSUP');
  if (bytes.length % 8 !== 4) refuse('EINVAL');
  const rights: Rights = new Map();
  const tags: number[] = [];
  for (let at = 4; at < bytes.length; at += 8) {
    const tag = bytes.readUInt16LE(at);
    const letter = LETTERS[tag] ?? refuse('EINVAL');
    const right = bytes.readUInt16LE(at + 2);
    const who = tag === 2 || tag === 8 ? `${letter}${bytes.readUInt32LE(at + 4)}` : letter;
    if (right > 7 || rights.has(who) || who.endsWith('4294967295')) refuse('EINVAL');
    rights.set(who, right);
    tags.push(tag);
  }
  if (tags.length === 0) return undefined;
  if (tags.length > 511) refuse('E2BIG');
  if (tags.some((tag, index) => tag < (tags[index - 1] ?? 0))) refuse('EINVAL');
  if (!['u', 'g', 'o'].every((who) => rights.has(who))) refuse('EINVAL');
  if ([...rights.keys()].some((who) => who.length > 1) && !rights.has('m')) refuse('EINVAL');
  return rights;
}

function format(rights: Rights): Uint8Array {
  const bytes = Buffer.alloc(4 + 8 * rights.size);
  bytes.writeUInt32LE(2);
  const plain: Readonly<Record<string, number>> = { u: 1, g: 4, m: 16, o: 32 };
  for (const [index, [who, right]] of [...rights].entries()) {
    const at = 4 + 8 * index;
    const named = who.startsWith('u') ? 2 : 8;
    bytes.writeUInt16LE(plain[who] ?? named, at);
    bytes.writeUInt16LE(right, at + 2);
    bytes.writeUInt32LE(who.length > 1 ? Number(who.slice(1)) : 0xffff_ffff, at + 4);
  }
  return bytes;
}

function modeOf(rights: Rights): number {
  const group = rights.get('m') ?? (rights.get('g') as number);
  return (rights.get('u') as number) * 64 + group * 8 + (rights.get('o') as number);
}

/** Changes what the nine bits of a mode stand for. */
function change(rights: Rights, to: (right: number, shift: number) => number): void {
  const group = rights.has('m') ? 'm' : 'g';
  for (const [who, shift] of [['u', 6] as const, [group, 3] as const, ['o', 0] as const]) {
    rights.set(who, to(rights.get(who) as number, shift));
  }
}

/** Which ACLs a node has: 1 access, 2 default. */
export function aclsOf({ xattrs }: ModelNode): number {
  return (xattrs.has(ACCESS) ? 1 : 0) + (xattrs.has(DEFAULT) ? 2 : 0);
}

/** chmod(2). */
export function changeMode(node: ModelNode, mode: number): void {
  node.mode = mode;
  const value = node.xattrs.get(ACCESS);
  const rights = value && parse(value);
  if (rights === undefined) return;
  change(rights, (_, shift) => (mode >> shift) & 7);
  node.xattrs.set(ACCESS, format(rights));
}

/** Mode and ACLs of a node that was just made. */
export function inherit(parent: ModelNode, node: ModelNode, operation: Of<'create'>): void {
  const value = parent.xattrs.get(DEFAULT);
  const rights = value && parse(value);
  if (rights === undefined || node.kind === 'symlink') {
    node.mode = operation.mode;
    return;
  }
  const asked = operation.unmaskedMode ?? operation.mode;
  change(rights, (right, shift) => right & (asked >> shift) & 7);
  node.mode = (asked & 0o7000) + modeOf(rights);
  if (rights.size > 3) node.xattrs.set(ACCESS, format(rights));
  if (node.isDirectory && value !== undefined) node.xattrs.set(DEFAULT, value);
}

/** setxattr(2). Whether there was nothing to do: an ACL taken away that is not there. */
export function setXattr(node: ModelNode, operation: Of<'set-xattr'>): boolean {
  const { name, value, mode } = operation;
  const isAcl = name === ACCESS || name === DEFAULT;
  const rights = isAcl ? parse(value) : undefined;
  if (isAcl && node.kind === 'symlink') refuse('ENOTSUP');
  if (name === DEFAULT && !node.isDirectory) refuse('EACCES');
  if (name === '' || name.length > 255) refuse('ERANGE');
  if (!isAcl && value.length > 65_536) refuse('E2BIG');
  if (mode === 'create' && node.xattrs.has(name)) refuse('EEXIST');
  if (mode === 'replace' && !node.xattrs.has(name)) refuse('ENODATA');
  if (isAcl && rights === undefined && !node.xattrs.has(name)) return true;
  if (isAcl) setAcl(node, rights, operation);
  else put(node, name, value);
  return false;
}

function setAcl(node: ModelNode, rights: Rights | undefined, operation: Of<'set-xattr'>): void {
  const { name } = operation;
  const isMode = name === ACCESS && rights?.size === 3;
  if (rights === undefined || isMode) node.xattrs.delete(name);
  else put(node, name, format(rights));
  if (name !== ACCESS || rights === undefined) return;
  node.mode = (node.mode & (operation.killSetGroup === true ? 0o5000 : 0o7000)) + modeOf(rights);
}

function put(node: ModelNode, name: string, value: Uint8Array): void {
  const before = node.xattrs.get(name);
  node.xattrs.set(name, value);
  let bytes = 0;
  for (const [key, content] of node.xattrs) bytes += key.length + content.length;
  if (bytes <= 131_072) return;
  if (before === undefined) node.xattrs.delete(name);
  else node.xattrs.set(name, before);
  refuse('ENOSPC');
}
