/** Snapshots by the names of volume and snapshot, from any peer: the registry knows the shard, the shard the rest. */
import { randomInt } from 'node:crypto';
import {
  HoldfastError,
  type LockRequest,
  ROOT_INODE,
  SNAPSHOT_HOLDS_AT,
  type Snapshot,
  type ViewAnswers,
  type VolumeOrigin,
  type VolumeRecord,
} from '@holdfast/protocol';
import { scheduledName, scheduledTime } from '@holdfast/schedule';
import type { LookInShard } from '../rpc/shard-service.ts';
import { fillingError, fillingOf, isHalf, restoring } from './half-filled.ts';
import type { Registry } from './registry.ts';
import type { RunInShard } from './volumes.ts';

/** Snapshots asked for at once. */
const PAGE = 1_024;

/** What {@link VolumeSnapshots} works with. */
export interface VolumeSnapshotsOptions {
  readonly registry: Pick<Registry, 'view'>;
  readonly run: RunInShard;
  readonly look: LookInShard;
}

/** How a snapshot is taken. */
export interface SnapshotWishes {
  /** Its time, nanoseconds since the epoch; tells one request from another. */
  readonly timeNs?: bigint | undefined;
  /** Of one that was received: what it was sent as. */
  readonly origin?: string | undefined;
  /** Who asks is filling the volume, and knows what it shows. */
  readonly byFiller?: boolean | undefined;
}

/** A snapshot and what removing it would give back, in bytes. */
export type MeasuredSnapshot = Snapshot & ViewAnswers['snapshot-space'];

/** Makes, lists and removes snapshots. */
export class VolumeSnapshots {
  readonly #options: VolumeSnapshotsOptions;

  constructor(options: VolumeSnapshotsOptions) {
    this.#options = options;
  }

  /**
   * Pins a volume as it is at one moment between call and answer: all that was acknowledged to anyone
   * before the call is in it. `name`: its time by default. `timeNs` tells one request from another:
   * again with the same one is success, else a name that is taken is EEXIST. `origin` is kept with it.
   * Throws NOT_FOUND, EINVAL (also for the names that schedules give), ENAMETOOLONG, ENOSPC, or an outage;
   * CONFLICT while the volume is half filled, but for who fills it.
   */
  async create(
    volume: string,
    name?: string,
    { timeNs = nowNs(), origin, byFiller = false }: SnapshotWishes = {},
  ): Promise<Snapshot> {
    if (name !== undefined && scheduledTime(name) !== undefined) {
      throw new HoldfastError(
        'EINVAL',
        `snapshots named like '${name}' are made, and removed, by snapshot schedules: choose another name`,
      );
    }
    const record = await this.#volume(volume);
    const wanted = name ?? nameOf(timeNs);
    if (byFiller) return this.#take(record, wanted, { timeNs, origin });
    await this.#refuseFilling(record);
    const taken = await this.#take(record, wanted, { timeNs, origin });
    await this.#refuseHalf(record, taken);
    return taken;
  }

  /** Why a volume is half filled, and what to do; undefined when it is not. Throws an outage. */
  async whyHalf(record: VolumeRecord): Promise<string | undefined> {
    return (await fillingOf(this.#options.look, record))?.message;
  }

  async #refuseFilling(record: VolumeRecord): Promise<void> {
    const filling = await fillingOf(this.#options.look, record);
    if (filling !== undefined) throw fillingError(filling);
  }

  /** What is being filled since it was looked at: a snapshot that shows it goes again. */
  async #refuseHalf(record: VolumeRecord, { name, generation }: Snapshot): Promise<void> {
    const { look, run } = this.#options;
    const [half, restore] = await Promise.all([
      isHalf(look, record, generation),
      restoring(look, record),
    ]);
    if (!half && restore === undefined) return;
    const operation = { op: 'remove-snapshot', name, generation } as const;
    await run(record.shard, record.number, operation);
    await this.#refuseFilling(record);
    const message = `something was filling volume '${record.name}' at this moment; try again`;
    throw fillingError({ message, isUnderWay: true });
  }

  async #take(
    record: VolumeRecord,
    wanted: string,
    { timeNs, origin }: { readonly timeNs: bigint; readonly origin: string | undefined },
  ): Promise<Snapshot> {
    const volume = record.name;
    try {
      const came = origin === undefined ? {} : { origin };
      const operation = { op: 'create-snapshot', name: wanted, ...came } as const;
      const { snapshot } = await this.#options.run(record.shard, record.number, operation, timeNs);
      if (snapshot !== undefined) return snapshot;
      throw new HoldfastError('INTERNAL', 'the shard answered without a snapshot');
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'EEXIST') throw error;
      const existing = await this.#find(record, wanted);
      // An earlier try took effect, but its answer was lost.
      if (existing?.timeNs === timeNs) return existing;
      throw new HoldfastError(
        'EEXIST',
        `volume '${volume}' has a snapshot '${wanted}' already: choose another name, or remove it first`,
        { cause: error, detail: { volume, snapshot: wanted } },
      );
    }
  }

  /**
   * The snapshot of a schedule that is due then, in milliseconds; success when it is there. ENOSPC, CONFLICT
   * while the volume is half filled, or an outage.
   */
  async createScheduled(record: VolumeRecord, dueMs: number): Promise<void> {
    const { shard, number } = record;
    const name = scheduledName(dueMs);
    await this.#refuseFilling(record);
    const operation = { op: 'create-snapshot', name } as const;
    let made: Snapshot | undefined;
    try {
      made = (await this.#options.run(shard, number, operation, nowNs())).snapshot;
    } catch (error) {
      // Nobody else gives this name: an earlier try, or another leader, has made it.
      if (!(error instanceof HoldfastError) || error.code !== 'EEXIST') throw error;
      made = await this.#find(record, name);
    }
    if (made !== undefined) await this.#refuseHalf(record, made);
  }

  /** All snapshots of a volume, oldest first. NOT_FOUND. */
  async list(volume: string): Promise<readonly Snapshot[]> {
    return this.#list(await this.#volume(volume));
  }

  /** One snapshot with what removing it would give back; costs the versions that died after it. NOT_FOUND. */
  async measure(volume: string, name: string): Promise<MeasuredSnapshot> {
    const record = await this.#volume(volume);
    const snapshot = await this.#get(record, name);
    const view = { view: 'snapshot-space', at: snapshot.generation } as const;
    const space = await this.#options.look(record.shard, record.number, view);
    return { ...snapshot, ...space };
  }

  /**
   * Gives a snapshot up; its space comes back behind that, or, while it has clones, with the last of
   * them. Answers what it was. NOT_FOUND.
   */
  async remove(volume: string, name: string): Promise<Snapshot> {
    const record = await this.#volume(volume);
    const snapshot = await this.#get(record, name);
    const { generation } = snapshot;
    try {
      const operation = { op: 'remove-snapshot', name, generation } as const;
      await this.#options.run(record.shard, record.number, operation);
    } catch (error) {
      // It was there: an earlier try, or someone else, has removed it.
      if (!(error instanceof HoldfastError) || error.code !== 'ENOENT') throw error;
    }
    return snapshot;
  }

  /**
   * Shows a volume as a snapshot of it again; answers the snapshot that keeps what it was until now.
   * Files that are open in it are void then. `timeNs` as with create. Throws NOT_FOUND, CONFLICT while
   * hosts have the volume attached and it is not forced, while somebody fills it, or when the snapshot is of
   * a volume half filled; ENOSPC, EINVAL too many upon each other, or an outage.
   */
  async rollBack(
    volume: string,
    name: string,
    {
      force,
      timeNs = nowNs(),
      byFiller = false,
    }: Pick<SnapshotWishes, 'timeNs' | 'byFiller'> & { readonly force: boolean },
  ): Promise<Snapshot> {
    const record = await this.#volume(volume);
    const keep = `before-rollback-${nameOf(timeNs)}`;
    const done = await this.#find(record, keep);
    if (done?.timeNs === timeNs) return done; // by an earlier try, whose answer was lost
    const { generation } = await this.#getWhole(record, name);
    const filling = byFiller ? undefined : await fillingOf(this.#options.look, record);
    // Of what was killed in the middle it is the way out.
    if (filling?.isUnderWay === true) throw fillingError(filling);
    if (record.attachedTo.length > 0 && !force) {
      throw new HoldfastError(
        'CONFLICT',
        `volume '${volume}' is in use on ${record.attachedTo.join(', ')}; stop what uses it first, or force it (--force): files that are open then fail with ESTALE`,
        { detail: { attachedTo: record.attachedTo } },
      );
    }
    const operation = { op: 'rollback-volume', snapshot: name, generation, keep } as const;
    const { snapshot } = await this.#options.run(record.shard, record.number, operation, timeNs);
    if (snapshot !== undefined) return snapshot;
    throw new HoldfastError('INTERNAL', 'the shard answered without a snapshot');
  }

  /**
   * Whether someone reads the snapshot and wants it to stay: told by a lock on the volume's root, at
   * the byte {@link SNAPSHOT_HOLDS_AT} and its generation. NOT_FOUND.
   */
  async isHeld(volume: string, name: string): Promise<boolean> {
    const record = await this.#volume(volume);
    const { generation } = await this.#get(record, name);
    const start = SNAPSHOT_HOLDS_AT + generation;
    const wanted = { family: 'posix', type: 'write', start, end: start + 1, owner: '0', pid: 0 };
    const lock = wanted as LockRequest;
    const view = { view: 'test-lock', ino: ROOT_INODE, lock } as const;
    return (await this.#options.look(record.shard, record.number, view)).conflict !== undefined;
  }

  /** A snapshot as what a clone begins with. NOT_FOUND, CONFLICT when the volume was half filled then. */
  async origin(volume: string, name: string): Promise<VolumeOrigin> {
    const record = await this.#volume(volume);
    const { generation } = await this.#getWhole(record, name);
    return { volume: record.number, volumeName: record.name, snapshot: name, generation };
  }

  async #volume(name: string): Promise<VolumeRecord> {
    const { volume } = await this.#options.registry.view({ view: 'volume', name });
    if (volume?.state === 'ready') return volume;
    if (volume?.state === 'creating')
      throw new HoldfastError('CONFLICT', `volume '${name}' is still being made; try again`);
    throw new HoldfastError('NOT_FOUND', `there is no volume '${name}'`);
  }

  async #get(volume: VolumeRecord, name: string): Promise<Snapshot> {
    const found = await this.#find(volume, name);
    if (found !== undefined) return found;
    throw new HoldfastError(
      'NOT_FOUND',
      `volume '${volume.name}' has no snapshot '${name}'; see 'holdfast snapshot ls ${volume.name}'`,
      { detail: { volume: volume.name, snapshot: name } },
    );
  }

  async #getWhole(volume: VolumeRecord, name: string): Promise<Snapshot> {
    const found = await this.#get(volume, name);
    if (!(await isHalf(this.#options.look, volume, found.generation))) return found;
    throw new HoldfastError(
      'CONFLICT',
      `volume '${volume.name}' was being filled when snapshot '${name}' was taken: it is neither what was before nor what was to be; choose another one, and remove it`,
    );
  }

  async #find(volume: VolumeRecord, name: string): Promise<Snapshot | undefined> {
    return (await this.#list(volume)).find((snapshot) => snapshot.name === name);
  }

  async #list({ shard, number }: VolumeRecord): Promise<readonly Snapshot[]> {
    const all: Snapshot[] = [];
    for (;;) {
      const after = all.at(-1)?.generation ?? 0;
      const view = { view: 'snapshots', after, count: PAGE } as const;
      const { snapshots, end } = await this.#options.look(shard, number, view);
      all.push(...snapshots);
      if (end || snapshots.length === 0) return all;
    }
  }
}

/** Nanoseconds since the epoch, of which the clock does not tell the last six digits: they are drawn. */
function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n + BigInt(randomInt(1_000_000));
}

/** The time in UTC, in letters that a name may have: 2026-11-23T15-52-59.123Z. */
function nameOf(timeNs: bigint): string {
  return new Date(Number(timeNs / 1_000_000n)).toISOString().replaceAll(':', '-');
}
