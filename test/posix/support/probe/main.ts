/** The program behind ../probe.ts: system calls that Node has no function for, and those that may block. */
import * as fs from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';

const libc = koffi.load(null);
const cSetxattr = libc.func(
  'int setxattr(const char *p, const char *n, const void *v, size_t l, int f)',
);
const cGetxattr = libc.func('long getxattr(const char *p, const char *n, void *v, size_t l)');
const cListxattr = libc.func('long listxattr(const char *p, void *v, size_t l)');
const cRemovexattr = libc.func('int removexattr(const char *p, const char *n)');
const cRenameat2 = libc.func(
  'int renameat2(int a, const char *o, int b, const char *n, unsigned int f)',
);
const cFallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const cLseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const cFlock = libc.func('int flock(int fd, int operation)');
const cFcntl = libc.func('int fcntl(int fd, int command, void *lock)');
const cMknod = libc.func('int mknod(const char *p, unsigned int mode, uint64_t dev)');
const cMmap = libc.func('void *mmap(void *a, size_t l, int p, int f, int fd, int64_t o)');
const cMsync = libc.func('int msync(void *a, size_t l, int f)');
const cMunmap = libc.func('int munmap(void *a, size_t l)');
const cCopyFileRange = libc.func(
  'long copy_file_range(int i, int64_t *io, int o, int64_t *oo, size_t l, unsigned int f)',
);

const AT_FDCWD = -100;
const mappings: { readonly address: unknown; readonly length: number }[] = [];
/** Of two names for a number, the one that Node's own errors use. */
const NAMES = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => name !== 'EWOULDBLOCK' && name !== 'EOPNOTSUPP')
    .map(([name, number]) => [number, name]),
);
const LOCK_COMMAND = { get: 5, set: 6, wait: 7 } as const;
const LOCK_TYPE = { read: 0, write: 1, unlock: 2 } as const;

class CallError extends Error {
  readonly code: string;
  constructor(errno: number) {
    const code = NAMES.get(errno) ?? String(errno);
    super(code);
    this.code = code;
  }
}

function checked(result: number): number {
  if (result < 0) throw new CallError(koffi.errno());
  return result;
}

/** struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid. */
function lock(
  fd: number,
  command: keyof typeof LOCK_COMMAND,
  type: keyof typeof LOCK_TYPE,
  start: number,
  length: number,
) {
  const bytes = Buffer.alloc(32);
  bytes.writeInt16LE(LOCK_TYPE[type], 0);
  bytes.writeBigInt64LE(BigInt(start), 8);
  bytes.writeBigInt64LE(BigInt(length), 16);
  checked(cFcntl(fd, LOCK_COMMAND[command], bytes));
  return {
    type: bytes.readInt16LE(0),
    start: Number(bytes.readBigInt64LE(8)),
    length: Number(bytes.readBigInt64LE(16)),
  };
}

const CALLS = {
  open: (path: string, flags: number, mode = 0o644) => fs.openSync(path, flags, mode),
  close: (fd: number) => fs.closeSync(fd),
  read: (fd: number, offset: number, length: number) => {
    const buffer = Buffer.alloc(length);
    return buffer.subarray(0, fs.readSync(fd, buffer, 0, length, offset));
  },
  write: (fd: number, bytes: Uint8Array, offset: number | null) =>
    fs.writeSync(fd, bytes, 0, bytes.length, offset),
  stat: (path: string) => fs.lstatSync(path, { bigint: true }),
  fstat: (fd: number) => fs.fstatSync(fd, { bigint: true }),
  ftruncate: (fd: number, size: number) => fs.ftruncateSync(fd, size),
  fsync: (fd: number) => fs.fsyncSync(fd),
  unlink: (path: string) => fs.unlinkSync(path),
  chmod: (path: string, mode: number) => fs.chmodSync(path, mode),
  access: (path: string, mode: number) => fs.accessSync(path, mode),
  setxattr: (path: string, name: string, value: Uint8Array, flags = 0) =>
    checked(cSetxattr(path, name, value, value.length, flags)),
  getxattr: (path: string, name: string, room = 65_536) => {
    const buffer = Buffer.alloc(room);
    return buffer.subarray(0, checked(cGetxattr(path, name, buffer, room)));
  },
  xattrLength: (path: string, name: string) => checked(cGetxattr(path, name, null, 0)),
  listxattr: (path: string) => {
    const buffer = Buffer.alloc(65_536);
    const length = checked(cListxattr(path, buffer, buffer.length));
    return buffer.toString('latin1', 0, length).split('\0').slice(0, -1);
  },
  removexattr: (path: string, name: string) => checked(cRemovexattr(path, name)),
  renameat2: (from: string, to: string, flags: number) =>
    checked(cRenameat2(AT_FDCWD, from, AT_FDCWD, to, flags)),
  fallocate: (fd: number, mode: number, offset: number, length: number) =>
    checked(cFallocate(fd, mode, offset, length)),
  lseek: (fd: number, offset: number, whence: number) =>
    checked(Number(cLseek(fd, offset, whence))),
  flock: (fd: number, operation: number) => checked(cFlock(fd, operation)),
  lock,
  mknod: (path: string, mode: number, dev: number) => checked(cMknod(path, mode, dev)),
  /** Maps a file shared, puts bytes into the mapping and syncs it; answers what the mapping held before. */
  mmapWrite: (fd: number, length: number, bytes: Uint8Array) => {
    const address = cMmap(null, length, 3, 1, fd, 0) as unknown;
    if (koffi.address(address) === 2n ** 64n - 1n) throw new CallError(koffi.errno());
    const view = Buffer.from(koffi.view(address, length));
    const before = Buffer.from(view);
    view.set(bytes);
    checked(cMsync(address, length, 4));
    checked(cMunmap(address, length));
    return before;
  },
  /** Maps a file shared and for good; answers a number that stands for the mapping. */
  mmap: (fd: number, length: number) => {
    const address = cMmap(null, length, 3, 1, fd, 0) as unknown;
    if (koffi.address(address) === 2n ** 64n - 1n) throw new CallError(koffi.errno());
    return mappings.push({ address, length }) - 1;
  },
  /** The first bytes of a mapping, as the processor finds them. */
  mapped: (mapping: number, length: number) => {
    const { address } = mappings[mapping]!;
    return Buffer.from(Buffer.from(koffi.view(address, length)));
  },
  msync: (mapping: number) => {
    const { address, length } = mappings[mapping]!;
    return checked(cMsync(address, length, 4));
  },
  copyFileRange: (from: number, to: number, length: number) =>
    checked(Number(cCopyFileRange(from, null, to, null, length, 0))),
} as const;

/** The calls a probe can make. */
export type Calls = typeof CALLS;

const [uid, gid] = process.argv.slice(2).map(Number);
if (uid !== undefined && gid !== undefined) {
  process.setgroups?.([]);
  process.setgid?.(gid);
  process.setuid?.(uid);
}

process.on('message', (message) => {
  const { id, name, args } = message as { id: number; name: keyof Calls; args: never[] };
  try {
    const run = CALLS[name] as (...args: never[]) => unknown;
    process.send?.({ id, value: run(...args) });
  } catch (error) {
    process.send?.({ id, errno: (error as { code?: string }).code ?? String(error) });
  }
});
