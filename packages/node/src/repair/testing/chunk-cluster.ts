import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterState, type RegistryChange } from '@holdfast/placement';
import {
  type ChunkId,
  type ClusterMap,
  makeChunkId,
  type NodeNumber,
  type PartitionId,
} from '@holdfast/protocol';
import { WireServer } from '@holdfast/wire';
import { TestAuthority } from '@holdfast/wire/testing';
import { Registry } from 'prom-client';
import { serveChunks } from '../../chunks/service.ts';
import { ChunkStore } from '../../chunks/store.ts';
import { ChunkPeers } from '../peers.ts';
import { Repair } from '../repair.ts';
import { chunkRules } from '../rules.ts';

const CLUSTER = 'c0ffee';
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

/** A peer of a {@link ChunkCluster}: store, server and repair as in the daemon, nothing else. */
export interface ChunkPeer {
  readonly number: NodeNumber;
  readonly directory: string;
  readonly store: ChunkStore;
  readonly repair: Repair;
  readonly peers: ChunkPeers;
  readonly metrics: Registry;
  readonly address: string;
  /** The newest map it has seen. */
  map: ClusterMap | undefined;
  /** While false, it hears of no map. */
  isListening: boolean;
  /** It answers nobody any more, though its port takes connections. */
  cut(): Promise<void>;
  close(): Promise<void>;
}

/** Stores on real disks and connections in one process; the registry is a state without a log. */
export class ChunkCluster {
  readonly registry = new ClusterState();
  readonly authority = new TestAuthority(CLUSTER);
  readonly peers: ChunkPeer[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-repair-'));
  #commands = 0;
  #chunks = 0;

  get map(): ClusterMap {
    const { map } = this.registry;
    if (map === undefined) throw new Error('the cluster has no peer yet');
    return map;
  }

  peer(number: number): ChunkPeer {
    const peer = this.peers.find((known) => known.number === number);
    if (peer === undefined) throw new Error(`no peer ${number}`);
    return peer;
  }

  /** Applies a change; everyone who listens has the new map at once. */
  change(change: RegistryChange): void {
    const result = this.registry.apply({
      v: 1,
      id: String(++this.#commands),
      time: '2026-01-01T00:00:00.000Z',
      change,
    });
    if (!result.ok) throw new Error(result.message);
    for (const peer of this.peers) this.#tell(peer);
  }

  #tell(peer: ChunkPeer): void {
    const { map } = this.registry;
    if (map === undefined || !peer.isListening || peer.map === map) return;
    peer.map = map;
    peer.repair.mapChanged(map);
  }

  /** A peer hears maps again. */
  listen(peer: ChunkPeer): void {
    peer.isListening = true;
    this.#tell(peer);
  }

  /** Another peer joins and is up; `repairs` false: it only serves. */
  async add(
    o: { readonly repairs?: boolean; readonly capacityBytes?: number } = {},
  ): Promise<ChunkPeer> {
    const number = (this.peers.length + 1) as NodeNumber;
    const peer = await this.#start(number, o.capacityBytes);
    this.peers.push(peer);
    const node = {
      name: `peer-${number}`,
      grpcAddress: '127.0.0.1:1',
      wireAddress: peer.address,
      adminAddress: '127.0.0.1:1',
      discoveryAddress: '',
      zone: `zone-${number}`,
      weight: 1,
      incarnation: number.toString(16).padStart(32, '0'),
    };
    const serial = number.toString(16);
    if (number === 1) {
      const first = { clusterId: CLUSTER, name: 'test', volumeShards: 1, node, serial };
      this.change({ op: 'init-cluster', ...first });
    } else {
      this.change({ op: 'register-node', node, serial });
      this.change({ op: 'set-node-state', node: number, state: 'up' });
    }
    if (o.repairs !== false) peer.repair.start();
    return peer;
  }

  async #start(number: NodeNumber, capacityBytes = 0): Promise<ChunkPeer> {
    const holder: { peer?: ChunkPeer } = {};
    const map = (): ClusterMap | undefined => holder.peer?.map;
    const tls = this.authority.issue('node', String(number));
    const directory = join(this.#directory, String(number));
    const metrics = new Registry();
    const store = await ChunkStore.open(directory, {
      registry: metrics,
      capacityBytes,
      segmentBytes: 1 << 20,
      reserveBytes: 0,
      onDamage: () => holder.peer?.repair.wake(),
    });
    const peers = new ChunkPeers({
      clusterId: CLUSTER,
      tls: () => tls,
      addressOf: (node) => map()?.nodes.find((known) => known.number === node)?.wireAddress,
    });
    const repair = new Repair({
      self: number,
      store,
      map,
      call: peers.call,
      report: async ({ epoch, partitions }) =>
        this.change({
          op: 'partitions-synced',
          node: number,
          epoch: epoch as never,
          partitions,
        }),
      registry: metrics,
      log: SILENT,
      limits: { intervalMs: 50, confirmMs: 0 },
    });
    const at = { tls, clusterId: CLUSTER, host: '127.0.0.1', port: 0 };
    const server = new WireServer({ ...at, isRevoked: () => false });
    serveChunks(server, store, chunkRules(number, map));
    serveMap(server, map);
    const { port } = await server.listen();
    let isCut: Promise<void> | undefined;
    const silent = new Set<Socket>();
    const deaf = createServer((socket) => silent.add(socket.on('error', () => {})));
    const cut = (): Promise<void> =>
      (isCut ??= server.close().then(async () => {
        deaf.listen(port, '127.0.0.1');
        await once(deaf, 'listening');
      }));
    holder.peer = {
      number,
      directory,
      store,
      repair,
      peers,
      metrics,
      address: `127.0.0.1:${port}`,
      map: undefined,
      isListening: true,
      cut,
      close: async () => {
        await repair.close();
        await peers.close();
        await cut();
        for (const socket of silent) socket.destroy();
        deaf.close();
        await store.close();
      },
    };
    return holder.peer;
  }

  /** A new chunk's id in a partition. */
  chunkIn(partition: number): ChunkId {
    return makeChunkId(partition as PartitionId, 'abcdefabcdef', ++this.#chunks);
  }

  /** Numbers of the peers that have a chunk. */
  holders(chunk: ChunkId): number[] {
    return this.peers
      .filter((peer) => peer.store.length(chunk) !== undefined)
      .map((peer) => peer.number);
  }

  /** Partitions still on the move. */
  get moving(): number {
    return this.registry.movingPartitions;
  }

  async close(): Promise<void> {
    await Promise.all(this.peers.map((peer) => peer.close()));
    this.authority.close();
    rmSync(this.#directory, { recursive: true });
  }
}

/** What clients ask for, as the daemon answers it. */
function serveMap(server: WireServer, map: () => ClusterMap | undefined): void {
  server.handle('registry.map', ['node', 'client'], async ({ header }) => {
    const { sinceEpoch } = header as { sinceEpoch: number };
    const newest = map();
    return { header: newest !== undefined && newest.epoch > sinceEpoch ? { map: newest } : {} };
  });
}
