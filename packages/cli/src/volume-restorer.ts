/** Fills volumes that were made from a backup, behind the back of who asked for them. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Repository, RestoreCounts } from '@holdfast/backup';
import type { ClusterClient } from '@holdfast/client';
import {
  HoldfastError,
  type RepositoryAccess,
  type RestoreProgress,
  type VolumeRecord,
  type VolumeRestore,
} from '@holdfast/protocol';
import { isBeingFilled, VolumeStage } from '@holdfast/tree';
import { knownPlace, openAt } from './backup-place.ts';
import { chooseBackup, chooseSource, type Found, lookInto, restoreInto } from './backup-volume.ts';
import { policyOfThen } from './restored-policy.ts';
import { rootOf } from './volume-root.ts';

/** Milliseconds between two signs of life. */
const NOTE_MS = 3_000;
/** Milliseconds between two tries while something is away, at first and at most. */
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 15_000;
/** Milliseconds without any progress after which it is left to who asks next. */
const PATIENCE_MS = 10 * 60_000;
/** Names the stage in the volume: it is the same for all who go on with it. */
const STAGE_ID = 'restore';
/** Milliseconds to wait for others that have the repository locked. */
const LOCK_WAIT_MS = 60_000;

/** What a restorer tells; `fields` are JSON values. */
export type RestorerReport = (event: string, fields: Readonly<Record<string, unknown>>) => void;

type Outcome = 'done' | 'failed' | 'left';

/** What passes by itself: the cluster or the store is away, somebody's lock or stage has to end first. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof HoldfastError &&
    (error.kind === 'outage' || error.code === 'EBUSY' || isBeingFilled(error))
  );
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The repository, for a host that may work with it. NOT_FOUND, FORBIDDEN. */
async function accessOf(
  client: ClusterClient,
  { source }: VolumeRestore,
): Promise<RepositoryAccess> {
  const access = await client.repositories.access(source.repository);
  if (access === undefined)
    throw new HoldfastError(
      'NOT_FOUND',
      `the cluster knows no repository '${source.repository}' any more; see 'holdfast backup repo add'`,
    );
  const { hosts } = access.repository;
  const { name } = client.cluster.identity;
  if (hosts.length === 0 || hosts.includes(name)) return access;
  throw new HoldfastError(
    'FORBIDDEN',
    `repository '${source.repository}' is for ${hosts.join(', ')} alone: mount the volume there once`,
  );
}

/** One process that fills one volume. */
class Restorer {
  readonly #client: ClusterClient;
  readonly #volume: VolumeRecord;
  readonly #restore: VolumeRestore;
  readonly #by: string;
  readonly #report: RestorerReport;
  readonly #stop = new AbortController();
  #progress: RestoreProgress | undefined;
  #trouble = '';
  /** When something was last written, on the clock of `performance`. */
  #movedAtMs = performance.now();

  constructor(
    client: ClusterClient,
    claimed: { volume: VolumeRecord; restore: VolumeRestore; by: string },
    report: RestorerReport,
  ) {
    this.#client = client;
    this.#volume = claimed.volume;
    this.#restore = claimed.restore;
    this.#by = claimed.by;
    this.#progress = claimed.restore.progress;
    this.#report = report;
  }

  /** Until it is done, failed, or `signal` fires. Throws when the claim is lost. */
  async run(access: RepositoryAccess, signal: AbortSignal): Promise<Outcome> {
    const both = AbortSignal.any([signal, this.#stop.signal]);
    const over = new AbortController();
    const notes = this.#keepNoting(over.signal);
    try {
      return await this.#untilOver(access, both);
    } finally {
      over.abort();
      await notes;
      this.#stop.signal.throwIfAborted();
    }
  }

  async #untilOver(access: RepositoryAccess, signal: AbortSignal): Promise<Outcome> {
    for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(PAUSE_MS_MAX, pauseMs * 2)) {
      const movedAtMs = this.#movedAtMs;
      try {
        await this.#fill(access, signal);
        return 'done';
      } catch (error) {
        if (signal.aborted) return 'left';
        this.#trouble = said(error);
        this.#report('restore.trouble', { volume: this.#volume.name, reason: this.#trouble });
        if (!isPassing(error)) return 'failed';
        if (performance.now() - this.#movedAtMs > PATIENCE_MS) return 'left';
        if (this.#movedAtMs > movedAtMs) pauseMs = PAUSE_MS_MIN;
      }
      await this.#note({ trouble: this.#trouble });
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  async #fill(access: RepositoryAccess, signal: AbortSignal): Promise<void> {
    const repository = await openAt(knownPlace(access));
    const { name, number } = this.#volume;
    const fileSystem = this.#client.fileSystem();
    const root = await rootOf(fileSystem, name);
    const restore = (await this.#client.volumes.get(name, signal))?.restore ?? this.#restore;
    const isComplete = restore.isComplete === true;
    const request = await this.#request(repository, restore);
    const found = await lookInto(repository, request, signal);
    const stage = await this.#stage(fileSystem, root, { isComplete, signal });
    if (stage === undefined) return;
    await this.#givePolicy(found);
    const expected = found.record;
    await restoreInto(
      repository,
      stage.sink,
      { request, found },
      {
        onExpected: () => {},
        onWarning: () => {},
        onProgress: (counts) => this.#moved(counts, expected),
        signal,
      },
    );
    signal.throwIfAborted();
    await this.#client.volumes.noteRestore(number, { by: this.#by, isComplete: true });
    await stage.publish();
  }

  async #request(repository: Repository, { source, backupId }: VolumeRestore) {
    const snapshot =
      backupId === undefined
        ? await chooseSource(repository, source)
        : await chooseBackup(repository, backupId, undefined);
    if (backupId === undefined) await this.#note({ backupId: snapshot.id });
    const rules = { overwrite: 'if-changed', isExact: false, lockWaitMs: LOCK_WAIT_MS } as const;
    return { snapshot, ...rules };
  }

  /** `undefined`: everything is in its place. */
  async #stage(
    fileSystem: Parameters<typeof VolumeStage.resume>[0],
    root: Parameters<typeof VolumeStage.resume>[1],
    { isComplete, signal }: { readonly isComplete: boolean; readonly signal: AbortSignal },
  ): Promise<VolumeStage | undefined> {
    const onAttributeProblem = (entry: string, what: string, error: unknown): void =>
      this.#report('restore.attribute', { entry, what, reason: said(error) });
    try {
      return await VolumeStage.resume(fileSystem, root, {
        id: STAGE_ID,
        signal,
        onAttributeProblem,
      });
    } catch (error) {
      const isFilled = error instanceof HoldfastError && error.code === 'CONFLICT';
      if (isComplete && isFilled && !isBeingFilled(error)) return undefined;
      throw error;
    }
  }

  async #givePolicy(found: Found): Promise<void> {
    const { asked, withPolicy } = this.#restore;
    const ofThen = withPolicy ? await policyOfThen(this.#client, found, asked) : undefined;
    if (ofThen?.left !== undefined)
      this.#report('restore.policy-left', { volume: this.#volume.name, left: ofThen.left });
    const policy = ofThen === undefined ? {} : { ...ofThen.policy, ...asked };
    if (Object.keys(policy).length === 0) return;
    await this.#client.volumes.setRestoredPolicy(this.#volume.number, { by: this.#by, policy });
    await this.#client.volumes.get(this.#volume.name); // so that what is written is kept by it
  }

  #moved(counts: RestoreCounts, expected: Found['record']): void {
    this.#movedAtMs = performance.now();
    this.#trouble = '';
    const { usedBytes, usedInodes } = expected ?? {};
    this.#progress = {
      files: counts.files + counts.skippedFiles,
      bytes: counts.bytesDone,
      ...(usedInodes === undefined ? {} : { filesExpected: usedInodes }),
      ...(usedBytes === undefined ? {} : { bytesExpected: usedBytes }),
    };
  }

  /** Signs of life, until it is over. A claim that is lost stops the work. */
  async #keepNoting(over: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(NOTE_MS, undefined, { signal: over }).catch(() => {});
      if (over.aborted) return;
      await this.#note({ trouble: this.#trouble });
    }
  }

  async #note(note: { readonly backupId?: string; readonly trouble?: string }): Promise<void> {
    const progress = this.#progress === undefined ? {} : { progress: this.#progress };
    try {
      await this.#client.volumes.noteRestore(
        this.#volume.number,
        { by: this.#by, ...progress, ...note },
        AbortSignal.timeout(NOTE_MS),
      );
    } catch (error) {
      const isLost = error instanceof HoldfastError && error.kind === 'refusal';
      if (isLost) this.#stop.abort(error);
    }
  }

  /** Gives the claim back; an outage leaves it to end by itself. */
  async end(outcome: Outcome): Promise<void> {
    const trouble = outcome === 'done' || this.#trouble === '' ? {} : { trouble: this.#trouble };
    await this.#client.volumes.endRestore(this.#volume.number, {
      by: this.#by,
      outcome,
      ...trouble,
    });
  }
}

/**
 * Fills a volume that was made from a backup, going on where another left off. What passes is waited
 * for; `failed` is told to the cluster with its reason. `left`: `signal` fired, or nothing moved for ten
 * minutes. CONFLICT when another process does it or there is nothing to do; FORBIDDEN on a host that may
 * not open the repository.
 */
export async function restoreClaimed(
  client: ClusterClient,
  name: string,
  { report, signal }: { readonly report: RestorerReport; readonly signal: AbortSignal },
): Promise<Outcome> {
  const known = await client.volumes.get(name, signal);
  if (known === undefined) throw new HoldfastError('NOT_FOUND', `there is no volume '${name}'`);
  if (known.restore === undefined)
    throw new HoldfastError('CONFLICT', `volume '${name}' was not made from a backup`);
  const access = await accessOf(client, known.restore);
  const by = randomBytes(8).toString('hex');
  const claim = { by, host: client.cluster.identity.name };
  const volume = await client.volumes.claimRestore(known.number, claim, signal);
  const restore = volume.restore ?? known.restore;
  report('restore.began', { volume: name, from: restore.source, by });
  const restorer = new Restorer(client, { volume, restore, by }, report);
  const outcome = await restorer.run(access, signal);
  await restorer.end(outcome);
  report('restore.ended', { volume: name, outcome });
  return outcome;
}
