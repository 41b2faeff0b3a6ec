/** Snapshot files, `snapshots/<id>`: a tree, when and of what it was taken. */
import { HoldfastError } from '@holdfast/protocol';
import { isStorageId, type StorageId } from './ids.ts';
import { countOf, fieldsOf, listOf, textOf } from './json.ts';
import { timeOf, timeText } from './time.ts';

/** What a snapshot file says. */
export interface SnapshotFacts {
  readonly timeNs: bigint;
  /** The root tree. */
  readonly tree: StorageId;
  readonly paths: readonly string[];
  readonly hostname: string;
  readonly username: string;
  readonly uid: number;
  readonly gid: number;
  readonly tags: readonly string[];
  readonly parent?: StorageId;
  /** The snapshot that this one was before its tags were changed. */
  readonly original?: StorageId;
  readonly programVersion?: string;
}

/** A snapshot and the name of its file. */
export interface Snapshot extends SnapshotFacts {
  readonly id: StorageId;
}

/** Facts as JSON document. */
export function snapshotDocument(facts: SnapshotFacts): unknown {
  return {
    time: timeText(facts.timeNs),
    ...(facts.parent === undefined ? {} : { parent: facts.parent }),
    tree: facts.tree,
    paths: facts.paths,
    hostname: facts.hostname,
    username: facts.username,
    uid: facts.uid,
    gid: facts.gid,
    ...(facts.tags.length === 0 ? {} : { tags: facts.tags }),
    ...(facts.original === undefined ? {} : { original: facts.original }),
    ...(facts.programVersion === undefined ? {} : { program_version: facts.programVersion }),
  };
}

function idIn(value: unknown): StorageId | undefined {
  if (value === undefined || value === null) return undefined;
  const id = textOf(value, 'an id');
  if (!isStorageId(id)) throw new HoldfastError('CORRUPT', 'a snapshot has an id that is none');
  return id;
}

/** The reverse of {@link snapshotDocument}; CORRUPT when malformed. */
export function snapshotOf(document: unknown, id: StorageId): Snapshot {
  const fields = fieldsOf(document, 'a snapshot');
  const tree = idIn(fields['tree']);
  if (tree === undefined) throw new HoldfastError('CORRUPT', 'a snapshot has no tree');
  const texts = (name: string): string[] =>
    listOf(fields[name], 'a snapshot').map((text) => textOf(text, name));
  const parent = idIn(fields['parent']);
  const original = idIn(fields['original']);
  const program = fields['program_version'];
  return {
    id,
    tree,
    timeNs: timeOf(fields['time'], 'the time of a snapshot'),
    paths: texts('paths'),
    hostname: textOf(fields['hostname'] ?? '', 'a host name'),
    username: textOf(fields['username'] ?? '', 'a user name'),
    uid: countOf(fields['uid'], 'uid', 0xffff_ffff),
    gid: countOf(fields['gid'], 'gid', 0xffff_ffff),
    tags: texts('tags'),
    ...(parent === undefined ? {} : { parent }),
    ...(original === undefined ? {} : { original }),
    ...(typeof program === 'string' ? { programVersion: program } : {}),
  };
}
