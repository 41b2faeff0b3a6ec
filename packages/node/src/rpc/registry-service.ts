/** The registry as the framed protocol serves it: to clients, and to peers on behalf of theirs. */
import { checkVolumeName, type RegistryCommand } from '@holdfast/placement';
import {
  type ClusterMap,
  HoldfastError,
  type JobName,
  type RunReport,
  type VolumeNumber,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { PeerIdentity, WireConnection, WireHandler, WireServer } from '@holdfast/wire';
import { z } from 'zod';
import type { BackupJobs } from '../membership/backup-jobs.ts';
import type { MapCache } from '../membership/map-cache.ts';
import type { Registry } from '../membership/registry.ts';
import type { VolumeSnapshots } from '../membership/snapshots.ts';
import type { ClusterStatus } from '../membership/status.ts';
import type { VolumeBeginning, VolumeLifecycle } from '../membership/volumes.ts';
import { type RegisterMethod, serveRestores } from './restore-service.ts';

/** What the methods work on. */
export interface RegistryServiceOptions {
  readonly registry: Registry;
  readonly map: MapCache;
  readonly volumes: VolumeLifecycle;
  readonly snapshots: VolumeSnapshots;
  readonly jobs: BackupJobs;
  readonly status: () => Promise<ClusterStatus>;
}

const EVERYONE = ['node', 'client', 'admin'] as const;
/** Who is given what opens repositories. */
const TRUSTED = ['node', 'admin'] as const;
const POLICY = z
  .strictObject({
    replicas: z.number(),
    minReplicas: z.number(),
    quotaBytes: z.number(),
    quotaInodes: z.number(),
    uid: z.number(),
    gid: z.number(),
    mode: z.number(),
    snapshotSchedule: z.string(),
    snapshotKeep: z.string(),
    backupPeriodMs: z.number(),
    backupSchedule: z.string(),
    backupRepository: z.string(),
    backupKeep: z.string(),
  })
  .partial();
const NAMED = z.object({ name: z.string() });
const RESTORE = z.strictObject({
  source: z.strictObject({ repository: z.string(), volume: z.string(), backup: z.string() }),
  withPolicy: z.boolean(),
});
const CREATE = NAMED.extend({
  policy: POLICY,
  from: z.string().optional(),
  restore: RESTORE.optional(),
  shard: z.number().optional(),
});
const REMOVE = z.object({ name: z.string(), force: z.boolean() });
const ATTACH = z.object({ name: z.string(), host: z.string() });
const OF_VOLUME = z.object({ volume: z.string() });
const SNAPSHOT = z.object({ volume: z.string(), name: z.string() });
const NEW_SNAPSHOT = z.object({
  volume: z.string(),
  name: z.string().optional(),
  timeNs: z.bigint(),
  origin: z.string().max(128).optional(),
  byFiller: z.boolean().optional(),
});
const ROLLBACK = SNAPSHOT.extend({
  force: z.boolean(),
  timeNs: z.bigint(),
  byFiller: z.boolean().optional(),
});
const BACKUP = z.object({
  volume: z.number(),
  backup: z.strictObject({
    id: z.string(),
    at: z.string(),
    repository: z.string(),
    files: z.number(),
    bytes: z.number(),
    bytesRead: z.number(),
    bytesSent: z.number(),
    tookMs: z.number(),
  }),
});
const VERIFICATION = z.object({
  repository: z.string(),
  verification: z.strictObject({ at: z.string(), readShare: z.number(), problems: z.number() }),
});
const JOB = z.union([
  z.strictObject({ kind: z.literal('backup'), volume: z.number() }),
  z.strictObject({ kind: z.enum(['prune', 'verify']), repository: z.string() }),
]);
const WORKER = z.string().max(64);
const PROGRESS = z.strictObject({
  files: z.number(),
  bytes: z.number(),
  bytesExpected: z.number().optional(),
});
const TAKE = z.object({ worker: WORKER, host: z.string(), running: z.array(z.string()).max(64) });
const RENEW = z.object({
  worker: WORKER,
  reports: z
    .array(z.strictObject({ job: JOB, due: z.string(), progress: PROGRESS.optional() }))
    .max(64),
});
const END = z.object({
  worker: WORKER,
  job: JOB,
  due: z.string(),
  failure: z.string().optional(),
  waits: z.boolean().optional(),
});
const SINCE = z.object({ sinceEpoch: z.number() });

/** Adds the methods `registry.*`; also tells every connection of newer maps by the notice `map.epoch`. */
export function serveRegistry(server: WireServer, options: RegistryServiceOptions): void {
  const { registry, map, volumes } = options;
  const on: RegisterMethod = (method, schema, work) =>
    server.handle(method, EVERYONE, answering(schema, work));
  server.handle('registry.execute', ['node'], async ({ header }) => ({
    header: await registry.executeHere((header as { command: RegistryCommand }).command),
  }));
  on('registry.map', SINCE, async ({ sinceEpoch }) => newerMap(map, sinceEpoch));
  on('registry.volumes', z.unknown(), () => registry.viewHere({ view: 'volumes' }));
  on('registry.volume', NAMED, ({ name }) => registry.viewHere({ view: 'volume', name }));
  on('registry.volume-create', CREATE, ({ name, policy, ...beginning }) => {
    registry.assertLeader();
    return created(volumes, name, { policy: policy as Partial<VolumePolicy>, beginning });
  });
  on('registry.volume-remove', REMOVE, async ({ name, force }) => {
    registry.assertLeader();
    await volumes.remove(name, force);
    return {};
  });
  on('registry.volume-attach', ATTACH, async ({ name, host }, peer) => {
    checkActsFor(peer, host);
    registry.assertLeader();
    return { volume: (await registry.execute({ op: 'attach', name, host })).volume };
  });
  on('registry.volume-detach', ATTACH, async ({ name, host }, peer) => {
    checkActsFor(peer, host);
    registry.assertLeader();
    return { volume: (await registry.execute({ op: 'detach', name, host })).volume };
  });
  on('registry.status', z.unknown(), options.status);
  serveSnapshots(on, options);
  serveBackups(on, registry);
  serveRestores(on, {
    registry,
    volumes,
    policy: POLICY as z.ZodType<Partial<VolumePolicy>>,
    checkActsFor,
  });
  const onTrusted: RegisterMethod = (method, schema, work) =>
    server.handle(method, TRUSTED, answering(schema, work));
  serveJobs(onTrusted, options);
  map.onChange((newer) => announce(server.connections, newer));
}

/** A host without a peer tells of its own use of volumes only; another's is released by an administrator. */
function checkActsFor(peer: PeerIdentity, host: string): void {
  if (peer.role !== 'client' || peer.name === host) return;
  throw new HoldfastError(
    'FORBIDDEN',
    `the certificate of '${peer.name}' does not speak for host '${host}'; see 'holdfast volume release'`,
  );
}

function serveSnapshots(on: RegisterMethod, { registry, snapshots }: RegistryServiceOptions): void {
  on('registry.snapshot-create', NEW_SNAPSHOT, async ({ volume, name, ...wishes }) => {
    registry.assertLeader();
    return { snapshot: await snapshots.create(volume, name, wishes) };
  });
  on('registry.snapshots', OF_VOLUME, async ({ volume }) => {
    registry.assertLeader();
    return { snapshots: await snapshots.list(volume) };
  });
  on('registry.snapshot-measure', SNAPSHOT, async ({ volume, name }) => {
    registry.assertLeader();
    return { snapshot: await snapshots.measure(volume, name) };
  });
  on('registry.snapshot-rollback', ROLLBACK, async ({ volume, name, ...wishes }) => {
    registry.assertLeader();
    return { snapshot: await snapshots.rollBack(volume, name, wishes) };
  });
  on('registry.snapshot-remove', SNAPSHOT, async ({ volume, name }) => {
    registry.assertLeader();
    return { snapshot: await snapshots.remove(volume, name) };
  });
}

/** Backups are made by clients; what they tell of them is noted. */
function serveBackups(on: RegisterMethod, registry: Registry): void {
  on('registry.backup-note', BACKUP, async ({ volume, backup }) => {
    registry.assertLeader();
    await registry.execute({ op: 'note-backup', volume: volume as VolumeNumber, backup });
    return {};
  });
  on('registry.repositories', z.unknown(), () => registry.viewHere({ view: 'repositories' }));
  on('registry.verification-note', VERIFICATION, async ({ repository, verification }) => {
    registry.assertLeader();
    await registry.execute({ op: 'note-verification', repository, verification });
    return {};
  });
}

/** What opens repositories, and the runs of schedules that work with them. */
function serveJobs(on: RegisterMethod, { registry, jobs }: RegistryServiceOptions): void {
  on('registry.repository-access', NAMED, async ({ name }) => {
    const access = (await registry.read()).repositoryAccess(name);
    return access === undefined ? {} : { access };
  });
  on('registry.job-take', TAKE, async ({ worker, host, running }) => {
    const order = await jobs.take(worker, host, running);
    return order === undefined ? {} : { order };
  });
  on('registry.job-renew', RENEW, async ({ worker, reports }) => ({
    lost: await jobs.renew(worker, reports as readonly RunReport[]),
  }));
  on('registry.job-end', END, async ({ worker, job, due, ...why }) => {
    await jobs.end(worker, { job: job as JobName, due }, why);
    return {};
  });
}

function answering<T>(
  schema: z.ZodType<T>,
  work: (header: T, peer: PeerIdentity) => Promise<unknown>,
): WireHandler {
  return async ({ header, method, peer }) => {
    const parsed = schema.safeParse(header);
    if (!parsed.success) {
      throw new HoldfastError('BAD_REQUEST', `${method}: ${z.prettifyError(parsed.error)}`);
    }
    return { header: await work(parsed.data, peer) };
  };
}

async function created(
  volumes: VolumeLifecycle,
  name: string,
  {
    policy,
    beginning,
  }: { readonly policy: Partial<VolumePolicy>; readonly beginning: VolumeBeginning },
): Promise<{ volume: VolumeRecord }> {
  // Before it costs a log entry.
  const wrong = checkVolumeName(name);
  if (wrong !== undefined)
    throw new HoldfastError(name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL', wrong);
  return { volume: await volumes.create(name, policy, beginning) };
}

function newerMap(map: MapCache, sinceEpoch: number): { map?: ClusterMap } {
  const current = map.current;
  return current !== undefined && current.epoch > sinceEpoch ? { map: current } : {};
}

function announce(connections: Iterable<WireConnection>, map: ClusterMap): void {
  for (const connection of connections) connection.notify('map.epoch', { epoch: map.epoch });
}
