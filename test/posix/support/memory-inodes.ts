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

/** All inodes, and what links them. */
export class InodeTable {
  readonly all = new Map<InodeNumber, MemoryInode>();
  #next = 1;
  #cookie = 0;
  #clock = 1_700_000_000_000_000_000n;

  /** A clock that moves on by a millisecond each time it is looked at. */
  now(): bigint {
    this.#clock += 1_000_000n;
    return this.#clock;
  }

  nextCookie(): number {
    this.#cookie += 1;
    return this.#cookie;
  }

  /** A new inode without a name. */
  make(
    kind: FileKind,
    fields: Pick<MemoryInode, 'mode' | 'uid' | 'gid' | 'rdev' | 'target' | 'parent'>,
  ): MemoryInode {
    const now = this.now();
    const { mode, uid, gid, rdev, target, parent } = fields;
    const inode: MemoryInode = {
      ino: this.#next++ as InodeNumber,
      kind,
      mode,
      uid,
      gid,
      rdev,
      target,
      parent,
      nlink: kind === 'directory' ? 2 : 0,
      size: target.length,
      opens: 0,
      atimeNs: now,
      mtimeNs: now,
      ctimeNs: now,
      blocks: new Map(),
      children: new Map(),
      xattrs: new Map(),
      locks: [],
    };
    this.all.set(inode.ino, inode);
    return inode;
  }

  /** Gives an inode a name. */
  enter(directory: MemoryInode, name: string, inode: MemoryInode): void {
    directory.children.set(name, { ino: inode.ino, cookie: this.nextCookie() });
    if (inode.kind === 'directory') {
      directory.nlink += 1;
      inode.parent = directory.ino;
    } else if (inode.nlink === 0) inode.nlink = 1;
    this.#touch(directory);
  }

  /** Notes that an inode's name has gone from a directory. */
  leave(directory: MemoryInode, inode: MemoryInode): void {
    if (inode.kind === 'directory') directory.nlink -= 1;
    this.#touch(directory);
  }

  /** Takes a name away, and the inode with its last one. */
  remove(directory: MemoryInode, name: string, inode: MemoryInode): void {
    directory.children.delete(name);
    this.leave(directory, inode);
    inode.nlink -= inode.kind === 'directory' ? 2 : 1;
    inode.ctimeNs = this.now();
    this.drop(inode);
  }

  /** Deletes an inode that has neither a name nor an open file. */
  drop(inode: MemoryInode): void {
    if (inode.nlink === 0 && inode.opens === 0) this.all.delete(inode.ino);
  }

  #touch(directory: MemoryInode): void {
    directory.mtimeNs = this.now();
    directory.ctimeNs = directory.mtimeNs;
  }
}
