/** Bytes of the kernel → typed requests, one decoder an operation. Layouts: fuse.h, `fuse_*_in`. */

import type { LockRequest, NodeReference, TimeStamp } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import { OPCODE, REQUEST_HEADER_BYTES } from './abi.ts';
import {
  FSYNC_DATA_ONLY,
  INIT_FLAG,
  LOCK_IS_FLOCK,
  LOCK_TYPE,
  OPEN_KILL_PRIVILEGES,
  READ_FLAG,
  SETATTR_FLAG,
  SETXATTR_KILL_SET_GROUP,
} from './flags.ts';
import { nodeOf } from './node-id.ts';
import { RequestReader } from './reader.ts';
import type { BodyOf, RequestBody, RequestHeader, SetAttributesRequest } from './requests.ts';

/** A request, or why its bytes cannot be one: then it is answered with that error. */
export type Decoded =
  | { readonly header: RequestHeader; readonly body: RequestBody }
  | { readonly header: RequestHeader; readonly refusal: HoldfastError };

/** What was agreed that changes the layout of requests. */
export interface Dialect {
  /** SETXATTR has a header of 16 bytes. */
  readonly extendedXattrs: boolean;
}

const OLDEST: Dialect = { extendedXattrs: false };

type Decoder = (reader: RequestReader, dialect: Dialect) => RequestBody;

const RESEND_BIT_HIGH = 0x8000_0000;
const WORD = 2 ** 32;
const NANOSECONDS = 1_000_000_000n;

/**
 * Decodes what one read of /dev/fuse returned. Undefined when not even the header is whole: such
 * bytes cannot be answered. Nothing in the result refers to `bytes`. ENOSYS for operations without a decoder.
 */
export function decodeRequest(bytes: Buffer, dialect: Dialect = OLDEST): Decoded | undefined {
  if (bytes.length < REQUEST_HEADER_BYTES) return undefined;
  const header = decodeHeader(bytes);
  if (header.length !== bytes.length) {
    const message = `a request of ${header.length} bytes came as ${bytes.length}`;
    return { header, refusal: new HoldfastError('BAD_REQUEST', message) };
  }
  const decoder = DECODERS[header.opcode];
  if (decoder === undefined) return { header, refusal: new HoldfastError('ENOSYS') };
  try {
    return { header, body: decoder(new RequestReader(bytes, REQUEST_HEADER_BYTES), dialect) };
  } catch (error) {
    if (error instanceof HoldfastError) return { header, refusal: error };
    throw error;
  }
}

function decodeHeader(bytes: Buffer): RequestHeader {
  const uniqueHigh = bytes.readUInt32LE(12);
  return {
    length: bytes.readUInt32LE(0),
    opcode: bytes.readUInt32LE(4),
    requestId: requestIdOf(bytes.readUInt32LE(8), uniqueHigh),
    isResent: uniqueHigh >= RESEND_BIT_HIGH,
    node: nodeOf(bytes.readUInt32LE(16), bytes.readUInt32LE(20)),
    uid: bytes.readUInt32LE(24),
    gid: bytes.readUInt32LE(28),
    pid: bytes.readUInt32LE(32),
  };
}

/** Ids grow by two from zero, so that 2^53 lasts for ever; the top bit marks a request sent again. */
function requestIdOf(low: number, high: number): number {
  return (high % 2 ** 21) * WORD + low;
}

const named =
  (op: 'lookup' | 'unlink' | 'rmdir' | 'removexattr'): Decoder =>
  (reader) => ({ op, name: reader.text() });

const bare =
  (op: 'getattr' | 'readlink' | 'statfs' | 'destroy'): Decoder =>
  () => ({ op });

const DECODERS: Readonly<Record<number, Decoder>> = {
  [OPCODE.lookup]: named('lookup'),
  [OPCODE.forget]: (reader) => {
    reader.u64();
    return { op: 'forget' };
  },
  [OPCODE.batchForget]: decodeBatchForget,
  // The handle in GETATTR says nothing that the node does not.
  [OPCODE.getattr]: (reader) => {
    reader.skip(16);
    return { op: 'getattr' };
  },
  [OPCODE.setattr]: decodeSetattr,
  [OPCODE.readlink]: bare('readlink'),
  [OPCODE.symlink]: (reader) => ({ op: 'symlink', name: reader.text(), target: reader.text() }),
  [OPCODE.mknod]: decodeMknod,
  [OPCODE.mkdir]: decodeMkdir,
  [OPCODE.unlink]: named('unlink'),
  [OPCODE.rmdir]: named('rmdir'),
  [OPCODE.rename]: (reader) => decodeRename(reader, false),
  [OPCODE.rename2]: (reader) => decodeRename(reader, true),
  [OPCODE.link]: (reader) => ({ op: 'link', node: reader.node(), newName: reader.text() }),
  [OPCODE.open]: decodeOpen,
  [OPCODE.create]: decodeCreate,
  [OPCODE.read]: decodeRead,
  [OPCODE.write]: decodeWrite,
  [OPCODE.statfs]: bare('statfs'),
  [OPCODE.release]: (reader) => decodeRelease(reader, 'release'),
  [OPCODE.fsync]: (reader) => decodeFsync(reader, 'fsync'),
  [OPCODE.setxattr]: decodeSetxattr,
  [OPCODE.getxattr]: decodeGetxattr,
  [OPCODE.listxattr]: (reader) => ({ op: 'listxattr', length: xattrRoom(reader) }),
  [OPCODE.removexattr]: named('removexattr'),
  [OPCODE.flush]: decodeFlush,
  [OPCODE.init]: decodeInit,
  [OPCODE.opendir]: (reader) => {
    const openFlags = reader.u32();
    reader.skip(4);
    return { op: 'opendir', openFlags };
  },
  [OPCODE.readdir]: (reader) => decodeReaddir(reader, 'readdir'),
  [OPCODE.readdirplus]: (reader) => decodeReaddir(reader, 'readdirplus'),
  [OPCODE.releasedir]: (reader) => decodeRelease(reader, 'releasedir'),
  [OPCODE.fsyncdir]: (reader) => decodeFsync(reader, 'fsyncdir'),
  [OPCODE.getlk]: (reader) => decodeLock(reader, 'getlk'),
  [OPCODE.setlk]: (reader) => decodeLock(reader, 'setlk'),
  [OPCODE.setlkw]: (reader) => decodeLock(reader, 'setlkw'),
  [OPCODE.interrupt]: (reader) => ({
    op: 'interrupt',
    requestId: requestIdOf(reader.u32(), reader.u32()),
  }),
  [OPCODE.destroy]: bare('destroy'),
  [OPCODE.fallocate]: decodeFallocate,
  [OPCODE.lseek]: decodeLseek,
};

function decodeBatchForget(reader: RequestReader): BodyOf<'batchForget'> {
  const count = reader.u32();
  reader.skip(4);
  const nodes: NodeReference[] = [];
  for (let index = 0; index < count; index += 1) {
    nodes.push(reader.node());
    reader.skip(8);
  }
  return { op: 'batchForget', nodes };
}

function decodeSetattr(reader: RequestReader): SetAttributesRequest {
  const valid = reader.u32();
  reader.skip(4);
  const handle = reader.u64();
  const has = (flag: number): boolean => (valid & flag) !== 0;
  const size = has(SETATTR_FLAG.size) ? reader.safe() : reader.clamped();
  reader.skip(8); // lock owner
  const atimeSeconds = reader.seconds();
  const mtimeSeconds = reader.seconds();
  reader.skip(8); // ctime: the daemon's own
  const atime = timeStamp(has(SETATTR_FLAG.atimeNow), atimeSeconds, reader.u32());
  const mtime = timeStamp(has(SETATTR_FLAG.mtimeNow), mtimeSeconds, reader.u32());
  reader.skip(4);
  const mode = reader.u32();
  reader.skip(4);
  const uid = reader.u32();
  const gid = reader.u32();
  reader.skip(4);
  return {
    op: 'setattr',
    killPrivileges: has(SETATTR_FLAG.killPrivileges),
    ...(has(SETATTR_FLAG.handle) && { handle: Number(handle) }),
    ...(has(SETATTR_FLAG.mode) && { mode: mode & 0o7777 }),
    ...(has(SETATTR_FLAG.uid) && { uid }),
    ...(has(SETATTR_FLAG.gid) && { gid }),
    ...(has(SETATTR_FLAG.size) && { size }),
    ...(has(SETATTR_FLAG.atime) && { atime }),
    ...(has(SETATTR_FLAG.mtime) && { mtime }),
  };
}

function timeStamp(isNow: boolean, seconds: bigint, nanoseconds: number): TimeStamp {
  return isNow ? 'now' : seconds * NANOSECONDS + BigInt(nanoseconds);
}

function decodeMknod(reader: RequestReader): RequestBody {
  const mode = reader.u32();
  const rdev = reader.u32();
  const umask = decodeUmask(reader);
  reader.skip(4);
  return { op: 'mknod', mode, umask, rdev, name: reader.text() };
}

/** The kernel has applied it already unless `dontMask` was agreed: twice does no harm. */
function decodeUmask(reader: RequestReader): number {
  return reader.u32() & 0o777;
}

function decodeMkdir(reader: RequestReader): RequestBody {
  const mode = reader.u32() & 0o7777;
  return { op: 'mkdir', mode, umask: decodeUmask(reader), name: reader.text() };
}

function decodeRename(reader: RequestReader, hasFlags: boolean): RequestBody {
  const newParent = reader.node();
  const flags = hasFlags ? reader.u32() : 0;
  if (hasFlags) reader.skip(4);
  return { op: 'rename', name: reader.text(), newParent, newName: reader.text(), flags };
}

function decodeOpen(reader: RequestReader): RequestBody {
  const openFlags = reader.u32();
  return { op: 'open', openFlags, killPrivileges: (reader.u32() & OPEN_KILL_PRIVILEGES) !== 0 };
}

function decodeCreate(reader: RequestReader): RequestBody {
  const openFlags = reader.u32();
  const mode = reader.u32() & 0o7777;
  const umask = decodeUmask(reader);
  const killPrivileges = (reader.u32() & OPEN_KILL_PRIVILEGES) !== 0;
  return { op: 'create', name: reader.text(), mode, umask, openFlags, killPrivileges };
}

function decodeRead(reader: RequestReader): RequestBody {
  const handle = reader.safe();
  const offset = reader.clamped();
  const length = reader.u32();
  // The owner of locks is only named by programs that read past the page cache.
  const isForCache = (reader.u32() & READ_FLAG.lockOwner) === 0;
  reader.skip(8 + 8); // lock owner, open flags, padding
  return { op: 'read', handle, offset, length, isForCache };
}

function decodeWrite(reader: RequestReader): RequestBody {
  const handle = reader.safe();
  const offset = reader.safe();
  const length = reader.u32();
  const writeFlags = reader.u32();
  reader.skip(8); // lock owner
  const openFlags = reader.u32();
  reader.skip(4);
  if (offset + length > Number.MAX_SAFE_INTEGER) throw new HoldfastError('EFBIG');
  return { op: 'write', handle, offset, bytes: reader.payload(length), writeFlags, openFlags };
}

function decodeRelease(reader: RequestReader, op: 'release' | 'releasedir'): RequestBody {
  const handle = reader.safe();
  const openFlags = reader.u32();
  const releaseFlags = reader.u32();
  return { op, handle, openFlags, releaseFlags, lockOwner: reader.u64().toString() };
}

function decodeFsync(reader: RequestReader, op: 'fsync' | 'fsyncdir'): RequestBody {
  const handle = reader.safe();
  const dataOnly = (reader.u32() & FSYNC_DATA_ONLY) !== 0;
  reader.skip(4);
  return { op, handle, dataOnly };
}

function decodeSetxattr(reader: RequestReader, { extendedXattrs }: Dialect): RequestBody {
  const length = reader.u32();
  const flags = reader.u32();
  const own = extendedXattrs ? reader.u32() : 0;
  if (extendedXattrs) reader.skip(4);
  const killSetGroup = (own & SETXATTR_KILL_SET_GROUP) !== 0;
  const name = reader.text();
  return { op: 'setxattr', name, value: reader.payload(length), flags, killSetGroup };
}

function decodeGetxattr(reader: RequestReader): RequestBody {
  const length = xattrRoom(reader);
  return { op: 'getxattr', name: reader.text(), length };
}

function xattrRoom(reader: RequestReader): number {
  const length = reader.u32();
  reader.skip(4);
  return length;
}

function decodeFlush(reader: RequestReader): RequestBody {
  const handle = reader.safe();
  reader.skip(8);
  return { op: 'flush', handle, lockOwner: reader.u64().toString() };
}

/** 64 bytes since Linux 5.17, 16 before; `flags2` counts only under INIT_EXT. */
function decodeInit(reader: RequestReader): RequestBody {
  const major = reader.u32();
  const minor = reader.u32();
  const maxReadaheadBytes = reader.u32();
  const flags = BigInt(reader.u32());
  const isExtended = (flags & INIT_FLAG.initExtended) !== 0n;
  const high = isExtended ? BigInt(reader.u32()) : 0n;
  return { op: 'init', major, minor, maxReadaheadBytes, flags: flags | (high << 32n) };
}

function decodeReaddir(reader: RequestReader, op: 'readdir' | 'readdirplus'): RequestBody {
  const handle = reader.safe();
  const offset = reader.u64();
  const length = reader.u32();
  reader.skip(4 + 8 + 8); // read flags, lock owner, open flags, padding
  return { op, handle, offset, length };
}

function decodeLock(reader: RequestReader, op: 'getlk' | 'setlk' | 'setlkw'): RequestBody {
  const handle = reader.safe();
  const owner = reader.u64().toString();
  const start = Math.min(reader.clamped(), Number.MAX_SAFE_INTEGER - 1);
  // The kernel's last byte is inclusive, and 2^63-1 when the range has no end.
  const end = Math.min(reader.clamped() + 1, Number.MAX_SAFE_INTEGER);
  const type = lockType(reader.u32());
  const pid = reader.u32();
  const family = (reader.u32() & LOCK_IS_FLOCK) !== 0 ? 'flock' : 'posix';
  reader.skip(4);
  return { op, handle, lock: { family, type, start, end, owner, pid } };
}

function lockType(type: number): LockRequest['type'] {
  if (type === LOCK_TYPE.read) return 'read';
  if (type === LOCK_TYPE.write) return 'write';
  if (type === LOCK_TYPE.unlock) return 'unlock';
  throw new HoldfastError('EINVAL', `lock type ${type} is none of F_RDLCK, F_WRLCK, F_UNLCK`);
}

function decodeFallocate(reader: RequestReader): RequestBody {
  const handle = reader.safe();
  const offset = reader.safe();
  const length = reader.safe();
  const mode = reader.u32();
  reader.skip(4);
  if (offset + length > Number.MAX_SAFE_INTEGER) throw new HoldfastError('EFBIG');
  return { op: 'fallocate', handle, offset, length, mode };
}

function decodeLseek(reader: RequestReader): RequestBody {
  const handle = reader.safe();
  const offset = reader.clamped();
  const whence = reader.u32();
  reader.skip(4);
  return { op: 'lseek', handle, offset, whence };
}
