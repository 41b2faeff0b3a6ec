import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { type CallOptions, type TlsMaterial, WireClient } from '@holdfast/wire';

/** Calls a method of another peer. Throws UNREACHABLE when it has no known address, and as WireClient does. */
export type PeerCall = <T>(
  node: NodeNumber,
  method: string,
  header: unknown,
  options?: CallOptions,
) => Promise<{ header: T; body: Uint8Array }>;

/** Options of {@link ChunkPeers}. */
export interface ChunkPeersOptions {
  readonly clusterId: string;
  /** Asked for each new connection. */
  readonly tls: () => TlsMaterial;
  /** host:port of a peer's framed protocol. */
  readonly addressOf: (node: NodeNumber) => string | undefined;
}

const CONNECT_MS_MAX = 3_000;

/** Connections to the other peers for chunks, each made when first used. */
export class ChunkPeers {
  readonly #options: ChunkPeersOptions;
  readonly #open = new Map<NodeNumber, { client: WireClient; address: string }>();
  #isClosed = false;

  constructor(options: ChunkPeersOptions) {
    this.#options = options;
  }

  /** See {@link PeerCall}; throws SHUTTING_DOWN after {@link close}. */
  readonly call: PeerCall = (node, method, header, options = {}) => {
    if (this.#isClosed) return Promise.reject(new HoldfastError('SHUTTING_DOWN'));
    const address = this.#options.addressOf(node);
    if (address === undefined || address === '')
      return Promise.reject(new HoldfastError('UNREACHABLE', `peer ${node} has no known address`));
    return this.#to(node, address).call(method, header, options);
  };

  #to(node: NodeNumber, address: string): WireClient {
    const known = this.#open.get(node);
    if (known?.address === address) return known.client;
    void known?.client.close();
    const client = new WireClient({
      tls: this.#options.tls(),
      clusterId: this.#options.clusterId,
      address,
      expectNode: node,
      connectTimeoutMs: CONNECT_MS_MAX,
    });
    this.#open.set(node, { client, address });
    return client;
  }

  /** Connections made from now on use the present certificate; those open end. */
  reconnect(): void {
    for (const { client } of this.#open.values()) void client.close();
    this.#open.clear();
  }

  /** Ends every connection; calls under way fail with UNREACHABLE. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#open.values()].map(({ client }) => client.close()));
    this.#open.clear();
  }
}
