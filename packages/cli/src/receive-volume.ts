/** Streams of snapshots into volumes, through the client, without a mount. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { decompressed } from '@holdfast/archive';
import type { ClusterClient } from '@holdfast/client';
import {
  BACKUP_SNAPSHOTS,
  HoldfastError,
  type InodeDifference,
  RECEIVE_SNAPSHOTS,
  type Snapshot,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import { scheduledTime } from '@holdfast/schedule';
import {
  applyStream,
  decodeStream,
  type Frame,
  makeHold,
  noCounts,
  STREAM_LIMITS,
  type StreamCounts,
  type StreamHeader,
  type StreamPosition,
} from '@holdfast/transfer';
import { VolumeStage } from '@holdfast/tree';
import { STANDARD_STREAM, standardInput } from './archive-files.ts';
import { presentOf } from './backup-hold.ts';
import { policyIn } from './backup-record.ts';
import { isReceiveMark, type ReceiveHold, withReceiveHold } from './receive-hold.ts';
import { goesOnFrom, noteReceived, RECEIVE_STAGE, receivedSoFar } from './receive-progress.ts';
import { identityOf, type StreamReport } from './send-volume.ts';
import { whyStopped } from './stop-signal.ts';
import { attributeWarning } from './warnings.ts';

/** What a receive tells while it goes on. */
export interface ReceiveReport extends StreamReport {
  readonly onWarning: (path: string, text: string) => void;
}

/** What is received, and into what. */
export interface ReceiveRequest {
  readonly volume: string;
  /** A path, or `-`. */
  readonly input: string;
  /** Of the volume if it is made; in place of the sender's. */
  readonly policy: Partial<VolumePolicy>;
  /** Whether the rest of the sender's policy comes along. */
  readonly takesPolicy: boolean;
  /** What was received stays when it does not end, and a stream that is sent with a token goes on. */
  readonly isResumable: boolean;
  /** Goes back to the base first, whatever was changed since, and whoever uses the volume. */
  readonly force: boolean;
}

/** What was received. */
export interface ReceivedVolume {
  readonly volume: string;
  readonly snapshot: string;
  readonly from?: string;
  /** The volume had the snapshot before. */
  readonly wasThere: boolean;
  /** What keeps the changes that were taken back by force. */
  readonly kept?: string;
  readonly inodes: number;
  readonly dataBytes: number;
  readonly streamBytes: number;
}

/** A stream whose first frame was read. */
interface Incoming {
  readonly header: StreamHeader;
  readonly frames: AsyncIterable<Frame>;
  readonly counts: StreamCounts;
  inodes: number;
}

interface Receiving {
  readonly client: ClusterClient;
  readonly volume: VolumeRecord;
  readonly incoming: Incoming;
  readonly request: ReceiveRequest;
  readonly report: ReceiveReport;
}

const ZSTD_MAGIC = Buffer.of(0x28, 0xb5, 0x2f, 0xfd);

/** The bytes of a stream, unpacked where they are packed. */
async function* unpacked(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = bytes[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < ZSTD_MAGIC.length) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const all = (async function* () {
    yield head;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next())
      yield next.value;
  })();
  const isPacked = head.subarray(0, ZSTD_MAGIC.length).equals(ZSTD_MAGIC);
  yield* isPacked ? decompressed(all, 'zstd') : all;
}

async function open(
  input: string,
  { onDone, onExpected, signal }: ReceiveReport,
): Promise<Incoming> {
  const bytes =
    input === STANDARD_STREAM ? standardInput(signal) : createReadStream(input, { signal });
  const counts = noCounts();
  const frames = decodeStream(unpacked(bytes), counts);
  const first = await frames.next();
  if (first.done === true || first.value.frame !== 'begin')
    throw new HoldfastError('CORRUPT', 'the stream is damaged: it has no first frame');
  const { header } = first.value;
  if (header.base === undefined) onExpected({ bytes: header.usedBytes, files: header.usedInodes });
  const incoming = { header, counts, inodes: 0, frames: counted() };
  async function* counted(): AsyncGenerator<Frame> {
    for await (const frame of frames) {
      if (frame.frame === 'finish') incoming.inodes += 1;
      onDone({ files: incoming.inodes, bytes: counts.dataBytes });
      yield frame;
    }
  }
  return incoming;
}

/**
 * Receives a stream, all or nothing: whole into a new or empty volume, a change into one that has the
 * base and was not changed since. In the end the volume has a snapshot of the sender's name. What is killed
 * leaves a volume that the next receive puts back first. BAD_REQUEST and CORRUPT for streams that are none
 * or damaged, NOT_FOUND, CONFLICT, EINVAL after too many rollbacks.
 */
export async function receiveVolume(
  client: ClusterClient,
  request: ReceiveRequest,
  report: ReceiveReport,
): Promise<ReceivedVolume> {
  const incoming = await open(request.input, report);
  try {
    return await receiveFrom(client, incoming, { request, report });
  } catch (error) {
    throw whyStopped(error, report.signal);
  }
}

async function receiveFrom(
  client: ClusterClient,
  incoming: Incoming,
  { request, report }: { readonly request: ReceiveRequest; readonly report: ReceiveReport },
): Promise<ReceivedVolume> {
  const { header } = incoming;
  const name = request.volume;
  const found = await client.volumes.get(name);
  if (found === undefined && header.base !== undefined)
    throw new HoldfastError(
      'NOT_FOUND',
      `there is no volume '${name}', and the stream has only what changed since ${header.volume}@${header.base.name}: receive that one first, sent without --from`,
    );
  const volume = found ?? (await client.volumes.create(name, policyFor(header, request)));
  try {
    return await withReceiveHold(client, volume, async (hold) => {
      const receiving = { client, volume, incoming, request, report };
      if (header.resume === undefined) await hold.recover();
      const there = await snapshotOf(receiving, header.snapshot.id);
      if (there !== undefined) return alreadyThere(receiving, there);
      if (header.resume !== undefined) return goOn(receiving, hold, header.resume);
      return header.base === undefined
        ? receiveWhole(receiving, hold)
        : receiveChange(receiving, hold, header.base);
    });
  } catch (error) {
    // Refused when somebody has put something into it meanwhile: then it is not ours any more.
    if (found === undefined) await client.volumes.remove(name, { force: false }).catch(() => {});
    throw error;
  }
}

function policyFor({ policy }: StreamHeader, request: ReceiveRequest): Partial<VolumePolicy> {
  return { ...(request.takesPolicy ? policyIn(policy) : {}), ...request.policy };
}

/** The snapshot that shows what one shows that is told by its id. */
async function snapshotOf(
  { client, volume }: Pick<Receiving, 'client' | 'volume'>,
  id: string,
): Promise<Snapshot | undefined> {
  const all = await client.snapshots.list(volume.name);
  return all.find((one) => !isReceiveMark(one) && identityOf(client, volume, one).id === id);
}

/** Nothing is to be done; the stream is read all the same, so that who sends it comes to its end. */
async function alreadyThere(receiving: Receiving, snapshot: Snapshot): Promise<ReceivedVolume> {
  for await (const _ of receiving.incoming.frames);
  return resultOf(receiving, snapshot, { wasThere: true });
}

function resultOf(
  { volume, incoming }: Receiving,
  { name }: Snapshot,
  more: Pick<ReceivedVolume, 'wasThere' | 'kept'>,
): ReceivedVolume {
  const { header, counts, inodes } = incoming;
  const { dataBytes, streamBytes } = counts;
  const from = header.base === undefined ? {} : { from: header.base.name };
  return { volume: volume.name, snapshot: name, ...from, ...more, inodes, dataBytes, streamBytes };
}

/** What the snapshot is called here. Names that others give, and remove, get another beginning. */
function nameHere({ snapshot: { name } }: StreamHeader): string {
  const isOthers =
    scheduledTime(name) !== undefined ||
    [BACKUP_SNAPSHOTS, RECEIVE_SNAPSHOTS].some((prefix) => name.startsWith(prefix));
  return isOthers ? `received-${name}`.slice(0, 255) : name;
}

async function refuseName({ client, volume, incoming }: Receiving): Promise<void> {
  const name = nameHere(incoming.header);
  const all = await client.snapshots.list(volume.name);
  if (all.every((one) => one.name !== name)) return;
  throw new HoldfastError(
    'CONFLICT',
    `volume '${volume.name}' has a snapshot '${name}' that is another one than what is sent; remove it first ('holdfast snapshot rm ${volume.name}@${name}'), or send a snapshot of another name`,
  );
}

async function complete(
  { client, volume, incoming }: Receiving,
  hold: ReceiveHold,
  mark: Snapshot,
): Promise<Snapshot> {
  const { header } = incoming;
  const origin = header.snapshot.id;
  const snapshot = await client.snapshots.create(volume.name, nameHere(header), { origin });
  await hold.unmark(mark).catch(() => {}); // what cannot be removed now, the next one removes
  return snapshot;
}

/** Goes on with what a receive of the same snapshot left. CONFLICT when that is not there, or not as far. */
async function goOn(
  receiving: Receiving,
  hold: ReceiveHold,
  position: StreamPosition,
): Promise<ReceivedVolume> {
  const { client, volume, incoming } = receiving;
  const { id } = incoming.header.snapshot;
  const left = await receivedSoFar(client, volume);
  const all = await client.snapshots.list(volume.name);
  const mark = all.find((one) => isReceiveMark(one) && one.origin === id);
  if (mark !== undefined && left !== undefined && goesOnFrom(left, id, position))
    return receiveWhole(receiving, hold, mark);
  throw new HoldfastError(
    'CONFLICT',
    `volume '${volume.name}' has nothing that the stream goes on with: 'holdfast volume receive ${volume.name} --resume-token' prints what to send it with, or send the whole`,
  );
}

/** `left`: the mark of a receive that is gone on with. */
async function receiveWhole(
  receiving: Receiving,
  hold: ReceiveHold,
  left?: Snapshot,
): Promise<ReceivedVolume> {
  const { client, volume, incoming, request, report } = receiving;
  const { signal } = report;
  const fileSystem = client.fileSystem();
  const root = presentOf(volume);
  const { id: origin } = incoming.header.snapshot;
  await refuseName(receiving);
  const mark = left ?? (await hold.mark(undefined, origin));
  let stage: VolumeStage | undefined;
  let isPublished = false;
  let isKept = left !== undefined;
  try {
    const onAttributeProblem = attributeWarning(report.onWarning);
    const isResumable = request.isResumable || isKept;
    const id = isResumable ? RECEIVE_STAGE : randomBytes(6).toString('hex');
    const options = { id, signal, onAttributeProblem };
    stage = isKept
      ? await VolumeStage.resume(fileSystem, root, options)
      : await VolumeStage.begin(fileSystem, root, options);
    if (stage === undefined) throw new HoldfastError('INTERNAL', 'the stage is gone');
    const { node } = stage;
    const note = async (position: StreamPosition): Promise<void> => {
      await noteReceived(client, node, { id: origin, position });
      isKept = true;
    };
    const checkpoint = { bytes: STREAM_LIMITS.checkpointBytes, note };
    const target = { root: node, attributesOfRoot: root, onAttributeProblem, signal };
    await applyStream(
      {
        fileSystem,
        ...target,
        isResumed: left !== undefined,
        ...(isResumable && { checkpoint }),
      },
      incoming.frames,
    );
    isPublished = true;
    await stage.publish();
    const snapshot = await complete(receiving, hold, mark);
    return resultOf(receiving, snapshot, { wasThere: false });
  } catch (error) {
    if (isPublished) throw await undone(error, hold, mark);
    if (isKept) {
      const how = `'holdfast volume receive ${volume.name} --resume-token' prints what to send it with, to go on`;
      report.onWarning(volume.name, `what was received so far is kept; ${how}`);
      throw error;
    }
    await stage?.discard().catch(() => {}); // what cannot be removed now, the next one removes
    await hold.unmark(mark).catch(() => {});
    throw error;
  }
}

/** Puts the volume back; answers what is to be thrown. */
async function undone(error: unknown, hold: ReceiveHold, mark: Snapshot): Promise<unknown> {
  try {
    await hold.undo(mark);
    return error;
  } catch (failed) {
    const [why, whyNot] = [error, failed].map((each) =>
      each instanceof Error ? each.message : String(each),
    );
    return new HoldfastError(
      error instanceof HoldfastError ? error.code : 'INTERNAL',
      `${why}; and the volume could not be put back (${whyNot}): what it shows is not whole; the next receive tries again, or receive the whole snapshot into a new volume`,
      { cause: error },
    );
  }
}

async function receiveChange(
  receiving: Receiving,
  hold: ReceiveHold,
  { name, id }: { readonly name: string; readonly id: string },
): Promise<ReceivedVolume> {
  const { volume, incoming } = receiving;
  const base = await snapshotOf(receiving, id);
  if (base === undefined)
    throw new HoldfastError(
      'CONFLICT',
      `volume '${volume.name}' has no snapshot that was received from ${incoming.header.volume}@${name}, which the stream is based on: base it on one that it has ('holdfast snapshot ls ${volume.name}'), or receive the whole snapshot, sent without --from, into a new volume`,
    );
  await refuseName(receiving);
  await refuseInUse(receiving);
  const { mark, kept } = await markAtBase(receiving, hold, base);
  try {
    const fileSystem = receiving.client.fileSystem();
    const root = presentOf(volume);
    const holdNode = await makeHold(fileSystem, root);
    // From here on nobody else attaches it: who did before is seen now.
    await refuseInUse(receiving);
    const { signal } = receiving.report;
    const onAttributeProblem = attributeWarning(receiving.report.onWarning);
    const target = { fileSystem, root, hold: holdNode, onAttributeProblem, signal };
    await applyStream(target, incoming.frames);
    const snapshot = await complete(receiving, hold, mark);
    return resultOf(receiving, snapshot, { wasThere: false, ...(kept && { kept }) });
  } catch (error) {
    throw await undone(error, hold, mark);
  }
}

async function refuseInUse({ client, volume, request }: Receiving): Promise<void> {
  const attachedTo = (await client.volumes.get(volume.name))?.attachedTo ?? [];
  if (attachedTo.length === 0 || request.force) return;
  throw new HoldfastError(
    'CONFLICT',
    `volume '${volume.name}' is in use on ${attachedTo.join(', ')}; stop what uses it first, or force it (--force): files that are open then fail with ESTALE`,
    { detail: { attachedTo } },
  );
}

/** Marks the volume when it is as the base; by force it is made so. */
async function markAtBase(
  { client, volume, incoming, request, report }: Receiving,
  hold: ReceiveHold,
  base: Snapshot,
): Promise<{ readonly mark: Snapshot; readonly kept?: string }> {
  const origin = incoming.header.snapshot.id;
  const mark = await hold.mark(base, origin);
  try {
    const span = { from: base.generation, to: mark.generation };
    let isChanged = false;
    for await (const page of client.snapshots.changes(volume, span, report.signal))
      isChanged ||= page.some(isRealChange);
    const { attachedTo } = (await client.volumes.get(volume.name)) ?? volume;
    // Who has files open there must not go on with them.
    if (!isChanged && attachedTo.length === 0) return { mark };
    if (!request.force)
      throw new HoldfastError(
        'CONFLICT',
        `volume '${volume.name}' was changed since ${volume.name}@${base.name}, which the stream is based on; --force rolls it back to that first, and keeps what it is now as a snapshot ('holdfast snapshot diff ${volume.name}@${base.name}' shows the change)`,
      );
    const { name: kept } = await hold.goBack(base.name, true);
    await hold.unmark(mark);
    return { mark: await hold.mark(base, origin), kept };
  } catch (error) {
    await hold.unmark(mark).catch(() => {});
    throw error;
  }
}

/**
 * Whether a user changed it: each change of a file sets its time, but for reading it, and for the cluster
 * moving small files out of its metadata.
 */
function isRealChange(change: InodeDifference): boolean {
  if (change.kind !== 'changed') return true;
  const { before, after } = change;
  const fields = ['mode', 'uid', 'gid', 'nlink', 'size', 'mtimeNs', 'ctimeNs'] as const;
  return fields.some((field) => before[field] !== after[field]);
}
