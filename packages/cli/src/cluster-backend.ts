import type { ClusterClient } from '@holdfast/client';
import type { VolumeBackend, VolumeInfo } from '@holdfast/node';
import type { VolumePolicy, VolumeRecord } from '@holdfast/protocol';

/** The volume driver's view of the cluster, over the client library. */
export class ClusterBackend implements VolumeBackend {
  readonly #client: ClusterClient;

  constructor(client: ClusterClient) {
    this.#client = client;
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

function describe(volume: VolumeRecord): VolumeInfo {
  const { policy } = volume;
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
      attachedTo: volume.attachedTo,
      ...(volume.from !== undefined && {
        from: `${volume.from.volumeName}@${volume.from.snapshot}`,
      }),
    },
    inUseBy: volume.attachedTo,
  };
}
