import { withDeadline } from '../waiting.ts';
import type { VolumeBackend } from './backend.ts';
import type { EngineClient, EngineView } from './engine.ts';
import type { KeyedQueue } from './keyed-queue.ts';
import type { DriverLog } from './log.ts';
import type { MountRoot } from './mount-root.ts';
import { volumesInMountNamespaces } from './mount-users.ts';
import type { Mounts, Suspicion } from './mounts.ts';

/** Milliseconds between two looks while something is unsettled, and when nothing is. */
const UNSETTLED_MS = 30_000;
const SETTLED_MS = 300_000;
/** Milliseconds after a reason to look: a start, a new engine, a detach that failed. */
const SOON_MS = 2_000;

const CLUSTER_DEADLINE_MS = 10_000;

/** What a reconciliation compares. */
export interface ReconcileParts {
  readonly mounts: Mounts;
  readonly backend: VolumeBackend;
  readonly engine: EngineClient | undefined;
  readonly mountRoot: MountRoot;
  /** This host's name in the cluster's records of use. */
  readonly host: string;
  /** The same queue in which the driver's calls run, by volume. */
  readonly queue: KeyedQueue;
  readonly log: DriverLog;
}

/**
 * Brings three records together: the counts of this host, what containers really have mounted, and
 * the cluster's record of use. The engine does not always send Unmount (it died, or the driver was
 * away), and a detach can fail while the cluster is away.
 */
export class Reconciliation {
  readonly #parts: ReconcileParts;
  /** Suspect volumes that nobody used at the look before. */
  #idleBefore: ReadonlySet<string> = new Set();
  #timer: NodeJS.Timeout | undefined;
  /** When it fires, on the clock of `performance`. */
  #dueAtMs = Number.POSITIVE_INFINITY;
  #pass: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: ReconcileParts) {
    this.#parts = parts;
  }

  /** Looks soon: something has happened. */
  request(): void {
    this.#schedule(SOON_MS);
  }

  /** Ends the looks; resolves when the one under way has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#pass;
  }

  /** One look. True when nothing is left to settle. Never throws: what cannot be asked stays as it is. */
  async look(): Promise<boolean> {
    const { engine, mounts, mountRoot } = this.#parts;
    const view = await this.#engineView();
    // An engine that does not answer may be ending or starting containers right now.
    if (engine !== undefined && view === undefined) return false;
    const used = await volumesInMountNamespaces(mountRoot);
    if (view !== undefined) this.#judgeSuspects(view, used.union(view.volumesInUse));
    const isSettled = await this.#settleAttachments(used.union(view?.volumesInUse ?? new Set()));
    return isSettled && mounts.volumes.every((volume) => mounts.suspicions(volume).size === 0);
  }

  /** The sooner of two appointments stays: requests that keep coming must not put the look off. */
  #schedule(afterMs: number): void {
    const atMs = performance.now() + afterMs;
    if (this.#isClosed || atMs >= this.#dueAtMs) return;
    clearTimeout(this.#timer);
    this.#dueAtMs = atMs;
    this.#timer = setTimeout(() => {
      this.#dueAtMs = Number.POSITIVE_INFINITY;
      // A look can be slow when nobody answers; two at a time would judge "idle twice" too soon.
      this.#pass = (this.#pass ?? Promise.resolve())
        .then(() => this.look())
        .then((isSettled) => this.#schedule(isSettled ? SETTLED_MS : UNSETTLED_MS));
    }, afterMs);
    this.#timer.unref();
  }

  async #engineView(): Promise<EngineView | undefined> {
    try {
      return await this.#parts.engine?.view();
    } catch (error) {
      this.#parts.log.debug({ event: 'reconcile.engine-absent', reason: String(error) });
      return undefined;
    }
  }

  #judgeSuspects(view: EngineView, used: ReadonlySet<string>): void {
    const { mounts, log } = this.#parts;
    const drop = (volume: string, reasons: readonly Suspicion[]): void => {
      if (!reasons.some((reason) => mounts.suspicions(volume).has(reason))) return;
      mounts.dropSuspects(volume, reasons);
      log.info({ event: 'mounts.dropped', volume, reasons, remaining: mounts.count(volume) });
    };
    const suspects = mounts.volumes.filter((volume) => mounts.suspicions(volume).size > 0);
    const idle = new Set(suspects.filter((volume) => !used.has(volume)));
    for (const volume of suspects) {
      // Without live restore an engine that answers has ended all containers of the one before it.
      if (!view.hasLiveRestore) drop(volume, ['engine']);
      // Twice, because a container that was just being started is in use by nobody for a moment.
      if (idle.has(volume) && this.#idleBefore.has(volume)) drop(volume, ['engine', 'driver']);
    }
    this.#idleBefore = idle;
  }

  /** True when the cluster's record of this host's use is as it should be. */
  async #settleAttachments(used: ReadonlySet<string>): Promise<boolean> {
    const { backend, mounts, host, log } = this.#parts;
    let isSettled = true;
    try {
      const volumes = await withDeadline('the list of volumes', CLUSTER_DEADLINE_MS, (signal) => {
        return backend.list(signal);
      });
      for (const { name, inUseBy } of volumes) {
        const isUsed = (): boolean => mounts.count(name) > 0 || used.has(name);
        if (inUseBy.includes(host) !== isUsed()) {
          isSettled = (await this.#settle(name, isUsed)) && isSettled;
        }
      }
      const known = new Set(volumes.map(({ name }) => name));
      for (const name of mounts.volumes) if (!known.has(name)) await this.#tellIfGone(name);
      return isSettled;
    } catch (error) {
      log.debug({ event: 'reconcile.cluster-absent', reason: String(error) });
      return false;
    }
  }

  /** Another host may remove what was released from this one; containers here keep a dead folder. */
  async #tellIfGone(volume: string): Promise<void> {
    const { backend, mounts, host, queue, log } = this.#parts;
    await queue.run(volume, async () => {
      const found = await withDeadline(`volume '${volume}'`, CLUSTER_DEADLINE_MS, (signal) => {
        return backend.get(volume, signal);
      });
      // Asked once more, because it may have been made and mounted since the list.
      if (found !== undefined || mounts.count(volume) === 0) return;
      log.warn({ event: 'volume.gone', volume, host, mounts: mounts.count(volume) });
    });
  }

  /** In the volume's queue: no Mount or Unmount happens between the look and the act. False: failed. */
  async #settle(volume: string, isUsed: () => boolean): Promise<boolean> {
    const { backend, host, queue, log } = this.#parts;
    try {
      await queue.run(volume, async () => {
        const act = isUsed() ? 'attach' : 'detach';
        await withDeadline(`${act} of '${volume}'`, CLUSTER_DEADLINE_MS, (signal) => {
          return backend[act](volume, host, signal);
        });
        log.info({ event: `volume.${act}ed`, volume, host });
      });
      return true;
    } catch (error) {
      log.warn({ event: 'reconcile.unsettled', volume, reason: String(error) });
      return false;
    }
  }
}
