/** The words of the system shard: every change of the cluster's registry, carried by its log. */
import type {
  BackupSource,
  Epoch,
  ErrorCode,
  JobName,
  LastBackup,
  LastVerification,
  NodeNumber,
  NodeRecord,
  NodeState,
  PartitionId,
  RepositoryRecord,
  RepositorySecrets,
  RestoreProgress,
  ShardId,
  TokenRecord,
  VolumeNumber,
  VolumeOrigin,
  VolumePolicy,
  VolumeRecord,
} from '@holdfast/protocol';

/** What a peer says of itself when it joins. Addresses are host:port, discovery a libp2p multiaddr or ''. */
export type NodeFacts = Pick<
  NodeRecord,
  | 'name'
  | 'grpcAddress'
  | 'wireAddress'
  | 'adminAddress'
  | 'discoveryAddress'
  | 'zone'
  | 'weight'
  | 'incarnation'
>;

/** What of {@link NodeFacts} may change in a peer's life. */
export type NodeChanges = Partial<Omit<NodeFacts, 'name' | 'incarnation'>>;

/** A repository as it is told to the registry. */
export type KnownRepository = Pick<
  RepositoryRecord,
  | 'name'
  | 'place'
  | 'id'
  | 'hosts'
  | 'region'
  | 'ca'
  | 'pathStyle'
  | 'endpoint'
  | 'sendBytesPerSecond'
  | 'fetchBytesPerSecond'
>;

/** When a repository is pruned and verified. */
export type Upkeep = Partial<
  Pick<RepositoryRecord, 'pruneSchedule' | 'verifySchedule' | 'verifyParts'>
>;

/** A change of the registry. Each is idempotent by the id of its command and, as far as it says, by itself. */
export type RegistryChange =
  /** The first entry of a cluster: node 1, shards 0 … volumeShards with it as the only member. Again with the same clusterId: no change. */
  | {
      readonly op: 'init-cluster';
      readonly clusterId: string;
      readonly name: string;
      readonly volumeShards: number;
      readonly node: NodeFacts;
      readonly serial: string;
    }
  /**
   * Gives a peer its number. The same incarnation again: the same number. The name of a peer that is
   * not up, with another incarnation: a new number, the old peer is removed and its certificates are
   * revoked (it lost its disk). The name of a peer that is up: CONFLICT.
   */
  | { readonly op: 'register-node'; readonly node: NodeFacts; readonly serial: string }
  /** Notes a renewed certificate, so that removing the peer revokes it too. */
  | { readonly op: 'note-certificate'; readonly node: NodeNumber; readonly serial: string }
  /** `from`: only when the present state is one of these; else no change. */
  | {
      readonly op: 'set-node-state';
      readonly node: NodeNumber;
      readonly state: NodeState;
      readonly from?: readonly NodeState[];
    }
  /** CONFLICT when the incarnation is not the recorded one. */
  | {
      readonly op: 'update-node';
      readonly node: NodeNumber;
      readonly incarnation: string;
      readonly changes: NodeChanges;
    }
  /** Forgets a peer, where its host uses volumes, and revokes its certificates. CONFLICT while it is up (unless `force`) or is the last one. */
  | { readonly op: 'remove-node'; readonly node: NodeNumber; readonly force: boolean }
  /**
   * Gives number and shard. Same name, policy and origin again: the existing volume; others: CONFLICT.
   * A clone (`from`) lies in the shard of the volume that it comes from and has its policy but for
   * what is asked; the owner and mode of its root are the snapshot's: BAD_REQUEST when asked for.
   * One to be filled from a backup (`restore`) is closed to attachments until it is; asked for again
   * when that has failed, it is tried again.
   */
  | {
      readonly op: 'create-volume';
      readonly name: string;
      readonly policy: Partial<VolumePolicy>;
      readonly from?: Omit<VolumeOrigin, 'volumeName' | 'shard'>;
      readonly restore?: { readonly source: BackupSource; readonly withPolicy: boolean };
      /** Which shard keeps it; chosen when absent. */
      readonly shard?: ShardId;
    }
  /** The shard refused to make it: its name is free again. No change when it is ready. */
  | { readonly op: 'cancel-create'; readonly volume: VolumeNumber }
  /** The volume's shard has it now. */
  | { readonly op: 'volume-ready'; readonly volume: VolumeNumber }
  /**
   * Closes the volume to new attachments; it stays visible until `volume-destroyed`, since its shard
   * may still refuse (ENOTEMPTY). CONFLICT while a host has it attached, EBUSY while it has clones.
   */
  | { readonly op: 'begin-remove'; readonly name: string; readonly force: boolean }
  /** The shard refused: the volume is as before. */
  | { readonly op: 'cancel-remove'; readonly volume: VolumeNumber }
  /** The shard has dropped what the volume held: its name is free again, its space is being given back. */
  | { readonly op: 'volume-destroyed'; readonly volume: VolumeNumber }
  /** Nothing of the volume is left. Its number is never used again. */
  | { readonly op: 'finish-remove'; readonly volume: VolumeNumber }
  | { readonly op: 'attach'; readonly name: string; readonly host: string }
  | { readonly op: 'detach'; readonly name: string; readonly host: string }
  /**
   * A detach in the name of a host that is gone. CONFLICT, unless `force`, when that host is a peer
   * that is up or draining, or no peer at all; NOT_FOUND when it does not use the volume.
   */
  | {
      readonly op: 'release';
      readonly name: string;
      readonly host: string;
      readonly force: boolean;
    }
  | { readonly op: 'set-policy'; readonly name: string; readonly policy: Partial<VolumePolicy> }
  /**
   * The snapshot that was due at `due` (ISO 8601) is made; `schedule` is the one that asked for it.
   * No change when the volume has another by now, or a later run is done.
   */
  | {
      readonly op: 'note-snapshot-run';
      readonly volume: VolumeNumber;
      readonly schedule: string;
      readonly due: string;
      readonly snapshot: string;
    }
  /**
   * One process (`by`, random) fills a volume from its backup, until `until` (ISO 8601), by its host.
   * CONFLICT while another does, and when the volume is not to be filled.
   */
  | {
      readonly op: 'claim-restore';
      readonly volume: VolumeNumber;
      readonly by: string;
      readonly host: string;
      readonly until: string;
    }
  /** Keeps the claim and tells how far it is; what is absent stays. CONFLICT when the claim is lost. */
  | {
      readonly op: 'note-restore';
      readonly volume: VolumeNumber;
      readonly by: string;
      readonly until: string;
      readonly backupId?: string;
      readonly progress?: RestoreProgress;
      readonly isComplete?: boolean;
      /** Why it does not go on for now; '': it does again. */
      readonly trouble?: string;
    }
  /** Gives the claim back. done: the volume is open; failed: for good; left: somebody else may go on. */
  | {
      readonly op: 'end-restore';
      readonly volume: VolumeNumber;
      readonly by: string;
      readonly outcome: 'done' | 'failed' | 'left';
      readonly trouble?: string;
    }
  /** A backup of the volume has succeeded. No change when one of a later moment is known. */
  | { readonly op: 'note-backup'; readonly volume: VolumeNumber; readonly backup: LastBackup }
  /** A repository was looked through: noted at every volume whose last backup it has. */
  | {
      readonly op: 'note-verification';
      readonly repository: string;
      readonly verification: LastVerification;
    }
  /** Has the cluster know a repository by name. EEXIST when it knows one, unless `replace`. */
  | {
      readonly op: 'put-repository';
      readonly repository: KnownRepository;
      readonly secrets: RepositorySecrets;
      readonly replace: boolean;
    }
  /** When a repository is pruned and verified; '' as a schedule takes it away. What is absent stays. NOT_FOUND. */
  | { readonly op: 'set-upkeep'; readonly name: string; readonly upkeep: Upkeep }
  /**
   * A worker takes the run of a job that was due then. CONFLICT when another has the job or the run is
   * done; NOT_FOUND when the schedule is gone. No change when the worker has it.
   */
  | {
      readonly op: 'begin-job';
      readonly job: JobName;
      readonly due: string;
      readonly worker: string;
      readonly host: string;
    }
  /** The run is done or, with a reason, is not, or its time has not come. CONFLICT when it is the worker's no more. */
  | {
      readonly op: 'end-job';
      readonly job: JobName;
      readonly due: string;
      readonly worker: string;
      readonly failure?: string;
      /** Given back as if it had not begun: no failure. */
      readonly waits?: boolean;
    }
  /** The worker fell silent: another may take the run. No change when it is not the worker's. */
  | {
      readonly op: 'void-claim';
      readonly job: JobName;
      readonly due: string;
      readonly worker: string;
    }
  /** The job is due now. NOT_FOUND without a schedule. */
  | { readonly op: 'ask-job'; readonly job: JobName }
  /** Forgets a repository and what opens it; what is in it stays. NOT_FOUND, EBUSY while volumes are backed up into it. */
  | { readonly op: 'remove-repository'; readonly name: string }
  | { readonly op: 'create-token'; readonly token: Omit<TokenRecord, 'revoked' | 'createdAt'> }
  | { readonly op: 'revoke-token'; readonly id: string }
  /** Serial in hexadecimal. */
  | { readonly op: 'revoke-certificate'; readonly serial: string }
  | {
      readonly op: 'set-shard-members';
      readonly shard: ShardId;
      readonly members: readonly NodeNumber[];
    }
  /**
   * The node holds all that is to be held of these partitions as they stand in the map of `epoch`. A
   * partition that has moved since is passed over; one that all its replicas hold forgets `previous`.
   */
  | {
      readonly op: 'partitions-synced';
      readonly node: NodeNumber;
      readonly epoch: Epoch;
      readonly partitions: readonly PartitionId[];
    };

/** One entry of the system shard's log. */
export interface RegistryCommand {
  /** Version of this layout; 1. */
  readonly v: 1;
  /** Chosen at random by the proposer; a repeated id gets the first answer again. */
  readonly id: string;
  /** The proposer's clock, ISO 8601: the 'now' of this command. */
  readonly time: string;
  readonly change: RegistryChange;
}

/** What a change answers when it is not refused. Unused fields are absent. */
export interface RegistryAnswer {
  readonly node?: NodeRecord;
  readonly volume?: VolumeRecord;
  readonly token?: TokenRecord;
  readonly repository?: RepositoryRecord;
  /** Whether this command changed anything. */
  readonly changed: boolean;
}

/** Result of a command, equal on every replica. */
export type RegistryResult =
  | { readonly ok: true; readonly answer: RegistryAnswer }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly detail?: Readonly<Record<string, unknown>>;
    };

/** Bounds of the registry, each with its reason. */
export const REGISTRY_LIMITS = {
  /** Peers of a cluster: the map travels whole. */
  nodesMax: 4_096,
  /** Volumes that exist at once: all are held in memory by each replica of the system shard. */
  volumesMax: 100_000,
  /** Tokens kept, revoked and expired ones too. */
  tokensMax: 10_000,
  /** Repositories known by name: all are held in memory, with what opens them. */
  repositoriesMax: 1_000,
  /** Revoked certificates: the list is part of the map. */
  revokedMax: 10_000,
  /** Hosts that have one volume attached. */
  attachmentsMax: 4_096,
  /** Volume shards made by init-cluster. */
  volumeShardsMax: 64,
  /** A clone leaves the shard of its snapshot when that has more volumes than this many times those of the emptiest, and this many more. */
  crowdedTimes: 2,
  crowdedVolumes: 16,
  /** Answers kept for repeated commands. */
  answersMax: 1_024,
  /** Bytes of a peer's, zone's or host's name (HOST_NAME_MAX is 64, a DNS name 253). */
  nameBytesMax: 253,
  /** Largest share of data relative to a peer of weight 1. */
  weightMax: 1_000_000,
} as const;
