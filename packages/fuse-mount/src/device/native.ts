/**
 * The system calls that Node has no function for, through koffi (prebuilt, no compiler). Each
 * returns what the kernel returned, or the negative errno.
 */
import koffi from 'koffi';

/** Symbols of the C library that the process runs with, glibc or musl. */
const libc = koffi.load(null);

const cRead = libc.func('long read(int fd, void *buffer, size_t length)');
const cFcntl = libc.func('int fcntl(int fd, int command, ...)');
const cPoll = libc.func('int poll(void *descriptors, unsigned long count, int timeout)');
const cMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const cUmount = libc.func('int umount2(const char *target, int flags)');
const cPrctl = libc.func(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
);

const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1;
const O_NONBLOCK = 0o4000;
const POLLIN = 1;
const PR_SET_IO_FLUSHER = 57;

/** Linux errno numbers that the device answers with (asm-generic/errno*.h). */
export const DEVICE_ERRNO = { ENOENT: 2, EINTR: 4, EAGAIN: 11, ENODEV: 19, EINVAL: 22 } as const;

/** Flags of umount2(2). */
export const UMOUNT_FLAG = { force: 1, detach: 2 } as const;

function orErrno(result: number): number {
  return result < 0 ? -koffi.errno() : result;
}

/** read(2) into a buffer: bytes, or the negative errno. */
export function readInto(descriptor: number, buffer: Uint8Array): number {
  return orErrno(cRead(descriptor, buffer, buffer.length));
}

/** Makes reads return EAGAIN instead of waiting; holds for every process that shares the descriptor. */
export function setNonBlocking(descriptor: number): number {
  const flags = orErrno(cFcntl(descriptor, F_GETFL));
  return flags < 0 ? flags : orErrno(cFcntl(descriptor, F_SETFL, 'int', flags | O_NONBLOCK));
}

/** Keeps a descriptor from the programs that this process starts. */
export function setCloseOnExec(descriptor: number): number {
  return orErrno(cFcntl(descriptor, F_SETFD, 'int', FD_CLOEXEC));
}

/** A second descriptor of the same open file, or the negative errno. */
export function duplicate(descriptor: number): number {
  return orErrno(cFcntl(descriptor, F_DUPFD_CLOEXEC, 'int', 3));
}

/** Waits in a thread of the pool until a descriptor can be read; resolves with poll(2)'s result: 0 after `timeoutMs`. */
export function pollReadable(descriptor: number, timeoutMs: number): Promise<number> {
  const entry = Buffer.alloc(8);
  entry.writeInt32LE(descriptor, 0);
  entry.writeInt16LE(POLLIN, 4);
  return new Promise((resolve, reject) => {
    cPoll.async(entry, 1, timeoutMs, (error: Error | null, result: number) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/** mount(2): 0 or the negative errno. */
export function mount(target: string, options: { type: string; data: string }): number {
  return orErrno(cMount('holdfast', target, options.type, 0, options.data));
}

/** umount2(2): 0 or the negative errno. */
export function umount(target: string, flags: number): number {
  return orErrno(cUmount(target, flags));
}

/**
 * Tells the kernel that this process takes part in writing back memory, so that an allocation here
 * never waits for pages that only we can write (Linux 5.6; needs CAP_SYS_RESOURCE).
 */
export function setIoFlusher(): number {
  return orErrno(cPrctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
}
