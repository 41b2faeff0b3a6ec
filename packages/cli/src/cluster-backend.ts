import type { ClusterClient } from '@holdfast/client';
import type { UnfilledVolume, VolumeBackend, VolumeInfo } from '@holdfast/node';
import {
  backupSourceText,
  parseBackupSource,
  restoreText,
  type VolumePolicy,
  type VolumeRecord,
  type VolumeRestore,
} from '@holdfast/protocol';
import type { FillProcesses } from './fill-processes.ts';

/** The volume driver's view of the cluster, over the client library. */
export class ClusterBackend implements VolumeBackend {
  readonly #client: ClusterClient;
  readonly #fills: Pick<FillProcesses, 'start'>;

  constructor(client: ClusterClient, fills: Pick<FillProcesses, 'start'>) {
    this.#client = client;
    this.#fills = fills;
  }

  async list(signal?: AbortSignal): Promise<readonly VolumeInfo[]> {
    return (await this.#client.volumes.list(signal)).map(describe);
  }

  async get(name: string, signal?: AbortSignal): Promise<VolumeInfo | undefined> {
    const volume = await this.#client.volumes.get(name, signal);
    return volume === undefined ? undefined : describe(volume);
  }

  async create(name: string, policy: Partial<VolumePolicy>, signal?: AbortSignal): Promise<void> {
    await this.#client.volumes.create(name, policy, signal);
  }

  async clone(
    name: string,
    from: string,
    policy: Partial<VolumePolicy>,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#client.volumes.clone(name, from, policy, signal);
  }

  async restore(
    name: string,
    from: string,
    policy: Partial<VolumePolicy>,
    signal?: AbortSignal,
  ): Promise<void> {
    const restore = { source: parseBackupSource(from), withPolicy: true };
    await this.#client.volumes.createRestored(name, restore, policy, signal);
  }

  fill(name: string): void {
    this.#fills.start(name);
  }

  async remove(name: string, signal?: AbortSignal): Promise<void> {
    await this.#client.volumes.remove(name, { force: true }, signal);
  }

  async attach(name: string, host: string, signal?: AbortSignal): Promise<void> {
    await this.#client.volumes.attach(name, host, signal);
  }

  async detach(name: string, host: string, signal?: AbortSignal): Promise<void> {
    await this.#client.volumes.detach(name, host, signal);
  }
}

function unfilledBy(restore: VolumeRestore): UnfilledVolume {
  const { state, claim, source, trouble } = restore;
  const on = claim === undefined ? '' : ` on ${claim.host}`;
  const why = trouble === undefined ? '' : `: ${trouble}`;
  return {
    text: `${restoreText(restore)} from ${backupSourceText(source)}${on}${why}`,
    hasFailed: state === 'failed',
    isClaimed: claim !== undefined && Date.parse(claim.until) > Date.now(),
  };
}

function describe(volume: VolumeRecord): VolumeInfo {
  const { policy, restore } = volume;
  const isFilled = restore === undefined || restore.state === 'done';
  return {
    name: volume.name,
    createdAt: volume.createdAt,
    status: {
      shard: volume.shard,
      replicas: policy.replicas,
      minReplicas: policy.minReplicas,
      quotaBytes: policy.quotaBytes,
      ...(policy.snapshotSchedule !== undefined && {
        snapshotSchedule: policy.snapshotSchedule,
        snapshotKeep: policy.snapshotKeep,
        lastSnapshot: volume.snapshotRuns?.made ?? '',
      }),
      ...(policy.backupRepository !== undefined && {
        backup: policy.backupRepository,
        backupSchedule: policy.backupSchedule,
        backupKeep: policy.backupKeep ?? 'all',
        lastBackup: volume.lastBackup?.at ?? '',
      }),
      attachedTo: volume.attachedTo,
      ...(volume.from !== undefined && {
        from: `${volume.from.volumeName}@${volume.from.snapshot}`,
      }),
      ...(restore !== undefined && {
        madeFrom: backupSourceText(restore.source),
        ...(isFilled ? {} : { state: restoreText(restore) }),
        ...(restore.trouble !== undefined && { trouble: restore.trouble }),
      }),
    },
    ...(isFilled ? {} : { unfilled: unfilledBy(restore) }),
    inUseBy: volume.attachedTo,
  };
}
