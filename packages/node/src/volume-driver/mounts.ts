import { z } from 'zod';
import type { DriverLog } from './log.ts';
import { StateFile } from './state-file.ts';

/**
 * Why a count may be stale: `engine`, a new Docker Engine has come since, which no longer knows the
 * callers of the old one; `driver`, this driver was away since and may have missed an Unmount.
 */
export type Suspicion = 'engine' | 'driver';

const callerSchema = z.object({
  id: z.string(),
  /** Mounts of this caller without their Unmount, at least 1. */
  count: z.number().int().positive(),
  suspicion: z.enum(['engine', 'driver']).optional(),
});
const contentSchema = z.object({
  /** The kernel's boot; another one has no container of this one. */
  bootId: z.string(),
  volumes: z.record(z.string(), z.array(callerSchema)),
});

type Caller = z.infer<typeof callerSchema>;

/**
 * Who on this host has which volume mounted: counted by volume and caller id, because the engine
 * mounts twice under one id (`docker cp` into a running container) and each Mount has an Unmount of
 * its own. Every change is on disk before it returns, so that a driver started again goes on counting.
 */
export class Mounts {
  readonly #file: StateFile;
  readonly #bootId: string;
  readonly #volumes: Map<string, Caller[]>;
  readonly #log: DriverLog;

  /**
   * Reads the counts back; all of them become suspect, and those of an earlier boot are gone.
   * NEWER_FORMAT as {@link StateFile}.
   */
  constructor(path: string, bootId: string, log: DriverLog) {
    this.#file = new StateFile(path, 1);
    this.#bootId = bootId;
    this.#log = log;
    const content = contentSchema.safeParse(this.#file.read(log)).data;
    const survives = content !== undefined && content.bootId === bootId;
    this.#volumes = new Map(survives ? Object.entries(content.volumes) : []);
    this.#suspectAll('driver');
  }

  /** Mounts of the volume on this host without their Unmount. */
  count(volume: string): number {
    const callers = this.#volumes.get(volume) ?? [];
    return callers.reduce((sum, caller) => sum + caller.count, 0);
  }

  /** Volumes with a count. */
  get volumes(): string[] {
    return [...this.#volumes.keys()];
  }

  /** Counts one Mount. DISK_FAILED, and it is not counted, when the count cannot be kept. */
  add(volume: string, id: string): void {
    const callers = this.#volumes.get(volume) ?? [];
    const known = callers.find((caller) => caller.id === id && caller.suspicion === undefined);
    if (known === undefined) callers.push({ id, count: 1 });
    else known.count += 1;
    this.#volumes.set(volume, callers);
    try {
      this.#save();
    } catch (error) {
      this.#subtract(volume, id);
      throw error;
    }
  }

  /** Counts one Unmount; false when that caller has no Mount, as after a retry. */
  release(volume: string, id: string): boolean {
    const isCounted = this.#subtract(volume, id);
    if (isCounted) this.#saveIfPossible();
    return isCounted;
  }

  /** A new engine has introduced itself: nothing that is counted now is certain any more. */
  engineChanged(): void {
    this.#suspectAll('engine');
    this.#saveIfPossible();
  }

  /** The reasons for which counts of the volume are suspect; empty when all are certain. */
  suspicions(volume: string): ReadonlySet<Suspicion> {
    const callers = this.#volumes.get(volume) ?? [];
    return new Set(
      callers.flatMap(({ suspicion }) => (suspicion === undefined ? [] : [suspicion])),
    );
  }

  /** Drops the volume's counts that are suspect for one of these reasons. */
  dropSuspects(volume: string, reasons: readonly Suspicion[]): void {
    this.#prune(volume, ({ suspicion }) => suspicion === undefined || !reasons.includes(suspicion));
    this.#saveIfPossible();
  }

  #subtract(volume: string, id: string): boolean {
    const own = (this.#volumes.get(volume) ?? []).filter((caller) => caller.id === id);
    // What is certain goes first: the suspect rest is then for the reconciliation to judge.
    const caller = own.find(({ suspicion }) => suspicion === undefined) ?? own[0];
    if (caller === undefined) return false;
    caller.count -= 1;
    this.#prune(volume, (other) => other.count > 0);
    return true;
  }

  #suspectAll(suspicion: Suspicion): void {
    for (const callers of this.#volumes.values()) {
      for (const caller of callers) {
        // Having outlived its engine is the stronger reason and stays.
        caller.suspicion = caller.suspicion === 'engine' ? 'engine' : suspicion;
      }
    }
  }

  #prune(volume: string, keep: (caller: Caller) => boolean): void {
    const callers = (this.#volumes.get(volume) ?? []).filter(keep);
    if (callers.length === 0) this.#volumes.delete(volume);
    else this.#volumes.set(volume, callers);
  }

  /** For changes that a full disk must not stop: a count too many is found out after a restart. */
  #saveIfPossible(): void {
    try {
      this.#save();
    } catch (error) {
      this.#log.error({ event: 'mounts.not-saved', reason: String(error) });
    }
  }

  #save(): void {
    this.#file.write({ bootId: this.#bootId, volumes: Object.fromEntries(this.#volumes) });
  }
}
