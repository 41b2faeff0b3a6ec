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
  ROOT_INODE,
  ROOT_VOLUME,
  type VolumePolicy,
} from '@holdfast/protocol';
import { type TreeSink, VolumeSource, VolumeStage } from '@holdfast/tree';
import { STANDARD_STREAM, standardInput, writeArchive } from './archive-files.ts';

/** What a transfer tells while it goes on. */
export interface TransferReport {
  readonly onProgress: (counts: ArchiveCounts) => void;
  readonly onWarning: (path: string, text: string) => void;
  readonly signal: AbortSignal;
}

async function rootOf(fileSystem: FileSystem, name: string): Promise<NodeReference> {
  const list = { volume: ROOT_VOLUME, ino: ROOT_INODE };
  const text = Buffer.from(name, 'utf8').toString('latin1');
  const context = { uid: 0, gid: 0, pid: 0, requestId: 0 };
  return (await fileSystem.lookup(list, text, context)).node;
}

/** The reason that the user stopped it, in place of what came of that. */
export function whyStopped(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : error;
}

/** Writes a volume's content into an archive. ENOENT when there is no such volume. */
export async function exportVolume(
  client: ClusterClient,
  { name, output, format }: { name: string; output: string; format: ArchiveFormat },
  { onProgress, onWarning, signal }: TransferReport,
): Promise<ArchiveCounts> {
  const fileSystem = client.fileSystem();
  try {
    const root = await rootOf(fileSystem, name);
    const source = new VolumeSource(fileSystem, root, { signal });
    const options = { format, onProgress, onWarning, signal };
    const { bytes, counts } = exportTree(source, options);
    await writeArchive(output, bytes);
    return counts;
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
  const { onProgress, signal } = report;
  const options = { limits, onProgress, signal, ...(format === undefined ? {} : { format }) };
  return fillVolume(client, { name, policy }, report, (sink) =>
    input === STANDARD_STREAM
      ? importTree(standardInput(signal), sink, options)
      : importFile(input, sink, options),
  );
}
