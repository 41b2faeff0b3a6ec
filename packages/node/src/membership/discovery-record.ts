/**
 * What a peer says of itself in the DHT: signed with the key of its certificate, so that whoever stores
 * or relays it can change nothing, and verified by everyone who takes it in.
 */
import { sign, verify, X509Certificate } from 'node:crypto';
import { decode, encode, HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { z } from 'zod';
import type { PeerAddresses } from './address-book.ts';
import { verifyCertificate } from './certificates.ts';

/** Bytes of a record; a certificate is most of it. */
const RECORD_BYTES_MAX = 8_192;

const ENVELOPE = z.strictObject({
  body: z.instanceof(Uint8Array),
  /** DER of the signer's certificate. */
  cert: z.instanceof(Uint8Array),
  /** ECDSA with SHA-256 over the body. */
  signature: z.instanceof(Uint8Array),
});

const BODY = z.strictObject({
  v: z.literal(1),
  clusterId: z.string(),
  node: z.int().min(1),
  /** Milliseconds since the epoch on the peer's clock: of two records the later one counts. */
  time: z.int().min(0),
  grpcAddress: z.string(),
  wireAddress: z.string(),
  adminAddress: z.string(),
  /** libp2p address with the peer's id: binds that id to the certificate. */
  discoveryAddress: z.string(),
});

/** A record's content. */
export type DiscoveryRecord = PeerAddresses & {
  readonly clusterId: string;
  readonly node: NodeNumber;
  readonly time: number;
  readonly discoveryAddress: string;
};

/** The key under which a peer's record lies. */
export function recordKey(clusterId: string, node: NodeNumber): string {
  return `/holdfast/${clusterId}/node/${node}`;
}

/** Record to bytes. `cert` and `key` are PEM. */
export function signRecord(record: DiscoveryRecord, cert: string, key: string): Uint8Array {
  const body = encode({ v: 1, ...record });
  const signature = sign('sha256', body, key);
  return encode({ body, cert: new X509Certificate(cert).raw, signature });
}

/** What {@link readRecord} checks against. */
export interface RecordTrust {
  readonly clusterId: string;
  /** PEM. */
  readonly ca: string;
  readonly isRevoked: (serial: string) => boolean;
  readonly now: number;
}

/** Bytes to record. Throws CORRUPT, FORBIDDEN or WRONG_CLUSTER unless the peer it is about signed it. */
export function readRecord(bytes: Uint8Array, trust: RecordTrust): DiscoveryRecord {
  if (bytes.length > RECORD_BYTES_MAX) throw corrupt();
  const envelope = parsed(ENVELOPE, bytes);
  const peer = verifyCertificate(trust.ca, Buffer.from(envelope.cert), trust.now);
  if (peer.role !== 'node' || trust.isRevoked(peer.serial)) {
    throw new HoldfastError('FORBIDDEN', 'the record is not signed by a peer of the cluster');
  }
  const { publicKey } = new X509Certificate(Buffer.from(envelope.cert));
  if (!verify('sha256', envelope.body, publicKey, envelope.signature)) {
    throw new HoldfastError('FORBIDDEN', 'the signature of the record is wrong');
  }
  const { v: _, node, ...body } = parsed(BODY, envelope.body);
  if (body.clusterId !== trust.clusterId || peer.clusterId !== trust.clusterId) {
    throw new HoldfastError('WRONG_CLUSTER');
  }
  if (node !== peer.node)
    throw new HoldfastError('FORBIDDEN', 'the record is about another peer than its signer');
  return { ...body, node: node as NodeNumber };
}

function parsed<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  try {
    return schema.parse(decode<unknown>(bytes));
  } catch (cause) {
    throw corrupt(cause);
  }
}

function corrupt(cause?: unknown): HoldfastError {
  return new HoldfastError('CORRUPT', 'the discovery record is malformed', { cause });
}
