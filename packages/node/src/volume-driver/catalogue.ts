import { HoldfastError } from '@holdfast/protocol';
import { z } from 'zod';
import { withDeadline } from '../waiting.ts';
import type { VolumeBackend, VolumeInfo } from './backend.ts';
import type { DriverLog } from './log.ts';
import { StateFile } from './state-file.ts';

/** Milliseconds for a question that the engine asks several times for one container. */
const READ_DEADLINE_MS = 4_000;

/** Milliseconds after an outage in which known volumes are answered without asking again. */
const AWAY_MS = 5_000;

const volumeSchema = z.object({
  name: z.string(),
  createdAt: z.string(),
  status: z.record(z.string(), z.unknown()),
  inUseBy: z.array(z.string()),
});
const contentSchema = z.array(volumeSchema);

/** An answer about volumes, and whether the cluster gave it just now. */
export interface Answer<T> {
  readonly value: T;
  /** False: the cluster could not be asked; the value is what it said last. */
  readonly isFresh: boolean;
}

/**
 * What volumes there are, also while the cluster cannot be reached and after a restart in that time:
 * the engine takes every error of a Get for "does not exist" and would forget the volume.
 */
export class Catalogue {
  readonly #backend: VolumeBackend;
  readonly #file: StateFile;
  readonly #known: Map<string, VolumeInfo>;
  readonly #log: DriverLog;
  #saved: string;
  #askAgainAt = 0;

  constructor(backend: VolumeBackend, path: string, log: DriverLog) {
    this.#log = log;
    this.#backend = backend;
    this.#file = new StateFile(path, 1);
    const content = contentSchema.safeParse(this.#file.read(log)).data ?? [];
    this.#known = new Map(content.map((volume) => [volume.name, volume]));
    this.#saved = this.#identities();
  }

  /** All volumes; the last known ones when the cluster cannot be asked. */
  async list(): Promise<Answer<readonly VolumeInfo[]>> {
    return this.#ask(
      'the list of volumes',
      async (signal) => {
        const volumes = await this.#backend.list(signal);
        this.#known.clear();
        for (const volume of volumes) this.#known.set(volume.name, volume);
        return volumes;
      },
      () => [...this.#known.values()],
    );
  }

  /** One volume, or undefined when there is none. Throws when it is not known here and cannot be asked. */
  async get(name: string): Promise<Answer<VolumeInfo | undefined>> {
    return this.#ask(
      `volume '${name}'`,
      async (signal) => {
        const volume = await this.#backend.get(name, signal);
        if (volume === undefined) this.#known.delete(name);
        else this.#known.set(name, volume);
        return volume;
      },
      () => this.#known.get(name),
    );
  }

  /** Forgets a volume that was removed. */
  forget(name: string): void {
    this.#known.delete(name);
    this.#save();
  }

  async #ask<T>(
    what: string,
    ask: (signal: AbortSignal) => Promise<T>,
    recall: () => T,
  ): Promise<Answer<T>> {
    if (performance.now() < this.#askAgainAt) {
      const value = recall();
      if (value !== undefined) return { value, isFresh: false };
    }
    try {
      const value = await withDeadline(what, READ_DEADLINE_MS, ask);
      this.#askAgainAt = 0;
      this.#save();
      return { value, isFresh: true };
    } catch (error) {
      const isOutage = error instanceof HoldfastError && error.kind === 'outage';
      if (isOutage) this.#askAgainAt = performance.now() + AWAY_MS;
      // Whatever went wrong, it was not the answer "does not exist".
      const value = recall();
      if (value === undefined) throw error;
      return { value, isFresh: false };
    }
  }

  /** Only names and birthdays matter after a restart; a changed status alone is not worth a flush. */
  #identities(): string {
    const all = [...this.#known.values()].map(({ name, createdAt }) => `${name} ${createdAt}`);
    return all.sort((one, other) => (one < other ? -1 : 1)).join('\n');
  }

  #save(): void {
    const identities = this.#identities();
    if (identities === this.#saved) return;
    try {
      this.#file.write([...this.#known.values()]);
      this.#saved = identities;
    } catch (error) {
      // Needed only after a restart in an outage: no reason to refuse an answer now.
      this.#log.error({ event: 'volumes.not-saved', reason: String(error) });
    }
  }
}
