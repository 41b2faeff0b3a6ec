import {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  credentials,
  Metadata,
  type Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type sendUnaryData,
  type status,
} from '@grpc/grpc-js';
import {
  ERROR_TABLE,
  type ErrorCode,
  HoldfastError,
  LIMITS,
  type NodeNumber,
  toWireError,
} from '@holdfast/protocol';
import type { PeerIdentity, TlsMaterial } from '@holdfast/wire';
import { describeCertificate } from '../membership/certificates.ts';
import { decodeFrame, decodeSnapshotPart, type GroupMessage } from './raft-codec.ts';
import { type LinkStream, PeerLink } from './raft-link.ts';
import type { RaftTransport, TransportReceiver } from './raft-transport.ts';
import {
  INSTALL,
  receivedParts,
  sendParts,
  snapshotData,
  snapshotParts,
} from './snapshot-stream.ts';

const EXCHANGE = '/holdfast.v1.Raft/Exchange';

const CHANNEL_OPTIONS: ClientOptions = {
  // A connection of its own: chunks, control calls and snapshots never delay a sign of life.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  // Certificates name roles, not hosts; and an IP address must not be sent as a server's name (RFC 6066).
  'grpc.ssl_target_name_override': 'holdfast',
  'grpc.max_receive_message_length': 4 * LIMITS.frameBytesMax,
  'grpc.max_send_message_length': 4 * LIMITS.frameBytesMax,
  'grpc.keepalive_time_ms': 2000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2000,
};

/** Options of {@link GrpcRaftTransport}. */
export interface RaftTransportOptions {
  readonly clusterId: string;
  readonly self: NodeNumber;
  /** Our certificate now; asked for with each new connection. */
  readonly tls: () => TlsMaterial;
  /** host:port of a peer's gRPC, as known now. */
  readonly addressOf: (node: NodeNumber) => string | undefined;
  readonly isRevoked: (serial: string) => boolean;
  /** The verified caller of a call to our server; throws FORBIDDEN unless it is a peer. */
  readonly peerOf: (call: CallOfPeer) => PeerIdentity;
}

/** What of a gRPC server call tells who calls. */
export type CallOfPeer = Pick<ServerReadableStream<Buffer, Buffer>, 'getAuthContext'>;

/** The stream of either side. */
type FrameStream = ServerDuplexStream<Buffer, Buffer> | ClientDuplexStream<Buffer, Buffer>;

/** Raft over gRPC as packages/protocol/proto/raft.proto describes it. */
export class GrpcRaftTransport implements RaftTransport {
  readonly #options: RaftTransportOptions;
  readonly #links = new Map<NodeNumber, PeerLink>();
  readonly #clients = new Map<NodeNumber, { address: string; client: Client }>();
  #receiver: TransportReceiver | undefined;
  #isClosed = false;

  constructor(options: RaftTransportOptions) {
    this.#options = options;
  }

  start(receiver: TransportReceiver): void {
    this.#receiver = receiver;
  }

  /** Adds the service to the peer's gRPC server, before or after it listens. */
  register(server: Server): void {
    server.register(
      EXCHANGE,
      (call: ServerDuplexStream<Buffer, Buffer>) => this.#serveExchange(call),
      same,
      same,
      'bidi',
    );
    const install = (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      this.#serveInstall(call).then(
        () => done(null, Buffer.alloc(0)),
        (error: unknown) => done(asStatus(error)),
      );
    };
    server.register(INSTALL, install, same, same, 'clientStream');
  }

  send(message: GroupMessage): void {
    const to = message.message.to as NodeNumber;
    if (!this.#isClosed) this.#linkTo(to).send(message);
  }

  #linkTo(peer: NodeNumber): PeerLink {
    let link = this.#links.get(peer);
    if (link === undefined) {
      link = new PeerLink({
        self: this.#options.self,
        peer,
        dial: () => this.#dial(peer),
        onUnreachable: () => this.#receiver?.unreachable(peer),
      });
      this.#links.set(peer, link);
    }
    return link;
  }

  /** A stream to the peer on the connection kept for it; undefined when its address is not known. */
  #dial(peer: NodeNumber): LinkStream | undefined {
    const address = this.#options.addressOf(peer);
    if (address === undefined) return undefined;
    let kept = this.#clients.get(peer);
    if (kept === undefined || kept.address !== address) {
      kept?.client.close();
      kept = { address, client: this.#connect(peer, address) };
      this.#clients.set(peer, kept);
    }
    const call = kept.client.makeBidiStreamRequest<Buffer, Buffer>(EXCHANGE, same, same);
    const stream = linkStream(call, () => call.cancel());
    call.on('metadata', () => this.#linkTo(peer).alive());
    this.#receive(peer, call, stream, () => call.cancel());
    return stream;
  }

  #connect(peer: NodeNumber, address: string): Client {
    const { ca, key, cert } = this.#options.tls();
    const [caBytes, keyBytes, certBytes] = [ca, key, cert].map((pem) => Buffer.from(pem));
    const channel = credentials.createSsl(caBytes, keyBytes, certBytes, {
      checkServerIdentity: (_host, certificate) => this.#wrongPeer(peer, address, certificate.raw),
    });
    return new Client(address, channel, CHANNEL_OPTIONS);
  }

  #wrongPeer(peer: NodeNumber, address: string, raw: Buffer): Error | undefined {
    const { identity } = describeCertificate(raw);
    const { clusterId, isRevoked } = this.#options;
    const isPeer =
      identity.role === 'node' && identity.clusterId === clusterId && identity.node === peer;
    if (isPeer && !isRevoked(identity.serial)) return undefined;
    return new HoldfastError('UNREACHABLE', `${address} is not peer ${peer} of this cluster`);
  }

  #serveExchange(call: ServerDuplexStream<Buffer, Buffer>): void {
    let identity: PeerIdentity;
    const cancel = () => call.destroy();
    try {
      identity = this.#options.peerOf(call);
    } catch (error) {
      call.on('error', () => {});
      call.emit('error', asStatus(error));
      return;
    }
    const peer = identity.node!;
    const stream = linkStream(call, cancel);
    call.sendMetadata(new Metadata());
    this.#receive(peer, call, stream, cancel, identity.serial);
    this.#linkTo(peer).accepted(stream);
  }

  #receive(
    peer: NodeNumber,
    call: FrameStream,
    stream: LinkStream,
    cancel: () => void,
    serial?: string,
  ): void {
    const link = this.#linkTo(peer);
    const close = () => link.closed(stream);
    call.on('data', (bytes: Buffer) => {
      if (serial !== undefined && this.#options.isRevoked(serial)) cancel();
      else this.#deliver(peer, bytes, cancel);
    });
    call.on('end', () => {
      call.end();
      close();
    });
    // An error is followed by no 'end'; the link decides when to dial again.
    call.on('error', close);
    call.on('cancelled', close);
    call.on('close', close);
  }

  #deliver(peer: NodeNumber, bytes: Buffer, cancel: () => void): void {
    try {
      // What a peer says in another's name is not worth an answer.
      const own = decodeFrame(bytes).filter(
        ({ message: { from, to } }) => from === peer && to === this.#options.self,
      );
      if (own.length > 0) this.#receiver?.messages(peer, own);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.kind === 'bug') throw error;
      cancel();
    }
  }

  async sendSnapshot(
    begin: GroupMessage,
    stream: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    const peer = begin.message.to as NodeNumber;
    const address = this.#options.addressOf(peer);
    if (address === undefined) {
      throw new HoldfastError('UNREACHABLE', `the address of peer ${peer} is not known`);
    }
    const client = this.#connect(peer, address);
    try {
      await sendParts(client, snapshotParts(begin, stream), signal);
    } finally {
      client.close();
    }
  }

  async #serveInstall(call: ServerReadableStream<Buffer, Buffer>): Promise<void> {
    const { node } = this.#options.peerOf(call);
    const parts = receivedParts(call);
    const first = await parts.next();
    const begin = first.done === true ? undefined : decodeSnapshotPart(first.value);
    if (begin?.part !== 'begin' || begin.begin.message.kind !== 'installSnapshot') {
      throw new HoldfastError('BAD_REQUEST', 'a snapshot begins with its message');
    }
    const { from, to } = begin.begin.message;
    if (from !== node || to !== this.#options.self || this.#receiver === undefined) {
      throw new HoldfastError('FORBIDDEN', 'the snapshot is not from its sender, or not for us');
    }
    await this.#receiver.snapshot(begin.begin, snapshotData(parts));
  }

  /** Connections made from now on show the present certificate; those open are made anew. */
  reconnect(): void {
    for (const { client } of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    this.reconnect();
    return Promise.resolve();
  }
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function linkStream(call: FrameStream, cancel: () => void): LinkStream {
  return {
    write: (frame, done) => {
      call.write(frame, done);
    },
    end: () => {
      call.end();
    },
    cancel,
  };
}

function asStatus(error: unknown): { code: status; details: string } {
  const { code } = toWireError(error);
  return { code: ERROR_TABLE[code as ErrorCode].grpc, details: code };
}
