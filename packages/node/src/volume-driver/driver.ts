import { HoldfastError } from '@holdfast/protocol';
import { withDeadline } from '../waiting.ts';
import type { VolumeBackend, VolumeInfo } from './backend.ts';
import type { Catalogue } from './catalogue.ts';
import type { KeyedQueue } from './keyed-queue.ts';
import type { DriverLog } from './log.ts';
import type { MountRoot } from './mount-root.ts';
import type { Mounts } from './mounts.ts';
import { backupOf, checkVolumeName, parseVolumeOptions, volumeSource } from './options.ts';

/** Milliseconds for all that a call does: the engine gives up after 60,000, and tries again. */
const CALL_MS = 50_000;
/** Milliseconds of it for one question to the cluster. */
const CLUSTER_DEADLINE_MS = 10_000;
/** Milliseconds of it to store what was written. */
const FLUSH_MS = 40_000;
/** Milliseconds of a Mount that are left when it gives up waiting for a volume to be filled. */
const FILL_RESERVE_MS = 10_000;
/** Milliseconds between two looks how far it is. */
const FILL_LOOK_MS = 500;

/** What a call has left of its time. */
class CallTime {
  readonly #endsAtMs = performance.now() + CALL_MS;

  /** Milliseconds for a step: `limitMs`, or what is left. */
  atMost(limitMs: number): number {
    return Math.max(0, Math.min(limitMs, this.#endsAtMs - performance.now()));
  }
}

/** A volume as the engine wants it. */
export interface DockerVolume {
  readonly Name: string;
  /** '' when it is not mounted on this host. */
  readonly Mountpoint: string;
  readonly CreatedAt: string;
  readonly Status: Readonly<Record<string, unknown>>;
}

/** What {@link VolumeDriver} works with. */
export interface DriverParts {
  readonly backend: VolumeBackend;
  readonly catalogue: Catalogue;
  readonly mounts: Mounts;
  readonly mountRoot: MountRoot;
  readonly host: string;
  readonly queue: KeyedQueue;
  readonly log: DriverLog;
  /** Told when the cluster's record of use may be wrong. */
  readonly onUnsettled: () => void;
}

/**
 * The calls of Docker's volume protocol. Each may come again (the engine repeats a call whose
 * connection broke), and each answers within seconds, with a HoldfastError if need be. Calls for one
 * volume run one after the other; volumes do not wait for each other.
 */
export class VolumeDriver {
  readonly #parts: DriverParts;

  constructor(parts: DriverParts) {
    this.#parts = parts;
  }

  /**
   * Makes the volume; success when it exists. BAD_REQUEST for a name or option that cannot be,
   * CONFLICT when it exists and the options given here ask for another kind of volume.
   */
  async create(name: string, options: Readonly<Record<string, string>>): Promise<void> {
    checkVolumeName(name);
    const policy = parseVolumeOptions(options);
    const from = volumeSource(options);
    const backup = backupOf(options);
    const time = new CallTime();
    await this.#parts.queue.run(name, async () => {
      try {
        await this.#cluster(time, `creating '${name}'`, (signal) => {
          const { backend } = this.#parts;
          if (backup !== undefined) return backend.restore(name, backup, policy, signal);
          return from === undefined
            ? backend.create(name, policy, signal)
            : backend.clone(name, from, policy, signal);
        });
        // Asked so that it is known when the cluster goes away.
        const { value: made } = await this.#parts.catalogue.get(name);
        if (made?.unfilled?.isClaimed === false) this.#parts.backend.fill(name);
      } catch (error) {
        const mayExist =
          error instanceof HoldfastError && ['CONFLICT', 'EEXIST'].includes(error.code);
        if (!mayExist || Object.keys(options).length > 0) throw error;
        // Other conflicts are no success: it is being removed, or there are too many.
        const { value, isFresh } = await this.#parts.catalogue.get(name);
        if (value === undefined || !isFresh) throw error;
      }
    });
  }

  /** NOT_FOUND only when the cluster says so, never because it cannot be asked. */
  async get(name: string): Promise<DockerVolume> {
    const { value, isFresh } = await this.#parts.catalogue.get(name);
    if (value === undefined) throw new HoldfastError('NOT_FOUND', `no volume '${name}'`);
    return this.#dockerVolume(value, isFresh);
  }

  /** The same answers as {@link get} for all volumes of the cluster. */
  async list(): Promise<DockerVolume[]> {
    const { value, isFresh } = await this.#parts.catalogue.list();
    return value.map((volume) => this.#dockerVolume(volume, isFresh));
  }

  /** Where the volume is on this host; '' when no caller has it mounted. Never asks the cluster. */
  path(name: string): string {
    const { mounts, mountRoot } = this.#parts;
    return mounts.count(name) > 0 ? mountRoot.mountpointOf(name) : '';
  }

  /**
   * Counts a caller and answers where the volume is, once that place has been seen to be the live
   * mount. The cluster must be reachable for the first caller of this host. When it throws, nothing
   * is counted: the engine sends no Unmount then.
   */
  async mount(name: string, id: string): Promise<string> {
    const { mounts, mountRoot, queue } = this.#parts;
    checkVolumeName(name);
    const time = new CallTime();
    return queue.run(name, async () => {
      const isFirst = mounts.count(name) === 0;
      try {
        if (isFirst) await this.#attach(name, time);
        const folder = await mountRoot.requireFolder(name);
        mounts.add(name, id);
        return folder;
      } catch (error) {
        if (isFirst) this.#parts.onUnsettled(); // the attach may have happened all the same
        throw error;
      }
    });
  }

  /**
   * Takes one Mount of this caller back; success when it has none. For the last one of this host,
   * what was written is stored first. An error tells that this could not be done; the count is gone.
   */
  async unmount(name: string, id: string): Promise<void> {
    const { mounts, queue } = this.#parts;
    const time = new CallTime();
    await queue.run(name, async () => {
      if (!mounts.release(name, id)) return;
      if (mounts.count(name) > 0) return;
      try {
        await this.#parts.mountRoot.flush(name, time.atMost(FLUSH_MS));
      } finally {
        await this.#detach(name, time).catch((error: unknown) => {
          // The record of use stays for now: it only keeps others from removing the volume.
          this.#parts.log.warn({ event: 'detach.postponed', volume: name, reason: String(error) });
          this.#parts.onUnsettled();
        });
      }
    });
  }

  /** Removes the volume and its data; success when there is none. CONFLICT while any host uses it. */
  async remove(name: string): Promise<void> {
    const { mounts, catalogue, backend, host, queue } = this.#parts;
    const time = new CallTime();
    await queue.run(name, async () => {
      const count = mounts.count(name);
      if (count > 0) throw inUse(name, [`${host} (${count} ${count === 1 ? 'mount' : 'mounts'})`]);
      const known = await this.#cluster(time, `volume '${name}'`, (signal) =>
        backend.get(name, signal),
      );
      const users = known?.inUseBy ?? [];
      if (users.some((user) => user !== host)) throw inUse(name, users);
      if (users.length > 0) await this.#detach(name, time); // a detach that failed before
      await this.#cluster(time, `removing '${name}'`, (signal) =>
        backend.remove(name, signal),
      ).catch((error: unknown) => {
        const isGone =
          error instanceof HoldfastError && ['ENOENT', 'NOT_FOUND'].includes(error.code);
        if (!isGone) throw error;
      });
      catalogue.forget(name);
    });
  }

  /** A volume that is being filled is waited for, as long as a call may take. */
  async #attach(name: string, time: CallTime): Promise<void> {
    const { backend, host } = this.#parts;
    for (;;) {
      try {
        await this.#cluster(time, `attaching '${name}'`, (signal) =>
          backend.attach(name, host, signal),
        );
        return;
      } catch (error) {
        const isUnfilled = error instanceof HoldfastError && error.detail?.['restoring'] === true;
        if (!isUnfilled) throw error;
      }
      await this.#lookAtFilling(name, time);
      await new Promise((resolve) => setTimeout(resolve, FILL_LOOK_MS));
    }
  }

  /** Has somebody fill it. EBUSY when time is up, CONFLICT when it failed; both tell how far it is. */
  async #lookAtFilling(name: string, time: CallTime): Promise<void> {
    const { backend } = this.#parts;
    const known = await this.#cluster(time, `volume '${name}'`, (signal) =>
      backend.get(name, signal),
    );
    const { unfilled } = known ?? {};
    if (unfilled === undefined) return;
    if (unfilled.hasFailed)
      throw new HoldfastError(
        'CONFLICT',
        `volume '${name}': ${unfilled.text}; create it again to try once more, or remove it`,
      );
    if (!unfilled.isClaimed) backend.fill(name);
    if (time.atMost(CALL_MS) < FILL_RESERVE_MS)
      throw new HoldfastError(
        'EBUSY',
        `volume '${name}' is not complete yet: ${unfilled.text}; ask again later (Swarm does by itself)`,
      );
  }

  #dockerVolume(volume: VolumeInfo, isFresh: boolean): DockerVolume {
    const { mounts, host } = this.#parts;
    // Somebody took this host for dead and released the volume from it.
    const isReleased = isFresh && mounts.count(volume.name) > 0 && !volume.inUseBy.includes(host);
    if (isReleased) this.#parts.onUnsettled();
    return {
      Name: volume.name,
      Mountpoint: this.path(volume.name),
      CreatedAt: volume.createdAt,
      Status: {
        ...volume.status,
        inUseBy: volume.inUseBy,
        mountsOnThisHost: mounts.count(volume.name),
        cluster: isFresh ? 'reachable' : 'not reachable: as last known',
      },
    };
  }

  async #detach(name: string, time: CallTime): Promise<void> {
    const { backend, host } = this.#parts;
    await this.#cluster(time, `detaching '${name}'`, (signal) =>
      backend.detach(name, host, signal),
    );
  }

  #cluster<T>(time: CallTime, what: string, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withDeadline(what, time.atMost(CLUSTER_DEADLINE_MS), ask);
  }
}

function inUse(name: string, users: readonly string[]): HoldfastError {
  return new HoldfastError('CONFLICT', `volume '${name}' is in use on ${users.join(', ')}`);
}
