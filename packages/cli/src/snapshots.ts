import { HoldfastError } from '@holdfast/protocol';
import type { Context } from './context.ts';
import { bytesText } from './output.ts';

/** Milliseconds between two lines of progress. */
const PROGRESS_MS = 2_000;

/** A snapshot as the admin API shows it. */
export interface ShownSnapshot {
  readonly name: string;
  readonly generation: number;
  /** ISO 8601. */
  readonly createdAt: string;
  /** A schedule's go by its rule of what to keep. */
  readonly madeBy: 'user' | 'schedule' | 'backup' | 'receive';
  readonly clones: number;
  readonly usedBytes: number;
  readonly usedInodes: number;
  /** Bytes that only it shows; absent when not asked for, or when it was removed meanwhile. */
  readonly chunkBytes?: number;
  readonly inlineBytes?: number;
  /** Whether these are exact; else it may be more, until what came free lately is gone through. */
  readonly isSettled?: boolean;
}

/** The snapshots of a volume, oldest first, measured one after the other if so wished. */
export async function listSnapshots(
  admin: Context['admin'],
  volume: string,
  options: { readonly isMeasured: boolean; readonly onProgress: (line: string) => void },
): Promise<readonly ShownSnapshot[]> {
  const path = `/v1/volumes/${encodeURIComponent(volume)}/snapshots`;
  const { snapshots } = await admin<{ snapshots: ShownSnapshot[] }>('GET', path);
  if (!options.isMeasured) return snapshots;
  const measured: ShownSnapshot[] = [];
  let nextMs = performance.now() + PROGRESS_MS;
  for (const snapshot of snapshots) {
    measured.push(await measure(admin, path, snapshot));
    if (performance.now() < nextMs) continue;
    nextMs = performance.now() + PROGRESS_MS;
    options.onProgress(`${measured.length} of ${snapshots.length} snapshots measured`);
  }
  return measured;
}

async function measure(
  admin: Context['admin'],
  path: string,
  snapshot: ShownSnapshot,
): Promise<ShownSnapshot> {
  try {
    const one = `${path}/${encodeURIComponent(snapshot.name)}`;
    return (await admin<{ snapshot: ShownSnapshot }>('GET', one)).snapshot;
  } catch (error) {
    const isGone =
      error instanceof HoldfastError && (error.code === 'NOT_FOUND' || error.code === 'ESTALE');
    if (!isGone) throw error;
    return snapshot; // removed since it was listed
  }
}

/** One line of `holdfast snapshot ls`. */
export function snapshotRow(snapshot: ShownSnapshot): string[] {
  const { name, createdAt, madeBy, usedBytes, clones } = snapshot;
  return [name, createdAt, madeBy, bytesText(usedBytes), ownText(snapshot), String(clones)];
}

/** What a snapshot has of its own, for people; `>=` when it may be more, '-' when it was not measured. */
export function ownText({ chunkBytes, inlineBytes, isSettled }: ShownSnapshot): string {
  if (chunkBytes === undefined || inlineBytes === undefined) return '-';
  return `${isSettled === false ? '>=' : ''}${bytesText(chunkBytes + inlineBytes)}`;
}
