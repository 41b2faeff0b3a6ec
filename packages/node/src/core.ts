/** What every part of a peer works with, made in the order in which the parts need each other. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type NodeNumber, type ShardId, SYSTEM_SHARD } from '@holdfast/protocol';
import { WireServer } from '@holdfast/wire';
import { Registry as MetricsRegistry } from 'prom-client';
import type { NodeConfig } from './config.ts';
import { ConsensusDriver } from './consensus/driver.ts';
import { ConsensusMetrics } from './consensus/metrics.ts';
import type { StateMachine } from './consensus/shard-host.ts';
import { GrpcRaftTransport } from './consensus/transport.ts';
import { Wal } from './consensus/wal.ts';
import { AddressBook } from './membership/address-book.ts';
import { type Ports, portsFrom } from './membership/addresses.ts';
import { DATA_NAMES } from './membership/data-directory.ts';
import type { Identity, PeerSettings } from './membership/identity.ts';
import { MapCache } from './membership/map-cache.ts';
import { Registry } from './membership/registry.ts';
import { ShardGroups, type ShardParts } from './membership/shard-groups.ts';
import { VolumeSnapshots } from './membership/snapshots.ts';
import { type RunInShard, VolumeLifecycle } from './membership/volumes.ts';
import type { ChunkPeersOptions } from './repair/peers.ts';
import { Peers } from './rpc/peers.ts';
import { RpcServer } from './rpc/server.ts';
import {
  type LookInShard,
  type ShardCallerOptions,
  type ShardCalls,
  shardLooker,
  shardRunner,
} from './rpc/shard-service.ts';
import { ChunkCollector } from './shards/chunk-collector.ts';
import { openInlineDestination } from './shards/inline/start.ts';
import { SystemShard } from './shards/system-shard.ts';
import { VolumeShards } from './shards/volume-shards.ts';
import type { Teardown } from './teardown.ts';
import type { Log } from './telemetry/log.ts';

/** An identity that is a peer's. */
export type PeerIdentityFiles = Identity &
  Required<Pick<Identity, 'node' | 'incarnation' | 'authority'>>;

/** What {@link buildCore} starts from. */
export interface CoreInput {
  readonly config: NodeConfig;
  readonly identity: PeerIdentityFiles;
  readonly settings: PeerSettings;
  readonly log: Log;
  readonly teardown: Teardown;
  /** Aborted when the peer begins to stop. */
  readonly stopping: AbortSignal;
  /** Something happened after which the process must not go on. */
  readonly onFatal: (error: unknown) => void;
}

/** The core of a running peer. */
export interface Core extends CoreInput {
  readonly self: NodeNumber;
  readonly ports: Ports;
  readonly map: MapCache;
  readonly book: AddressBook;
  readonly peers: Peers;
  readonly rpc: RpcServer;
  readonly wire: WireServer;
  readonly metrics: MetricsRegistry;
  readonly transport: GrpcRaftTransport;
  readonly wal: Wal;
  readonly host: ConsensusDriver;
  readonly registry: Registry;
  readonly groups: ShardGroups;
  readonly volumes: VolumeLifecycle;
  readonly snapshots: VolumeSnapshots;
  readonly shardCalls: ShardCalls;
  /** What the cluster itself does in volume shards, wherever they are led. */
  readonly runInShard: RunInShard;
  readonly lookInShard: LookInShard;
  /** The system shard on this peer, while it is a member. */
  readonly systemShard: () => SystemShard | undefined;
}

/** Makes the core; nothing listens yet and no shard is open. */
export async function buildCore(input: CoreInput): Promise<Core> {
  const { config, identity, settings, log, teardown, stopping } = input;
  const { dataDirectory } = config;
  const self = identity.node;
  const ports = portsFrom(settings.port);
  const map = await MapCache.open(dataDirectory, (error) =>
    log.warn({ event: 'map.unwritten', error }),
  );
  teardown.add('map', () => map.close());
  const book = new AddressBook(map);
  const { clusterId, tls } = identity;
  const isRevoked = (serial: string): boolean => map.isRevoked(serial);
  const peers = new Peers({ clusterId, tls, addressOf: (node) => book.of(node, 'grpcAddress') });
  teardown.add('peers', () => peers.close());
  const rpc = new RpcServer({ tls, clusterId, isRevoked, host: config.bind, port: ports.grpc });
  const wire = new WireServer({
    tls,
    clusterId,
    isRevoked,
    host: config.bind,
    port: ports.wire,
    onProblem: (event, fields) => log.info({ event, ...fields }),
  });
  const metrics = new MetricsRegistry();
  const consensusMetrics = new ConsensusMetrics(metrics);
  const consensus = await openConsensus(input, { rpc, book, isRevoked, consensusMetrics });
  const holder: { shard?: SystemShard } = {};
  const systemShard = (): SystemShard | undefined => holder.shard;
  const registry = new Registry({
    self,
    host: consensus.host,
    shard: systemShard,
    map,
    peers,
    stopping,
  });
  const shared = { ...consensus, map, book, registry, metrics };
  const caller = { self, host: consensus.host, map, peers, stopping };
  const volumeShards = await openVolumeShards(input, shared, caller);
  volumeShards.register(wire);
  consensusMetrics.observe({
    wal: consensus.wal,
    proposals: () => consensus.host.proposals(),
    sessions: () => volumeShards.sessions(),
  });
  const parts = new PeerShards(dataDirectory, { map, system: holder, volumes: volumeShards });
  const groups = new ShardGroups({ self, host: consensus.host, parts, map, log });
  teardown.add('shards', () => groups.close());
  return {
    ...input,
    metrics,
    ...consensus,
    self,
    ports,
    map,
    book,
    peers,
    rpc,
    wire,
    registry,
    groups,
    ...ownWork(registry, volumeShards, caller),
    systemShard,
  };
}

function callsOf(shards: VolumeShards): ShardCalls {
  return {
    run: (request, signal) => shards.run(request, signal),
    look: (request, signal) => shards.look(request, signal),
  };
}

function ownWork(
  registry: Registry,
  shards: VolumeShards,
  caller: Omit<ShardCallerOptions, 'here'>,
): Pick<Core, 'volumes' | 'snapshots' | 'shardCalls' | 'runInShard' | 'lookInShard'> {
  const shardCalls = callsOf(shards);
  const options = { ...caller, here: shardCalls };
  const run = shardRunner(options);
  const look = shardLooker(options);
  const snapshots = new VolumeSnapshots({ registry, run, look });
  const volumes = new VolumeLifecycle({ registry, run, snapshots });
  return { volumes, snapshots, shardCalls, runInShard: run, lookInShard: look };
}

async function openVolumeShards(
  { config, identity, teardown, onFatal }: CoreInput,
  {
    map,
    book,
    host,
    registry,
    metrics,
  }: Pick<Core, 'map' | 'book' | 'host' | 'registry' | 'metrics'>,
  caller: Omit<ShardCallerOptions, 'here'>,
): Promise<VolumeShards> {
  const peers: ChunkPeersOptions = {
    clusterId: identity.clusterId,
    tls: () => identity.tls,
    addressOf: (node) => book.of(node, 'wireAddress'),
  };
  const collector = new ChunkCollector({ ...peers, map: () => map.current });
  teardown.add('chunk collector', () => collector.close());
  const inline = openInlineDestination({
    peers: { ...peers, self: identity.node, map },
    registry,
    metrics,
    teardown,
  });
  const path = join(config.dataDirectory, DATA_NAMES.state, 'volumes');
  const holder: { look?: LookInShard } = {};
  const shards = await VolumeShards.open(path, {
    host,
    onFatal,
    lookAtBase: ({ shard, volume }, wanted) => (holder.look as LookInShard)(shard, volume, wanted),
    deleteChunks: (chunks) => collector.delete(chunks),
    inline,
  });
  holder.look = shardLooker({ ...caller, here: callsOf(shards) });
  teardown.add('volume shards', () => shards.close());
  return shards;
}

async function openConsensus(
  input: CoreInput,
  parts: Pick<Core, 'rpc' | 'book'> & {
    readonly isRevoked: (serial: string) => boolean;
    readonly consensusMetrics: ConsensusMetrics;
  },
): Promise<Pick<Core, 'wal' | 'transport' | 'host'>> {
  const { config, identity, teardown, onFatal } = input;
  const { rpc, book, isRevoked, consensusMetrics } = parts;
  const logDirectory = join(config.dataDirectory, DATA_NAMES.log);
  const walDirectory = join(logDirectory, 'wal');
  const spoolDirectory = join(logDirectory, 'snapshots');
  for (const path of [walDirectory, spoolDirectory])
    await mkdir(path, { recursive: true, mode: 0o700 });
  const holder: { host?: ConsensusDriver } = {};
  const onPinned = (group: number): void => holder.host?.compactNow(group as ShardId);
  const wal = await Wal.open({
    disk: walDirectory,
    onFatal,
    onPinned,
    onFlush: consensusMetrics.onFlush,
  });
  teardown.add('wal', () => wal.close());
  const transport = new GrpcRaftTransport({
    clusterId: identity.clusterId,
    self: identity.node,
    tls: () => identity.tls,
    addressOf: (node) => book.of(node, 'grpcAddress'),
    isRevoked,
    peerOf: (call) => rpc.peerOf(call, ['node']),
  });
  transport.register(rpc.server);
  teardown.add('raft transport', () => transport.close());
  const host = new ConsensusDriver({
    self: identity.node,
    wal,
    transport,
    spoolDirectory,
    onFatal,
    observer: consensusMetrics,
  });
  holder.host = host;
  teardown.add('consensus', () => host.close());
  return { wal, transport, host };
}

/** State of the shards on this peer's disk. */
class PeerShards implements ShardParts {
  readonly #directory: string;
  readonly #map: MapCache;
  readonly #system: { shard?: SystemShard };
  readonly #volumes: VolumeShards;

  constructor(
    dataDirectory: string,
    o: {
      readonly map: MapCache;
      readonly system: { shard?: SystemShard };
      readonly volumes: VolumeShards;
    },
  ) {
    this.#directory = join(dataDirectory, DATA_NAMES.state, 'system');
    this.#map = o.map;
    this.#system = o.system;
    this.#volumes = o.volumes;
  }

  async open(shard: ShardId): Promise<StateMachine> {
    if (shard !== SYSTEM_SHARD) return this.#volumes.openShard(shard);
    const system = await SystemShard.open(this.#directory);
    const offer = (): void => {
      if (system.state.map !== undefined) this.#map.offer(system.state.map);
    };
    system.onApplied(offer);
    offer();
    this.#system.shard = system;
    return system;
  }

  async close(shard: ShardId): Promise<void> {
    if (shard !== SYSTEM_SHARD) return this.#volumes.closeShard(shard);
    await this.#system.shard?.close();
    delete this.#system.shard;
  }

  async remove(shard: ShardId): Promise<void> {
    if (shard !== SYSTEM_SHARD) return this.#volumes.removeShard(shard);
    await rm(this.#directory, { recursive: true, force: true });
  }
}
