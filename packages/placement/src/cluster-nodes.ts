/** Operations of the registry on peers, shards and the partition table. */
import {
  type NodeNumber,
  type NodeRecord,
  type NodeState,
  type ShardId,
  SYSTEM_SHARD,
} from '@holdfast/protocol';
import { detachEverywhere } from './cluster-attachments.ts';
import {
  type NodeFacts,
  REGISTRY_LIMITS,
  type RegistryChange,
  type RegistryResult,
} from './cluster-commands.ts';
import { checkFacts } from './cluster-names.ts';
import type { ClusterRecords, StoredNode } from './cluster-records.ts';
import { BALANCED_WIDTH } from './layered-table.ts';
import { markSynced } from './partition-moves.ts';
import { changed, done, refuse, unchanged } from './registry-results.ts';

/** A change by its name. */
export type ChangeOf<Op extends RegistryChange['op']> = Extract<RegistryChange, { op: Op }>;

/** Certificates remembered per peer: renewals happen every few months. */
const SERIALS_KEPT = 16;

/** See the change's own description; likewise all below. `time` is the command's, ISO 8601. */
export function initCluster(
  records: ClusterRecords,
  change: ChangeOf<'init-cluster'>,
  time: string,
): RegistryResult {
  if (records.cluster !== undefined) return initAgain(records, change);
  const wrong = checkFacts(change.node);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const shards = change.volumeShards;
  if (!Number.isInteger(shards) || shards < 1 || shards > REGISTRY_LIMITS.volumeShardsMax) {
    return refuse(
      'BAD_REQUEST',
      `a cluster has 1 to ${REGISTRY_LIMITS.volumeShardsMax} volume shards`,
    );
  }
  records.cluster = {
    clusterId: change.clusterId,
    name: change.name,
    createdAt: time,
    epoch: 0 as never,
    nextNode: 1 as NodeNumber,
    nextVolume: 1 as never,
    tableWidth: BALANCED_WIDTH,
    answered: 0,
  };
  const record = addNode(records, change.node, change.serial, 'up');
  for (let shard = SYSTEM_SHARD; shard <= shards; shard = (shard + 1) as ShardId) {
    records.putShard({ shard, members: [record.number] });
  }
  return done({ node: record });
}

function initAgain(records: ClusterRecords, change: ChangeOf<'init-cluster'>): RegistryResult {
  if (records.present.clusterId !== change.clusterId) {
    return refuse('WRONG_CLUSTER', `this shard belongs to cluster ${records.present.clusterId}`);
  }
  const first = records.nodes.get(1 as NodeNumber)?.record;
  return unchanged(first === undefined ? {} : { node: first });
}

export function registerNode(
  records: ClusterRecords,
  change: ChangeOf<'register-node'>,
): RegistryResult {
  const { node, serial } = change;
  const wrong = checkFacts(node);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const same = records.nodes
    .values()
    .find((known) => known.record.incarnation === node.incarnation);
  if (same !== undefined) return registerAgain(records, same, node, serial);
  const namesake = records.nodeNamed(node.name);
  if (namesake?.record.state === 'up' || namesake?.record.state === 'draining') {
    return refuse(
      'CONFLICT',
      `peer ${namesake.record.number} is up under the name '${node.name}'; choose another with --name, or stop that peer first`,
      { node: namesake.record.number },
    );
  }
  if (namesake === undefined && records.nodes.size >= REGISTRY_LIMITS.nodesMax) {
    return refuse('CONFLICT', `a cluster has at most ${REGISTRY_LIMITS.nodesMax} peers`);
  }
  if (namesake !== undefined) dropNode(records, namesake);
  // Its first sign of life makes it up; until then nothing may depend on it.
  return done({ node: addNode(records, node, serial, 'out') });
}

/** A join that was cut short is repeated: the number stays, addresses and certificate are new. */
function registerAgain(
  records: ClusterRecords,
  known: StoredNode,
  facts: NodeFacts,
  serial: string,
): RegistryResult {
  if (known.record.name !== facts.name) {
    return refuse('CONFLICT', `this data directory belongs to peer '${known.record.name}'`);
  }
  const { number, state } = known.record;
  const record: NodeRecord = { ...facts, number, state };
  records.putNode({ record, serials: withSerial(known.serials, serial) });
  return done({ node: record });
}

function addNode(
  records: ClusterRecords,
  facts: NodeFacts,
  serial: string,
  state: NodeState,
): NodeRecord {
  const number = records.present.nextNode;
  const record: NodeRecord = { ...facts, number, state };
  records.setCluster({ nextNode: (number + 1) as NodeNumber });
  records.putNode({ record, serials: [serial] });
  return record;
}

function dropNode(records: ClusterRecords, node: StoredNode): void {
  records.revoke(node.serials);
  records.deleteNode(node.record.number);
}

function withSerial(serials: readonly string[], serial: string): readonly string[] {
  return serials.includes(serial) ? serials : [...serials, serial].slice(-SERIALS_KEPT);
}

export function noteCertificate(
  records: ClusterRecords,
  change: ChangeOf<'note-certificate'>,
): RegistryResult {
  const node = records.nodes.get(change.node);
  if (node === undefined) return noNode(change.node);
  if (node.serials.includes(change.serial)) return unchanged();
  records.putNode({ ...node, serials: withSerial(node.serials, change.serial) });
  return changed();
}

export function setNodeState(
  records: ClusterRecords,
  change: ChangeOf<'set-node-state'>,
): RegistryResult {
  const node = records.nodes.get(change.node);
  if (node === undefined) return noNode(change.node);
  const { state } = node.record;
  if (state === change.state || change.from?.includes(state) === false) {
    return unchanged({ node: node.record });
  }
  const record: NodeRecord = { ...node.record, state: change.state };
  records.putNode({ ...node, record });
  return done({ node: record });
}

export function updateNode(
  records: ClusterRecords,
  change: ChangeOf<'update-node'>,
): RegistryResult {
  const node = records.nodes.get(change.node);
  if (node === undefined) return noNode(change.node);
  if (node.record.incarnation !== change.incarnation) {
    return refuse(
      'CONFLICT',
      `peer ${change.node} has another data directory now; join the cluster again`,
    );
  }
  const record: NodeRecord = { ...node.record, ...change.changes };
  const wrong = checkFacts(record);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const keys = Object.keys(change.changes) as (keyof NodeRecord)[];
  if (keys.every((key) => record[key] === node.record[key]))
    return unchanged({ node: node.record });
  records.putNode({ ...node, record });
  return done({ node: record });
}

export function removeNode(
  records: ClusterRecords,
  change: ChangeOf<'remove-node'>,
): RegistryResult {
  const node = records.nodes.get(change.node);
  if (node === undefined) return noNode(change.node);
  if (records.nodes.size === 1) {
    return refuse('CONFLICT', 'the last peer of a cluster cannot be removed');
  }
  if (node.record.state === 'up' && !change.force) {
    return refuse('CONFLICT', `peer ${change.node} is up; drain or stop it first`);
  }
  dropNode(records, node);
  detachEverywhere(records, node.record.name);
  return changed();
}

export function setShardMembers(
  records: ClusterRecords,
  change: ChangeOf<'set-shard-members'>,
): RegistryResult {
  const present = records.shards.get(change.shard);
  if (present === undefined) return refuse('NOT_FOUND', `there is no shard ${change.shard}`);
  const members = [...new Set(change.members)];
  if (members.length === 0) return refuse('BAD_REQUEST', 'a shard has at least one member');
  const stranger = members.find((member) => !records.nodes.has(member));
  if (stranger !== undefined) return noNode(stranger);
  const same =
    members.length === present.members.length &&
    members.every((member, index) => member === present.members[index]);
  if (same) return unchanged();
  records.putShard({ shard: change.shard, members });
  return changed();
}

/** `visible` tells whether any placement that peers see changed. */
export function partitionsSynced(
  records: ClusterRecords,
  change: ChangeOf<'partitions-synced'>,
): { readonly result: RegistryResult; readonly visible: boolean } {
  if (!records.nodes.has(change.node)) return { result: noNode(change.node), visible: false };
  let visible = false;
  for (const index of change.partitions) {
    if (markSynced(records, change.node, change.epoch, index)) visible = true;
  }
  return { result: visible ? changed() : unchanged(), visible };
}

function noNode(node: NodeNumber): RegistryResult {
  return refuse('NOT_FOUND', `there is no peer ${node}`, { node });
}
