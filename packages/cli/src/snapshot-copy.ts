/** Files and directories out of snapshots, into directories of this host or into volumes. */
import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import type { ClusterClient } from '@holdfast/client';
import {
  type FileSystem,
  HoldfastError,
  type NodeReference,
  parseWholeSnapshotName,
} from '@holdfast/protocol';
import {
  type AttributeProblem,
  type CopyCounts,
  type CopyPlace,
  copyEntry,
  DirectoryCopyPlace,
  isSafeName,
  VolumeCopyPlace,
  VolumeSource,
} from '@holdfast/tree';
import { withSnapshot } from './backup-hold.ts';
import type { WorkReport } from './backup-volume.ts';
import { whyStopped } from './stop-signal.ts';
import { rootOf } from './volume-root.ts';
import { attributeWarning } from './warnings.ts';

/** What is copied: a whole snapshot, or what a path in one leads to. */
export interface CopySource {
  readonly volume: string;
  readonly snapshot: string;
  /** From the snapshot's root, without empty names and dots; none for all. */
  readonly names: readonly string[];
}

/** Where a copy goes to. */
export type CopyDestination =
  | { readonly where: 'host'; readonly path: string; readonly mustBeDirectory: boolean }
  | {
      readonly where: 'volume';
      readonly volume: string;
      readonly names: readonly string[];
      readonly mustBeDirectory: boolean;
    };

function namesOf(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (!names.every(isSafeName))
    throw new HoldfastError('BAD_REQUEST', `a path in a volume has no '..': '${path}'`);
  return names;
}

/** VOLUME@SNAPSHOT[/PATH]. BAD_REQUEST. */
export function parseCopySource(text: string): CopySource {
  const slash = text.indexOf('/');
  const whole = slash < 0 ? text : text.slice(0, slash);
  const { volume, name: snapshot } = parseWholeSnapshotName(whole);
  return { volume, snapshot, names: namesOf(text.slice(whole.length)) };
}

/** VOLUME:/PATH, or a path of this host: whatever has no colon before its first slash. BAD_REQUEST. */
export function parseCopyDestination(text: string): CopyDestination {
  if (text === '') throw new HoldfastError('BAD_REQUEST', 'name a place to copy to');
  const mustBeDirectory = text.endsWith('/');
  const [, volume, path] = /^([^/:]*):(.*)$/s.exec(text) ?? [];
  if (volume === undefined || path === undefined)
    return { where: 'host', path: resolve(text), mustBeDirectory };
  if (volume === '' || !path.startsWith('/'))
    throw new HoldfastError(
      'BAD_REQUEST',
      `write VOLUME:/PATH for a place in a volume, or ./${text} for a file of this host, not '${text}'`,
    );
  return { where: 'volume', volume, names: namesOf(path), mustBeDirectory };
}

/** What a path leads to is not there: in words of who asked. */
export function missingIn(error: unknown, { volume, snapshot, names }: CopySource): unknown {
  if (!(error instanceof HoldfastError) || error.code !== 'NOT_FOUND') return error;
  return new HoldfastError('NOT_FOUND', `${volume}@${snapshot} has no '${names.join('/')}'`, {
    cause: error,
  });
}

/** What is copied, and what may happen. */
export interface CopyRequest {
  readonly from: CopySource;
  readonly to: CopyDestination;
  /** Whether what has the name gives way. */
  readonly overwrite: boolean;
}

/** What was copied. */
export interface CopyResult {
  /** Where it is now: a path of this host, or VOLUME:/PATH. */
  readonly to: string;
  readonly counts: CopyCounts;
}

/** A place that was made, and what the copy will be called by users. */
interface Prepared {
  readonly place: CopyPlace;
  readonly to: string;
}

interface PlaceOptions {
  /** Of what is copied. */
  readonly name: string;
  readonly isDirectory: boolean;
  readonly overwrite: boolean;
  readonly onAttributeProblem: AttributeProblem;
  readonly signal: AbortSignal;
}

/** Names of the namespace are latin1 text, one character a byte. */
function asBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function noDirectory(shown: string): HoldfastError {
  return new HoldfastError('NOT_FOUND', `there is no directory ${shown}`);
}

async function prepareOnHost(
  { path, mustBeDirectory }: CopyDestination & { where: 'host' },
  { name, isDirectory, overwrite, onAttributeProblem }: PlaceOptions,
): Promise<Prepared> {
  const isInto = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  if (!isInto && mustBeDirectory) throw noDirectory(path);
  const directory = isInto ? path : dirname(path);
  const called = isInto ? name : basename(path);
  const target = { name: asBytes(called), overwrite, isDirectory };
  const place = await DirectoryCopyPlace.begin(directory, { target, onAttributeProblem });
  return { place, to: resolve(directory, called) };
}

async function prepareInVolume(
  fileSystem: FileSystem,
  { volume, names, mustBeDirectory }: CopyDestination & { where: 'volume' },
  { name, isDirectory, overwrite, onAttributeProblem, signal }: PlaceOptions,
): Promise<Prepared> {
  const root = await rootOf(fileSystem, volume);
  const last = await directoryAt(fileSystem, root, names);
  const shown = (to: readonly string[]): string => `${volume}:/${to.join('/')}`;
  if (last === undefined && mustBeDirectory) throw noDirectory(shown(names));
  const above = names.slice(0, -1);
  const directory = last ?? (await directoryAt(fileSystem, root, above));
  if (directory === undefined) throw noDirectory(shown(above));
  const into = last === undefined ? above : names;
  const called = last === undefined ? (names.at(-1) ?? name) : name;
  const place = await VolumeCopyPlace.begin(fileSystem, directory, {
    target: { name: asBytes(called), overwrite, isDirectory },
    onAttributeProblem,
    signal,
  });
  return { place, to: shown([...into, called]) };
}

/** The directory at a path of a volume, without following links; `undefined` when there is none. */
async function directoryAt(
  fileSystem: FileSystem,
  root: NodeReference,
  names: readonly string[],
): Promise<NodeReference | undefined> {
  const context = { uid: 0, gid: 0, pid: 0, requestId: 0 };
  let node = root;
  for (const name of names) {
    try {
      const found = await fileSystem.lookup(node, asBytes(name), context);
      if (found.attributes.kind !== 'directory') return undefined;
      node = found.node;
    } catch (error) {
      const code = error instanceof HoldfastError ? error.code : '';
      if (code !== 'ENOENT') throw error;
      return undefined;
    }
  }
  return node;
}

/**
 * Copies out of a snapshot, all or nothing: the copy has its name when it is complete. Into a
 * directory that exists it goes under its own name. NOT_FOUND, EEXIST, EISDIR, ENOTDIR.
 */
export async function copyFromSnapshot(
  client: ClusterClient,
  { from, to, overwrite }: CopyRequest,
  { onExpected, onProgress, onWarning, signal }: WorkReport<CopyCounts>,
): Promise<CopyResult> {
  const volume = await client.volumes.get(from.volume);
  if (volume === undefined)
    throw new HoldfastError('NOT_FOUND', `there is no volume '${from.volume}'`);
  const fileSystem = client.fileSystem();
  try {
    return await withSnapshot(client, { volume, name: from.snapshot }, async (held) => {
      const source = new VolumeSource(fileSystem, held.root, { signal });
      const path = asBytes(from.names.join('/'));
      const entry = await source.find(path).catch((error: unknown) => {
        throw missingIn(error, from);
      });
      const { usedBytes: bytes, usedInodes: files } = held.snapshot;
      if (path === '') onExpected({ bytes, files });
      const options = {
        name: from.names.at(-1) ?? `${from.volume}@${from.snapshot}`,
        isDirectory: entry.kind === 'directory',
        overwrite,
        signal,
        onAttributeProblem: attributeWarning(onWarning),
      };
      const { place, to: shown } = await (to.where === 'host'
        ? prepareOnHost(to, options)
        : prepareInVolume(fileSystem, to, options));
      try {
        const request = { source, path, entry, name: place.name, signal, onProgress };
        const counts = await copyEntry(place.sink, request);
        signal.throwIfAborted();
        await place.publish();
        return { to: shown, counts };
      } catch (error) {
        await place.discard().catch(() => {}); // what cannot be removed now, the next one removes
        throw error;
      }
    });
  } catch (error) {
    throw whyStopped(error, signal);
  }
}
