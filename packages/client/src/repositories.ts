import {
  HoldfastError,
  type RepositoryAccess,
  type RepositoryRecord,
  SYSTEM_SHARD,
} from '@holdfast/protocol';
import type { Cluster } from './cluster/cluster.ts';

/** The repositories of backups that the cluster knows by name. */
export class Repositories {
  readonly #cluster: Pick<Cluster, 'callLeader' | 'identity'>;

  constructor(cluster: Pick<Cluster, 'callLeader' | 'identity'>) {
    this.#cluster = cluster;
  }

  /** All of them, by name, without what opens them. */
  async list(signal?: AbortSignal): Promise<readonly RepositoryRecord[]> {
    const { repositories } = await this.#call<{ repositories: RepositoryRecord[] }>(
      'registry.repositories',
      {},
      signal,
    );
    return repositories;
  }

  /**
   * A repository with what opens it; undefined when the cluster knows none of that name. FORBIDDEN
   * unless this host is a peer or an administrator's.
   */
  async access(name: string, signal?: AbortSignal): Promise<RepositoryAccess | undefined> {
    if (this.#cluster.identity.role === 'client')
      throw new HoldfastError(
        'FORBIDDEN',
        `this host is a client of the cluster: what opens repository '${name}' is told to peers and administrators only; name its place and give its password`,
      );
    const method = 'registry.repository-access';
    return (await this.#call<{ access?: RepositoryAccess }>(method, { name }, signal)).access;
  }

  async #call<T>(method: string, header: unknown, signal?: AbortSignal): Promise<T> {
    return (await this.#cluster.callLeader<T>(SYSTEM_SHARD, method, header, signal)).header;
  }
}
