/**
 * Typed answers → bytes for the kernel. Every function returns a new buffer whose first
 * REPLY_HEADER_BYTES are left for {@link finishReply}, so that one write sends the whole. Layouts:
 * fuse.h, `fuse_*_out`.
 */

import type {
  Attributes,
  FileKind,
  LockRequest,
  NodeAnswer,
  SpaceAnswer,
} from '@holdfast/protocol';
import { LIMITS, SNAPSHOT_NUMBERS_FROM } from '@holdfast/protocol';
import { ATTRIBUTES_BYTES, ENTRY_BYTES, REPLY_HEADER_BYTES } from './abi.ts';
import { LOCK_TYPE, MODE_TYPE_MASK } from './flags.ts';
import { nodeIdHigh, nodeIdLow } from './node-id.ts';
import type { RequestHeader } from './requests.ts';

const WORD = 2 ** 32;
const NANOSECONDS = 1_000_000_000n;
const RESEND_BIT_HIGH = 0x8000_0000;

/** `st_blksize`: what stdio and cp transfer at once; larger than a page because each read reaches the daemon. */
const PREFERRED_IO_BYTES = 65_536;
/** Unit of statfs(2). */
const SPACE_UNIT_BYTES = 4096;
const STATFS_BYTES = 80;
/** Longest time that the kernel may believe an answer; a mount lost to its cluster is stale for no longer. */
export const VALID_MS_MAX = LIMITS.sessionTrustMs;
/** The same for nodes of snapshots, which never change: how long a removed one may still be shown. */
const SNAPSHOT_VALID_MS_MAX = 60_000;

const KIND_MODE: Readonly<Record<FileKind, number>> = {
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

/** The `st_mode` type bits of a kind. */
export function typeBits(kind: FileKind): number {
  return KIND_MODE[kind];
}

/** The kind that `st_mode` type bits name; no bits mean a regular file, as for mknod(2). */
export function kindOf(mode: number): FileKind | undefined {
  const bits = mode & MODE_TYPE_MASK;
  if (bits === 0) return 'file';
  const found = Object.entries(KIND_MODE).find(([, value]) => value === bits);
  return found?.[0] as FileKind | undefined;
}

/** A reply with room for the header and `bytes` zero bytes of body. */
export function emptyReply(bytes: number): Buffer {
  return Buffer.alloc(REPLY_HEADER_BYTES + bytes);
}

/**
 * Writes the header into a reply. `errno` is positive, 0 for success; an error carries no body.
 * The id is the request's own, with the resend bit if it had one.
 */
export function finishReply(
  reply: Buffer,
  request: Pick<RequestHeader, 'requestId' | 'isResent'>,
  options: { readonly errno: number; readonly length: number },
): void {
  reply.writeUInt32LE(options.length, 0);
  reply.writeInt32LE(-options.errno, 4);
  reply.writeUInt32LE(request.requestId >>> 0, 8);
  const high = Math.floor(request.requestId / WORD) + (request.isResent ? RESEND_BIT_HIGH : 0);
  reply.writeUInt32LE(high, 12);
}

/** Reply to LOOKUP and to all that make a name. */
export function encodeEntry(answer: NodeAnswer): Buffer {
  const reply = emptyReply(ENTRY_BYTES);
  writeEntry(reply, REPLY_HEADER_BYTES, answer);
  return reply;
}

/** Reply to CREATE: the entry and the open file. */
export function encodeCreated(answer: NodeAnswer, handle: number, openFlags: number): Buffer {
  const reply = emptyReply(ENTRY_BYTES + 16);
  writeEntry(reply, REPLY_HEADER_BYTES, answer);
  writeSafe(reply, REPLY_HEADER_BYTES + ENTRY_BYTES, handle);
  reply.writeUInt32LE(openFlags, REPLY_HEADER_BYTES + ENTRY_BYTES + 8);
  return reply;
}

/** Reply to GETATTR and SETATTR. */
export function encodeAttributes(answer: NodeAnswer): Buffer {
  const reply = emptyReply(16 + ATTRIBUTES_BYTES);
  writeValidity(reply, REPLY_HEADER_BYTES, REPLY_HEADER_BYTES + 8, answer);
  writeAttributes(reply, REPLY_HEADER_BYTES + 16, answer);
  return reply;
}

/** Reply to OPEN and OPENDIR. */
export function encodeOpen(handle: number, openFlags: number): Buffer {
  const reply = emptyReply(16);
  writeSafe(reply, REPLY_HEADER_BYTES, handle);
  reply.writeUInt32LE(openFlags, REPLY_HEADER_BYTES + 8);
  return reply;
}

/** Reply to WRITE, and to GETXATTR and LISTXATTR that ask for the size only. */
export function encodeLength(bytes: number): Buffer {
  const reply = emptyReply(8);
  reply.writeUInt32LE(bytes, REPLY_HEADER_BYTES);
  return reply;
}

/** Reply to LSEEK. */
export function encodeOffset(offset: number): Buffer {
  const reply = emptyReply(8);
  writeSafe(reply, REPLY_HEADER_BYTES, offset);
  return reply;
}

/** Reply to READLINK, from latin1 text, without a final zero byte. */
export function encodeText(text: string): Buffer {
  const reply = emptyReply(text.length);
  reply.write(text, REPLY_HEADER_BYTES, 'latin1');
  return reply;
}

/** Reply to LISTXATTR: each name followed by a zero byte. */
export function encodeNames(names: readonly string[]): Buffer {
  return encodeText(names.map((name) => `${name}\0`).join(''));
}

/** Reply to STATFS. */
export function encodeSpace(space: SpaceAnswer): Buffer {
  const reply = emptyReply(STATFS_BYTES);
  const units = (bytes: number): number => Math.floor(bytes / SPACE_UNIT_BYTES);
  const at = REPLY_HEADER_BYTES;
  writeSafe(reply, at, units(space.totalBytes));
  writeSafe(reply, at + 8, units(space.freeBytes));
  writeSafe(reply, at + 16, units(space.freeBytes));
  writeSafe(reply, at + 24, space.totalInodes);
  writeSafe(reply, at + 32, space.freeInodes);
  reply.writeUInt32LE(SPACE_UNIT_BYTES, at + 40);
  reply.writeUInt32LE(LIMITS.nameBytesMax, at + 44);
  reply.writeUInt32LE(SPACE_UNIT_BYTES, at + 48);
  return reply;
}

/** Reply to GETLK: the lock in the way, or F_UNLCK. */
export function encodeLock(conflict: LockRequest | undefined): Buffer {
  const reply = emptyReply(24);
  const at = REPLY_HEADER_BYTES;
  if (conflict === undefined) {
    reply.writeUInt32LE(LOCK_TYPE.unlock, at + 16);
    return reply;
  }
  writeSafe(reply, at, conflict.start);
  if (conflict.end === Number.MAX_SAFE_INTEGER) reply.writeBigInt64LE(2n ** 63n - 1n, at + 8);
  else writeSafe(reply, at + 8, conflict.end - 1);
  reply.writeUInt32LE(LOCK_TYPE[conflict.type], at + 16);
  reply.writeUInt32LE(conflict.pid, at + 20);
  return reply;
}

/** `fuse_entry_out` at a place in a reply. Inode numbers are never used again, so the generation is 0. */
export function writeEntry(reply: Buffer, at: number, answer: NodeAnswer): void {
  reply.writeUInt32LE(nodeIdLow(answer.node), at);
  reply.writeUInt32LE(nodeIdHigh(answer.node), at + 4);
  writeValidity(reply, at + 16, at + 32, answer);
  writeValidity(reply, at + 24, at + 36, answer);
  writeAttributes(reply, at + 40, answer);
}

function writeAttributes(reply: Buffer, at: number, answer: NodeAnswer): void {
  const attributes: Attributes = answer.attributes;
  reply.writeUInt32LE(nodeIdLow(answer.node), at);
  reply.writeUInt32LE(nodeIdHigh(answer.node), at + 4);
  writeSafe(reply, at + 8, attributes.size);
  writeSafe(reply, at + 16, Math.ceil(attributes.allocatedBytes / 512));
  writeTime(reply, at + 24, at + 48, attributes.atimeNs);
  writeTime(reply, at + 32, at + 52, attributes.mtimeNs);
  writeTime(reply, at + 40, at + 56, attributes.ctimeNs);
  reply.writeUInt32LE(typeBits(attributes.kind) | attributes.mode, at + 60);
  reply.writeUInt32LE(attributes.nlink, at + 64);
  reply.writeUInt32LE(attributes.uid, at + 68);
  reply.writeUInt32LE(attributes.gid, at + 72);
  reply.writeUInt32LE(attributes.rdev, at + 76);
  reply.writeUInt32LE(PREFERRED_IO_BYTES, at + 80);
}

function writeValidity(
  reply: Buffer,
  secondsAt: number,
  nanosAt: number,
  { node, validMs }: NodeAnswer,
): void {
  const isSnapshot = node.volume >= SNAPSHOT_NUMBERS_FROM;
  const ms = Math.min(validMs, isSnapshot ? SNAPSHOT_VALID_MS_MAX : VALID_MS_MAX);
  if (!(ms > 0)) return;
  reply.writeUInt32LE(Math.floor(ms / 1000), secondsAt);
  reply.writeUInt32LE(Math.floor((ms % 1000) * 1_000_000), nanosAt);
}

/** Rounds down, so that the nanoseconds of a time before 1970 are not negative. */
function writeTime(reply: Buffer, secondsAt: number, nanosAt: number, time: bigint): void {
  let seconds = time / NANOSECONDS;
  let nanos = time % NANOSECONDS;
  if (nanos < 0n) {
    seconds -= 1n;
    nanos += NANOSECONDS;
  }
  reply.writeBigInt64LE(seconds, secondsAt);
  reply.writeUInt32LE(Number(nanos), nanosAt);
}

/** A safe number, not negative, as 64 bits. */
function writeSafe(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / WORD), at + 4);
}
