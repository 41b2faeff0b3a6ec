/** What the system shard holds: nodes, shards, volumes, tokens, and the map made of them. */

import type { Epoch, NodeNumber, PartitionId, ShardId, VolumeNumber } from './ids.ts';
import type { JobRuns } from './jobs.ts';

/** up: lease alive; down: missed it; draining: is being emptied; out: holds no data any more. */
export type NodeState = 'up' | 'down' | 'draining' | 'out';

/** A peer as the map shows it. */
export interface NodeRecord {
  readonly number: NodeNumber;
  /** Host name by default; unique in the cluster. */
  readonly name: string;
  /** host:port of gRPC, of the framed protocol (chunks, metadata sessions), of the admin API, and the libp2p multiaddr. */
  readonly grpcAddress: string;
  readonly wireAddress: string;
  readonly adminAddress: string;
  readonly discoveryAddress: string;
  /** Failure domain; the node's name by default. */
  readonly zone: string;
  /** Relative share of data, > 0; 0 while draining or out. */
  readonly weight: number;
  readonly state: NodeState;
  /** New with every data directory made: a peer that lost its disk has another one. */
  readonly incarnation: string;
}

/** Replicas of one Raft group. Node numbers are the group's replica ids. */
export interface ShardRecord {
  readonly shard: ShardId;
  /** Members wanted by the cluster; the group's own log is the truth about its present membership. */
  readonly members: readonly NodeNumber[];
}

/** How a volume is kept. */
export interface VolumePolicy {
  /** Wanted copies, 1 … 7 (clamped to the number of nodes until more come). */
  readonly replicas: number;
  /** Durable copies that an fsync waits for; replicas / 2 + 1 by default, clamped likewise. */
  readonly minReplicas: number;
  /** Bytes and inodes; 0: no limit. */
  readonly quotaBytes: number;
  readonly quotaInodes: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  /** When snapshots are made: cron's five fields, in UTC. Absent: never. */
  readonly snapshotSchedule?: string;
  /** Which of those snapshots stay, such as `hourly=24,daily=7`; there with a schedule only. */
  readonly snapshotKeep?: string;
  /** Milliseconds within which a backup has to succeed, else the cluster's health is a warning. Absent: nobody waits for one. */
  readonly backupPeriodMs?: number;
  /** When backups are made: cron's five fields, in UTC. Absent: never by the cluster. */
  readonly backupSchedule?: string;
  /** Name of the repository that they go into; there with a schedule only, as is the next. */
  readonly backupRepository?: string;
  /** Which of those backups stay, such as `daily=7,weekly=5`. Absent: all. */
  readonly backupKeep?: string;
}

/** The last backup of a volume that succeeded. */
export interface LastBackup {
  /** Of the backup in its repository, 64 hexadecimal digits. */
  readonly id: string;
  /** The moment whose content it has, ISO 8601. */
  readonly at: string;
  /** Where it lies, without credentials. */
  readonly repository: string;
  readonly files: number;
  /** Bytes: of all files; read from the volume; sent to the repository. */
  readonly bytes: number;
  readonly bytesRead: number;
  readonly bytesSent: number;
  /** Milliseconds that it took. */
  readonly tookMs: number;
}

/** What the last verification of a repository found that has a volume's last backup. */
export interface LastVerification {
  /** ISO 8601. */
  readonly at: string;
  /** Share of the data that was read and checked, 0 … 1. */
  readonly readShare: number;
  readonly problems: number;
}

/** How far a volume's snapshot schedule is. Times are ISO 8601. */
export interface SnapshotRuns {
  /** When the schedule was set: what was due before is not made up. */
  readonly since: string;
  /** The newest time that was due whose snapshot is made; absent before the first. */
  readonly due?: string;
  /** When the last scheduled snapshot was made, by an earlier schedule of the volume too. */
  readonly madeAt?: string;
  /** Its name. */
  readonly made?: string;
}

/** creating: its shard does not have it yet; ready; removing: its shard is giving its space back. */
export type VolumeState = 'creating' | 'ready' | 'removing';

/** The snapshot that a volume was cloned from. */
export interface VolumeOrigin {
  readonly volume: VolumeNumber;
  readonly volumeName: string;
  readonly snapshot: string;
  readonly generation: number;
  /** The shard of the snapshot, where the clone lies in another one. */
  readonly shard?: ShardId;
}

/** A backup of a volume, as users name it. */
export interface BackupSource {
  /** A repository that the cluster knows by name; on the command line also a place. */
  readonly repository: string;
  /** The volume as it was called when it was backed up. */
  readonly volume: string;
  /** `latest`, the name of a snapshot that was backed up, or the beginning of an id. */
  readonly backup: string;
}

/** Who restores, and until when nobody else does. */
export interface RestoreClaim {
  /** Of one process: random. */
  readonly by: string;
  readonly host: string;
  /** ISO 8601; renewed while the process lives. */
  readonly until: string;
}

/** How far a restore is; what there is to do is unknown at first. */
export interface RestoreProgress {
  readonly files: number;
  readonly bytes: number;
  readonly filesExpected?: number;
  readonly bytesExpected?: number;
}

/** How a volume was filled, or is being filled: until it is done nobody attaches it. */
export interface VolumeRestore {
  readonly source: BackupSource;
  /** failed: until it is asked for once more, or removed. */
  readonly state: 'restoring' | 'failed' | 'done';
  /** ISO 8601; of this state. */
  readonly since: string;
  /** Whether the volume gets the policy that it had, but for what is asked for. */
  readonly withPolicy: boolean;
  readonly asked: Partial<VolumePolicy>;
  /** 64 hexadecimal digits: the backup that `source` meant when the first one began. */
  readonly backupId?: string;
  readonly claim?: RestoreClaim;
  readonly progress?: RestoreProgress;
  /** All of it is there, and is only to be moved to its place. */
  readonly isComplete?: boolean;
  /** Why the last try failed. */
  readonly trouble?: string;
}

export interface VolumeRecord {
  readonly number: VolumeNumber;
  readonly name: string;
  readonly shard: ShardId;
  readonly policy: VolumePolicy;
  readonly state: VolumeState;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Hosts whose container engine has it mounted. */
  readonly attachedTo: readonly string[];
  /** Present while the volume has a snapshot schedule. */
  readonly snapshotRuns?: SnapshotRuns;
  /** Present while the volume has a backup schedule. */
  readonly backupRuns?: JobRuns;
  /** Of a clone: what it began as, and still shows where it was not changed. */
  readonly from?: VolumeOrigin;
  /** Of one that was made from a backup. */
  readonly restore?: VolumeRestore;
  /** Present once a backup has succeeded. */
  readonly lastBackup?: LastBackup;
  /** Present once its repository has been verified since. */
  readonly lastVerification?: LastVerification;
}

/** Replicas of a partition, the first is preferred for nothing: all are equal. */
export interface PartitionPlacement {
  readonly replicas: readonly NodeNumber[];
  /** Replicas of the table before, still holding what new ones have not fetched yet; absent when settled. */
  readonly previous?: readonly NodeNumber[];
}

/** The table every peer of an epoch agrees on. */
export interface ClusterMap {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly nodes: readonly NodeRecord[];
  readonly shards: readonly ShardRecord[];
  /** Index is the PartitionId; length PARTITION_COUNT. Nodes of maximal replica order; a volume takes its first `replicas`. */
  readonly partitions: readonly PartitionPlacement[];
  /** Serial numbers of revoked certificates, lower-case hexadecimal. */
  readonly revoked: readonly string[];
}

export type TokenRole = 'node' | 'client' | 'admin';

/** A join or access token as stored: its secret only as a digest. */
export interface TokenRecord {
  readonly id: string;
  readonly role: TokenRole;
  /** SHA-256 of the secret, hexadecimal. */
  readonly secretDigest: string;
  /** ISO 8601; '' never. */
  readonly expiresAt: string;
  readonly revoked: boolean;
  readonly createdAt: string;
}

/** Placement of one partition in a map; throws RangeError outside 0 … PARTITION_COUNT-1. */
export function placementOf(map: ClusterMap, partition: PartitionId): PartitionPlacement {
  const placement = map.partitions[partition];
  if (placement === undefined) throw new RangeError(`no partition ${partition}`);
  return placement;
}
