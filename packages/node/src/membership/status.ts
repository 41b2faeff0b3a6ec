/** The state of the cluster as one answer: what is there, and what is wrong with the way out. */
import { votersFor } from '@holdfast/placement';
import type { ClusterMap, NodeNumber, NodeRecord, ShardId } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import type { StoreSpace } from '../chunks/room.ts';
import type { Core } from '../core.ts';
import type { RepairStatus } from '../repair/metrics.ts';
import { RPC } from '../rpc/messages.ts';
import type { RepositoryStatus } from './backup-jobs.ts';
import type { BackupStatus } from './backup-watch.ts';
import type { PeerSilence } from './liveness.ts';
import { type RestoreStatus, restoreStatuses } from './restore-status.ts';
import type { ScheduleStatus } from './snapshot-schedules.ts';

/** A shard as some member of it sees it; `leader` 0 when there is none. */
export interface ShardStatus {
  readonly shard: ShardId;
  readonly leader: NodeNumber | 0;
  readonly term: number;
  readonly commit: number;
  readonly applied: number;
  readonly members: readonly NodeNumber[];
}

/** Something an operator should know. */
export interface StatusReason {
  readonly code: string;
  readonly message: string;
  /** What to do next. */
  readonly fix: string;
}

/** What a peer says of itself. */
export interface PeerCondition {
  /** Of the cluster map that it has. */
  readonly epoch: number;
  readonly repair: RepairStatus;
  /** Of its chunk store. */
  readonly space: StoreSpace;
}

/** A peer with what is known of it now; what nobody could tell is absent. */
export interface PeerStatus extends NodeRecord, Partial<PeerCondition> {
  /** Milliseconds since its last sign of life to the leader of the system shard. */
  readonly silentMs?: number;
}

/** ok: all promises hold with all copies; warning: they hold; error: some operations fail. */
export type Health = 'ok' | 'warning' | 'error';

/** The whole of it. */
export interface ClusterStatus {
  readonly clusterId: string;
  readonly clusterName: string;
  readonly health: Health;
  readonly reasons: readonly StatusReason[];
  readonly epoch: number;
  /** The peer that answers. */
  readonly answeredBy: NodeNumber;
  readonly nodes: readonly PeerStatus[];
  readonly shards: readonly ShardStatus[];
  readonly partitions: { readonly settled: number; readonly moving: number };
  readonly volumes: number;
  /** Snapshot schedules, late ones first, the first of them; none while nobody leads. */
  readonly schedules: readonly ScheduleStatus[];
  /** Volumes that have a backup or should, overdue ones first, the first of them; none while nobody leads. */
  readonly backups: readonly BackupStatus[];
  /** Repositories known by name, the first of them; none while nobody leads. */
  readonly repositories: readonly RepositoryStatus[];
  /** Volumes that are being filled from a backup, failed ones first, the first of them; none while nobody leads. */
  readonly restores: readonly RestoreStatus[];
}

/** What {@link describeCluster} looks at. */
interface StatusInput {
  readonly clusterName: string;
  readonly self: NodeNumber;
  readonly map: ClusterMap;
  readonly nodes: readonly PeerStatus[];
  readonly shards: readonly ShardStatus[];
  readonly volumes: number;
  readonly schedules: readonly ScheduleStatus[];
  readonly backups: readonly BackupStatus[];
  readonly repositories: readonly RepositoryStatus[];
  readonly restores: readonly RestoreStatus[];
}

/** Makes the answer. */
export function describeCluster(input: StatusInput): ClusterStatus {
  const { map, nodes, shards } = input;
  const moving = map.partitions.filter((partition) => partition.previous !== undefined).length;
  const errors = leaderless(shards);
  const warnings = [
    ...absent(map),
    ...growing(map, shards),
    ...movingReasons(moving),
    ...thin(map),
    ...nodes.flatMap((node) => [...unrepaired(node), ...crowded(node)]),
    ...late(input.schedules),
    ...unbacked(input.backups),
    ...failing(input.backups, input.repositories),
    ...unfilled(input.restores),
  ];
  return {
    clusterId: map.clusterId,
    clusterName: input.clusterName,
    health: errors.length > 0 ? 'error' : warnings.length > 0 ? 'warning' : 'ok',
    reasons: [...errors, ...warnings],
    epoch: map.epoch,
    answeredBy: input.self,
    nodes,
    shards,
    partitions: { settled: map.partitions.length - moving, moving },
    volumes: input.volumes,
    schedules: input.schedules,
    backups: input.backups,
    repositories: input.repositories,
    restores: input.restores,
  };
}

function leaderless(shards: readonly ShardStatus[]): StatusReason[] {
  return shards
    .filter((shard) => shard.leader === 0)
    .map(({ shard, members }) => ({
      code: 'shard.leaderless',
      message: `shard ${shard} has no leader among its members ${members.join(', ')}`,
      fix: 'start the members that are down',
    }));
}

function absent(map: ClusterMap): StatusReason[] {
  return map.nodes
    .filter((node) => node.state !== 'up')
    .map((node) => ({
      code: `node.${node.state}`,
      message: `peer ${node.number} '${node.name}' is ${node.state}`,
      fix:
        node.state === 'draining'
          ? 'nothing: its data is being copied to others'
          : `start it with 'holdfast run' on ${node.name}`,
    }));
}

/** Shards that cannot lose as many peers as they should. */
function growing(map: ClusterMap, shards: readonly ShardStatus[]): StatusReason[] {
  const usable = map.nodes.filter((node) => node.state === 'up' || node.state === 'down').length;
  const wanted = votersFor(usable);
  return shards
    .filter((shard) => shard.leader !== 0 && shard.members.length < wanted)
    .map(({ shard, members }) => ({
      code: 'shard.growing',
      message: `shard ${shard} has ${members.length} of ${wanted} members yet`,
      fix: "nothing: it grows by itself when peers are up; 'holdfast node ls' shows which are not",
    }));
}

function movingReasons(moving: number): StatusReason[] {
  if (moving === 0) return [];
  return [
    {
      code: 'partitions.moving',
      message: `${moving} partitions are being copied to their new replicas`,
      fix: 'nothing: it ends by itself while peers have room',
    },
  ];
}

/** Fewer than three peers keep fewer copies than the default asks for. */
function thin(map: ClusterMap): StatusReason[] {
  const holders = map.nodes.filter((node) => node.weight > 0).length;
  if (holders >= 3) return [];
  return [
    {
      code: 'peers.few',
      message:
        holders === 2
          ? 'only two peers keep data: writes stop when one of them is lost'
          : 'only one peer keeps data: losing its disk loses everything',
      fix: "add peers with 'holdfast join TOKEN'",
    },
  ];
}

/** A peer whose copies are not all there. */
function unrepaired({ number, name, repair }: PeerStatus): StatusReason[] {
  if (repair === undefined || (repair.behindPartitions === 0 && repair.missingChunks === 0))
    return [];
  const { behindPartitions, missingChunks } = repair;
  return [
    {
      code: 'repair.behind',
      message: `peer ${number} '${name}' lacks copies: ${behindPartitions} partitions behind, ${missingChunks} chunks missing`,
      fix: 'nothing: repair fetches them while the peers that hold them are up',
    },
  ];
}

/** Room below both is worth a word: a share of what a peer has, and bytes. */
const FREE_SHARE_MIN = 0.05;
const FREE_BYTES_MIN = 5 * 2 ** 30;

function crowded({ number, name, space }: PeerStatus): StatusReason[] {
  if (space === undefined) return [];
  const { freeBytes, totalBytes } = space;
  if (freeBytes >= FREE_BYTES_MIN || freeBytes >= totalBytes * FREE_SHARE_MIN) return [];
  return [
    {
      code: 'space.low',
      message: `peer ${number} '${name}' has ${freeBytes} of ${totalBytes} bytes left for data`,
      fix: `remove files, add peers, or give ${name} more room (a larger disk or --capacity)`,
    },
  ];
}

/** Volumes that are told one by one. */
const VOLUMES_SHOWN = 8;

/** Schedules of which two runs were due and are not done. */
function late(schedules: readonly ScheduleStatus[]): readonly StatusReason[] {
  const code = 'schedule.late';
  const reasons = schedules
    .filter(({ isLate }) => isLate)
    .map(({ volume, madeAt, failure }) => ({
      code,
      message: `volume '${volume}' has had no scheduled snapshot ${madeAt === undefined ? 'at all' : `since ${madeAt}`} though two were due${failure === undefined ? '' : `: ${failure}`}`,
      fix: `see that its shard has a leader and its disks have room, then 'holdfast snapshot ls ${volume}'; it is tried again by itself`,
    }));
  return shortened(code, reasons);
}

/** Volumes whose last good backup is older than it should be. */
function unbacked(backups: readonly BackupStatus[]): StatusReason[] {
  const code = 'backup.overdue';
  const reasons = backups
    .filter(({ isOverdue }) => isOverdue)
    .map(({ volume, last }) => ({
      code,
      message: `volume '${volume}' has had no backup that succeeded ${last === undefined ? 'at all' : `since ${last.at}`}, longer than its backup period`,
      fix: `run 'holdfast backup create ${volume}' and see why the schedule or timer that should does not; 'holdfast backup period ${volume} none' ends the warning`,
    }));
  const found = backups.filter(({ verification }) => (verification?.problems ?? 0) > 0);
  const damaged = found.map(({ volume, last, verification }) => ({
    code: 'backup.damaged',
    message: `the backups of volume '${volume}' at ${last?.repository} have ${verification?.problems} problems, found at ${verification?.at}`,
    fix: "see 'holdfast backup verify'; 'holdfast backup repo repair' takes out what is lost, and the next backups send it again",
  }));
  return [...shortened(code, reasons), ...shortened('backup.damaged', damaged)];
}

/** Tries that failed one after the other before it is worth a word: a host that dies is one. */
const FAILURES_TOLD = 3;

/** Jobs that fail again and again. */
function failing(
  backups: readonly BackupStatus[],
  repositories: readonly RepositoryStatus[],
): readonly StatusReason[] {
  const code = 'backup.failing';
  const jobs = [
    ...backups.map(({ volume, job }) => ({ what: `the backup of volume '${volume}'`, job })),
    ...repositories.flatMap(({ name, prune, verify }) => [
      { what: `the prune of repository '${name}'`, job: prune },
      { what: `the verification of repository '${name}'`, job: verify },
    ]),
  ];
  const reasons = jobs.flatMap(({ what, job }) => {
    if (job === undefined || job.failures < FAILURES_TOLD) return [];
    const message = `${what} failed ${job.failures} times, the last time: ${job.failure ?? 'no reason is known'}`;
    return [{ code, message, fix: 'as the reason says; it is tried again by itself' }];
  });
  const damaged = repositories.flatMap(({ name, verification }) =>
    verification === undefined || verification.problems === 0
      ? []
      : [
          {
            code: 'backup.damaged',
            message: `repository '${name}' has ${verification.problems} problems, found at ${verification.at}`,
            fix: "see 'holdfast backup verify'; 'holdfast backup repo repair' takes out what is lost",
          },
        ],
  );
  return [...shortened(code, reasons), ...shortened('backup.damaged', damaged)];
}

/** Volumes that could not be filled from a backup. */
function unfilled(restores: readonly RestoreStatus[]): readonly StatusReason[] {
  const code = 'volume.restore-failed';
  const reasons = restores
    .filter(({ state }) => state === 'failed')
    .map(({ volume, from, trouble = 'nobody said why' }) => ({
      code,
      message: `volume '${volume}' could not be filled from ${from}: ${trouble}`,
      fix: `create it again with the same options to have it tried once more, or 'holdfast volume rm ${volume}'`,
    }));
  return shortened(code, reasons);
}

function shortened(code: string, reasons: readonly StatusReason[]): readonly StatusReason[] {
  if (reasons.length <= VOLUMES_SHOWN) return reasons;
  const message = `and ${reasons.length - VOLUMES_SHOWN} more volumes`;
  const fix = "see 'holdfast --json status'";
  return [...reasons.slice(0, VOLUMES_SHOWN), { code, message, fix }];
}

/** The shards with a replica here, as this replica sees them. */
export function shardStatuses({ host }: Pick<Core, 'host'>): readonly ShardStatus[] {
  return host.shards().flatMap((shard) => {
    const status = host.status(shard);
    if (status === undefined) return [];
    const { term, commit, applied, membership } = status;
    return [
      {
        shard,
        leader: host.leaderOf(shard),
        term,
        commit,
        applied,
        members: membership.voters as readonly NodeNumber[],
      },
    ];
  });
}

/** What a peer tells others of itself and of the shards that it holds. */
export interface PeerAnswer {
  readonly shards: readonly ShardStatus[];
  /** Volumes in the registry; absent where the system shard is not. */
  readonly volumes?: number;
  readonly condition?: PeerCondition;
  /** From the leader of the system shard only. */
  readonly silences?: readonly PeerSilence[];
  /** Likewise. */
  readonly schedules?: readonly ScheduleStatus[];
  /** Likewise. */
  readonly backups?: readonly BackupStatus[];
  /** Likewise. */
  readonly repositories?: readonly RepositoryStatus[];
  /** Likewise. */
  readonly restores?: readonly RestoreStatus[];
}

/** Where a peer's condition comes from. */
export interface ConditionSource {
  readonly repair: () => RepairStatus;
  readonly space: () => Promise<StoreSpace>;
  readonly silences: () => readonly PeerSilence[];
  readonly schedules: () => readonly ScheduleStatus[];
  readonly backups: () => readonly BackupStatus[];
  readonly repositories: () => readonly RepositoryStatus[];
}

/** Schedules, backups, and restores, told in one answer. */
const TOLD_MAX = 256;

/** {@link PeerAnswer} of this peer. */
export async function answerHere(
  core: Pick<Core, 'host' | 'map' | 'registry' | 'systemShard'>,
  source: ConditionSource,
): Promise<PeerAnswer> {
  const space = await source.space().catch(() => undefined); // a disk that fails: the rest still tells
  const volumes = core.systemShard()?.state.volumeCount;
  const epoch = core.map.current?.epoch ?? 0;
  return {
    shards: shardStatuses(core),
    ...(volumes === undefined ? {} : { volumes }),
    ...(space === undefined ? {} : { condition: { epoch, repair: source.repair(), space } }),
    ...(core.registry.isLeader
      ? {
          silences: source.silences(),
          schedules: source.schedules().slice(0, TOLD_MAX),
          backups: source.backups().slice(0, TOLD_MAX),
          repositories: source.repositories().slice(0, TOLD_MAX),
          restores: restoreStatuses(core.registry.applied().volumes).slice(0, TOLD_MAX),
        }
      : {}),
  };
}

/** Milliseconds that a peer has to tell how it is, and peers asked at a time. */
const ASK_MS_MAX = 1_000;
const ASKED_MAX = 32;

type Seen = Pick<Core, 'host' | 'map' | 'self' | 'identity' | 'registry' | 'systemShard' | 'peers'>;

/**
 * The cluster as this peer sees it, quorum or not; of what it does not hold itself, as the peers that
 * are up tell. Throws NO_QUORUM before it has seen any map.
 */
export async function clusterStatus(core: Seen, source: ConditionSource): Promise<ClusterStatus> {
  const map = core.map.current;
  if (map === undefined) {
    throw new HoldfastError('NO_QUORUM', 'this peer has no map of the cluster yet');
  }
  const answers = await askAll(core, source);
  const known = new Map<ShardId, ShardStatus>();
  // This peer's own word first.
  for (const { shards } of answers.values()) {
    for (const status of shards) if (!known.has(status.shard)) known.set(status.shard, status);
  }
  for (const { shard, members } of map.shards) {
    if (!known.has(shard))
      known.set(shard, { shard, leader: 0, term: 0, commit: 0, applied: 0, members });
  }
  const told = [...answers.values()];
  return describeCluster({
    clusterName: core.identity.clusterName,
    self: core.self,
    map,
    nodes: peerStatuses(map, answers),
    shards: [...known.values()].sort((a, b) => a.shard - b.shard),
    volumes: told.find((answer) => answer.volumes !== undefined)?.volumes ?? 0,
    schedules: told.find((answer) => answer.schedules !== undefined)?.schedules ?? [],
    backups: told.find((answer) => answer.backups !== undefined)?.backups ?? [],
    repositories: told.find((answer) => answer.repositories !== undefined)?.repositories ?? [],
    restores: told.find((answer) => answer.restores !== undefined)?.restores ?? [],
  });
}

/** Adds what was told to what the map says. */
function peerStatuses(
  map: ClusterMap,
  answers: ReadonlyMap<NodeNumber, PeerAnswer>,
): readonly PeerStatus[] {
  const silences = [...answers.values()].find((answer) => answer.silences)?.silences ?? [];
  return map.nodes.map((node) => {
    const silence = silences.find((known) => known.node === node.number);
    return {
      ...node,
      ...answers.get(node.number)?.condition,
      ...(silence === undefined ? {} : { silentMs: silence.silentMs }),
    };
  });
}

async function askAll(
  core: Seen,
  source: ConditionSource,
): Promise<ReadonlyMap<NodeNumber, PeerAnswer>> {
  const answers = new Map([[core.self, await answerHere(core, source)]]);
  const others = (core.map.current?.nodes ?? []).filter(
    ({ number, state }) => number !== core.self && (state === 'up' || state === 'draining'),
  );
  for (let first = 0; first < others.length; first += ASKED_MAX) {
    const asked = others.slice(first, first + ASKED_MAX).map(async ({ number }) => {
      const answer = await ask(core, number);
      if (answer !== undefined) answers.set(number, answer);
    });
    await Promise.all(asked);
  }
  return answers;
}

async function ask({ peers }: Seen, node: NodeNumber): Promise<PeerAnswer | undefined> {
  try {
    return await peers.to(node).call<PeerAnswer>(RPC.shards, {}, { deadlineMs: ASK_MS_MAX });
  } catch {
    return undefined; // what it holds alone shows no leader, what it has no figures
  }
}

/** Entries that a replica may lag behind and still count as caught up. */
const LAG_ENTRIES_MAX = 1_000;

/** Why this peer cannot do its work now; empty when it can. */
export function notReady(
  core: Pick<Core, 'host' | 'map'>,
  isHeard: boolean,
): readonly StatusReason[] {
  const reasons: StatusReason[] = [];
  if (core.map.current === undefined)
    reasons.push({
      code: 'map.absent',
      message: 'no map of the cluster has been seen yet',
      fix: 'start the other peers, or look at the firewall between them',
    });
  if (!isHeard)
    reasons.push({
      code: 'cluster.silent',
      message: 'the leader of the system shard does not answer',
      fix: 'start peers until more than half run, or look at the firewall between them',
    });
  for (const { shard, leader, commit, applied } of shardStatuses(core)) {
    if (leader === 0)
      reasons.push({
        code: 'shard.leaderless',
        message: `shard ${shard} has no leader`,
        fix: 'start the members that are down',
      });
    else if (commit - applied > LAG_ENTRIES_MAX) {
      reasons.push({
        code: 'shard.behind',
        message: `shard ${shard} has ${commit - applied} entries to apply`,
        fix: 'nothing: it catches up by itself',
      });
    }
  }
  return reasons;
}
