import {
  type BackupSource,
  HoldfastError,
  type LastBackup,
  type LastVerification,
  type RestoreProgress,
  SYSTEM_SHARD,
  type VolumeNumber,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { Cluster } from './cluster/cluster.ts';

/** The cluster's volumes: list, create, remove, and who has them attached. */
export class Volumes {
  readonly #cluster: Pick<Cluster, 'callLeader'>;
  readonly #byName = new Map<string, VolumeRecord>();
  readonly #byNumber = new Map<VolumeNumber, VolumeRecord>();

  constructor(cluster: Pick<Cluster, 'callLeader'>) {
    this.#cluster = cluster;
  }

  /** All volumes, linearizable. Volumes being removed are left out. */
  async list(signal?: AbortSignal): Promise<readonly VolumeRecord[]> {
    const { volumes } = await this.#call<{ volumes: VolumeRecord[] }>(
      'registry.volumes',
      {},
      signal,
    );
    this.#byName.clear();
    this.#byNumber.clear();
    for (const volume of volumes) this.#remember(volume);
    return volumes.filter((volume) => volume.state === 'ready');
  }

  /** The volumes last heard of, without asking: for answers that must not wait. */
  known(): readonly VolumeRecord[] {
    return [...this.#byName.values()].filter((volume) => volume.state === 'ready');
  }

  /** One volume, linearizable; undefined when there is none of that name. */
  async get(name: string, signal?: AbortSignal): Promise<VolumeRecord | undefined> {
    const { volume } = await this.#call<{ volume?: VolumeRecord }>(
      'registry.volume',
      { name },
      signal,
    );
    if (volume === undefined || volume.state !== 'ready') {
      this.#forget(name);
      return undefined;
    }
    this.#remember(volume);
    return volume;
  }

  /** Makes a volume; success when it exists with the same policy, CONFLICT when with another one. */
  async create(
    name: string,
    policy: Partial<VolumePolicy> = {},
    signal?: AbortSignal,
  ): Promise<VolumeRecord> {
    return this.#make({ name, policy }, signal);
  }

  /**
   * Makes a volume as a clone of a snapshot, VOLUME@SNAPSHOT: at once, sharing what neither changes,
   * with the policy of VOLUME but for what is given. Success when it exists as such. NOT_FOUND,
   * CONFLICT, ENOSPC above LIMITS.clonesMax, BAD_REQUEST for owner and mode, which it has already.
   */
  async clone(
    name: string,
    from: string,
    policy: Partial<VolumePolicy> = {},
    signal?: AbortSignal,
  ): Promise<VolumeRecord> {
    return this.#make({ name, policy, from }, signal);
  }

  /**
   * Makes a volume that is to be filled from a backup; until that is done nobody can attach it.
   * `withPolicy`: it gets the policy of then but for what is given. Success when it exists as such; one
   * whose restore had failed is to be filled again. NOT_FOUND, CONFLICT.
   */
  async createRestored(
    name: string,
    restore: { readonly source: BackupSource; readonly withPolicy: boolean },
    policy: Partial<VolumePolicy> = {},
    signal?: AbortSignal,
  ): Promise<VolumeRecord> {
    return this.#make({ name, policy, restore }, signal);
  }

  /**
   * Takes a volume's restore for this process (`by`, random) of a host. The claim ends by itself 15 s
   * after the last {@link noteRestore}. CONFLICT while another has it, or there is none to do.
   */
  async claimRestore(
    volume: VolumeNumber,
    claim: { readonly by: string; readonly host: string },
    signal?: AbortSignal,
  ): Promise<VolumeRecord> {
    const method = 'registry.restore-claim';
    return (await this.#call<{ volume: VolumeRecord }>(method, { volume, ...claim }, signal))
      .volume;
  }

  /** Keeps the claim, and tells how far the restore is. CONFLICT when it is another's, NOT_FOUND. */
  async noteRestore(
    volume: VolumeNumber,
    note: {
      readonly by: string;
      readonly backupId?: string;
      readonly progress?: RestoreProgress;
      readonly isComplete?: boolean;
      readonly trouble?: string;
    },
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call('registry.restore-note', { volume, ...note }, signal);
  }

  /** Gives the claim back: the volume is open (done), will never be (failed), or is another's to fill (left). */
  async endRestore(
    volume: VolumeNumber,
    end: {
      readonly by: string;
      readonly outcome: 'done' | 'failed' | 'left';
      readonly trouble?: string;
    },
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call('registry.restore-end', { volume, ...end }, signal);
  }

  /** Gives the volume that is being restored the policy that its backup has. CONFLICT, BAD_REQUEST. */
  async setRestoredPolicy(
    volume: VolumeNumber,
    { by, policy }: { readonly by: string; readonly policy: Partial<VolumePolicy> },
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call('registry.restore-policy', { volume, by, policy }, signal);
  }

  async #make(header: object, signal: AbortSignal | undefined): Promise<VolumeRecord> {
    const { volume } = await this.#call<{ volume: VolumeRecord }>(
      'registry.volume-create',
      header,
      signal,
    );
    this.#remember(volume);
    return volume;
  }

  /**
   * Removes a volume and, with `force`, what is in it. ENOTEMPTY without force; CONFLICT while any
   * host has it attached; removing an unknown volume is NOT_FOUND.
   */
  async remove(name: string, options: { force: boolean }, signal?: AbortSignal): Promise<void> {
    await this.#call('registry.volume-remove', { name, force: options.force }, signal);
    this.#forget(name);
  }

  /** Notes that a host's container engine uses the volume, so that no other host removes it. */
  async attach(name: string, host: string, signal?: AbortSignal): Promise<void> {
    await this.#call('registry.volume-attach', { name, host }, signal);
  }

  async detach(name: string, host: string, signal?: AbortSignal): Promise<void> {
    await this.#call('registry.volume-detach', { name, host }, signal);
  }

  /** Notes a backup of the volume that has succeeded. */
  async noteBackup(volume: VolumeNumber, backup: LastBackup, signal?: AbortSignal): Promise<void> {
    await this.#call('registry.backup-note', { volume, backup }, signal);
  }

  /** Notes that a repository was verified, at all volumes whose last backup it has. */
  async noteVerification(
    repository: string,
    verification: LastVerification,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call('registry.verification-note', { repository, verification }, signal);
  }

  /** The record by name, from memory when known. A removed volume shows by its shard's refusal: then {@link forget}. */
  async byName(name: string, signal?: AbortSignal): Promise<VolumeRecord> {
    const volume = this.#byName.get(name) ?? (await this.get(name, signal));
    if (volume === undefined) throw new HoldfastError('ENOENT', `no volume '${name}'`);
    return volume;
  }

  /** The record by number, only from memory. */
  knownByNumber(number: VolumeNumber): VolumeRecord | undefined {
    return this.#byNumber.get(number);
  }

  /** The record by number, from memory when known. Throws ESTALE when there is none. */
  async byNumber(number: VolumeNumber, signal?: AbortSignal): Promise<VolumeRecord> {
    const known = this.#byNumber.get(number);
    if (known !== undefined) return known;
    await this.list(signal);
    const volume = this.#byNumber.get(number);
    if (volume === undefined)
      throw new HoldfastError('ESTALE', `volume number ${number} no longer exists`);
    return volume;
  }

  /** Drops what is remembered of a volume, so that the next use asks. */
  forget(volume: VolumeRecord): void {
    this.#forget(volume.name);
  }

  #remember(volume: VolumeRecord): void {
    this.#byName.set(volume.name, volume);
    this.#byNumber.set(volume.number, volume);
  }

  #forget(name: string): void {
    const volume = this.#byName.get(name);
    this.#byName.delete(name);
    if (volume !== undefined) this.#byNumber.delete(volume.number);
  }

  async #call<T>(method: string, header: unknown, signal?: AbortSignal): Promise<T> {
    return (await this.#cluster.callLeader<T>(SYSTEM_SHARD, method, header, signal)).header;
  }
}
