/** Control calls to one peer, by gRPC. */
import { Client, type ClientOptions, credentials, type ServiceError, status } from '@grpc/grpc-js';
import {
  decode,
  encode,
  fromWireError,
  HoldfastError,
  LIMITS,
  type NodeNumber,
  type WireError,
} from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import { describeCertificate } from '../membership/certificates.ts';
import { ERROR_KEY } from './server.ts';

/** Milliseconds for one control call when its caller says nothing else. */
const CALL_MS = 5_000;

/** Options of {@link RpcClient}. */
export interface RpcClientOptions {
  /** host:port */
  readonly address: string;
  readonly clusterId: string;
  /** Without key and certificate only joining is possible. */
  readonly tls: Pick<TlsMaterial, 'ca'> & Partial<TlsMaterial>;
  /** Only this peer is accepted at the address. */
  readonly expectNode?: NodeNumber;
}

/** Checks by the certificate that the other side is a peer of the cluster, then which one. */
export class RpcClient {
  readonly address: string;
  readonly #client: Client;

  constructor(options: RpcClientOptions) {
    this.address = options.address;
    const { ca, key, cert } = options.tls;
    const channel = credentials.createSsl(
      Buffer.from(ca),
      key === undefined ? null : Buffer.from(key),
      cert === undefined ? null : Buffer.from(cert),
      { checkServerIdentity: (_host, certificate) => wrongPeer(options, certificate.raw) },
    );
    this.#client = new Client(options.address, channel, CHANNEL_OPTIONS);
  }

  /** Throws the peer's own error; UNREACHABLE when there is no answer, DEADLINE when none in time. */
  async call<T>(
    path: string,
    request: unknown,
    o: { deadlineMs?: number; signal?: AbortSignal } = {},
  ): Promise<T> {
    const identity = (bytes: Buffer): Buffer => bytes;
    const payload = Buffer.from(encode(request));
    const deadline = Date.now() + (o.deadlineMs ?? CALL_MS);
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        path,
        identity,
        identity,
        payload,
        { deadline },
        (error, answer) => {
          o.signal?.removeEventListener('abort', cancel);
          if (error !== null) reject(this.#asError(error));
          else resolve(decode<T>(answer ?? Buffer.alloc(0)));
        },
      );
      function cancel(): void {
        call.cancel();
      }
      o.signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  #asError(error: ServiceError): HoldfastError {
    const [whole] = error.metadata?.get(ERROR_KEY) ?? [];
    if (whole instanceof Buffer) return fromWireError(decode<WireError>(whole));
    if (error.code === status.DEADLINE_EXCEEDED) {
      return new HoldfastError('DEADLINE', `${this.address} did not answer in time`, {
        cause: error,
      });
    }
    if (error.code === status.CANCELLED)
      return new HoldfastError('EINTR', undefined, { cause: error });
    return new HoldfastError('UNREACHABLE', `${this.address} cannot be reached`, { cause: error });
  }

  /** Calls in flight are cancelled. */
  close(): void {
    this.#client.close();
  }
}

const CHANNEL_OPTIONS: ClientOptions = {
  'grpc.max_receive_message_length': 2 * LIMITS.frameBytesMax,
  'grpc.max_send_message_length': 2 * LIMITS.frameBytesMax,
  // Calls say themselves whether they may be repeated; the library must not.
  'grpc.enable_retries': 0,
  // Certificates name roles, not hosts; and an IP address must not be sent as a server's name (RFC 6066).
  'grpc.ssl_target_name_override': 'holdfast',
  'grpc.keepalive_time_ms': 2_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
};

function wrongPeer(options: RpcClientOptions, raw: Buffer): Error | undefined {
  const { identity } = describeCertificate(raw);
  if (identity.role !== 'node' || identity.clusterId !== options.clusterId) {
    return new HoldfastError(
      'WRONG_CLUSTER',
      `${options.address} is no peer of cluster ${options.clusterId}`,
    );
  }
  if (options.expectNode !== undefined && identity.node !== options.expectNode) {
    return new HoldfastError(
      'UNREACHABLE',
      `${options.address} is now peer ${identity.node}, not ${options.expectNode}`,
    );
  }
  return undefined;
}
