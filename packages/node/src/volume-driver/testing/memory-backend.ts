import { HoldfastError, type VolumePolicy } from '@holdfast/protocol';
import type { UnfilledVolume, VolumeBackend, VolumeInfo } from '../backend.ts';

interface Volume {
  readonly policy: Partial<VolumePolicy>;
  readonly from?: string;
  /** The test says how far it is. */
  unfilled?: UnfilledVolume | undefined;
  readonly users: Set<string>;
}

/** A cluster in memory that keeps the contract of {@link VolumeBackend}; shared by several hosts. */
export class MemoryBackend implements VolumeBackend {
  readonly volumes = new Map<string, Volume>();
  /** What every call does while set: fail as in an outage, or never answer. */
  trouble: 'none' | 'outage' | 'silence' = 'none';
  /** Calls by name, in order. */
  readonly calls: string[] = [];

  async list(): Promise<readonly VolumeInfo[]> {
    await this.#enter('list');
    return [...this.volumes.keys()]
      .map((name) => this.#info(name))
      .filter((info) => info !== undefined);
  }

  async get(name: string): Promise<VolumeInfo | undefined> {
    await this.#enter(`get ${name}`);
    return this.#info(name);
  }

  async create(name: string, policy: Partial<VolumePolicy>): Promise<void> {
    await this.#enter(`create ${name}`);
    const known = this.volumes.get(name);
    if (known !== undefined && JSON.stringify(known.policy) !== JSON.stringify(policy)) {
      throw new HoldfastError('CONFLICT', `volume '${name}' exists with another policy`);
    }
    if (known === undefined) this.volumes.set(name, { policy, users: new Set() });
  }

  async clone(name: string, from: string, policy: Partial<VolumePolicy>): Promise<void> {
    await this.#enter(`clone ${name} ${from}`);
    const known = this.volumes.get(name);
    if (known !== undefined && known.from !== from) {
      throw new HoldfastError('CONFLICT', `volume '${name}' exists with another origin`);
    }
    if (known === undefined) this.volumes.set(name, { policy, from, users: new Set() });
  }

  async restore(name: string, from: string, policy: Partial<VolumePolicy>): Promise<void> {
    await this.#enter(`restore ${name} ${from}`);
    const unfilled = { text: 'restoring, 0 %', hasFailed: false, isClaimed: false };
    this.volumes.set(name, { policy, from, users: new Set(), unfilled });
  }

  fill(name: string): void {
    this.calls.push(`fill ${name}`);
  }

  async remove(name: string): Promise<void> {
    await this.#enter(`remove ${name}`);
    if (this.#volume(name).users.size > 0) throw new HoldfastError('CONFLICT', 'attached');
    this.volumes.delete(name);
  }

  async attach(name: string, host: string): Promise<void> {
    await this.#enter(`attach ${name}`);
    const { unfilled, users } = this.#volume(name);
    if (unfilled !== undefined)
      throw new HoldfastError('CONFLICT', 'not complete', { detail: { restoring: true } });
    users.add(host);
  }

  async detach(name: string, host: string): Promise<void> {
    await this.#enter(`detach ${name}`);
    this.#volume(name).users.delete(host);
  }

  async #enter(call: string): Promise<void> {
    this.calls.push(call);
    if (this.trouble === 'outage') throw new HoldfastError('NO_QUORUM');
    if (this.trouble === 'silence') await new Promise(() => {});
  }

  #volume(name: string): Volume {
    const volume = this.volumes.get(name);
    if (volume === undefined) throw new HoldfastError('NOT_FOUND', `no volume '${name}'`);
    return volume;
  }

  #info(name: string): VolumeInfo | undefined {
    const volume = this.volumes.get(name);
    if (volume === undefined) return undefined;
    const createdAt = '2026-01-01T00:00:00.000Z';
    const { unfilled, users } = volume;
    const more = unfilled === undefined ? {} : { unfilled };
    return { name, createdAt, status: { replicas: 3 }, inUseBy: [...users], ...more };
  }
}
