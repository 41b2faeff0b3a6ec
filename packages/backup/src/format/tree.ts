/** Trees: one directory as a JSON blob, its nodes sorted by name. */
import { isUtf8 } from 'node:buffer';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { TreeEntry, Xattr } from '@holdfast/tree';
import { isStorageId, type StorageId } from './ids.ts';
import { bytesOf, countOf, fieldsOf, fromJson, listOf, textOf, toJson, wideOf } from './json.ts';
import { quoteName, unquoteName } from './quote.ts';
import { timeOf, timeText } from './time.ts';

/** An entry of a directory. Names and link targets are latin1 text, one character a byte. */
export interface TreeNode extends TreeEntry {
  readonly ctimeNs: bigint;
  /** With `deviceId` the identity of a file with several names. */
  readonly inode: bigint;
  readonly deviceId: bigint;
  readonly links: number;
  readonly xattrs: readonly Xattr[];
  /** The blobs of a regular file, in order. */
  readonly content: readonly StorageId[];
  /** The tree of a directory. */
  readonly subtree?: StorageId;
}

const TYPE_OF_KIND: Readonly<Record<FileKind, string>> = {
  file: 'file',
  directory: 'dir',
  symlink: 'symlink',
  fifo: 'fifo',
  socket: 'socket',
  char: 'chardev',
  block: 'dev',
};
const KIND_OF_TYPE: Readonly<Record<string, FileKind>> = Object.fromEntries(
  Object.entries(TYPE_OF_KIND).map(([kind, type]) => [type, kind as FileKind]),
);

/** Bits of Go's os.FileMode that are not permissions (pkg.go.dev/io/fs#FileMode). */
const GO_TYPE: Readonly<Record<FileKind, number>> = {
  file: 0,
  directory: 2 ** 31,
  symlink: 2 ** 27,
  fifo: 2 ** 25,
  socket: 2 ** 24,
  char: 2 ** 26 + 2 ** 21,
  block: 2 ** 26,
};
const GO_SETUID = 2 ** 23;
const GO_SETGID = 2 ** 22;
const GO_STICKY = 2 ** 20;

function goMode(kind: FileKind, mode: number): number {
  return (
    GO_TYPE[kind] +
    (mode & 0o4000 ? GO_SETUID : 0) +
    (mode & 0o2000 ? GO_SETGID : 0) +
    (mode & 0o1000 ? GO_STICKY : 0) +
    (mode & 0o777)
  );
}

function posixMode(mode: number): number {
  return (
    (mode & GO_SETUID ? 0o4000 : 0) |
    (mode & GO_SETGID ? 0o2000 : 0) |
    (mode & GO_STICKY ? 0o1000 : 0) |
    (mode & 0o777)
  );
}

function utf8Of(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8');
}

function latin1Of(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function targetFields(target: string): object {
  if (target === '') return {};
  const bytes = Buffer.from(target, 'latin1');
  const raw = isUtf8(bytes) ? {} : { linktarget_raw: base64(bytes) };
  return { linktarget: bytes.toString('utf8'), ...raw };
}

function nodeDocument(node: TreeNode): unknown {
  const { kind, links, xattrs } = node;
  return {
    name: quoteName(node.name),
    type: TYPE_OF_KIND[kind],
    mode: goMode(kind, node.mode),
    mtime: timeText(node.mtimeNs),
    atime: timeText(node.atimeNs),
    ctime: timeText(node.ctimeNs),
    uid: node.uid,
    gid: node.gid,
    ...(node.inode > 0n ? { inode: node.inode } : {}),
    ...(links > 1 && kind !== 'directory' ? { device_id: node.deviceId } : {}),
    ...(kind === 'file' && node.size > 0 ? { size: node.size } : {}),
    ...(links > 0 && kind !== 'directory' ? { links } : {}),
    ...targetFields(node.target),
    ...(xattrs.length > 0
      ? {
          extended_attributes: xattrs.map(({ name, value }) => ({
            name: utf8Of(name),
            value: base64(value),
          })),
        }
      : {}),
    ...(node.rdev > 0n ? { device: node.rdev } : {}),
    content: kind === 'file' ? node.content : null,
    ...(node.subtree === undefined ? {} : { subtree: node.subtree }),
  };
}

/** Nodes, sorted here by the bytes of their names, as the plaintext of a tree blob. */
export function encodeTree(nodes: readonly TreeNode[]): Uint8Array {
  const sorted = nodes.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return Buffer.from(`${toJson({ nodes: sorted.map(nodeDocument) })}\n`);
}

function idOf(value: unknown): StorageId {
  const id = textOf(value, 'an id');
  if (!isStorageId(id)) throw new HoldfastError('CORRUPT', 'a tree has an id that is none');
  return id;
}

function targetOf(fields: Record<string, unknown>): string {
  const raw = fields['linktarget_raw'];
  if (raw !== undefined && raw !== null) return bytesOf(raw, 'a link target').toString('latin1');
  return latin1Of(textOf(fields['linktarget'] ?? '', 'a link target'));
}

function xattrsOf(value: unknown): Xattr[] {
  return listOf(value, 'extended attributes').map((item) => {
    const fields = fieldsOf(item, 'an extended attribute');
    return {
      name: latin1Of(textOf(fields['name'], 'an extended attribute')),
      value: bytesOf(fields['value'], 'an extended attribute'),
    };
  });
}

function nodeOf(item: unknown): TreeNode | undefined {
  const fields = fieldsOf(item, 'a node');
  const kind = KIND_OF_TYPE[textOf(fields['type'], 'the type of a node')];
  // "irregular" and types of the future: nothing that a file system here could hold.
  if (kind === undefined) return undefined;
  const subtree = fields['subtree'];
  return {
    name: unquoteName(textOf(fields['name'], 'the name of a node')),
    kind,
    mode: posixMode(countOf(fields['mode'], 'a mode', 0xffff_ffff)),
    uid: countOf(fields['uid'], 'uid', 0xffff_ffff),
    gid: countOf(fields['gid'], 'gid', 0xffff_ffff),
    mtimeNs: timeOf(fields['mtime'], 'mtime'),
    atimeNs: timeOf(fields['atime'], 'atime'),
    ctimeNs: timeOf(fields['ctime'], 'ctime'),
    inode: wideOf(fields['inode'], 'inode'),
    deviceId: wideOf(fields['device_id'], 'device_id'),
    links: countOf(fields['links'], 'links'),
    size: countOf(fields['size'], 'size'),
    rdev: wideOf(fields['device'], 'device'),
    target: targetOf(fields),
    xattrs: xattrsOf(fields['extended_attributes']),
    content: listOf(fields['content'], 'content').map(idOf),
    ...(kind === 'directory' && subtree !== undefined && subtree !== null
      ? { subtree: idOf(subtree) }
      : {}),
  };
}

/** The reverse of {@link encodeTree}; nodes of unknown types are left out. CORRUPT when malformed. */
export function decodeTree(plaintext: Uint8Array): TreeNode[] {
  const fields = fieldsOf(fromJson(plaintext, 'a tree'), 'a tree');
  return listOf(fields['nodes'], 'a tree')
    .map(nodeOf)
    .filter((node) => node !== undefined);
}
