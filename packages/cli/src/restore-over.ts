/** Restores into what is there: a volume that is not empty, or a place in one. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterClient } from '@holdfast/client';
import {
  type FileSystem,
  HoldfastError,
  isFillingError,
  type NodeReference,
  RESTORES_AT,
} from '@holdfast/protocol';
import { type SinkDirectory, type SinkEntry, type TreeSink, VolumeSink } from '@holdfast/tree';
import { setLock } from './backup-hold.ts';
import { DEAD_WAIT_MS } from './fill-volume.ts';
import { rootOf } from './volume-root.ts';
import { attributeWarning } from './warnings.ts';

/** Milliseconds between two looks whether who fills the volume has ended. */
const PAUSE_MS = 1_000;

/** Where a restore goes. */
export type RestoreTarget =
  | { readonly where: 'host'; readonly directory: string }
  /** `names`: of a directory of the volume; none: its root. */
  | { readonly where: 'volume'; readonly volume: string; readonly names: readonly string[] };

/** VOLUME, VOLUME:/PATH, or a directory of this host, told by a / in it. BAD_REQUEST. */
export function parseRestoreTarget(text: string): RestoreTarget {
  const [, volume, path] = /^([^/:]+):(\/.*)$/s.exec(text) ?? [];
  if (volume !== undefined && path !== undefined) {
    const names = path.split('/').filter((name) => name !== '' && name !== '.');
    if (names.includes('..'))
      throw new HoldfastError('BAD_REQUEST', `a path in a volume has no '..': '${path}'`);
    const latin1 = names.map((name) => Buffer.from(name, 'utf8').toString('latin1'));
    return { where: 'volume', volume, names: latin1 };
  }
  const isDirectory = text.includes('/') || /^\.{1,2}$/.test(text);
  return isDirectory
    ? { where: 'host', directory: text }
    : { where: 'volume', volume: text, names: [] };
}

/** A directory that is made on the way: what it is in the backup comes at the end, if it is in there. */
function onTheWay(name: string): SinkEntry {
  const now = BigInt(Date.now()) * 1_000_000n;
  const times = { mtimeNs: now, atimeNs: now };
  const owner = { mode: 0o755, uid: 0, gid: 0 };
  const none = { size: 0, rdev: 0n, target: '', xattrs: [] };
  return { name, kind: 'directory', ...owner, ...times, ...none };
}

/** A {@link TreeSink} over a place in a volume; directories that lead there are made. */
export class PlaceInVolume implements TreeSink {
  readonly #volume: TreeSink;
  readonly #names: readonly string[];

  constructor(volume: TreeSink, names: readonly string[]) {
    this.#volume = volume;
    this.#names = names;
  }

  async root(): Promise<SinkDirectory> {
    let at = await this.#volume.root();
    for (const name of this.#names) {
      const entry = onTheWay(name);
      const found = await at.enter(name);
      const next = found ?? (await at.directory(entry));
      if (found === undefined) await next.finish(entry);
      at = next;
    }
    return at;
  }
}

/** What is asked for. */
export interface OverRequest {
  readonly volume: string;
  readonly names: readonly string[];
  /** Whether it may have something in it. */
  readonly mayOverwrite: boolean;
  /** Also while hosts have it attached. */
  readonly force: boolean;
}

/**
 * Runs a restore into a volume as it is. What it was before is kept as a snapshot, whose name is told
 * with the result. Until it ends nobody takes the volume for whole. NOT_FOUND; CONFLICT while hosts use it
 * and it is not forced, while somebody else fills it, or when something is there and may not be overwritten.
 */
export async function restoreOver<T>(
  client: ClusterClient,
  { volume, names, mayOverwrite, force }: OverRequest,
  report: {
    readonly onWarning: (path: string, text: string) => void;
    readonly signal: AbortSignal;
  },
  write: (sink: TreeSink) => Promise<T>,
): Promise<{ readonly result: T; readonly kept: string }> {
  const record = await client.volumes.get(volume);
  if (record === undefined) throw new HoldfastError('NOT_FOUND', `there is no volume '${volume}'`);
  if (record.attachedTo.length > 0 && !force)
    throw new HoldfastError(
      'CONFLICT',
      `volume '${volume}' is in use on ${record.attachedTo.join(', ')}; stop what uses it first, or force it (--force)`,
      { detail: { attachedTo: record.attachedTo } },
    );
  const fileSystem = client.fileSystem();
  const root: NodeReference = await rootOf(fileSystem, volume);
  const sink = new VolumeSink(fileSystem, root, {
    signal: report.signal,
    onAttributeProblem: attributeWarning(report.onWarning),
  });
  if (!mayOverwrite) await refuseContent(sink, { volume, names });
  const kept = await begin(client, { volume, fileSystem, root }, report.signal);
  try {
    return { result: await write(new PlaceInVolume(sink, names)), kept };
  } catch (error) {
    throw withKept(error, `${volume}@${kept}`);
  } finally {
    await setLock(fileSystem, root, { start: RESTORES_AT, type: 'unlock' }).catch(() => {});
  }
}

/**
 * Keeps what the volume is as a snapshot, whose name it answers, and shows that a restore is under way: two at
 * once would each keep what the other has half done. One who died is waited for. CONFLICT.
 */
async function begin(
  client: ClusterClient,
  {
    volume,
    fileSystem,
    root,
  }: {
    readonly volume: string;
    readonly fileSystem: FileSystem;
    readonly root: NodeReference;
  },
  signal: AbortSignal,
): Promise<string> {
  const untilMs = performance.now() + DEAD_WAIT_MS;
  for (;;) {
    const time = new Date().toISOString().replaceAll(':', '-');
    try {
      const { name } = await client.snapshots.create(volume, `before-restore-${time}`);
      if (await isTaken(fileSystem, root)) return name;
      await client.snapshots.remove(volume, name);
    } catch (error) {
      if (!isFillingError(error) || performance.now() > untilMs) throw error;
    }
    await sleep(PAUSE_MS, undefined, { signal });
  }
}

async function isTaken(fileSystem: FileSystem, root: NodeReference): Promise<boolean> {
  try {
    await setLock(fileSystem, root, { start: RESTORES_AT, type: 'write' });
    return true;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'EAGAIN') return false;
    throw error;
  }
}

/** Some of it may be done: says how to undo it. */
function withKept(error: unknown, kept: string): unknown {
  if (!(error instanceof HoldfastError)) return error;
  const message = `${error.message}; what was there before is kept as ${kept}`;
  return new HoldfastError(error.code, message, {
    cause: error,
    detail: { ...error.detail, kept },
  });
}

async function refuseContent(
  sink: TreeSink,
  { volume, names }: Pick<OverRequest, 'volume' | 'names'>,
): Promise<void> {
  let at: SinkDirectory | undefined = await sink.root();
  for (const name of names) at = await at?.enter(name);
  if (at === undefined || (await at.names()).length === 0) return;
  const path = Buffer.from(names.join('/'), 'latin1').toString('utf8');
  throw new HoldfastError(
    'CONFLICT',
    `${volume}:/${path} is not empty; say what becomes of what is there with --overwrite (always, if-changed, if-newer, never)`,
  );
}
