import { connect, type TLSSocket } from 'node:tls';
import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { WireConnection } from './connection.ts';
import { peerIdentity, type TlsMaterial } from './identity.ts';

/** Options of {@link WireClient}. */
export interface WireClientOptions {
  /** Read at every connect, so it may be a getter. */
  readonly tls: TlsMaterial;
  readonly clusterId: string;
  /** host:port. */
  readonly address: string;
  /** Only this peer's certificate is accepted. */
  readonly expectNode?: NodeNumber;
  readonly connectTimeoutMs: number;
  readonly onNotice?: (method: string, header: unknown) => void;
}

/** Options of one call. */
export interface CallOptions {
  readonly body?: Uint8Array | readonly Uint8Array[];
  readonly signal?: AbortSignal;
  /** Milliseconds for connecting and answering together; default 30,000. */
  readonly deadlineMs?: number;
}

const CALL_MS_DEFAULT = 30_000;
/** Milliseconds after a failed attempt during which calls fail at once instead of trying again. */
const RETRY_AFTER_MS = 200;

/** The calling side: connects when first used, and again after the connection broke. */
export class WireClient {
  readonly #options: WireClientOptions;
  #connection: Promise<WireConnection> | undefined;
  #state: 'idle' | 'connecting' | 'open' | 'closed' = 'idle';
  #failedAt = Number.NEGATIVE_INFINITY;
  #lastFailure: HoldfastError | undefined;
  #stopConnecting: () => void = () => {};

  constructor(options: WireClientOptions) {
    this.#options = options;
  }

  get state(): 'idle' | 'connecting' | 'open' | 'closed' {
    return this.#state;
  }

  /** Calls a method. Throws the peer's error, UNREACHABLE, DEADLINE, EINTR. */
  async call<T>(
    method: string,
    header: unknown,
    options: CallOptions = {},
  ): Promise<{ header: T; body: Uint8Array }> {
    const deadlineMs = options.deadlineMs ?? CALL_MS_DEFAULT;
    const start = performance.now();
    const connection = await within(this.#connected(), deadlineMs, method, options.signal);
    const left = Math.max(1, deadlineMs - (performance.now() - start));
    const answer = await connection.call(method, header, { ...options, deadlineMs: left });
    return answer as { header: T; body: Uint8Array };
  }

  /** Ends the connection; calls under way fail with UNREACHABLE, later ones with SHUTTING_DOWN. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#stopConnecting();
    const connection = await this.#connection?.catch(() => undefined);
    await connection?.close();
  }

  #connected(): Promise<WireConnection> {
    if (this.#state === 'closed')
      return Promise.reject(new HoldfastError('SHUTTING_DOWN', 'the connection was closed'));
    if (this.#connection === undefined) {
      if (this.#lastFailure !== undefined && performance.now() - this.#failedAt < RETRY_AFTER_MS) {
        return Promise.reject(this.#lastFailure);
      }
      this.#state = 'connecting';
      this.#connection = this.#connect().then(
        (connection) => this.#established(connection),
        (error: unknown) => this.#failed(error as HoldfastError),
      );
    }
    return this.#connection;
  }

  async #established(connection: WireConnection): Promise<WireConnection> {
    if (this.#state === 'closed') {
      await connection.close();
      throw new HoldfastError('SHUTTING_DOWN', 'the connection was closed');
    }
    this.#state = 'open';
    this.#lastFailure = undefined;
    connection.onClose(() => {
      this.#connection = undefined;
      if (this.#state === 'open') this.#state = 'idle';
    });
    return connection;
  }

  #failed(error: HoldfastError): never {
    this.#connection = undefined;
    if (this.#state === 'connecting') this.#state = 'idle';
    this.#failedAt = performance.now();
    this.#lastFailure = error;
    throw error;
  }

  #connect(): Promise<WireConnection> {
    const { address, tls, connectTimeoutMs } = this.#options;
    const colon = address.lastIndexOf(':');
    const host = address.slice(0, colon);
    const port = Number(address.slice(colon + 1));
    return new Promise((resolve, reject) => {
      const fail = (why: string, cause?: unknown): void => {
        clearTimeout(timer);
        socket.on('error', () => {}); // what comes behind the first failure says nothing new
        socket.destroy();
        const options = cause === undefined ? {} : { cause };
        reject(
          cause instanceof HoldfastError
            ? cause
            : new HoldfastError('UNREACHABLE', `${address}: ${why}`, options),
        );
      };
      const { ca, cert, key } = tls;
      // Certificates name cluster, role and number by URI, not hosts: checked below.
      const socket = connect({
        host,
        port,
        ca,
        cert,
        key,
        minVersion: 'TLSv1.3',
        checkServerIdentity: () => undefined,
      });
      const timer = setTimeout(() => fail('no connection in time'), connectTimeoutMs);
      const onError = (error: Error): void => fail(error.message, error);
      this.#stopConnecting = () => fail('the connection was closed');
      socket.once('error', onError);
      socket.once('secureConnect', () => {
        clearTimeout(timer);
        this.#stopConnecting = () => {};
        try {
          const connection = this.#verified(socket);
          socket.off('error', onError);
          resolve(connection);
        } catch (error) {
          fail('refused', error);
        }
      });
    });
  }

  #verified(socket: TLSSocket): WireConnection {
    const { clusterId, expectNode, address, onNotice } = this.#options;
    const peer = peerIdentity(socket, clusterId);
    if (peer.role !== 'node' || (expectNode !== undefined && peer.node !== expectNode)) {
      const found = `${peer.role} ${peer.name}`;
      throw new HoldfastError(
        'UNREACHABLE',
        `${address} is ${found}, not node ${expectNode ?? ''}`,
      );
    }
    return new WireConnection({ socket, peer, ...(onNotice === undefined ? {} : { onNotice }) });
  }
}

/** Waits for a connection, but no longer than the call may take. The connection goes on without it. */
function within<T>(
  connected: Promise<T>,
  deadlineMs: number,
  method: string,
  signal: AbortSignal | undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => finish(() => reject(new HoldfastError('EINTR')));
    const timer = setTimeout(() => {
      const message = `${method}: no connection within ${Math.round(deadlineMs)} ms`;
      finish(() => reject(new HoldfastError('DEADLINE', message)));
    }, deadlineMs);
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
    connected.then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error as Error)),
    );
  });
}
