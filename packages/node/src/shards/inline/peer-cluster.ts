import type { ChunkCluster, ChunkConnection } from '@holdfast/chunks';
import { type ClusterMap, HoldfastError, type NodeNumber } from '@holdfast/protocol';
import type { MapCache } from '../../membership/map-cache.ts';
import { ChunkPeers, type ChunkPeersOptions } from '../../repair/peers.ts';

/** Milliseconds that a write tries: it is background work, and a later round tries again. */
const WRITE_MS_MAX = 5_000;

/** Options of {@link PeerCluster}. */
export interface PeerClusterOptions extends ChunkPeersOptions {
  readonly self: NodeNumber;
  readonly map: Pick<MapCache, 'current'>;
}

/** The cluster as a peer sees it that writes chunks itself: newer maps come without being asked for. */
export class PeerCluster implements ChunkCluster {
  readonly operationWaitMs = WRITE_MS_MAX;
  readonly identity: { readonly node: NodeNumber };
  readonly #map: Pick<MapCache, 'current'>;
  readonly #peers: ChunkPeers;

  constructor(options: PeerClusterOptions) {
    this.identity = { node: options.self };
    this.#map = options.map;
    this.#peers = new ChunkPeers(options);
  }

  get map(): ClusterMap {
    const map = this.#map.current;
    if (map === undefined) throw new HoldfastError('UNREACHABLE', 'there is no map yet');
    return map;
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  refresh(): Promise<void> {
    return Promise.resolve();
  }

  readonly connections = {
    to: (node: NodeNumber): ChunkConnection => ({
      call: (method, header, o) => this.#peers.call(node, method, header, o),
    }),
  };

  /** Ends every connection. */
  async close(): Promise<void> {
    await this.#peers.close();
  }
}
