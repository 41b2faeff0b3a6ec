/** The content of whole volumes out of and into archives, through the client, without a mount. */
import { randomBytes } from 'node:crypto';
import {
  type ArchiveCounts,
  type ArchiveFormat,
  exportTree,
  type ImportLimits,
  importFile,
  importTree,
} from '@holdfast/archive';
import type { ClusterClient } from '@holdfast/client';
import {
  type FileSystem,
  HoldfastError,
  type NodeReference,
  parseSnapshotName,
  ROOT_INODE,
  ROOT_VOLUME,
  type VolumePolicy,
} from '@holdfast/protocol';
import { type TreeSink, VolumeSource, VolumeStage } from '@holdfast/tree';
import { STANDARD_STREAM, standardInput, writeArchive } from './archive-files.ts';
import { withSnapshot } from './backup-hold.ts';

/** What a transfer tells while it goes on. */
export interface TransferReport {
  readonly onProgress: (counts: ArchiveCounts) => void;
  readonly onWarning: (path: string, text: string) => void;
  readonly signal: AbortSignal;
}

/** The root of a volume by its name. ENOENT. */
export async function rootOf(fileSystem: FileSystem, name: string): Promise<NodeReference> {
  const list = { volume: ROOT_VOLUME, ino: ROOT_INODE };
  const text = Buffer.from(name, 'utf8').toString('latin1');
  const context = { uid: 0, gid: 0, pid: 0, requestId: 0 };
  return (await fileSystem.lookup(list, text, context)).node;
}

/** The reason that the user stopped it, in place of what came of that. */
export function whyStopped(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : error;
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

/** A volume that is to be filled. */
export interface FillRequest {
  readonly name: string;
  /** What the user asks of the volume; one that exists must fit it. */
  readonly policy: Partial<VolumePolicy>;
  /** Further wishes for a volume that is made. */
  readonly policyIfNew?: Partial<VolumePolicy>;
}

/**
 * Fills a new or empty volume, all or nothing. A volume that was made for it is removed again when
 * it fails. CONFLICT when the volume is not empty.
 */
export async function fillVolume<T>(
  client: ClusterClient,
  { name, policy, policyIfNew = {} }: FillRequest,
  report: Pick<TransferReport, 'onWarning' | 'signal'>,
  write: (sink: TreeSink) => Promise<T>,
): Promise<T> {
  const isNew = (await client.volumes.get(name)) === undefined;
  if (isNew) await client.volumes.create(name, { ...policyIfNew, ...policy });
  else if (Object.keys(policy).length > 0) await client.volumes.create(name, policy);
  try {
    return await fill(client, name, report, write);
  } catch (error) {
    // Refused when somebody has put something into it meanwhile: then it is not ours any more.
    if (isNew) await client.volumes.remove(name, { force: false }).catch(() => {});
    throw whyStopped(error, report.signal);
  }
}

async function fill<T>(
  client: ClusterClient,
  name: string,
  { onWarning, signal }: Pick<TransferReport, 'onWarning' | 'signal'>,
  write: (sink: TreeSink) => Promise<T>,
): Promise<T> {
  const fileSystem = client.fileSystem();
  const stage = await VolumeStage.begin(fileSystem, await rootOf(fileSystem, name), {
    id: randomBytes(6).toString('hex'),
    signal,
    onAttributeProblem: (entry, what, error) => {
      const why = error instanceof HoldfastError ? error.message : String(error);
      onWarning(entry, `${what} could not be set: ${why}`);
    },
  });
  try {
    const result = await write(stage.sink);
    signal.throwIfAborted();
    await stage.publish();
    return result;
  } catch (error) {
    await stage.discard().catch(() => {}); // what cannot be removed now, the next one removes
    throw error;
  }
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
