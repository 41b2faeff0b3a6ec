import type { TLSSocket } from 'node:tls';
import { HoldfastError, type NodeNumber } from '@holdfast/protocol';

export type PeerRole = 'node' | 'client' | 'admin';

/** Who is at the other end, by its certificate. */
export interface PeerIdentity {
  readonly clusterId: string;
  readonly role: PeerRole;
  /** Of role node. */
  readonly node?: NodeNumber;
  readonly name: string;
  /** The certificate's serial number, lower-case hexadecimal. */
  readonly serial: string;
}

/** PEM texts. */
export interface TlsMaterial {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const URI = /URI:holdfast:\/\/([^/,\s]+)\/(node|client|admin)\/([^/,\s]+)/;

/**
 * Reads the identity of a verified peer certificate: the URI holdfast://CLUSTER/ROLE/NAME among its
 * subject alternative names (RFC 5280, 4.2.1.6). Throws FORBIDDEN without one, WRONG_CLUSTER.
 */
export function peerIdentity(socket: TLSSocket, clusterId: string): PeerIdentity {
  const certificate = socket.getPeerCertificate();
  const match = URI.exec(certificate.subjectaltname ?? '');
  if (match === null) throw new HoldfastError('FORBIDDEN', 'the peer has no Holdfast certificate');
  const [, cluster = '', role = '', name = ''] = match;
  if (cluster !== clusterId) {
    throw new HoldfastError(
      'WRONG_CLUSTER',
      `the peer belongs to cluster ${cluster}, this one is ${clusterId}`,
    );
  }
  return {
    clusterId: cluster,
    role: role as PeerRole,
    name: decodeURIComponent(name),
    serial: certificate.serialNumber.toLowerCase(),
    ...(role === 'node' ? { node: Number(name) as NodeNumber } : {}),
  };
}
