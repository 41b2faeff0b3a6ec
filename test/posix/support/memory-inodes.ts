import {
  type Attributes,
  type FileKind,
  HoldfastError,
  type InodeNumber,
  type LockRequest,
} from '@holdfast/protocol';

const BLOCK_BYTES = 64 * 1024;

/** One inode of the in-memory file system. */
export interface MemoryInode {
  readonly ino: InodeNumber;
  readonly kind: FileKind;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  size: number;
  readonly rdev: number;
  readonly target: string;
  parent: InodeNumber;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  opens: number;
  /** Of files: 64 KiB blocks by number; what is absent is a hole. */
  readonly blocks: Map<number, Uint8Array>;
  /** Of directories: entries by name, each with a cookie that grows. */
  readonly children: Map<string, { readonly ino: InodeNumber; readonly cookie: number }>;
  readonly xattrs: Map<string, Uint8Array>;
  locks: LockRequest[];
}

/** What stat(2) tells of an inode. */
export function attributesOf(inode: MemoryInode): Attributes {
  const { ino, kind, mode, uid, gid, nlink, size, rdev, atimeNs, mtimeNs, ctimeNs } = inode;
  const allocatedBytes = inode.blocks.size * BLOCK_BYTES;
  const times = { atimeNs, mtimeNs, ctimeNs, birthNs: ctimeNs };
  return { ino, kind, mode, uid, gid, nlink, size, allocatedBytes, rdev, ...times };
}

/** Bytes [offset, offset + length) cut at the end of file. */
export function readBytes(inode: MemoryInode, offset: number, length: number): Uint8Array {
  const end = Math.min(inode.size, offset + length);
  if (end <= offset) return new Uint8Array(0);
  const bytes = new Uint8Array(end - offset);
  eachBlock(offset, end, (number, from, to) => {
    const block = inode.blocks.get(number);
    const at = number * BLOCK_BYTES + from - offset;
    if (block !== undefined) bytes.set(block.subarray(from, to), at);
  });
  return bytes;
}

/** Puts bytes at an offset; grows the file. */
export function writeBytes(inode: MemoryInode, offset: number, bytes: Uint8Array): void {
  eachBlock(offset, offset + bytes.length, (number, from, to) => {
    let block = inode.blocks.get(number);
    if (block === undefined) {
      block = new Uint8Array(BLOCK_BYTES);
      inode.blocks.set(number, block);
    }
    const at = number * BLOCK_BYTES + from - offset;
    block.set(bytes.subarray(at, at + to - from), from);
  });
  inode.size = Math.max(inode.size, offset + bytes.length);
}

/** Makes a range read as zeros; whole blocks become holes. */
export function zeroBytes(inode: MemoryInode, offset: number, end: number): void {
  eachBlock(offset, Math.min(end, lastBlockEnd(inode)), (number, from, to) => {
    if (from === 0 && to === BLOCK_BYTES) inode.blocks.delete(number);
    else inode.blocks.get(number)?.fill(0, from, to);
  });
}

/** Truncates or extends. */
export function resize(inode: MemoryInode, size: number): void {
  if (size < inode.size) zeroBytes(inode, size, Math.ceil(inode.size / BLOCK_BYTES) * BLOCK_BYTES);
  inode.size = size;
}

/** SEEK_DATA and SEEK_HOLE of lseek(2). */
export function seekIn(inode: MemoryInode, offset: number, whence: 'data' | 'hole'): number {
  if (offset >= inode.size) throw new HoldfastError('ENXIO');
  for (let at = offset; at < inode.size; ) {
    const number = Math.floor(at / BLOCK_BYTES);
    if (inode.blocks.has(number) === (whence === 'data')) return at;
    at = (number + 1) * BLOCK_BYTES;
  }
  if (whence === 'data') throw new HoldfastError('ENXIO');
  return inode.size;
}

function lastBlockEnd(inode: MemoryInode): number {
  return (Math.max(-1, ...inode.blocks.keys()) + 1) * BLOCK_BYTES;
}

function eachBlock(
  offset: number,
  end: number,
  visit: (number: number, from: number, to: number) => void,
): void {
  for (let at = offset; at < end; ) {
    const number = Math.floor(at / BLOCK_BYTES);
    const from = at - number * BLOCK_BYTES;
    const to = Math.min(BLOCK_BYTES, end - number * BLOCK_BYTES);
    visit(number, from, to);
    at = number * BLOCK_BYTES + to;
  }
}
