/** The content of whole volumes out of and into archives, through the client, without a mount. */
import {
  type ArchiveCounts,
  type ArchiveFormat,
  exportTree,
  type ImportLimits,
  importFile,
  importTree,
} from '@holdfast/archive';
import type { ClusterClient } from '@holdfast/client';
import { HoldfastError, parseSnapshotName, type VolumePolicy } from '@holdfast/protocol';
import { VolumeSource } from '@holdfast/tree';
import { STANDARD_STREAM, standardInput, writeArchive } from './archive-files.ts';
import { withSnapshot } from './backup-hold.ts';
import { fillVolume } from './fill-volume.ts';
import { whyStopped } from './stop-signal.ts';

/** What a transfer tells while it goes on. */
export interface TransferReport {
  readonly onProgress: (counts: ArchiveCounts) => void;
  readonly onWarning: (path: string, text: string) => void;
  readonly signal: AbortSignal;
}

/** What is exported, and where to. */
export interface ExportRequest {
  /** VOLUME, as it is now, or VOLUME@SNAPSHOT. */
  readonly name: string;
  /** A path, or `-`. */
  readonly output: string;
  readonly format: ArchiveFormat;
}

/**
 * Writes a volume's content, as it was at one moment, into an archive: that of the snapshot that is
 * named, else of one that is made for it and removed behind it. BAD_REQUEST, NOT_FOUND.
 */
export async function exportVolume(
  client: ClusterClient,
  { name, output, format }: ExportRequest,
  { onProgress, onWarning, signal }: TransferReport,
): Promise<ArchiveCounts> {
  const wanted = parseSnapshotName(name);
  const volume = await client.volumes.get(wanted.volume);
  if (volume === undefined)
    throw new HoldfastError('NOT_FOUND', `there is no volume '${wanted.volume}'`);
  const of = { volume, ...(wanted.name === undefined ? {} : { name: wanted.name }) };
  try {
    return await withSnapshot(client, of, async ({ root }) => {
      const source = new VolumeSource(client.fileSystem(), root, { signal });
      const { bytes, counts } = exportTree(source, { format, onProgress, onWarning, signal });
      await writeArchive(output, bytes);
      return counts;
    });
  } catch (error) {
    throw whyStopped(error, signal);
  }
}

/** What is imported, and into what. */
export interface ImportRequest {
  readonly name: string;
  /** A path, or `-`. */
  readonly input: string;
  readonly format: ArchiveFormat | undefined;
  readonly limits: ImportLimits;
  /** Of the volume if it is made. */
  readonly policy: Partial<VolumePolicy>;
}

/** Fills a volume with an archive's content, as {@link fillVolume} does. */
export async function importVolume(
  client: ClusterClient,
  { name, input, format, limits, policy }: ImportRequest,
  report: TransferReport,
): Promise<ArchiveCounts> {
  const { onProgress, onWarning, signal } = report;
  const tell = { onProgress, onWarning, signal };
  const options = { limits, ...tell, ...(format === undefined ? {} : { format }) };
  return fillVolume(client, { name, policy }, report, (sink) =>
    input === STANDARD_STREAM
      ? importTree(standardInput(signal), sink, options)
      : importFile(input, sink, options),
  );
}
