import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { HoldfastError } from '@holdfast/protocol';
import { type WireAnswer, WireConnection, type WireRequest } from './connection.ts';
import { type PeerRole, peerIdentity, type TlsMaterial } from './identity.ts';
import { WIRE_LIMITS } from './limits.ts';

export type WireHandler = (request: WireRequest) => Promise<WireAnswer>;

/** Options of {@link WireServer}. */
export interface WireServerOptions {
  readonly tls: TlsMaterial;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly clusterId: string;
  readonly isRevoked: (serial: string) => boolean;
  /** Told of peers that were turned away and of connections that broke the protocol. */
  readonly onProblem?: (event: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** Milliseconds for a TLS handshake. */
const HANDSHAKE_MS_MAX = 10_000;

/** Serves methods to peers of the same cluster over mutual TLS 1.3. */
export class WireServer {
  readonly #options: WireServerOptions;
  readonly #handlers = new Map<string, { roles: readonly PeerRole[]; handler: WireHandler }>();
  readonly #connections = new Set<WireConnection>();
  /** All that was accepted, also while it shakes hands. */
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #isClosing = false;

  constructor(options: WireServerOptions) {
    this.#options = options;
    const { ca, cert, key } = options.tls;
    this.#server = createServer(
      {
        ca,
        cert,
        key,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.3',
        handshakeTimeout: HANDSHAKE_MS_MAX,
      },
      (socket) => this.#accept(socket),
    );
    this.#server.maxConnections = WIRE_LIMITS.connectionsMax;
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('tlsClientError', (error, socket) => {
      options.onProblem?.('wire.refused', { from: socket.remoteAddress, why: error.message });
    });
  }

  /** Registers a method for callers of some roles. Throws INTERNAL when it exists already. */
  handle(method: string, roles: readonly PeerRole[], handler: WireHandler): void {
    if (this.#handlers.has(method))
      throw new HoldfastError('INTERNAL', `method ${method} is registered twice`);
    this.#handlers.set(method, { roles, handler });
  }

  /** Starts listening; answers the port. Throws PORT_IN_USE naming it. */
  listen(): Promise<{ port: number }> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      const onError = (cause: NodeJS.ErrnoException): void => {
        const taken = cause.code === 'EADDRINUSE';
        const message = taken
          ? `port ${port} of ${host} is taken; choose others with --port`
          : `cannot listen on ${host}:${port}: ${cause.message}`;
        reject(new HoldfastError(taken ? 'PORT_IN_USE' : 'BAD_CONFIG', message, { cause }));
      };
      this.#server.once('error', onError);
      this.#server.listen(port, host, () => {
        this.#server.off('error', onError);
        this.#server.on('error', (error) =>
          this.#options.onProblem?.('wire.error', { why: error.message }),
        );
        const address = this.#server.address();
        resolve({ port: typeof address === 'object' && address !== null ? address.port : port });
      });
    });
  }

  /** Connections at present, for notices to all. */
  get connections(): Iterable<WireConnection> {
    return this.#connections;
  }

  /** Connections made from now on see this certificate. */
  renew({ ca, cert, key }: TlsMaterial): void {
    this.#server.setSecureContext({ ca, cert, key, minVersion: 'TLSv1.3' });
  }

  /** Ends connections whose certificate has been revoked meanwhile. */
  dropRevoked(): void {
    for (const connection of this.#connections) {
      if (this.#options.isRevoked(connection.peer.serial)) void connection.close();
    }
  }

  /** Stops listening, lets requests under way end, ends all connections. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await Promise.all([...this.#connections].map((connection) => connection.close()));
    // Whoever shook hands meanwhile would otherwise keep the server open for as long as he likes.
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: TLSSocket): void {
    if (this.#isClosing) {
      socket.destroy();
      return;
    }
    try {
      const peer = peerIdentity(socket, this.#options.clusterId);
      if (this.#options.isRevoked(peer.serial))
        throw new HoldfastError('FORBIDDEN', 'the certificate was revoked');
      const connection = new WireConnection({
        socket,
        peer,
        serve: (request) => this.#serve(request),
      });
      this.#connections.add(connection);
      connection.onClose(() => this.#closed(connection));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#options.onProblem?.('wire.refused', { from: socket.remoteAddress, why });
      socket.destroy();
    }
  }

  #closed(connection: WireConnection): void {
    this.#connections.delete(connection);
    const { failure, peer } = connection;
    if (failure?.code !== 'CORRUPT') return;
    this.#options.onProblem?.('wire.broken', {
      role: peer.role,
      name: peer.name,
      why: failure.message,
    });
  }

  async #serve(request: WireRequest): Promise<WireAnswer> {
    const entry = this.#handlers.get(request.method);
    if (entry === undefined)
      throw new HoldfastError('ENOSYS', `no method '${request.method}' here`);
    if (!entry.roles.includes(request.peer.role)) {
      throw new HoldfastError('FORBIDDEN', `a ${request.peer.role} may not call ${request.method}`);
    }
    return entry.handler(request);
  }
}
