/** The gRPC server of a peer: control calls, and the streams that others add to it. */
import {
  experimental,
  Metadata,
  Server,
  type ServerUnaryCall,
  type sendUnaryData,
  type status,
} from '@grpc/grpc-js';
import {
  decode,
  ERROR_TABLE,
  type ErrorCode,
  encode,
  HoldfastError,
  LIMITS,
  type TokenRole,
  toWireError,
} from '@holdfast/protocol';
import type { PeerIdentity, TlsMaterial } from '@holdfast/wire';
import { listenFailure } from '../membership/addresses.ts';
import { verifyCertificate } from '../membership/certificates.ts';

/** Metadata key under which an error travels whole. */
export const ERROR_KEY = 'holdfast-error-bin';
/** Milliseconds that calls in flight get when the server stops. */
const STOP_MS_MAX = 2_000;

/** Options of {@link RpcServer}. */
export interface RpcServerOptions {
  readonly tls: TlsMaterial;
  readonly clusterId: string;
  readonly isRevoked: (serial: string) => boolean;
  readonly host: string;
  readonly port: number;
}

/** One call as its handler sees it. `peer` is undefined only where anyone may call. */
export interface RpcCall {
  readonly request: unknown;
  readonly peer: PeerIdentity | undefined;
}

/** Bytes in, bytes out: values are MessagePack inside. */
type Unary = ServerUnaryCall<Buffer, Buffer>;

/**
 * Speaks TLS with everyone and asks for a certificate; each method then says whom it takes. One
 * method alone, joining, takes callers that have no certificate yet.
 */
export class RpcServer {
  /** For parts that add services of their own; they must check each call with {@link peerOf}. */
  readonly server: Server;
  readonly #options: RpcServerOptions;
  readonly #material: Material;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#material = new Material(options.tls);
    this.server = new Server({
      'grpc.max_receive_message_length': 2 * LIMITS.frameBytesMax,
      'grpc.max_send_message_length': 2 * LIMITS.frameBytesMax,
      'grpc.keepalive_time_ms': 2_000,
      'grpc.keepalive_timeout_ms': 3_000,
    });
  }

  /** Adds a unary method. `roles` 'anyone' lets callers in without a certificate. */
  handle(
    path: string,
    roles: readonly TokenRole[] | 'anyone',
    handler: (call: RpcCall) => Promise<unknown>,
  ): void {
    const answer = async (call: Unary): Promise<Buffer> => {
      const peer = roles === 'anyone' ? undefined : this.peerOf(call, roles);
      return Buffer.from(encode(await handler({ request: decode(call.request), peer })));
    };
    const unary = (call: Unary, callback: sendUnaryData<Buffer>): void => {
      answer(call).then(
        (bytes) => callback(null, bytes),
        (error: unknown) => callback(asStatus(error)),
      );
    };
    const identity = (bytes: Buffer): Buffer => bytes;
    this.server.register(path, unary, identity, identity, 'unary');
  }

  /** Who calls, by the verified certificate. Throws FORBIDDEN without one, with a revoked one, or in another role. */
  peerOf(call: Pick<Unary, 'getAuthContext'>, roles: readonly TokenRole[]): PeerIdentity {
    const certificate = call.getAuthContext().sslPeerCertificate;
    if (certificate === undefined) {
      throw new HoldfastError(
        'FORBIDDEN',
        "a certificate of this cluster is needed; run 'holdfast join TOKEN'",
      );
    }
    const peer = verifyCertificate(this.#options.tls.ca, certificate.raw, Date.now());
    if (peer.clusterId !== this.#options.clusterId || this.#options.isRevoked(peer.serial)) {
      throw new HoldfastError('FORBIDDEN', `the certificate of '${peer.name}' was revoked`);
    }
    if (!roles.includes(peer.role)) {
      throw new HoldfastError(
        'FORBIDDEN',
        `role ${peer.role} may not do this; it takes ${roles.join(' or ')}`,
      );
    }
    return peer;
  }

  /** Connections made from now on see this certificate. */
  renew(tls: TlsMaterial): void {
    this.#material.replace(tls);
  }

  /** Throws PORT_IN_USE or BAD_CONFIG. */
  async listen(): Promise<{ port: number }> {
    const { host, port } = this.#options;
    const material = this.#material;
    const credentials = experimental.createCertificateProviderServerCredentials(
      material,
      material,
      false,
    );
    const target = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    return new Promise((resolve, reject) => {
      this.server.bindAsync(target, credentials, (error, bound) => {
        if (error === null) resolve({ port: bound });
        else reject(listenFailure(withCode(error), host, port));
      });
    });
  }

  /** Lets calls in flight end for a moment, then cuts them off. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.server.forceShutdown();
        resolve();
      }, STOP_MS_MAX);
      this.server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** The library reports a failed bind by its text only. */
function withCode(error: Error): Error {
  const code =
    /\b(EADDRINUSE|EACCES|EADDRNOTAVAIL|ENOTFOUND)\b/.exec(error.message)?.[1] ?? 'EADDRINUSE';
  return Object.assign(error, { code });
}

function asStatus(error: unknown): { code: status; details: string; metadata: Metadata } {
  const wire = toWireError(error);
  const metadata = new Metadata();
  metadata.set(ERROR_KEY, Buffer.from(encode(wire)));
  return { code: ERROR_TABLE[wire.code as ErrorCode].grpc, details: wire.code, metadata };
}

type Listener<T> = (update: T | null) => void;
interface CaUpdate {
  readonly caCertificate: Buffer;
}
interface IdentityUpdate {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
}

/** Hands certificate and authority to the library, now and whenever they change. */
class Material {
  #tls: TlsMaterial;
  readonly #ca = new Set<Listener<CaUpdate>>();
  readonly #identity = new Set<Listener<IdentityUpdate>>();

  constructor(tls: TlsMaterial) {
    this.#tls = tls;
  }

  replace(tls: TlsMaterial): void {
    this.#tls = tls;
    for (const listener of this.#ca) this.#tellCa(listener);
    for (const listener of this.#identity) this.#tellIdentity(listener);
  }

  #tellCa(listener: Listener<CaUpdate>): void {
    listener({ caCertificate: Buffer.from(this.#tls.ca) });
  }

  #tellIdentity(listener: Listener<IdentityUpdate>): void {
    listener({ certificate: Buffer.from(this.#tls.cert), privateKey: Buffer.from(this.#tls.key) });
  }

  addCaCertificateListener(listener: Listener<CaUpdate>): void {
    this.#ca.add(listener);
    // The library listens to itself only after this call.
    queueMicrotask(() => this.#tellCa(listener));
  }

  removeCaCertificateListener(listener: Listener<CaUpdate>): void {
    this.#ca.delete(listener);
  }

  addIdentityCertificateListener(listener: Listener<IdentityUpdate>): void {
    this.#identity.add(listener);
    queueMicrotask(() => this.#tellIdentity(listener));
  }

  removeIdentityCertificateListener(listener: Listener<IdentityUpdate>): void {
    this.#identity.delete(listener);
  }
}
