/** Metrics of membership and of the shards. */
import type { ClusterMap, NodeState } from '@holdfast/protocol';
import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client';
import type { ShardStatus } from '../membership/status.ts';

/** Where the figures come from; asked at each scrape. */
export interface MetricSource {
  readonly map: () => ClusterMap | undefined;
  /** Shards with a replica here. */
  readonly shards: () => readonly ShardStatus[];
  readonly volumes: () => number;
  readonly isHeard: () => boolean;
}

const STATES: readonly NodeState[] = ['up', 'down', 'draining', 'out'];

/** Registers them, with those of the process. */
export function observeNode(registry: Registry, source: MetricSource): void {
  collectDefaultMetrics({ register: registry });
  const gauge = (
    name: string,
    help: string,
    collect: (set: Set) => void,
    labelNames: string[] = [],
  ): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        collect((labels, value) => this.set(labels, value));
      },
    });
  };
  gauge('holdfast_membership_epoch', 'Epoch of the cluster map that this peer has', (set) =>
    set({}, source.map()?.epoch ?? 0),
  );
  gauge(
    'holdfast_membership_heard',
    '1 while the leader of the system shard answers this peer',
    (set) => set({}, source.isHeard() ? 1 : 0),
  );
  gauge(
    'holdfast_membership_volumes',
    'Volumes of the cluster, on members of the system shard',
    (set) => set({}, source.volumes()),
  );
  gauge(
    'holdfast_membership_peers',
    'Peers of the cluster by state',
    (set) => countPeers(source.map(), set),
    ['state'],
  );
  gauge('holdfast_placement_moving_partitions', 'Partitions being copied to new replicas', (set) =>
    set({}, moving(source.map())),
  );
  const perShard = (name: string, help: string, value: (shard: ShardStatus) => number): void =>
    gauge(
      name,
      help,
      (set) => {
        for (const shard of source.shards()) set({ shard: String(shard.shard) }, value(shard));
      },
      ['shard'],
    );
  perShard(
    'holdfast_shard_leader',
    'Peer that leads the shard, 0 when none is known',
    (shard) => shard.leader,
  );
  perShard('holdfast_shard_term', 'Raft term of the shard', (shard) => shard.term);
  perShard(
    'holdfast_shard_commit_index',
    'Last committed log entry of the shard',
    (shard) => shard.commit,
  );
  perShard(
    'holdfast_shard_applied_index',
    'Last applied log entry of the shard',
    (shard) => shard.applied,
  );
}

type Set = (labels: Record<string, string>, value: number) => void;

function countPeers(map: ClusterMap | undefined, set: Set): void {
  const nodes = map?.nodes ?? [];
  for (const state of STATES) set({ state }, nodes.filter((node) => node.state === state).length);
}

function moving(map: ClusterMap | undefined): number {
  return map?.partitions.filter((partition) => partition.previous !== undefined).length ?? 0;
}
