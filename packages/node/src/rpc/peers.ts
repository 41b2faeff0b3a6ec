/** Control connections to the other peers. */
import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import { RpcClient } from './client.ts';

/** What {@link Peers} needs. */
export interface PeersOptions {
  readonly clusterId: string;
  readonly tls: TlsMaterial;
  /** host:port of a peer's gRPC, as known now. */
  readonly addressOf: (node: NodeNumber) => string | undefined;
}

/** One connection per peer, made when first used and anew when its address or our certificate changes. */
export class Peers {
  readonly #options: PeersOptions;
  #tls: TlsMaterial;
  readonly #clients = new Map<NodeNumber, RpcClient>();

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#tls = options.tls;
  }

  /** Throws UNREACHABLE when the peer is in no map we know. */
  to(node: NodeNumber): RpcClient {
    const address = this.#options.addressOf(node);
    if (address === undefined)
      throw new HoldfastError('UNREACHABLE', `the address of peer ${node} is not known`);
    const known = this.#clients.get(node);
    if (known?.address === address) return known;
    known?.close();
    const client = this.at(address, node);
    this.#clients.set(node, client);
    return client;
  }

  /** A connection of the caller's own, to whoever is at the address. */
  at(address: string, expectNode?: NodeNumber): RpcClient {
    const { clusterId } = this.#options;
    const tls = this.#tls;
    return new RpcClient({
      address,
      clusterId,
      tls,
      ...(expectNode === undefined ? {} : { expectNode }),
    });
  }

  /** Connections made from now on show this certificate. */
  renew(tls: TlsMaterial): void {
    this.#tls = tls;
    this.close();
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }
}
