/** Fills new or empty volumes, all or nothing. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterClient } from '@holdfast/client';
import {
  type FileSystem,
  HoldfastError,
  type NodeReference,
  type VolumePolicy,
} from '@holdfast/protocol';
import { isBeingFilled, type TreeSink, type VolumeSinkOptions, VolumeStage } from '@holdfast/tree';
import { whyStopped } from './stop-signal.ts';
import { rootOf } from './volume-root.ts';
import { attributeWarning } from './warnings.ts';

/** Milliseconds, longer than the lease of a session: by then one who died holds nothing any more. */
export const DEAD_WAIT_MS = 15_000;
const STAGE_PAUSE_MS = 500;

/** A volume that is to be filled. */
export interface FillRequest {
  readonly name: string;
  /** What the user asks of the volume; one that exists must fit it. */
  readonly policy: Partial<VolumePolicy>;
  /** Further wishes for a volume that is made. */
  readonly policyIfNew?: Partial<VolumePolicy>;
}

/** What filling a volume tells. */
export interface FillReport {
  readonly onWarning: (path: string, text: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Fills a new or empty volume, all or nothing. A volume that was made for it is removed again when
 * it fails. CONFLICT when the volume is not empty.
 */
export async function fillVolume<T>(
  client: ClusterClient,
  request: FillRequest,
  report: FillReport,
  write: (sink: TreeSink) => Promise<T>,
): Promise<T> {
  const { name } = request;
  const isNew = await makeToFill(client, request);
  try {
    const { fileSystem, root } = await placeToFill(client, name);
    const id = randomBytes(6).toString('hex');
    const stage = await whenFree(report, () =>
      VolumeStage.begin(fileSystem, root, { id, ...sinkOptions(report) }),
    );
    try {
      return await fillStage(stage, report, write);
    } catch (error) {
      await stage.discard().catch(() => {}); // what cannot be removed now, the next one removes
      throw error;
    }
  } catch (error) {
    // Refused when somebody has put something into it meanwhile: then it is not ours any more.
    if (isNew) await client.volumes.remove(name, { force: false }).catch(() => {});
    throw whyStopped(error, report.signal);
  }
}

/** Makes the volume, or sees that the one that is there fits. True: it was made. */
async function makeToFill(
  client: ClusterClient,
  { name, policy, policyIfNew = {} }: FillRequest,
): Promise<boolean> {
  const isNew = (await client.volumes.get(name)) === undefined;
  if (isNew) await client.volumes.create(name, { ...policyIfNew, ...policy });
  else if (Object.keys(policy).length > 0) await client.volumes.create(name, policy);
  return isNew;
}

async function placeToFill(
  client: ClusterClient,
  name: string,
): Promise<{ readonly fileSystem: FileSystem; readonly root: NodeReference }> {
  const fileSystem = client.fileSystem();
  return { fileSystem, root: await rootOf(fileSystem, name) };
}

function sinkOptions({ onWarning, signal }: FillReport): VolumeSinkOptions {
  return { signal, onAttributeProblem: attributeWarning(onWarning) };
}

/** Waits for one who holds the volume's stage and may be dead, until his session would have ended. */
async function whenFree<T>({ signal }: FillReport, step: () => Promise<T>): Promise<T> {
  const deadlineMs = performance.now() + DEAD_WAIT_MS;
  for (;;) {
    try {
      return await step();
    } catch (error) {
      if (!isBeingFilled(error) || performance.now() > deadlineMs) throw error;
    }
    await sleep(STAGE_PAUSE_MS, undefined, { signal });
  }
}

async function fillStage<T>(
  stage: VolumeStage,
  { signal }: FillReport,
  write: (sink: TreeSink) => Promise<T>,
): Promise<T> {
  const result = await write(stage.sink);
  signal.throwIfAborted();
  await stage.publish();
  return result;
}

/** A volume that is filled by work that can go on where it was stopped. */
export interface ResumableFill extends FillRequest {
  /** Says what it is filled with, letters and digits: the same for all who may go on with it. */
  readonly stageId: string;
  /** The volume is new, or was made by an earlier attempt of the same. */
  readonly isForNew: boolean;
}

/**
 * Fills a new or empty volume, all or nothing, going on with what an earlier attempt of the same left.
 * What was done so far stays, hidden in the volume, when it is stopped or something is away; other
 * failures remove it, and a volume that was made for it. `undefined`: the earlier attempt had all
 * that there is, and now it is in its place. CONFLICT when the volume is not empty.
 */
export async function fillOrGoOn<T>(
  client: ClusterClient,
  request: ResumableFill,
  report: FillReport,
  write: (sink: TreeSink) => Promise<T>,
): Promise<T | undefined> {
  const { name, stageId: id, isForNew } = request;
  const isBegun = await wasBegun(client, request);
  const isOurs = isBegun ? isForNew : await makeToFill(client, request);
  let stage: VolumeStage | undefined;
  try {
    const { fileSystem, root } = await placeToFill(client, name);
    stage = await whenFree(report, () =>
      VolumeStage.resume(fileSystem, root, { id, ...sinkOptions(report) }),
    );
    return stage === undefined ? undefined : await fillStage(stage, report, write);
  } catch (error) {
    const reason = whyStopped(error, report.signal);
    if (stage !== undefined && isPassing(reason)) throw withWayOn(reason, name);
    await stage?.discard().catch(() => {}); // what cannot be removed now, the next one removes
    if (isOurs) await client.volumes.remove(name, { force: false }).catch(() => {});
    throw reason;
  }
}

/**
 * Whether an earlier attempt has left something. CONFLICT when it was asked for other options, or when the
 * volume is to be new and there is one without it.
 */
async function wasBegun(
  client: ClusterClient,
  { name, stageId, policy, isForNew }: ResumableFill,
): Promise<boolean> {
  const volume = await client.volumes.get(name);
  if (volume === undefined) return false;
  const { fileSystem, root } = await placeToFill(client, name);
  const isBegun = await VolumeStage.isThere(fileSystem, root, stageId);
  if (!isBegun && isForNew)
    throw new HoldfastError(
      'CONFLICT',
      `volume '${name}' exists; 'holdfast backup restore' fills one that is there`,
    );
  const had: Partial<Record<string, unknown>> = { ...volume.policy };
  const other = Object.entries(policy).find(([option, value]) => had[option] !== value);
  if (isBegun && other !== undefined)
    throw new HoldfastError(
      'CONFLICT',
      `volume '${name}' is half filled by an attempt that was asked for another ${other[0]}: give the same options to go on with it, or give it up with 'holdfast volume rm --force ${name}'`,
    );
  return isBegun;
}

/** Stopped by the user, or fenced. */
const STOPPED: ReadonlySet<string> = new Set(['EINTR', 'SESSION_EXPIRED']);

/** Whether the same may succeed when it is tried again. */
function isPassing(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && (error.kind === 'outage' || STOPPED.has(error.code));
}

function withWayOn(error: HoldfastError, name: string): HoldfastError {
  return new HoldfastError(
    error.code,
    `${error.message}; what there is of '${name}' so far is kept hidden in it: the same command goes on with it, 'holdfast volume rm --force ${name}' gives it up`,
    { cause: error, detail: error.detail },
  );
}
