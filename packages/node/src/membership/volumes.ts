/** Volumes from their making to their end, across the system shard and their own shard. */
import type { RegistryAnswer, StoredVolume } from '@holdfast/placement';
import {
  type BackupSource,
  HoldfastError,
  type Operation,
  type OperationAnswer,
  parseWholeSnapshotName,
  type ShardId,
  type VolumeNumber,
  type VolumeOrigin,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import { parseBackupKeep, parseKeep, Schedule } from '@holdfast/schedule';
import type { Registry } from './registry.ts';
import type { VolumeSnapshots } from './snapshots.ts';

/**
 * Runs an operation in a volume's shard, wherever that is led. `timeNs`: its 'now' (nanoseconds since
 * the epoch), the same in every try; else each try's own. Throws the shard's refusal, or an outage.
 */
export type RunInShard = (
  shard: ShardId,
  volume: VolumeNumber,
  operation: Operation,
  timeNs?: bigint,
) => Promise<OperationAnswer>;

/** What {@link VolumeLifecycle} works with. */
export interface VolumeLifecycleParts {
  readonly registry: Pick<Registry, 'execute' | 'view'>;
  readonly run: RunInShard;
  readonly snapshots: Pick<VolumeSnapshots, 'origin'>;
}

/** What a new volume begins with. */
export interface VolumeBeginning {
  /** VOLUME@SNAPSHOT, to be a clone of. */
  readonly from?: string | undefined;
  /** A backup, that it is filled from behind this. */
  readonly restore?: { readonly source: BackupSource; readonly withPolicy: boolean } | undefined;
  /** Its shard; chosen by the number of volumes when absent. */
  readonly shard?: number | undefined;
}

/**
 * Each step is idempotent, and the registry knows which was last: whoever leads the system shard can
 * go on after another leader fell over in the middle.
 */
export class VolumeLifecycle {
  readonly #registry: Pick<Registry, 'execute' | 'view'>;
  readonly #run: RunInShard;
  readonly #snapshots: Pick<VolumeSnapshots, 'origin'>;

  constructor(parts: VolumeLifecycleParts) {
    this.#registry = parts.registry;
    this.#run = parts.run;
    this.#snapshots = parts.snapshots;
  }

  /**
   * Makes a volume; it is ready when this resolves, but for the content of one that is filled from a
   * backup. Success when it exists with the same policy and beginning, and in the shard that is asked
   * for, else CONFLICT; BAD_REQUEST.
   */
  async create(
    name: string,
    policy: Partial<VolumePolicy>,
    { from, restore, shard }: VolumeBeginning = {},
  ): Promise<VolumeRecord> {
    const asked = withSchedule(policy);
    const origin = from === undefined ? undefined : await this.#origin(name, from);
    const made = recordOf(
      await this.#registry.execute({
        op: 'create-volume',
        name,
        policy: asked,
        ...(origin !== undefined && { from: origin }),
        ...(restore !== undefined && { restore }),
        ...(shard !== undefined && { shard: shard as ShardId }),
      }),
    );
    return made.state === 'creating' ? this.#finishCreate(made) : made;
  }

  async #origin(name: string, from: string): Promise<Omit<VolumeOrigin, 'volumeName'>> {
    const { volume, name: snapshot } = parseWholeSnapshotName(from);
    const { volume: existing } = await this.#registry.view({ view: 'volume', name });
    const known = existing?.from;
    // Made before: the snapshot may have lost its name since.
    const isKnown = known?.volumeName === volume && known.snapshot === snapshot;
    const {
      volumeName: _,
      shard: _shard,
      ...origin
    } = isKnown ? known : await this.#snapshots.origin(volume, snapshot);
    return origin;
  }

  async #finishCreate(volume: VolumeRecord): Promise<VolumeRecord> {
    try {
      await this.#begin(volume);
    } catch (error) {
      const isRefused = error instanceof HoldfastError && error.kind === 'refusal';
      if (!isRefused || volume.from === undefined) throw error;
      const { volume: left } = await this.#registry.execute({
        op: 'cancel-create',
        volume: volume.number,
      });
      if (left?.state === 'ready') return left; // someone else has finished it
      if (left !== undefined) await this.#finishRemove(left);
      throw error;
    }
    const ready = recordOf(
      await this.#registry.execute({ op: 'volume-ready', volume: volume.number }),
    );
    if (ready.state === 'ready') return ready;
    throw new HoldfastError('CONFLICT', `volume '${volume.name}' is being removed`);
  }

  /** Makes the volume in its shard. A clone of a snapshot in another one holds that first. */
  async #begin(volume: VolumeRecord): Promise<void> {
    const { number, name, policy, from } = volume;
    if (from?.shard === undefined) {
      await this.#run(volume.shard, number, firstOperation(volume));
      return;
    }
    const { shard, volume: base, snapshot, generation } = from;
    const hold = { op: 'hold-snapshot', snapshot, generation, by: number } as const;
    const { held } = await this.#run(shard, base, hold);
    if (held === undefined) throw new HoldfastError('INTERNAL', 'the shard holds nothing');
    const { quotaBytes, quotaInodes } = policy;
    await this.#run(volume.shard, number, {
      op: 'clone-from-afar',
      name,
      shard,
      from: base,
      generation,
      held,
      quotaBytes,
      quotaInodes,
    });
  }

  /**
   * Removes a volume; when this resolves its names fail on every host. Its space is given back behind
   * that. Throws NOT_FOUND, CONFLICT while a host uses it, ENOTEMPTY without `force`.
   */
  async remove(name: string, force: boolean): Promise<void> {
    const volume = recordOf(await this.#registry.execute({ op: 'begin-remove', name, force }));
    // Nobody has ever seen what is in one that was not filled.
    const { restore } = volume;
    await this.#destroy(volume, force || (restore !== undefined && restore.state !== 'done'));
  }

  async #destroy(volume: VolumeRecord, force: boolean): Promise<void> {
    try {
      await this.#run(volume.shard, volume.number, { op: 'destroy-volume', force });
    } catch (error) {
      const isRefused = error instanceof HoldfastError && error.kind === 'refusal';
      // The shard has dropped it before: the answer of an earlier try was lost.
      const isGone = isRefused && (error.code === 'ENOENT' || error.code === 'ESTALE');
      if (isRefused && !isGone)
        await this.#registry.execute({ op: 'cancel-remove', volume: volume.number });
      if (!isGone) throw error;
    }
    await this.#registry.execute({ op: 'volume-destroyed', volume: volume.number });
    await this.#finishRemove(volume);
  }

  /** The shard gives the space back by itself, and the number is never used again: the registry may forget it. */
  async #finishRemove(volume: VolumeRecord): Promise<void> {
    // A clone whose making was given up may be there all the same, and would hold its snapshot.
    if (volume.from !== undefined) await this.#destroyAnyway(volume);
    await this.#letGo(volume);
    await this.#registry.execute({ op: 'finish-remove', volume: volume.number });
  }

  /** A clone elsewhere lets go of its snapshot when it is gone from its own shard, and cannot come again. */
  async #letGo({ shard, number, from }: VolumeRecord): Promise<void> {
    if (from?.shard === undefined) return;
    const { volume, generation } = from;
    await this.#run(shard, number, { op: 'let-go', generation, by: number });
    await this.#run(from.shard, volume, { op: 'let-go', generation, by: number });
  }

  async #destroyAnyway({ shard, number }: VolumeRecord): Promise<void> {
    try {
      await this.#run(shard, number, { op: 'destroy-volume', force: true });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'ENOENT') throw error;
    }
  }

  /** Changes a volume's policy; quota holds from now on, replicas for what is written from now on. */
  async update(name: string, policy: Partial<VolumePolicy>): Promise<VolumeRecord> {
    const change = { op: 'set-policy', name, policy: withSchedule(policy) } as const;
    const volume = recordOf(await this.#registry.execute(change));
    const { quotaBytes, quotaInodes } = volume.policy;
    await this.#run(volume.shard, volume.number, { op: 'set-quota', quotaBytes, quotaInodes });
    return volume;
  }

  /** Takes the next step of every volume that is neither ready nor gone; for the leader of the system shard. */
  async rollForward(volumes: Iterable<StoredVolume>): Promise<void> {
    // Copied: the registry's own collection changes while we await.
    for (const { record, removal } of Array.from(volumes)) {
      if (record.state === 'creating') await this.#finishCreate(record);
      else if (record.state === 'removing') await this.#finishRemove(record);
      else if (removal !== undefined) await this.#resumeRemove(record, removal.force);
    }
  }

  /** Whoever asked for it is gone: what the shard says now is the end of it. */
  async #resumeRemove(record: VolumeRecord, force: boolean): Promise<void> {
    try {
      await this.#destroy(record, force);
    } catch (error) {
      const isFinal = error instanceof HoldfastError && error.kind === 'refusal';
      if (!isFinal) throw error;
    }
  }
}

/** With its schedule and what to keep as they are written down. BAD_REQUEST when they are not understood. */
function withSchedule(policy: Partial<VolumePolicy>): Partial<VolumePolicy> {
  const { snapshotSchedule: schedule = '', snapshotKeep: keep = '' } = policy;
  const { backupSchedule: backups = '', backupKeep = '' } = policy;
  return {
    ...policy,
    ...(schedule !== '' && { snapshotSchedule: Schedule.parse(schedule).text }),
    ...(keep !== '' && { snapshotKeep: parseKeep(keep).text }),
    ...(backups !== '' && { backupSchedule: Schedule.parse(backups).text }),
    ...(backupKeep !== '' && { backupKeep: parseBackupKeep(backupKeep).text }),
  };
}

/** What makes the volume in its shard. */
function firstOperation({ name, policy, from }: VolumeRecord): Operation {
  const { mode, uid, gid, quotaBytes, quotaInodes } = policy;
  if (from === undefined)
    return { op: 'init-volume', name, mode, uid, gid, quotaBytes, quotaInodes };
  const { volume, snapshot, generation } = from;
  return { op: 'clone-volume', name, from: volume, snapshot, generation, quotaBytes, quotaInodes };
}

function recordOf(answer: RegistryAnswer): VolumeRecord {
  if (answer.volume === undefined)
    throw new HoldfastError('INTERNAL', 'the registry answered without a volume');
  return answer.volume;
}
