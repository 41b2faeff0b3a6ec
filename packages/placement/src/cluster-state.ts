/** The state machine of the system shard: who is in the cluster, what volumes there are, who holds what. */
import type {
  ClusterMap,
  NodeNumber,
  RepositoryAccess,
  RepositoryRecord,
  ShardRecord,
  TokenRecord,
  VolumeNumber,
  VolumeRecord,
} from '@holdfast/protocol';
import { release } from './cluster-attachments.ts';
import { noteBackup, noteVerification } from './cluster-backups.ts';
import {
  REGISTRY_LIMITS,
  type RegistryChange,
  type RegistryCommand,
  type RegistryResult,
} from './cluster-commands.ts';
import { askJob, beginJob, endJob, voidClaim } from './cluster-jobs.ts';
import * as nodes from './cluster-nodes.ts';
import {
  type ClusterRecord,
  ClusterRecords,
  type RecordChange,
  type StoredVolume,
} from './cluster-records.ts';
import { putRepository, removeRepository, setUpkeep } from './cluster-repositories.ts';
import { claimRestore, endRestore, noteRestore } from './cluster-restores.ts';
import * as volumes from './cluster-volumes.ts';
import { layeredTable } from './layered-table.ts';
import { moveTo } from './partition-moves.ts';
import { changed, done, refuse, unchanged } from './registry-results.ts';

/**
 * The registry. Equal commands in equal order give equal states on every replica. The caller owns
 * persistence: {@link takeChanges} after each batch of commands, {@link load} at start.
 */
export class ClusterState {
  readonly #records = new ClusterRecords();

  /** Undefined before init-cluster. */
  get cluster(): ClusterRecord | undefined {
    return this.#records.cluster;
  }

  /** The present map; the same object until the epoch changes. Undefined before init-cluster. */
  get map(): ClusterMap | undefined {
    return this.#records.map;
  }

  get shards(): Iterable<ShardRecord> {
    return this.#records.shards.values();
  }

  /** All volumes in order of their number, with how far a removal is. */
  get volumes(): Iterable<StoredVolume> {
    return this.#records.volumes.values();
  }

  get volumeCount(): number {
    return this.#records.volumes.size;
  }

  volumeNamed(name: string): StoredVolume | undefined {
    return this.#records.volumeNamed(name);
  }

  volume(number: VolumeNumber): VolumeRecord | undefined {
    return this.#records.volumes.get(number)?.record;
  }

  get tokens(): Iterable<TokenRecord> {
    return this.#records.tokens.values();
  }

  token(id: string): TokenRecord | undefined {
    return this.#records.tokens.get(id);
  }

  /** Repositories known by name, in order of their names; without what opens them. */
  get repositories(): readonly RepositoryRecord[] {
    const all = [...this.#records.repositories.values()].map(({ repository }) => repository);
    return all.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** A repository with what opens it: for administrators and peers only. */
  repositoryAccess(name: string): RepositoryAccess | undefined {
    return this.#records.repositories.get(name);
  }

  /** Partitions whose bytes are still on their way to new replicas. */
  get movingPartitions(): number {
    return this.#records.partitions.filter((partition) => partition.previous !== undefined).length;
  }

  /** Whether a replica has reported that it holds all of a moving partition. */
  hasSynced(partition: number, node: NodeNumber): boolean {
    const stored = this.#records.partitions[partition];
    return stored?.previous === undefined || stored.synced?.includes(node) === true;
  }

  /** Applies one command; never throws, a refusal leaves the state as it was. */
  apply(command: RegistryCommand): RegistryResult {
    const known = this.#records.answerOf(command.id);
    if (known !== undefined) return known;
    if (command.v !== 1) {
      return refuse(
        'NEWER_FORMAT',
        `registry command of version ${String(command.v)}; upgrade this peer`,
      );
    }
    if (this.#records.cluster === undefined && command.change.op !== 'init-cluster') {
      return refuse('CONFLICT', 'the cluster is still being made; try again in a moment');
    }
    const result = this.#change(command.change, command.time);
    this.#records.keepAnswer(command.id, result);
    return result;
  }

  #change(change: RegistryChange, time: string): RegistryResult {
    const records = this.#records;
    switch (change.op) {
      case 'init-cluster':
        return this.#onNodes(() => nodes.initCluster(records, change, time));
      case 'register-node':
        return this.#onNodes(() => nodes.registerNode(records, change));
      case 'set-node-state':
        return this.#onNodes(() => nodes.setNodeState(records, change));
      case 'update-node':
        return this.#onNodes(() => nodes.updateNode(records, change));
      case 'remove-node':
        return this.#onNodes(() => nodes.removeNode(records, change));
      case 'note-certificate':
        return nodes.noteCertificate(records, change);
      case 'set-shard-members':
        return this.#newEpoch(nodes.setShardMembers(records, change));
      case 'partitions-synced': {
        const { result, visible } = nodes.partitionsSynced(records, change);
        if (visible) records.advanceEpoch();
        return result;
      }
      case 'create-volume':
        return this.#afterPolicy(volumes.createVolume(records, change, time));
      case 'cancel-create':
        return volumes.cancelCreate(records, change);
      case 'volume-ready':
        return volumes.volumeReady(records, change);
      case 'begin-remove':
        return volumes.beginRemove(records, change);
      case 'cancel-remove':
        return volumes.cancelRemove(records, change);
      case 'volume-destroyed':
        return volumes.volumeDestroyed(records, change);
      case 'finish-remove':
        return volumes.finishRemove(records, change);
      case 'attach':
        return volumes.attach(records, change);
      case 'detach':
        return volumes.detach(records, change);
      case 'release':
        return release(records, change);
      case 'set-policy':
        return this.#afterPolicy(volumes.setPolicy(records, change, time));
      case 'note-snapshot-run':
        return volumes.noteSnapshotRun(records, change, time);
      case 'create-token':
        return this.#createToken(change.token, time);
      case 'revoke-token':
        return this.#revokeToken(change.id);
      case 'revoke-certificate':
        return this.#newEpoch(this.#revokeCertificate(change.serial));
      default:
        return changeBackups(records, change, time);
    }
  }

  #newEpoch(result: RegistryResult): RegistryResult {
    if (result.ok && result.answer.changed) this.#records.advanceEpoch();
    return result;
  }

  /** Peers changed: so does the map, and when their shares of data did, the partition table. */
  #onNodes(operate: () => RegistryResult): RegistryResult {
    const before = this.#shares();
    const result = operate();
    if (!result.ok || !result.answer.changed) return result;
    this.#records.advanceEpoch();
    if (this.#shares() !== before) this.#placePartitions();
    return result;
  }

  /** All that the table depends on. */
  #shares(): string {
    const nodes = this.#records.map?.nodes ?? [];
    return nodes.map(({ number, weight, zone }) => `${number}/${weight}/${zone}`).join();
  }

  /** A volume that wants more replicas than any before widens the table. */
  #afterPolicy(result: RegistryResult): RegistryResult {
    const replicas = result.ok ? (result.answer.volume?.policy.replicas ?? 0) : 0;
    if (replicas > this.#records.present.tableWidth) {
      this.#records.setCluster({ tableWidth: replicas });
      this.#records.advanceEpoch();
      this.#placePartitions();
    }
    return result;
  }

  #placePartitions(): void {
    const records = this.#records;
    const nodes = records.map?.nodes ?? [];
    // With no peer to hold anything, what there is stays where it was.
    if (nodes.every((node) => node.weight === 0)) return;
    const present = records.partitions.map((partition) => partition.replicas);
    const { epoch, tableWidth } = records.present;
    const wanted = layeredTable(nodes, present, tableWidth);
    moveTo(records, wanted, epoch, (node) => records.nodes.has(node));
    records.forgetMap();
  }

  #createToken(token: Omit<TokenRecord, 'revoked' | 'createdAt'>, time: string): RegistryResult {
    const records = this.#records;
    if (records.tokens.has(token.id)) return refuse('EEXIST', `token ${token.id} exists`);
    if (records.tokens.size >= REGISTRY_LIMITS.tokensMax) {
      const dead = records.tokens.values().find((known) => isDead(known, time));
      if (dead === undefined) {
        return refuse(
          'CONFLICT',
          `a cluster has at most ${REGISTRY_LIMITS.tokensMax} tokens; revoke some`,
        );
      }
      records.deleteToken(dead.id);
    }
    const record: TokenRecord = { ...token, revoked: false, createdAt: time };
    records.putToken(record);
    return done({ token: record });
  }

  #revokeToken(id: string): RegistryResult {
    const token = this.#records.tokens.get(id);
    if (token === undefined) return refuse('NOT_FOUND', `there is no token ${id}`);
    if (token.revoked) return unchanged({ token });
    const revoked = { ...token, revoked: true };
    this.#records.putToken(revoked);
    return done({ token: revoked });
  }

  #revokeCertificate(serial: string): RegistryResult {
    if (!/^[0-9a-f]{1,40}$/.test(serial)) {
      return refuse('BAD_REQUEST', 'a serial number has 1 to 40 lower-case hexadecimal digits');
    }
    if (this.#records.revoked.includes(serial)) return unchanged();
    this.#records.revoke([serial]);
    return changed();
  }

  /** The records changed since the last call. */
  takeChanges(): RecordChange[] {
    return this.#records.takeChanges();
  }

  /** Every record: a snapshot. */
  all(): RecordChange[] {
    return this.#records.all();
  }

  /** Takes one record from disk or from a snapshot, into a new state. */
  load(key: string, value: Uint8Array): void {
    this.#records.load(key, value);
  }
}

function isDead(token: TokenRecord, now: string): boolean {
  return token.revoked || (token.expiresAt !== '' && token.expiresAt < now);
}

/** Changes of what is known of backups, of repositories, and of work on them. */
function changeBackups(
  records: ClusterRecords,
  change: RegistryChange,
  time: string,
): RegistryResult {
  switch (change.op) {
    case 'claim-restore':
      return claimRestore(records, change, time);
    case 'note-restore':
      return noteRestore(records, change);
    case 'end-restore':
      return endRestore(records, change, time);
    case 'note-backup':
      return noteBackup(records, change);
    case 'note-verification':
      return noteVerification(records, change);
    case 'put-repository':
      return putRepository(records, change, time);
    case 'set-upkeep':
      return setUpkeep(records, change, time);
    case 'begin-job':
      return beginJob(records, change, time);
    case 'end-job':
      return endJob(records, change, time);
    case 'void-claim':
      return voidClaim(records, change, time);
    case 'ask-job':
      return askJob(records, change, time);
    case 'remove-repository':
      return removeRepository(records, change);
    default:
      // Of a newer version: refused alike by every replica that does not know it.
      return refuse('ENOSYS', `unknown registry change '${(change as { op: string }).op}'`);
  }
}
