/**
 * Snapshots that backups and archives are made of. One is made for the work and removed after it; should
 * the process die before, the next backup or export of the volume removes it. Whether its maker lives is told by a
 * lock, far beyond any byte, on the volume's root: it ends with the maker's session.
 */
import { randomBytes } from 'node:crypto';
import type { ClusterClient } from '@holdfast/client';
import {
  type FileSystem,
  HOLDS_FROM,
  HoldfastError,
  type LockRequest,
  type NodeReference,
  ROOT_INODE,
  SNAPSHOT_HOLDS_AT,
  SNAPSHOTS_INODE,
  type Snapshot,
  type VolumeRecord,
} from '@holdfast/protocol';
import { scheduledTime } from '@holdfast/schedule';

/** Begins the names of these snapshots; ten hexadecimal digits follow. */
const PREFIX = 'holdfast-backup-';
const NAME = /^holdfast-backup-([0-9a-f]{10})$/;
/** Where the bytes lie that stand for snapshots: beyond what any program locks. */
const LOCK_BASE = HOLDS_FROM;

/** A snapshot that lasts at least as long as the work with it. */
export interface HeldSnapshot {
  readonly snapshot: Snapshot;
  /** Its root. */
  readonly root: NodeReference;
}

function asRoot(): { uid: number; gid: number; pid: number; requestId: number } {
  return { uid: 0, gid: 0, pid: 0, requestId: 0 };
}

async function setLock(
  fileSystem: FileSystem,
  root: NodeReference,
  { start, type }: { readonly start: number; readonly type: LockRequest['type'] },
): Promise<void> {
  const lock = { family: 'posix', type, start, end: start + 1, owner: '1', pid: 0 } as const;
  await fileSystem.setLock(root, lock, { wait: false }, asRoot());
}

/** The byte that stands for a snapshot of a backup's own. */
function byteOf(name: string): number {
  return LOCK_BASE + Number.parseInt(NAME.exec(name)?.[1] ?? '0', 16);
}

/** Removes what dead backups of the volume left; who is alive has a lock. The names removed. */
async function removeAbandoned(
  client: ClusterClient,
  volume: string,
  root: NodeReference,
): Promise<void> {
  const fileSystem = client.fileSystem();
  for (const { name } of await client.snapshots.list(volume)) {
    if (!NAME.test(name)) continue;
    const start = byteOf(name);
    try {
      await setLock(fileSystem, root, { start, type: 'write' });
      await client.snapshots.remove(volume, name);
      await setLock(fileSystem, root, { start, type: 'unlock' });
    } catch (error) {
      const code = error instanceof HoldfastError ? error.code : '';
      if (!['EAGAIN', 'NOT_FOUND', 'ENOENT'].includes(code)) throw error;
    }
  }
}

function presentOf({ number }: VolumeRecord): NodeReference {
  return { volume: number, ino: ROOT_INODE };
}

/** The root of a snapshot, without a look at the present of its volume: who uses that is not disturbed. */
async function rootAt(
  client: ClusterClient,
  { volume }: NodeReference,
  name: string,
): Promise<NodeReference> {
  const text = Buffer.from(name, 'utf8').toString('latin1');
  const list = { volume, ino: SNAPSHOTS_INODE };
  return (await client.fileSystem().lookup(list, text, asRoot())).node;
}

interface Named {
  readonly volume: VolumeRecord;
  readonly name: string;
}

async function findNamed(client: ClusterClient, { volume, name }: Named): Promise<Snapshot> {
  const all = await client.snapshots.list(volume.name);
  const snapshot = all.find((found) => found.name === name);
  if (snapshot !== undefined) return snapshot;
  throw new HoldfastError(
    'NOT_FOUND',
    `volume '${volume.name}' has no snapshot '${name}'; see 'holdfast snapshot ls ${volume.name}'`,
  );
}

/** Runs a task with a snapshot that exists; one of a schedule is not removed meanwhile. NOT_FOUND. */
async function withNamed<T>(
  client: ClusterClient,
  named: Named,
  task: (held: HeldSnapshot) => Promise<T>,
): Promise<T> {
  const present = presentOf(named.volume);
  const snapshot = await findNamed(client, named);
  const run = async (): Promise<T> =>
    task({ snapshot, root: await rootAt(client, present, named.name) });
  // Nobody else removes what a user made.
  if (scheduledTime(named.name) === undefined) return run();
  const start = SNAPSHOT_HOLDS_AT + snapshot.generation;
  const fileSystem = client.fileSystem();
  await setLock(fileSystem, present, { start, type: 'read' });
  try {
    await findNamed(client, named); // it may have gone before the lock was there
    return await run();
  } finally {
    await setLock(fileSystem, present, { start, type: 'unlock' }).catch(() => {});
  }
}

/**
 * Runs a task with the snapshot of this name or, without a name, with one of now that is removed
 * behind it. NOT_FOUND, ENOSPC when the volume has too many snapshots.
 */
export async function withSnapshot<T>(
  client: ClusterClient,
  { volume, name }: { readonly volume: VolumeRecord; readonly name?: string },
  task: (held: HeldSnapshot) => Promise<T>,
): Promise<T> {
  if (name !== undefined) return withNamed(client, { volume, name }, task);
  const fileSystem = client.fileSystem();
  const present = presentOf(volume);
  await removeAbandoned(client, volume.name, present);
  const own = `${PREFIX}${randomBytes(5).toString('hex')}`;
  // Before the snapshot is there: nobody may find it without its lock.
  const start = byteOf(own);
  await setLock(fileSystem, present, { start, type: 'write' });
  const snapshot = await client.snapshots.create(volume.name, own);
  try {
    return await task({ snapshot, root: await rootAt(client, present, own) });
  } finally {
    // What cannot be removed now, the next backup removes.
    await client.snapshots.remove(volume.name, own).catch(() => {});
    await setLock(fileSystem, present, { start, type: 'unlock' }).catch(() => {});
  }
}
