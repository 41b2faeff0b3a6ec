/**
 * INIT: what this connection will speak, decided from the bits that the kernel offers and never
 * from its version, as distributions carry features back.
 */
import { HoldfastError } from '@holdfast/protocol';
import {
  INCREMENT_EPOCH_MINOR,
  PAGES_MAX,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR_MAX,
  PROTOCOL_MINOR_MIN,
  REPLY_HEADER_BYTES,
  WRITE_BYTES_MAX,
} from './abi.ts';
import { emptyReply } from './encode.ts';
import { INIT_FLAG } from './flags.ts';
import type { InitRequest } from './requests.ts';

const INIT_REPLY_BYTES = 64;
const MAX_BACKGROUND = 64;
const CONGESTION_THRESHOLD = 48;
const TIME_GRANULARITY_NS = 1;

/** What was agreed; holds for the life of the connection, across restarts of the daemon. */
export interface Agreement {
  readonly minor: number;
  /** INIT flags that both sides have. */
  readonly flags: bigint;
  readonly maxReadaheadBytes: number;
}

/** What the mount wants beyond what it always takes. */
export interface MountWishes {
  /** Locks are asked of the daemon and so hold across hosts; otherwise the kernel keeps them to itself. */
  readonly clusterLocks: boolean;
}

const WANTED =
  INIT_FLAG.asyncRead |
  INIT_FLAG.atomicTruncate |
  INIT_FLAG.bigWrites |
  INIT_FLAG.autoInvalidateData |
  INIT_FLAG.readdirplus |
  INIT_FLAG.readdirplusAuto |
  INIT_FLAG.asyncDirectIo |
  INIT_FLAG.parallelDirectoryOperations |
  INIT_FLAG.maxPages |
  INIT_FLAG.handleKillPrivilegesV2 |
  INIT_FLAG.initExtended |
  INIT_FLAG.directIoAllowMmap |
  INIT_FLAG.resend;

const CLUSTER_LOCKS = INIT_FLAG.posixLocks | INIT_FLAG.flockLocks;

/** ACLs are served with all of these or not at all. */
const ACLS = INIT_FLAG.posixAcls | INIT_FLAG.setxattrExtended | INIT_FLAG.dontMask;

/** Without these reads of 1 MiB and coherent descriptors are impossible; Linux 5.10 has them. */
const NEEDED = INIT_FLAG.bigWrites | INIT_FLAG.maxPages | INIT_FLAG.atomicTruncate;

/** Decides on an offer. Throws ENOTSUP when the kernel is older than Linux 5.10 or speaks another major version. */
export function negotiate(offer: InitRequest, wishes: MountWishes): Agreement {
  const version = `${offer.major}.${offer.minor}`;
  if (offer.major !== PROTOCOL_MAJOR || offer.minor < PROTOCOL_MINOR_MIN) {
    const message = `this kernel speaks FUSE ${version}; at least 7.${PROTOCOL_MINOR_MIN} (Linux 5.10) is needed`;
    throw new HoldfastError('ENOTSUP', message);
  }
  const acls = (offer.flags & ACLS) === ACLS ? ACLS : 0n;
  const flags = offer.flags & (WANTED | acls | (wishes.clusterLocks ? CLUSTER_LOCKS : 0n));
  if ((flags & NEEDED) !== NEEDED) {
    const message = `this kernel offers FUSE ${version} without large writes or O_TRUNC in open`;
    throw new HoldfastError('ENOTSUP', message);
  }
  return {
    minor: Math.min(offer.minor, PROTOCOL_MINOR_MAX),
    flags,
    maxReadaheadBytes: offer.maxReadaheadBytes,
  };
}

/** The reply to INIT (`fuse_init_out`), its header still to be written. */
export function encodeAgreement(agreement: Agreement): Buffer {
  const reply = emptyReply(INIT_REPLY_BYTES);
  const at = REPLY_HEADER_BYTES;
  reply.writeUInt32LE(PROTOCOL_MAJOR, at);
  reply.writeUInt32LE(agreement.minor, at + 4);
  reply.writeUInt32LE(agreement.maxReadaheadBytes, at + 8);
  reply.writeUInt32LE(Number(agreement.flags & 0xffff_ffffn), at + 12);
  reply.writeUInt16LE(MAX_BACKGROUND, at + 16);
  reply.writeUInt16LE(CONGESTION_THRESHOLD, at + 18);
  reply.writeUInt32LE(WRITE_BYTES_MAX, at + 20);
  reply.writeUInt32LE(TIME_GRANULARITY_NS, at + 24);
  reply.writeUInt16LE(PAGES_MAX, at + 28);
  reply.writeUInt32LE(Number(agreement.flags >> 32n), at + 32);
  return reply;
}

/** Whether reads and writes can bypass the page cache without losing shared mmap (Linux 6.6). */
export function hasDirectIo(agreement: Agreement): boolean {
  return (agreement.flags & INIT_FLAG.directIoAllowMmap) !== 0n;
}

/** Whether the kernel judges by ACLs (Linux 5.14). */
export function hasAcls(agreement: Agreement): boolean {
  return (agreement.flags & ACLS) === ACLS;
}

/** Whether SETXATTR has flags of its own. */
export function hasExtendedXattrs(agreement: Agreement): boolean {
  return (agreement.flags & INIT_FLAG.setxattrExtended) !== 0n;
}

/** Whether the kernel can send unanswered requests again (Linux 6.9). */
export function hasResend(agreement: Agreement): boolean {
  return (agreement.flags & INIT_FLAG.resend) !== 0n;
}

/** Whether one notification makes the kernel forget every name (Linux 6.16). */
export function hasEpoch(agreement: Agreement): boolean {
  return agreement.minor >= INCREMENT_EPOCH_MINOR;
}
