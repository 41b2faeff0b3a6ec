/** What the cluster is told of backups, so that it can say how old the last good one is. */
import type { Snapshot, VerifyResult } from '@holdfast/backup';
import type { ClusterClient } from '@holdfast/client';
import { HoldfastError, type LastVerification, type VolumeNumber } from '@holdfast/protocol';
import type { VolumeBackup } from './backup-volume.ts';
import { type Output, timeText } from './output.ts';

/** Milliseconds that telling the cluster may take: the work is done, and done well. */
const TELL_MS_MAX = 20_000;

/** Where a repository lies, as the cluster remembers it: without credentials. */
function placeName(place: string): string {
  return place.replace(/\/\/[^/@]*@/, '//');
}

/**
 * Files and bytes of a whole backup. What lies in directories that were not looked at is told by what
 * the volume held, inodes of all kinds and bytes of extents.
 */
export function totalsOf({ counts, usedBytes, usedInodes }: VolumeBackup): {
  readonly files: number;
  readonly unchangedFiles: number;
  readonly bytes: number;
} {
  const { files, unchangedFiles, totalBytes, unchangedSubtrees } = counts;
  if (unchangedSubtrees === 0) return { files, unchangedFiles, bytes: totalBytes };
  const read = files - unchangedFiles;
  return { files: usedInodes, unchangedFiles: Math.max(0, usedInodes - read), bytes: usedBytes };
}

/** Has the cluster remember a backup that is complete. Throws an outage; NOT_FOUND when the volume is gone. */
export async function noteBackup(
  client: ClusterClient,
  place: string,
  { volume, result, tookMs }: { volume: string; result: VolumeBackup; tookMs: number },
): Promise<void> {
  const { snapshot, counts, written } = result;
  const { files, bytes } = totalsOf(result);
  const record = await client.volumes.get(volume);
  if (record === undefined) throw new HoldfastError('NOT_FOUND', `there is no volume '${volume}'`);
  const backup = {
    id: snapshot.id,
    at: timeText(snapshot.timeNs),
    repository: placeName(place),
    files,
    bytes,
    bytesRead: counts.bytesRead,
    bytesSent: written.packedBytes,
    tookMs: Math.round(tookMs),
  };
  await client.volumes.noteBackup(record.number, backup, AbortSignal.timeout(TELL_MS_MAX));
}

/** Has the cluster remember a backup that was found complete: who made it died before it could tell. */
export async function noteFound(
  client: ClusterClient,
  place: string,
  found: {
    readonly volume: VolumeNumber;
    readonly snapshot: Snapshot;
    readonly files: number;
    readonly bytes: number;
  },
): Promise<void> {
  const { volume, snapshot, files, bytes } = found;
  const { id, timeNs } = snapshot;
  const unknown = { bytesRead: 0, bytesSent: 0, tookMs: 0 };
  const backup = {
    id,
    at: timeText(timeNs),
    repository: placeName(place),
    files,
    bytes,
    ...unknown,
  };
  await client.volumes.noteBackup(volume, backup, AbortSignal.timeout(TELL_MS_MAX));
}

/** Has the cluster remember what a verification found. Throws an outage. */
export async function noteVerification(
  client: ClusterClient,
  place: string,
  verification: LastVerification,
): Promise<void> {
  const signal = AbortSignal.timeout(TELL_MS_MAX);
  await client.volumes.noteVerification(placeName(place), verification, signal);
}

/** Takes a failure to tell: the work is good all the same, and the cluster knows of what was before it. */
export function untold(output: Output): (error: unknown) => void {
  return (error) => {
    const why = error instanceof Error ? error.message : String(error);
    output.progress(`warning: the cluster could not be told of it (${why})`);
  };
}

/** A verification as the cluster remembers it. `nowMs`: milliseconds since the epoch. */
export function verificationOf(
  { packs, packsRead, problems }: VerifyResult,
  nowMs: number,
): LastVerification {
  const readShare = packs === 0 ? 1 : Math.min(1, packsRead / packs);
  return { at: new Date(nowMs).toISOString(), readShare, problems: problems.length };
}
