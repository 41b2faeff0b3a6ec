/** Removing snapshots by a policy; their blobs go with the next prune. */
import { applyRetention, type RetentionPolicy } from '@holdfast/schedule';
import type { StorageId } from '../format/ids.ts';
import type { Snapshot } from '../format/snapshot.ts';
import { withLock } from './locks.ts';
import type { Repository } from './repository.ts';
import { listSnapshots, type ReportDamaged } from './snapshots.ts';

/** Which snapshots a policy is applied to. */
export interface ForgetOptions {
  readonly policy: RetentionPolicy;
  readonly hostname?: string;
  readonly path?: string;
  /** Only snapshots that carry all of these. */
  readonly tags?: readonly string[];
  readonly dryRun?: boolean;
  /** Told of snapshots that cannot be read: no rule removes them. Without it they are CORRUPT. */
  readonly onDamaged?: ReportDamaged;
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
}

/** Applies a policy to each group of host and paths on its own. The snapshots removed, and kept. */
export async function forget(
  repository: Repository,
  options: ForgetOptions,
): Promise<{ readonly removed: readonly Snapshot[]; readonly kept: readonly Snapshot[] }> {
  const { hostname, path, tags = [], signal, onDamaged } = options;
  const lock = {
    exclusive: true,
    waitMs: options.lockWaitMs ?? 0,
    ...(signal === undefined ? {} : { signal }),
  };
  return withLock(repository, lock, async (held, both) => {
    const all = (await listSnapshots(repository, both, onDamaged)).filter(
      (snapshot) =>
        (hostname === undefined || snapshot.hostname === hostname) &&
        (path === undefined || snapshot.paths.includes(path)) &&
        tags.every((tag) => snapshot.tags.includes(tag)),
    );
    const groups = Map.groupBy(all, ({ hostname, paths }) =>
      JSON.stringify([hostname, paths.toSorted()]),
    );
    const decisions = [...groups.values()].map((group) => applyRetention(group, options.policy));
    const removed = decisions.flatMap(({ remove }) => remove);
    for (const { id } of options.dryRun === true ? [] : removed) {
      held.assertHeld();
      await repository.store.delete(`snapshots/${id}`, both);
    }
    return { removed, kept: decisions.flatMap(({ keep }) => keep) };
  });
}

/** Removes snapshots by their ids, under the exclusive lock; one that is gone already is passed over. */
export async function forgetSnapshots(
  repository: Repository,
  ids: readonly StorageId[],
  options: Pick<ForgetOptions, 'lockWaitMs' | 'signal'> = {},
): Promise<void> {
  const { lockWaitMs: waitMs = 0, signal } = options;
  const lock = { exclusive: true, waitMs, ...(signal === undefined ? {} : { signal }) };
  await withLock(repository, lock, async (held, both) => {
    for (const id of ids) {
      held.assertHeld();
      await repository.store.delete(`snapshots/${id}`, both);
    }
  });
}
