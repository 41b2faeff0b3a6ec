import type { VolumePolicy } from '@holdfast/protocol';

/** A volume as the driver shows it. */
export interface VolumeInfo {
  readonly name: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Facts for `docker volume inspect`: size, replicas, health. JSON values only. */
  readonly status: Readonly<Record<string, unknown>>;
  /** Names of the hosts whose engine has it attached. */
  readonly inUseBy: readonly string[];
  /** Of a volume that is made from a backup and is not complete: nobody can attach it. */
  readonly unfilled?: UnfilledVolume;
}

/** How far the filling of a volume is. */
export interface UnfilledVolume {
  /** For people: progress, source, trouble. */
  readonly text: string;
  readonly hasFailed: boolean;
  /** Whether a process that lives is at it. */
  readonly isClaimed: boolean;
}

/**
 * The cluster as the driver needs it. Every method gives up when `signal` fires; what it had begun
 * may still happen, so all of them must be safe to repeat. Errors are HoldfastErrors; those of kind
 * `outage` mean that the cluster could not be asked.
 */
export interface VolumeBackend {
  list(signal?: AbortSignal): Promise<readonly VolumeInfo[]>;
  /** undefined: the cluster says that there is none of that name. */
  get(name: string, signal?: AbortSignal): Promise<VolumeInfo | undefined>;
  /** Success when it exists with this policy; CONFLICT when it exists with another one. */
  create(name: string, policy: Partial<VolumePolicy>, signal?: AbortSignal): Promise<void>;
  /** As a clone of VOLUME@SNAPSHOT; else as {@link create}. NOT_FOUND without such a snapshot. */
  clone(
    name: string,
    from: string,
    policy: Partial<VolumePolicy>,
    signal?: AbortSignal,
  ): Promise<void>;
  /**
   * Makes a volume that is to be filled from a backup, REPOSITORY:VOLUME[@BACKUP]; else as
   * {@link create}. One that could not be filled is to be filled again.
   */
  restore(
    name: string,
    from: string,
    policy: Partial<VolumePolicy>,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Has this host go on filling a volume; returns at once. {@link get} tells what comes of it. */
  fill(name: string): void;
  /** With all its data. CONFLICT while a host has it attached; NOT_FOUND or ENOENT when unknown. */
  remove(name: string, signal?: AbortSignal): Promise<void>;
  /**
   * Notes that this host's engine uses the volume, so that no other host removes it. CONFLICT, with
   * `restoring` in its detail, when it is not filled yet.
   */
  attach(name: string, host: string, signal?: AbortSignal): Promise<void>;
  detach(name: string, host: string, signal?: AbortSignal): Promise<void>;
}
