/** The peer: its parts started in order, and stopped in the reverse order. */
import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  HoldfastError,
  type NodeNumber,
  type NodeRecord,
  type ShardId,
  SYSTEM_SHARD,
} from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import type { NodeConfig } from './config.ts';
import { buildCore, type Core, type PeerIdentityFiles } from './core.ts';
import { listenProbes } from './http/probes.ts';
import type { AdminOperations } from './http/routes.ts';
import { listenSocket, listenTls } from './http/server.ts';
import { multiaddrHost, PORT_OFFSETS, splitAddress } from './membership/addresses.ts';
import { BackupJobs } from './membership/backup-jobs.ts';
import { BackupWatch } from './membership/backup-watch.ts';
import { authoritySecret, certificateDigest } from './membership/certificates.ts';
import { Controller } from './membership/controller.ts';
import { DATA_NAMES, inspectDirectory, lockDirectory } from './membership/data-directory.ts';
import { type Discovery, EventualDiscovery, LAST_KNOWN_ADDRESSES } from './membership/discovery.ts';
import { found } from './membership/founding.ts';
import { Heartbeat } from './membership/heartbeat.ts';
import { hasStarted, markStarted, type PeerSettings, readIdentity } from './membership/identity.ts';
import { factsOf } from './membership/join.ts';
import { Liveness } from './membership/liveness.ts';
import { renewPeer } from './membership/renewal.ts';
import { SnapshotSchedules } from './membership/snapshot-schedules.ts';
import {
  answerHere,
  type ClusterStatus,
  clusterStatus,
  notReady,
  shardStatuses,
} from './membership/status.ts';
import { createToken } from './membership/tokens.ts';
import { openChunks } from './repair/start.ts';
import { serveMembership } from './rpc/membership-service.ts';
import { serveRegistry } from './rpc/registry-service.ts';
import { serveShards } from './rpc/shard-service.ts';
import { Teardown } from './teardown.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { observeNode } from './telemetry/metrics.ts';
import { withDeadline } from './waiting.ts';

/** Milliseconds between looks at our own certificate. */
const RENEWAL_LOOK_MS = 3_600_000;
/** Milliseconds between attempts to reach the peers of the map for discovery; those connected are not dialed again. */
const MEET_MS = 30_000;
/** Milliseconds that a stop waits for leadership to be taken over. */
const HAND_OVER_MS_MAX = 3_000;

/** A peer that runs. */
export interface RunningNode {
  readonly clusterId: string;
  readonly node: NodeNumber;
  readonly name: string;
  readonly core: Core;
  /** Resolves with the reason when the peer can no longer run; it must then be closed, and started anew. */
  readonly failed: Promise<unknown>;
  /** Stops in order: leadership is handed over, calls in flight end, everything is on disk. */
  close(): Promise<void>;
}

/**
 * Starts the peer of a data directory made by initCluster or joinCluster. Resolves when it serves;
 * the cluster may still be without a quorum. Throws NOT_FOUND, BAD_CONFIG, DIRECTORY_IN_USE,
 * NEWER_FORMAT, CORRUPT, PORT_IN_USE; then nothing runs and data is as it was.
 */
export async function startNode(
  config: NodeConfig,
  o: { readonly log?: Log } = {},
): Promise<RunningNode> {
  const log = o.log ?? createLog(config.logLevel);
  const teardown = new Teardown(log);
  const { promise: failed, resolve: fail } = Promise.withResolvers<unknown>();
  const onFatal = (error: unknown): void => {
    log.error({ event: 'node.failed', error });
    fail(error);
  };
  const stopper = new AbortController();
  const { signal: stopping } = stopper;
  // Everyone who waits for a quorum listens: as many as there are calls in flight.
  setMaxListeners(0, stopping);
  try {
    const { identity, settings } = await openDirectory(config, teardown);
    const core = await buildCore({ config, identity, settings, log, teardown, stopping, onFatal });
    await serve(core);
    const { clusterId, name, node } = identity;
    log.info({ event: 'node.started', clusterId, node, name, ports: core.ports });
    return { clusterId, node, name, core, failed, close: () => stop(core, stopper) };
  } catch (error) {
    stopper.abort();
    await teardown.unwind();
    throw error;
  }
}

async function stop(core: Core, stopper: AbortController): Promise<void> {
  core.log.info({ event: 'node.stopping' });
  try {
    await withDeadline('handing leadership over', HAND_OVER_MS_MAX, () => core.groups.handOver());
  } catch (error) {
    core.log.debug({ event: 'leadership.kept', error });
  }
  stopper.abort();
  await core.teardown.unwind();
  core.log.info({ event: 'node.stopped' });
}

async function openDirectory(
  config: NodeConfig,
  teardown: Teardown,
): Promise<{ identity: PeerIdentityFiles; settings: PeerSettings }> {
  const { dataDirectory } = config;
  if ((await inspectDirectory(dataDirectory)) !== 'ours') throw noCluster(dataDirectory);
  const lock = await lockDirectory(dataDirectory);
  teardown.add('lock', () => lock.release());
  const identity = await readIdentity(dataDirectory);
  if (identity === undefined) throw noCluster(dataDirectory);
  const { node, incarnation, authority, settings, role, name } = identity;
  if (
    role !== 'node' ||
    settings === undefined ||
    node === undefined ||
    incarnation === undefined ||
    authority === undefined
  ) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `this host joined as ${role}: it keeps no data; mount the namespace with 'holdfast mount', or join again as a peer in another --data`,
    );
  }
  if (config.name !== undefined && config.name !== name) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `the peer in ${dataDirectory} is named '${name}', not '${config.name}'; correct --name (HOLDFAST_NAME)`,
    );
  }
  if (hasStarted(dataDirectory) && !existsSync(join(dataDirectory, DATA_NAMES.log))) {
    // Coming back without its log under its old name, it could vote twice and forget what it acknowledged.
    throw new HoldfastError(
      'CORRUPT',
      `the log of this peer (${join(dataDirectory, DATA_NAMES.log)}) is gone; empty ${dataDirectory} and join the cluster again`,
    );
  }
  return {
    identity: { ...identity, node, incarnation, authority },
    settings: { ...settings, ...config.overrides },
  };
}

function noCluster(dataDirectory: string): HoldfastError {
  return new HoldfastError(
    'NOT_FOUND',
    `there is no cluster in ${dataDirectory}; run 'holdfast init' or 'holdfast join TOKEN'`,
  );
}

async function serve(core: Core): Promise<void> {
  const { registry, map, rpc, wire, teardown, volumes, identity, config, self } = core;
  const { clusterId, clusterName, authority } = identity;
  const liveness = new Liveness({
    downAfterMs: config.downAfterMs,
    outAfterMs: config.outAfterMs,
    now: () => performance.now(),
    node: (number) => map.node(number),
    execute: (change) => registry.execute(change),
  });
  serveMembership(rpc, { clusterId, clusterName, authority, registry, map, liveness });
  const { store, repair, orphans } = await openChunks(core);
  const schedules = new SnapshotSchedules({ ...core, now: Date.now });
  const clock = (): number => performance.now();
  const jobs = new BackupJobs({ ...core, now: Date.now, clock });
  const backups = new BackupWatch({ ...core, now: Date.now, jobs });
  const source = {
    repair: () => repair.status(),
    space: () => store.space(),
    silences: () => liveness.silences(),
    schedules: () => schedules.status(),
    backups: () => backups.status(),
    repositories: () => jobs.repositories(),
  };
  const status = (): Promise<ClusterStatus> => clusterStatus(core, source);
  serveShards(rpc, core.shardCalls, () => answerHere(core, source));
  serveRegistry(wire, { registry, map, volumes, snapshots: core.snapshots, jobs, status });
  await rpc.listen();
  teardown.add('grpc', () => rpc.close());
  await markStarted(config.dataDirectory);
  await openShards(core);
  await wire.listen();
  teardown.add('wire', () => wire.close());
  map.onChange(() => wire.dropRevoked());
  repair.start();
  orphans.start();
  const discovery = beginDiscovery(core);
  const heartbeat = beginHeartbeat(core, liveness, discovery);
  const controller = new Controller({
    registry,
    liveness,
    groups: core.groups,
    volumes,
    log: core.log,
  });
  controller.start();
  teardown.add('controller', () => controller.close());
  schedules.start();
  teardown.add('schedules', () => schedules.close());
  jobs.start();
  teardown.add('jobs', () => jobs.close());
  const operations = adminOperations(core, { heartbeat, status });
  observeNode(core.metrics, {
    map: () => map.current,
    shards: () => shardStatuses(core),
    volumes: () => core.systemShard()?.state.volumeCount ?? 0,
    isHeard: () => heartbeat.isHeard,
  });
  const renew = await listenAdmin(core, operations);
  keepCertificate(core, renew);
  if (identity.founding !== undefined) {
    await found(
      config.dataDirectory,
      identity,
      factsOf(identity.name, core.settings, identity.incarnation),
      registry,
    );
    core.log.info({ event: 'cluster.founded', clusterId, node: self });
  }
}

/** Shards that the log knows take part at once; a new cluster's begin with this peer alone. */
async function openShards({ groups, wal, map, identity, self }: Core): Promise<void> {
  if (identity.founding !== undefined) {
    for (
      let shard = SYSTEM_SHARD;
      shard <= identity.founding.volumeShards;
      shard = (shard + 1) as ShardId
    ) {
      await groups.open(shard, [self]);
    }
    return;
  }
  for (const shard of [...wal.groups.keys()].sort((a, b) => a - b))
    await groups.open(shard as ShardId, 'join');
  for (const { shard, members } of map.current?.shards ?? []) {
    if (members.includes(self)) await groups.open(shard, 'join');
  }
}

function beginHeartbeat(core: Core, liveness: Liveness, discovery: Discovery): Heartbeat {
  const { self, registry, peers, map, log, identity, settings } = core;
  const { name: _, ...sign } = factsOf(identity.name, settings, identity.incarnation);
  const heartbeat = new Heartbeat({
    self,
    registry,
    peers,
    map,
    log,
    downAfterMs: core.config.downAfterMs,
    facts: () => ({ ...sign, discoveryAddress: discovery.address }),
    heardHere: async (facts) => {
      // A new cluster's first peer leads before there is a map to be in.
      if (registry.isLeader && map.current !== undefined) await liveness.heard(self, facts);
    },
    search: () => searchPeers(core, discovery),
  });
  heartbeat.start();
  core.teardown.add('heartbeat', () => heartbeat.close());
  return heartbeat;
}

/** Begun behind everything else: a peer works without it. */
function beginDiscovery(core: Core): Discovery {
  const { config, identity, settings, ports, map, log, self } = core;
  if (!config.discovery) return LAST_KNOWN_ADDRESSES;
  const options = {
    self,
    log,
    clusterId: identity.clusterId,
    secret: authoritySecret(identity.authority, 'discovery'),
    tls: () => identity.tls,
    isRevoked: (serial: string) => map.isRevoked(serial),
    directory: join(config.dataDirectory, DATA_NAMES.discovery),
    bind: config.bind,
    port: ports.discovery,
    address: settings.address,
  };
  const discovery = new EventualDiscovery(
    async () => (await import('./membership/kad-discovery.ts')).startKadDiscovery(options),
    (error) => log.warn({ event: 'discovery.absent', error }),
  );
  core.teardown.add('discovery', () => discovery.close());
  const { grpcAddress, wireAddress, adminAddress } = factsOf(
    identity.name,
    settings,
    identity.incarnation,
  );
  discovery.publish({ grpcAddress, wireAddress, adminAddress });
  const meet = (): void => {
    const others = (map.current?.nodes ?? []).filter(({ number }) => number !== identity.node);
    discovery.meet(others.map((node) => node.discoveryAddress || likelyDiscovery(node)));
  };
  meet();
  map.onChange(meet);
  const timer = setInterval(meet, MEET_MS);
  core.teardown.add('discovery timer', () => clearInterval(timer));
  return discovery;
}

/** Where a peer listens for others if it has taken the usual ports: it has not said so yet. */
function likelyDiscovery({ grpcAddress }: NodeRecord): string {
  const { host, port } = splitAddress(grpcAddress);
  return `${multiaddrHost(host)}/tcp/${port - PORT_OFFSETS.grpc + PORT_OFFSETS.discovery}`;
}

/** Asks where the members of the system shard are: one of them that answers is enough. */
async function searchPeers({ map, book, self, log }: Core, discovery: Discovery): Promise<void> {
  const members = map.current?.shards.find(({ shard }) => shard === SYSTEM_SHARD)?.members ?? [];
  const others = members.filter((other) => other !== self);
  // At once: nobody's turn waits for one that nobody can find.
  await Promise.all(
    others.map(async (member) => {
      const addresses = await discovery.find(member);
      if (addresses !== undefined && book.note(member, addresses))
        log.info({ event: 'discovery.found', node: member, ...addresses });
    }),
  );
}

function adminOperations(
  core: Core,
  o: { readonly heartbeat: Heartbeat; readonly status: () => Promise<ClusterStatus> },
): AdminOperations {
  const { registry, volumes, snapshots, map, identity } = core;
  const digest = certificateDigest(identity.authority.cert);
  return {
    registry,
    volumes,
    snapshots,
    status: o.status,
    map: () => {
      if (map.current === undefined)
        throw new HoldfastError('NO_QUORUM', 'this peer has no map of the cluster yet');
      return map.current;
    },
    createToken: async (role, expiresAt) => {
      const { text, record } = createToken(digest, role, expiresAt);
      const { token } = await registry.execute({ op: 'create-token', token: record });
      return { token: text, record: token ?? { ...record, revoked: false, createdAt: '' } };
    },
    metrics: core.metrics,
    notReady: () => notReady(core, o.heartbeat.isHeard),
  };
}

/** The answer puts a renewed certificate in use. */
async function listenAdmin(
  core: Core,
  operations: AdminOperations,
): Promise<(tls: TlsMaterial) => void> {
  const { config, identity, ports, map, teardown } = core;
  const { tls, clusterId } = identity;
  const access = { tls, clusterId, isRevoked: (serial: string) => map.isRevoked(serial) };
  const admin = await listenTls(operations, access, { host: config.bind, port: ports.admin });
  teardown.add('admin', () => admin.close());
  const socket = await listenSocket(operations, config.adminSocket);
  teardown.add('admin socket', () => socket.close());
  const probes = await listenProbes(operations, { host: config.probeBind, port: ports.probe });
  teardown.add('probes', () => probes.close());
  return admin.renew;
}

function keepCertificate(core: Core, renewAdmin: (tls: TlsMaterial) => void): void {
  const { config, identity, registry, log, rpc, wire, peers, transport } = core;
  const look = async (): Promise<void> => {
    const tls = await renewPeer(config.dataDirectory, identity, registry, Date.now());
    if (tls === undefined) return;
    Object.assign(identity, { tls });
    rpc.renew(tls);
    wire.renew(tls);
    peers.renew(tls);
    renewAdmin(tls);
    transport.reconnect();
    log.info({ event: 'certificate.renewed' });
  };
  const tick = (): void => {
    look().catch((error: unknown) => log.warn({ event: 'certificate.unrenewed', error }));
  };
  const timer = setInterval(tick, RENEWAL_LOOK_MS);
  tick();
  core.teardown.add('renewal', () => clearInterval(timer));
}
