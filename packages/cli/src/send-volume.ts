/** Snapshots of volumes out as streams, through the client, without a mount. */
import { compressed } from '@holdfast/archive';
import { limitStream, ownSurroundings } from '@holdfast/backup';
import type { ClusterClient } from '@holdfast/client';
import {
  HoldfastError,
  parseSnapshotName,
  RECEIVE_SNAPSHOTS,
  type Snapshot,
  type VolumeRecord,
} from '@holdfast/protocol';
import {
  type Change,
  changeFrames,
  encodeStream,
  type Frame,
  fullFrames,
  noCounts,
  parseResumeToken,
  type SnapshotIdentity,
  type StreamHeader,
  type StreamPosition,
  snapshotId,
} from '@holdfast/transfer';
import { VolumeSource } from '@holdfast/tree';
import { writeArchive } from './archive-files.ts';
import { type HeldSnapshot, withSnapshot } from './backup-hold.ts';
import type { Done, Expected } from './progress.ts';
import { whyStopped } from './stop-signal.ts';

/** What a stream tells while it is on its way. */
export interface StreamReport {
  readonly onExpected: (expected: Expected) => void;
  readonly onDone: (done: Done) => void;
  readonly signal: AbortSignal;
}

/** What is sent, and where to. */
export interface SendRequest {
  /** VOLUME or VOLUME@SNAPSHOT. */
  readonly name: string;
  /** Only what changed since this snapshot. */
  readonly from?: string;
  /** How far the receiver is, who has what was before. Of a whole snapshot that is named. */
  readonly resume?: string;
  /** A path, or `-`. */
  readonly output: string;
  readonly isCompressed: boolean;
  /** Bytes a second that leave at most, as they are packed; 1 or more. */
  readonly uploadLimit?: number;
}

/** What was sent. */
export interface SentVolume {
  readonly volume: string;
  readonly snapshot: string;
  /** The snapshot that the receiver has to have. */
  readonly from?: string;
  /** Files, directories and others of which something was sent. */
  readonly inodes: number;
  /** Bytes of files that were read and sent. */
  readonly dataBytes: number;
  /** Bytes of the stream, before it was compressed. */
  readonly streamBytes: number;
}

/** What tells a snapshot everywhere: of one that was received, it is what it was sent as. */
export function identityOf(
  client: ClusterClient,
  { number }: Pick<VolumeRecord, 'number'>,
  { name, generation, origin }: Pick<Snapshot, 'name' | 'generation' | 'origin'>,
): SnapshotIdentity {
  const { clusterId } = client.cluster.map;
  const own = snapshotId({ clusterId, volume: number, generation });
  // A receive marks what it begins from with what it is to receive, which is another content.
  const isMark = name.startsWith(RECEIVE_SNAPSHOTS);
  return { name, id: isMark ? own : (origin ?? own) };
}

/**
 * Writes a snapshot as a stream, or what changed in it since an older one. Without a name a snapshot is
 * made, which stays: it is what the next stream begins from. BAD_REQUEST, NOT_FOUND, EINVAL for snapshots
 * in the wrong order, TOO_LARGE.
 */
export async function sendVolume(
  client: ClusterClient,
  request: SendRequest,
  report: StreamReport,
): Promise<SentVolume> {
  const wanted = parseSnapshotName(request.name);
  if (request.resume !== undefined && (wanted.name === undefined || request.from !== undefined))
    throw new HoldfastError(
      'BAD_REQUEST',
      '--resume goes on with the whole of a snapshot: name the one that was sent (VOLUME@NAME), without --from',
    );
  const volume = await client.volumes.get(wanted.volume);
  if (volume === undefined)
    throw new HoldfastError('NOT_FOUND', `there is no volume '${wanted.volume}'`);
  const own = wanted.name === undefined ? await takeOwn(client, volume) : undefined;
  const name = wanted.name ?? own ?? '';
  try {
    return await withSnapshot(client, { volume, name }, (held) =>
      request.from === undefined
        ? sendWhole(client, { volume, held, request }, report)
        : sendSince(client, { volume, held, request, from: request.from }, report),
    );
  } catch (error) {
    if (own !== undefined) await client.snapshots.remove(volume.name, own).catch(() => {});
    throw whyStopped(error, report.signal);
  }
}

async function takeOwn(client: ClusterClient, { name }: VolumeRecord): Promise<string> {
  const time = new Date().toISOString().replaceAll(':', '-');
  return (await client.snapshots.create(name, `sent-${time}`)).name;
}

interface Sending {
  readonly volume: VolumeRecord;
  readonly held: HeldSnapshot;
  readonly request: SendRequest;
}

function headerOf(client: ClusterClient, { volume, held }: Sending): StreamHeader {
  const { snapshot } = held;
  const { usedBytes, usedInodes } = snapshot;
  return {
    volume: volume.name,
    snapshot: identityOf(client, volume, snapshot),
    usedBytes,
    usedInodes,
    policy: { ...volume.policy },
  };
}

function sourceOf(client: ClusterClient, { root }: HeldSnapshot, signal: AbortSignal) {
  return new VolumeSource(client.fileSystem(), root, { signal });
}

async function sendWhole(
  client: ClusterClient,
  sending: Sending,
  report: StreamReport,
): Promise<SentVolume> {
  const { snapshot } = sending.held;
  report.onExpected({ bytes: snapshot.usedBytes, files: snapshot.usedInodes });
  const source = sourceOf(client, sending.held, report.signal);
  const whole = headerOf(client, sending);
  const position = positionOf(sending, whole.snapshot.id);
  const header = { ...whole, ...(position !== undefined && { resume: position }) };
  return write(sending, report, (onInode) =>
    fullFrames(source, header, { signal: report.signal, onInode }),
  );
}

/** Where the stream goes on. BAD_REQUEST, CONFLICT when the token is of another snapshot. */
function positionOf({ held, request, volume }: Sending, id: string): StreamPosition | undefined {
  if (request.resume === undefined) return undefined;
  const { id: wanted, ...position } = parseResumeToken(request.resume);
  if (wanted === id) return position;
  throw new HoldfastError(
    'CONFLICT',
    `the token is of another snapshot than ${volume.name}@${held.snapshot.name}: name the one that was sent`,
  );
}

async function sendSince(
  client: ClusterClient,
  sending: Sending & { readonly from: string },
  report: StreamReport,
): Promise<SentVolume> {
  const { volume, held, from: name } = sending;
  const { signal } = report;
  const send = async (base: HeldSnapshot): Promise<SentVolume> => {
    const span = { from: base.snapshot.generation, to: held.snapshot.generation };
    if (span.from >= span.to)
      throw new HoldfastError(
        'EINVAL',
        `'${held.snapshot.name}' is not newer than '${name}': --from names the older one`,
      );
    const change: Change = {
      base: sourceOf(client, base, signal),
      target: sourceOf(client, held, signal),
      changes: () => client.snapshots.changes(volume, span, signal),
      changedRanges: (ino) => client.snapshots.changedRanges(volume, ino, span, signal),
      parentInBase: (ino) => client.snapshots.parentAt(volume, ino, span.from, signal),
    };
    const identity = identityOf(client, volume, base.snapshot);
    const header = { ...headerOf(client, sending), base: identity };
    const sent = await write(sending, report, (onInode) =>
      changeFrames(change, header, {
        signal,
        onInode,
        onPlan: ({ changed }) => report.onExpected({ files: changed.size }),
      }),
    );
    return { ...sent, from: name };
  };
  try {
    return await withSnapshot(client, { volume, name }, send);
  } catch (error) {
    throw withoutBase(error, volume.name);
  }
}

/** A base that is gone: says why that may be, and what is left to do. */
function withoutBase(error: unknown, volume: string): unknown {
  const isGone = error instanceof HoldfastError && ['NOT_FOUND', 'ESTALE'].includes(error.code);
  if (!isGone) return error;
  const why = `${error.message}; snapshots of a schedule go by its rule of what to keep: base streams on snapshots that you took yourself, or send all of '${volume}', without --from, into a new volume`;
  return new HoldfastError(error.code, why, { cause: error, detail: error.detail });
}

async function write(
  { held, request, volume }: Sending,
  { onDone, signal }: StreamReport,
  frames: (onInode: () => void) => AsyncIterable<Frame>,
): Promise<SentVolume> {
  const counts = noCounts();
  let inodes = 0;
  const onInode = (): void => {
    inodes += 1;
    onDone({ files: inodes, bytes: counts.dataBytes });
  };
  const bytes = encodeStream(frames(onInode), counts, request.resume !== undefined);
  const packed = compressed(bytes, request.isCompressed ? 'zstd' : 'none');
  const { uploadLimit } = request;
  const paced =
    uploadLimit === undefined
      ? packed
      : limitStream(packed, uploadLimit, ownSurroundings(), signal);
  await writeArchive(request.output, paced).catch((error: unknown) => {
    throw asEnded(error, signal);
  });
  const { dataBytes, streamBytes } = counts;
  return { volume: volume.name, snapshot: held.snapshot.name, inodes, dataBytes, streamBytes };
}

/** Who reads the other end of a pipe has gone: what went wrong there it has said itself. */
function asEnded(error: unknown, signal: AbortSignal): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (signal.aborted || (code !== 'EPIPE' && code !== 'ERR_STREAM_PREMATURE_CLOSE')) return error;
  return new HoldfastError('UNREACHABLE', 'who reads the stream ended before it did', {
    cause: error,
  });
}
