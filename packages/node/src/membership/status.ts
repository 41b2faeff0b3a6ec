/** The state of the cluster as one answer: what is there, and what is wrong with the way out. */
import { votersFor } from '@holdfast/placement';
import type { ClusterMap, NodeNumber, NodeRecord, ShardId } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import type { Core } from '../core.ts';
import { RPC } from '../rpc/messages.ts';

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
  readonly fix?: string;
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
  readonly nodes: readonly NodeRecord[];
  readonly shards: readonly ShardStatus[];
  readonly partitions: { readonly settled: number; readonly moving: number };
  readonly volumes: number;
}

/** What {@link describeCluster} looks at. */
interface StatusInput {
  readonly clusterName: string;
  readonly self: NodeNumber;
  readonly map: ClusterMap;
  readonly shards: readonly ShardStatus[];
  readonly volumes: number;
}

/** Makes the answer. */
function describeCluster(input: StatusInput): ClusterStatus {
  const { map, shards } = input;
  const moving = map.partitions.filter((partition) => partition.previous !== undefined).length;
  const errors = leaderless(shards);
  const warnings = [
    ...absent(map),
    ...growing(map, shards),
    ...movingReasons(moving),
    ...thin(map),
  ];
  return {
    clusterId: map.clusterId,
    clusterName: input.clusterName,
    health: errors.length > 0 ? 'error' : warnings.length > 0 ? 'warning' : 'ok',
    reasons: [...errors, ...warnings],
    epoch: map.epoch,
    answeredBy: input.self,
    nodes: map.nodes,
    shards,
    partitions: { settled: map.partitions.length - moving, moving },
    volumes: input.volumes,
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
      ...(node.state === 'draining' ? {} : { fix: `start it with 'holdfast run' on ${node.name}` }),
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
    }));
}

function movingReasons(moving: number): StatusReason[] {
  if (moving === 0) return [];
  return [
    {
      code: 'partitions.moving',
      message: `${moving} partitions are being copied to their new replicas`,
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

/** What a peer tells others of the shards that it holds. */
export interface ShardsAnswer {
  readonly shards: readonly ShardStatus[];
  /** Volumes in the registry; absent where the system shard is not. */
  readonly volumes?: number;
}

/** {@link ShardsAnswer} of this peer. */
export function shardsHere(core: Pick<Core, 'host' | 'systemShard'>): ShardsAnswer {
  const volumes = core.systemShard()?.state.volumeCount;
  return { shards: shardStatuses(core), ...(volumes === undefined ? {} : { volumes }) };
}

/** Milliseconds that a member of a shard has to tell how it stands. */
const ASK_MS_MAX = 1_000;

type Seen = Pick<Core, 'host' | 'map' | 'self' | 'identity' | 'systemShard' | 'peers'>;

/**
 * The cluster as this peer sees it, quorum or not; of shards that it does not hold, as a member of
 * them that answers. Throws NO_QUORUM before it has seen any map.
 */
export async function clusterStatus(core: Seen): Promise<ClusterStatus> {
  const map = core.map.current;
  if (map === undefined) {
    throw new HoldfastError('NO_QUORUM', 'this peer has no map of the cluster yet');
  }
  const own = shardsHere(core);
  const known = new Map(own.shards.map((status) => [status.shard, status]));
  let { volumes } = own;
  for (const { shard, members } of map.shards) {
    for (const member of members) {
      if (known.has(shard)) break;
      const answer = await askShards(core, member);
      volumes ??= answer?.volumes;
      for (const status of answer?.shards ?? []) {
        if (!known.has(status.shard)) known.set(status.shard, status);
      }
    }
    if (!known.has(shard))
      known.set(shard, { shard, leader: 0, term: 0, commit: 0, applied: 0, members });
  }
  const shards = [...known.values()].sort((a, b) => a.shard - b.shard);
  const { self } = core;
  return describeCluster({
    clusterName: core.identity.clusterName,
    self,
    map,
    shards,
    volumes: volumes ?? 0,
  });
}

async function askShards(
  { peers, map }: Seen,
  member: NodeNumber,
): Promise<ShardsAnswer | undefined> {
  if (map.node(member)?.state !== 'up') return undefined;
  try {
    return await peers.to(member).call<ShardsAnswer>(RPC.shards, {}, { deadlineMs: ASK_MS_MAX });
  } catch {
    return undefined; // another member may answer; if none does, the shard shows no leader
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
    reasons.push({ code: 'map.absent', message: 'no map of the cluster has been seen yet' });
  if (!isHeard)
    reasons.push({
      code: 'cluster.silent',
      message: 'the leader of the system shard does not answer',
    });
  for (const { shard, leader, commit, applied } of shardStatuses(core)) {
    if (leader === 0)
      reasons.push({ code: 'shard.leaderless', message: `shard ${shard} has no leader` });
    else if (commit - applied > LAG_ENTRIES_MAX) {
      reasons.push({
        code: 'shard.behind',
        message: `shard ${shard} has ${commit - applied} entries to apply`,
      });
    }
  }
  return reasons;
}
