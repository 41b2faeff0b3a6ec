/** The system calls that Node has no function for, through koffi. Paths are latin1 text. */
import { HoldfastError } from '@holdfast/protocol';
import koffi from 'koffi';

const libc = koffi.load(null);

const cListXattr = libc.func(
  'long llistxattr(const uint8_t *path, _Out_ uint8_t *list, size_t size)',
);
const cGetXattr = libc.func(
  'long lgetxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *value, size_t size)',
);
const cSetXattr = libc.func(
  'int lsetxattr(const uint8_t *path, const uint8_t *name, const uint8_t *value, size_t size, int flags)',
);
const cRemoveXattr = libc.func('int lremovexattr(const uint8_t *path, const uint8_t *name)');
const cMknod = libc.func('int mknod(const uint8_t *path, uint32_t mode, uint64_t device)');
const cUtimens = libc.func(
  'int utimensat(int directory, const uint8_t *path, const uint8_t *times, int flags)',
);
const cFlock = libc.func('int flock(int fd, int operation)');
const cSyncfs = libc.func('int syncfs(int fd)');
const cSeek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const ENXIO = 6;
const LOCK_EX_NB = 2 | 4;
const ENOSYS = 38;
const RENAME_FLAGS = { noreplace: 1, exchange: 2 } as const;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const NS_PER_S = 1_000_000_000n;
/** XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel. */
const XATTR_BYTES_MAX = 65_536;

const scratch = Buffer.alloc(XATTR_BYTES_MAX);

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'latin1');
}

function orErrno(result: number): number {
  return result < 0 ? -koffi.errno() : result;
}

/** llistxattr(2): the names, or the negative errno. */
export function listXattrs(path: string): string[] | number {
  const length = orErrno(cListXattr(cString(path), scratch, scratch.length));
  if (length < 0) return length;
  return scratch.toString('latin1', 0, length).split('\0').slice(0, -1);
}

/** lgetxattr(2): the value, or the negative errno. */
export function getXattr(path: string, name: string): Buffer | number {
  const length = orErrno(cGetXattr(cString(path), cString(name), scratch, scratch.length));
  return length < 0 ? length : Buffer.from(scratch.subarray(0, length));
}

/** lsetxattr(2): 0 or the negative errno. */
export function setXattr(path: string, name: string, value: Uint8Array): number {
  return orErrno(cSetXattr(cString(path), cString(name), value, value.length, 0));
}

/** lremovexattr(2): 0 or the negative errno. */
export function removeXattr(path: string, name: string): number {
  return orErrno(cRemoveXattr(cString(path), cString(name)));
}

/** mknod(2), `mode` with the type: 0 or the negative errno. */
export function makeNode(path: string, mode: number, device: bigint): number {
  return orErrno(cMknod(cString(path), mode, device));
}

/** utimensat(2) on the name itself, nanoseconds since the epoch: 0 or the negative errno. */
export function setTimes(path: string, atimeNs: bigint, mtimeNs: bigint): number {
  const times = Buffer.alloc(32);
  for (const [at, ns] of [
    [0, atimeNs],
    [16, mtimeNs],
  ] as const) {
    const rest = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
    times.writeBigInt64LE((ns - rest) / NS_PER_S, at);
    times.writeBigInt64LE(rest, at + 8);
  }
  return orErrno(cUtimens(AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW));
}

/** The next data at or behind an offset, [start, end); `undefined`: only a hole follows, or errno. */
export function nextData(fd: number, offset: number): { start: number; end: number } | number {
  const start = orErrno(Number(cSeek(fd, offset, SEEK_DATA)));
  if (start < 0) return start;
  const end = orErrno(Number(cSeek(fd, start, SEEK_HOLE)));
  return end < 0 ? end : { start, end };
}

/** errno of {@link nextData} when no data follows. */
export const NO_DATA = -ENXIO;

/** flock(2), exclusive, without waiting: whether nobody else has it. It ends with the descriptor. */
export function lockAlone(fd: number): boolean {
  return cFlock(fd, LOCK_EX_NB) === 0;
}

/** syncfs(2), beside the event loop. DISK_FAILED. */
export function syncFileSystem(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    cSyncfs.async(fd, (error: unknown, result: number) => {
      if (error === null && result === 0) resolve();
      else reject(new HoldfastError('DISK_FAILED', 'cannot bring the copy to disk'));
    });
  });
}

let cRename: ReturnType<typeof libc.func> | undefined;

/** renameat2(2) with a flag: 0 or the negative errno, ENOSYS where the C library does not know it. */
export function renameWith(from: string, to: string, flag: keyof typeof RENAME_FLAGS): number {
  try {
    cRename ??= libc.func(
      'int renameat2(int from, const uint8_t *fromPath, int to, const uint8_t *toPath, uint32_t flags)',
    );
  } catch {
    return -ENOSYS;
  }
  const paths = [AT_FDCWD, cString(from), AT_FDCWD, cString(to)] as const;
  return orErrno(cRename(...paths, RENAME_FLAGS[flag]));
}
