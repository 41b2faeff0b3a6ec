/** The registry's records in memory, and which of them a command changed. */
import {
  type ClusterMap,
  decode,
  type Epoch,
  encode,
  type NodeNumber,
  type NodeRecord,
  type PartitionPlacement,
  type RepositoryAccess,
  type ShardId,
  type ShardRecord,
  type TokenRecord,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import { REGISTRY_LIMITS, type RegistryResult } from './cluster-commands.ts';

/** The one record of the cluster as a whole. Counters only grow. */
export interface ClusterRecord {
  readonly clusterId: string;
  readonly name: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly epoch: Epoch;
  readonly nextNode: NodeNumber;
  readonly nextVolume: VolumeNumber;
  /** Replicas of each partition: as many as the volume that wants most, at least those by default. */
  readonly tableWidth: number;
  /** Commands answered so far; the answer of command i lies in slot i mod answersMax. */
  readonly answered: number;
}

/** Peers that are to hold nothing show a weight of 0; their own is kept for when they come back. */
function asSeen({ record }: StoredNode): NodeRecord {
  const isEmpty = record.state === 'draining' || record.state === 'out';
  return isEmpty ? { ...record, weight: 0 } : record;
}

/** A peer and what only the registry needs to know of it. */
export interface StoredNode {
  readonly record: NodeRecord;
  /** Serials of the certificates it was given, newest last. */
  readonly serials: readonly string[];
}

/** A volume and how far its removal is. */
export interface StoredVolume {
  readonly record: VolumeRecord;
  /** Present from begin-remove on. */
  readonly removal?: { readonly force: boolean };
}

/** A partition's replicas, and which of them have fetched what they are to hold. */
export interface StoredPartition extends PartitionPlacement {
  /** Epoch in which `replicas` last changed. */
  readonly movedAt: Epoch;
  /** Replicas that have everything; only while `previous` is there. */
  readonly synced?: readonly NodeNumber[];
}

/** One record as kept on disk; `value` undefined means it is gone. */
export interface RecordChange {
  readonly key: string;
  readonly value: Uint8Array | undefined;
}

interface StoredAnswer {
  readonly id: string;
  readonly slot: number;
  readonly result: RegistryResult;
}

/** Partitions in one record on disk, so that a change of a few does not write all. */
const PARTITIONS_PER_RECORD = 256;

/** Everything the system shard knows. Only the operations beside this file change it. */
export class ClusterRecords {
  cluster: ClusterRecord | undefined;
  partitions: StoredPartition[] = [];
  revoked: readonly string[] = [];
  readonly #nodes = new Map<NodeNumber, StoredNode>();
  readonly #shards = new Map<ShardId, ShardRecord>();
  readonly #volumes = new Map<VolumeNumber, StoredVolume>();
  readonly #volumeByName = new Map<string, VolumeNumber>();
  readonly #tokens = new Map<string, TokenRecord>();
  readonly #repositories = new Map<string, RepositoryAccess>();
  readonly #answers = new Map<string, StoredAnswer>();
  readonly #answerIds: (string | undefined)[] = [];
  readonly #dirty = new Set<string>();
  #map: ClusterMap | undefined;

  get nodes(): ReadonlyMap<NodeNumber, StoredNode> {
    return this.#nodes;
  }

  get shards(): ReadonlyMap<ShardId, ShardRecord> {
    return this.#shards;
  }

  get volumes(): ReadonlyMap<VolumeNumber, StoredVolume> {
    return this.#volumes;
  }

  get tokens(): ReadonlyMap<string, TokenRecord> {
    return this.#tokens;
  }

  get repositories(): ReadonlyMap<string, RepositoryAccess> {
    return this.#repositories;
  }

  /** The cluster record. Callers check `cluster` first: throws when init-cluster was not applied. */
  get present(): ClusterRecord {
    if (this.cluster === undefined) throw new RangeError('the cluster has no first entry yet');
    return this.cluster;
  }

  volumeNamed(name: string): StoredVolume | undefined {
    const number = this.#volumeByName.get(name);
    return number === undefined ? undefined : this.#volumes.get(number);
  }

  nodeNamed(name: string): StoredNode | undefined {
    return this.#nodes.values().find((node) => node.record.name === name);
  }

  setCluster(changes: Partial<ClusterRecord>): void {
    this.cluster = { ...this.present, ...changes };
    this.#dirty.add('cluster');
  }

  putNode(node: StoredNode): void {
    this.#nodes.set(node.record.number, node);
    this.#dirty.add(`node/${node.record.number}`);
  }

  deleteNode(number: NodeNumber): void {
    this.#nodes.delete(number);
    this.#dirty.add(`node/${number}`);
  }

  putShard(shard: ShardRecord): void {
    this.#shards.set(shard.shard, shard);
    this.#dirty.add(`shard/${shard.shard}`);
  }

  putVolume(volume: StoredVolume): void {
    this.#placeVolume(volume);
    this.#dirty.add(`volume/${volume.record.number}`);
  }

  /** A volume that gives its space back has no name any more: another may have it. */
  #placeVolume(volume: StoredVolume): void {
    const { number, name, state } = volume.record;
    this.#volumes.set(number, volume);
    if (state !== 'removing') this.#volumeByName.set(name, number);
    else if (this.#volumeByName.get(name) === number) this.#volumeByName.delete(name);
  }

  deleteVolume(volume: StoredVolume): void {
    this.#volumes.delete(volume.record.number);
    this.#dirty.add(`volume/${volume.record.number}`);
  }

  putToken(token: TokenRecord): void {
    this.#tokens.set(token.id, token);
    this.#dirty.add(`token/${token.id}`);
  }

  deleteToken(id: string): void {
    this.#tokens.delete(id);
    this.#dirty.add(`token/${id}`);
  }

  putRepository(access: RepositoryAccess): void {
    const { name } = access.repository;
    this.#repositories.set(name, access);
    this.#dirty.add(`repository/${name}`);
  }

  deleteRepository(name: string): void {
    this.#repositories.delete(name);
    this.#dirty.add(`repository/${name}`);
  }

  /** Adds serials to the list of revoked certificates; the oldest fall out beyond revokedMax. */
  revoke(serials: readonly string[]): void {
    const all = [...new Set([...this.revoked, ...serials])];
    this.revoked = all.slice(-REGISTRY_LIMITS.revokedMax);
    this.#dirty.add('revoked');
  }

  putPartition(index: number, partition: StoredPartition): void {
    this.partitions[index] = partition;
    this.#dirty.add(`partitions/${Math.floor(index / PARTITIONS_PER_RECORD)}`);
  }

  /** A map of the next epoch replaces the present one. */
  advanceEpoch(): void {
    this.setCluster({ epoch: (this.present.epoch + 1) as Epoch });
    this.forgetMap();
  }

  /** The map is made anew when next asked for: something of its epoch was still to change. */
  forgetMap(): void {
    this.#map = undefined;
  }

  /** The map as every peer of this epoch sees it; the same object until the epoch changes. */
  get map(): ClusterMap | undefined {
    if (this.cluster === undefined) return undefined;
    this.#map ??= {
      clusterId: this.cluster.clusterId,
      epoch: this.cluster.epoch,
      nodes: [...this.#nodes.values()].map(asSeen).sort((a, b) => a.number - b.number),
      shards: [...this.#shards.values()].sort((a, b) => a.shard - b.shard),
      partitions: this.partitions.map(({ replicas, previous }) =>
        previous === undefined ? { replicas } : { replicas, previous },
      ),
      revoked: this.revoked,
    };
    return this.#map;
  }

  answerOf(id: string): RegistryResult | undefined {
    return this.#answers.get(id)?.result;
  }

  keepAnswer(id: string, result: RegistryResult): void {
    if (this.cluster === undefined) return;
    const slot = this.cluster.answered % REGISTRY_LIMITS.answersMax;
    this.setCluster({ answered: this.cluster.answered + 1 });
    this.#placeAnswer({ id, slot, result });
    this.#dirty.add(`answer/${slot}`);
  }

  #placeAnswer(answer: StoredAnswer): void {
    const forgotten = this.#answerIds[answer.slot];
    if (forgotten !== undefined) this.#answers.delete(forgotten);
    this.#answerIds[answer.slot] = answer.id;
    this.#answers.set(answer.id, answer);
  }

  /** The records changed since the last call, as bytes for the disk; in a fixed order. */
  takeChanges(): RecordChange[] {
    const keys = [...this.#dirty].sort();
    this.#dirty.clear();
    return keys.map((key) => ({ key, value: this.#encoded(key) }));
  }

  /** Every record, for a snapshot. */
  all(): RecordChange[] {
    const keys = this.cluster === undefined ? [] : ['cluster', 'revoked'];
    for (const number of this.#nodes.keys()) keys.push(`node/${number}`);
    for (const shard of this.#shards.keys()) keys.push(`shard/${shard}`);
    for (const number of this.#volumes.keys()) keys.push(`volume/${number}`);
    for (const id of this.#tokens.keys()) keys.push(`token/${id}`);
    for (const name of this.#repositories.keys()) keys.push(`repository/${name}`);
    for (const slot of this.#answerIds.keys()) keys.push(`answer/${slot}`);
    const blocks = Math.ceil(this.partitions.length / PARTITIONS_PER_RECORD);
    for (let block = 0; block < blocks; block++) keys.push(`partitions/${block}`);
    return keys.map((key) => ({ key, value: this.#encoded(key) }));
  }

  #encoded(key: string): Uint8Array | undefined {
    const value = this.#valueOf(key);
    return value === undefined ? undefined : encode(value);
  }

  #valueOf(key: string): unknown {
    const [kind, id = ''] = splitKey(key);
    const number = Number(id);
    switch (kind) {
      case 'cluster':
        return this.cluster;
      case 'revoked':
        return this.revoked;
      case 'node':
        return this.#nodes.get(number as NodeNumber);
      case 'shard':
        return this.#shards.get(number as ShardId);
      case 'volume':
        return this.#volumes.get(number as VolumeNumber);
      case 'token':
        return this.#tokens.get(id);
      case 'repository':
        return this.#repositories.get(id);
      case 'answer':
        return this.#answers.get(this.#answerIds[number] ?? '');
      case 'partitions': {
        const from = number * PARTITIONS_PER_RECORD;
        return this.partitions.slice(from, from + PARTITIONS_PER_RECORD);
      }
      default:
        throw new RangeError(`no such record '${key}'`);
    }
  }

  /** Takes one record from disk or a snapshot. Throws RangeError on a kind of a newer version. */
  load(key: string, bytes: Uint8Array): void {
    const [kind, id = ''] = splitKey(key);
    switch (kind) {
      case 'cluster':
        this.cluster = decode<ClusterRecord>(bytes);
        break;
      case 'revoked':
        this.revoked = decode<string[]>(bytes);
        break;
      case 'node': {
        const node = decode<StoredNode>(bytes);
        this.#nodes.set(node.record.number, node);
        break;
      }
      case 'shard': {
        const shard = decode<ShardRecord>(bytes);
        this.#shards.set(shard.shard, shard);
        break;
      }
      case 'volume': {
        this.#placeVolume(decode<StoredVolume>(bytes));
        break;
      }
      case 'token': {
        const token = decode<TokenRecord>(bytes);
        this.#tokens.set(token.id, token);
        break;
      }
      case 'repository':
        this.#repositories.set(id, decode<RepositoryAccess>(bytes));
        break;
      case 'answer':
        this.#placeAnswer(decode<StoredAnswer>(bytes));
        break;
      case 'partitions': {
        const from = Number(id) * PARTITIONS_PER_RECORD;
        for (const [offset, partition] of decode<StoredPartition[]>(bytes).entries()) {
          this.partitions[from + offset] = partition;
        }
        break;
      }
      default:
        throw new RangeError(`no such record '${key}'`);
    }
    this.#map = undefined;
  }
}

function splitKey(key: string): [string, string?] {
  const at = key.indexOf('/');
  return at < 0 ? [key] : [key.slice(0, at), key.slice(at + 1)];
}
