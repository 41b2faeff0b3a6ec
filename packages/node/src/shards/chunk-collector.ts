/** Deletes freed chunks on the peers that may hold them. */
import {
  type ChunkId,
  type ClusterMap,
  type NodeNumber,
  partitionOf,
  placementOf,
} from '@holdfast/protocol';
import { type TlsMaterial, WireClient } from '@holdfast/wire';

/** Options of {@link ChunkCollector}. */
export interface ChunkCollectorOptions {
  readonly clusterId: string;
  /** Our certificate now. */
  readonly tls: () => TlsMaterial;
  readonly map: () => ClusterMap | undefined;
  /** host:port of a peer's framed protocol, as known now. */
  readonly addressOf: (node: NodeNumber) => string | undefined;
}

/** Milliseconds for a connection, and for one call: files are deleted, nothing is moved. */
const CONNECT_MS = 2000;
const CALL_MS = 10_000;

/** Keeps a connection to each peer that it had to do with. */
export class ChunkCollector {
  readonly #options: ChunkCollectorOptions;
  readonly #clients = new Map<
    NodeNumber,
    { readonly address: string; readonly client: WireClient }
  >();

  constructor(options: ChunkCollectorOptions) {
    this.#options = options;
  }

  /** Answers the chunks that are gone from every peer of their partition; others stay for another time. */
  async delete(chunks: readonly ChunkId[]): Promise<readonly ChunkId[]> {
    const map = this.#options.map();
    if (map === undefined) return [];
    const byNode = new Map<NodeNumber, ChunkId[]>();
    for (const chunk of chunks) {
      const { replicas, previous = [] } = placementOf(map, partitionOf(chunk));
      for (const node of new Set([...replicas, ...previous])) {
        const list = byNode.get(node) ?? [];
        byNode.set(node, list);
        list.push(chunk);
      }
    }
    const left = new Set<ChunkId>();
    const calls = Array.from(byNode, async ([node, list]) => {
      if (!(await this.#deleteOn(node, list))) for (const chunk of list) left.add(chunk);
    });
    await Promise.all(calls);
    return chunks.filter((chunk) => !left.has(chunk));
  }

  async #deleteOn(node: NodeNumber, chunks: readonly ChunkId[]): Promise<boolean> {
    const client = this.#clientOf(node);
    if (client === undefined) return false;
    return client.call('chunk.delete', { chunks }, { deadlineMs: CALL_MS }).then(
      () => true,
      () => false,
    );
  }

  #clientOf(node: NodeNumber): WireClient | undefined {
    const address = this.#options.addressOf(node);
    if (address === undefined) return undefined;
    const known = this.#clients.get(node);
    if (known?.address === address && known.client.state !== 'closed') return known.client;
    void known?.client.close();
    const client = new WireClient({
      tls: this.#options.tls(),
      clusterId: this.#options.clusterId,
      address,
      expectNode: node,
      connectTimeoutMs: CONNECT_MS,
    });
    this.#clients.set(node, { address, client });
    return client;
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#clients.values(), ({ client }) => client.close()));
    this.#clients.clear();
  }
}
