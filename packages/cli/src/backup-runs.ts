/** What a run of a schedule does: a backup with what it leaves behind, a prune, a verification. */
import {
  forget,
  listSnapshots,
  prune,
  type Repository,
  type Snapshot,
  verify,
} from '@holdfast/backup';
import type { ClusterClient } from '@holdfast/client';
import { HoldfastError, type JobOrder, type VolumeRecord } from '@holdfast/protocol';
import { parseBackupKeep } from '@holdfast/schedule';
import { noteBackup, noteFound, noteVerification, verificationOf } from './backup-notes.ts';
import { openKnown } from './backup-place.ts';
import { backupHost, backupVolume, heldIn, volumePath } from './backup-volume.ts';
import type { HeldRun } from './held-run.ts';

/** What the backups of schedules carry: their rule of what to keep is applied to no others. */
const SCHEDULE_TAG = 'holdfast-schedule';
/** Milliseconds to wait for others who have the repository locked; to remove what no rule keeps. */
const LOCK_WAIT_MS = 10 * 60_000;
const FORGET_WAIT_MS = 5_000;

/** What runs work with. */
export interface RunParts {
  /** With a session of the run's own. */
  readonly client: ClusterClient;
  readonly held: HeldRun;
  /** The run is lost, or the worker stops. */
  readonly signal: AbortSignal;
  readonly report: (event: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** Does a run; resolves when the cluster knows what came of it. */
export async function doRun(order: JobOrder, parts: RunParts): Promise<void> {
  const repository = await openKnown(order);
  if (order.job.kind === 'backup') await backUp(order, repository, parts);
  else if (order.job.kind === 'prune') await pruneAll(order, repository, parts);
  else await verifyPart(order, repository, parts);
}

/** Damage to other backups is told, and does not stand in the way of this one. */
function damagedIn(
  { repository: { place } }: JobOrder,
  report: RunParts['report'],
): (backup: string, problem: string) => void {
  return (backup, problem) => report('backup.damaged', { place, backup, problem });
}

/** What a run's backup is known by: made once, whoever takes the run up. */
function runTag({ number }: VolumeRecord, due: string): string {
  return `holdfast-run=${number}/${due}`;
}

async function backUp(order: JobOrder, repository: Repository, parts: RunParts): Promise<void> {
  const { volume, due } = order;
  if (volume === undefined) throw new HoldfastError('INTERNAL', 'a backup of no volume');
  const { client, signal, report } = parts;
  const tag = runTag(volume, due);
  const told = damagedIn(order, report);
  const made = (await listSnapshots(repository, signal, told)).findLast(({ tags }) =>
    tags.includes(tag),
  );
  if (made === undefined) await makeBackup(order, { repository, volume, tag }, parts);
  else {
    report('backup.found', { volume: volume.name, backup: made.id });
    await noteMade(order, { repository, volume, made }, parts);
  }
  const { place } = order.repository;
  const keep = { volume, waitMs: FORGET_WAIT_MS, signal, onDamaged: told };
  await applyKeep(client, repository, keep).catch((error: unknown) => {
    // Others work there: the next run, or the next prune, does it.
    const isBusy = error instanceof HoldfastError && error.code === 'EBUSY';
    if (!isBusy) throw error;
    report('backup.keep.waits', { volume: volume.name, place });
  });
}

async function makeBackup(
  { repository: { place } }: JobOrder,
  of: { readonly repository: Repository; readonly volume: VolumeRecord; readonly tag: string },
  { client, held, signal, report }: RunParts,
): Promise<void> {
  const { repository, volume, tag } = of;
  const startedMs = performance.now();
  let bytesExpected: number | undefined;
  const request = {
    volume: volume.name,
    tags: [SCHEDULE_TAG, tag],
    isForced: false,
    lockWaitMs: LOCK_WAIT_MS,
    beforeSnapshot: () => held.confirm(),
  };
  const result = await backupVolume(client, repository, request, {
    onExpected: ({ bytes }) => {
      bytesExpected = bytes;
    },
    onProgress: ({ files, bytesDone: bytes }) =>
      held.tell({ files, bytes, ...(bytesExpected !== undefined && { bytesExpected }) }),
    onDamage: (problem) => report('backup.damaged', { place, problem }),
    onWarning: (path, text) => report('backup.warning', { volume: volume.name, path, text }),
    signal,
  });
  const tookMs = performance.now() - startedMs;
  await noteBackup(client, place, { volume: volume.name, result, tookMs });
  report('backup.made', { volume: volume.name, backup: result.snapshot.id });
}

/** Of a backup whose maker died before it could tell of it, what it held is told. */
async function noteMade(
  { repository: { place } }: JobOrder,
  of: { readonly repository: Repository; readonly volume: VolumeRecord; readonly made: Snapshot },
  { client, signal }: RunParts,
): Promise<void> {
  const { repository, volume, made } = of;
  const held = await heldIn(repository, made, signal);
  await noteFound(client, place, { volume: volume.number, snapshot: made, ...held });
}

/** Removes the scheduled backups of a volume that its rule does not keep; the newest always stays. */
async function applyKeep(
  client: ClusterClient,
  repository: Repository,
  of: {
    readonly volume: VolumeRecord;
    readonly waitMs: number;
    readonly signal: AbortSignal;
    readonly onDamaged: (backup: string, problem: string) => void;
  },
): Promise<number> {
  const { volume, waitMs, signal, onDamaged } = of;
  const { backupKeep } = volume.policy;
  if (backupKeep === undefined) return 0;
  const { policy } = parseBackupKeep(backupKeep);
  const { removed } = await forget(repository, {
    policy: { ...policy, keepLast: policy.keepLast ?? 1 },
    hostname: backupHost(client.cluster.map.clusterId),
    path: volumePath(volume.name),
    tags: [SCHEDULE_TAG],
    lockWaitMs: waitMs,
    signal,
    onDamaged,
  });
  return removed.length;
}

async function pruneAll(order: JobOrder, repository: Repository, parts: RunParts): Promise<void> {
  const { client, signal, report } = parts;
  let forgotten = 0;
  const common = { waitMs: LOCK_WAIT_MS, signal, onDamaged: damagedIn(order, report) };
  for (const volume of order.volumes)
    forgotten += await applyKeep(client, repository, { volume, ...common });
  await parts.held.confirm();
  const result = await prune(repository, { lockWaitMs: LOCK_WAIT_MS, signal });
  report('backup.pruned', { repository: order.repository.name, forgotten, ...result });
}

async function verifyPart(order: JobOrder, repository: Repository, parts: RunParts): Promise<void> {
  const { name, place, verifyParts: m, verifyRuns } = order.repository;
  const turn = { n: ((verifyRuns?.done ?? 0) % Math.max(1, m)) + 1, m };
  const { client, signal, report } = parts;
  const result = await verify(repository, {
    readData: m === 0 ? 'none' : turn,
    lockWaitMs: LOCK_WAIT_MS,
    signal,
  });
  await noteVerification(client, place, verificationOf(result, Date.now()));
  const { packs, packsRead, problems } = result;
  report('backup.verified', { repository: name, packs, packsRead, problems: problems.length });
}
