/**
 * Snapshots that backups and archives are made of. One is made for the work and removed after it; should
 * the process die before, the next backup or export of the volume removes it. Of a backup that was good
 * it is kept until the next good one into the same repository, which needs it to tell what changed.
 * Whether someone works with one is told by a lock, far beyond any byte, on the volume's root: it ends
 * with the session.
 */
import { randomBytes } from 'node:crypto';
import type { ClusterClient } from '@holdfast/client';
import {
  BACKUP_SNAPSHOTS,
  type FileSystem,
  HOLDS_FROM,
  HoldfastError,
  type LockRequest,
  type NodeReference,
  RECEIVING_NAME,
  ROOT_INODE,
  SNAPSHOT_HOLDS_AT,
  SNAPSHOTS_INODE,
  type Snapshot,
  STAGE_AMONG,
  STAGE_PREFIX,
  type VolumeRecord,
} from '@holdfast/protocol';
import { scheduledTime } from '@holdfast/schedule';

/** Names of these snapshots: those that are removed in any case, and those that a repository keeps one of. */
const NAME = /^holdfast-backup-([0-9a-f]{10})$/;
const KEPT_NAME = /^holdfast-backup-([0-9a-f]{8})-([0-9a-f]{10})$/;
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

/** Sets a lock that stands for something on a volume's root. EAGAIN when somebody else has it. */
export async function setLock(
  fileSystem: FileSystem,
  root: NodeReference,
  { start, type }: { readonly start: number; readonly type: LockRequest['type'] },
): Promise<void> {
  const lock = { family: 'posix', type, start, end: start + 1, owner: '1', pid: 0 } as const;
  await fileSystem.setLock(root, lock, { wait: false }, asRoot());
}

/** The byte that stands for a snapshot of a backup's own. */
function byteOf(name: string): number {
  const digits = NAME.exec(name)?.[1] ?? KEPT_NAME.exec(name)?.[2] ?? '0';
  return LOCK_BASE + Number.parseInt(digits, 16);
}

/** Removes snapshots of backups that nobody needs (any more); who is alive has a lock on what it uses. */
async function removeUnused(
  client: ClusterClient,
  volume: string,
  root: NodeReference,
  isUnused: (snapshot: Snapshot) => boolean,
): Promise<void> {
  const fileSystem = client.fileSystem();
  for (const snapshot of await client.snapshots.list(volume)) {
    if (!isUnused(snapshot)) continue;
    const { name } = snapshot;
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

/** The root of a volume as it is now. */
export function presentOf({ number }: VolumeRecord): NodeReference {
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
  const fileSystem = client.fileSystem();
  const { node } = await fileSystem.lookup(list, text, asRoot());
  const half = await fileSystem.lookup(node, RECEIVING_NAME, asRoot()).catch((error: unknown) => {
    if (error instanceof HoldfastError && error.code === 'ENOENT') return undefined;
    throw error;
  });
  // A stage is older than all beside it.
  const { entries } = await fileSystem.readDirectory(node, 0, STAGE_AMONG, asRoot());
  const isHalf = half !== undefined || entries.some((one) => one.name.startsWith(STAGE_PREFIX));
  if (!isHalf) return node;
  throw new HoldfastError(
    'CONFLICT',
    `the volume was being filled when snapshot '${name}' was taken: it is neither what was before nor what was to be`,
  );
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
  await removeUnused(client, volume.name, present, (snapshot) => NAME.test(snapshot.name));
  const own = `${BACKUP_SNAPSHOTS}${randomBytes(5).toString('hex')}`;
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

/** Runs the step that takes a snapshot, and what has to be done before and after it. */
export type TakeSnapshot = <T>(step: () => Promise<T>) => Promise<T>;

/** A backup's work with snapshots. */
export interface BackupHold extends HeldSnapshot {
  /**
   * Finds the snapshot of a generation, and has it stay until the work is done. Undefined when it is gone.
   * What earlier backups into the repository left beside it is removed.
   */
  readonly holdBase: (generation: number | undefined) => Promise<Snapshot | undefined>;
}

/**
 * Runs a backup into a repository with the snapshot of this name or, without a name, with one of now,
 * which stays when the backup was good; then those of earlier backups into the repository go. NOT_FOUND, ENOSPC.
 */
export async function withBackupSnapshot<T>(
  client: ClusterClient,
  {
    volume,
    name,
    repository,
    take = (step) => step(),
  }: {
    readonly volume: VolumeRecord;
    readonly name?: string;
    readonly repository: string;
    readonly take?: TakeSnapshot;
  },
  task: (held: BackupHold) => Promise<T>,
): Promise<T> {
  const present = presentOf(volume);
  const fileSystem = client.fileSystem();
  const locked: number[] = [];
  const lock = async (start: number, type: 'read' | 'write'): Promise<void> => {
    await setLock(fileSystem, present, { start, type });
    locked.push(start);
  };
  const find = async (generation: number): Promise<Snapshot | undefined> =>
    (await client.snapshots.list(volume.name)).find((one) => one.generation === generation);
  const run = async (held: HeldSnapshot): Promise<T> => {
    const isOlder = (one: Snapshot): boolean =>
      KEPT_NAME.exec(one.name)?.[1] === repository.slice(0, 8) &&
      one.generation < held.snapshot.generation;
    const holdBase = async (generation = 0): Promise<Snapshot | undefined> => {
      let base = await find(generation);
      if (base !== undefined) {
        await lock(holdOf(base), 'read');
        base = await find(generation); // it may have gone before the lock was there
      }
      const isLeft = (one: Snapshot): boolean => isOlder(one) && one.generation !== generation;
      await removeUnused(client, volume.name, present, isLeft);
      return base;
    };
    const result = await task({ ...held, holdBase });
    // The backup is good: what cannot be tidied up now, the next one does.
    await removeUnused(client, volume.name, present, isOlder).catch(() => {});
    return result;
  };
  try {
    if (name !== undefined) return await withNamed(client, { volume, name }, run);
    await removeUnused(client, volume.name, present, (one) => NAME.test(one.name));
    const random = randomBytes(5).toString('hex');
    const own = `${BACKUP_SNAPSHOTS}${repository.slice(0, 8)}-${random}`;
    // Before the snapshot is there: nobody may find it without its lock.
    await lock(byteOf(own), 'write');
    try {
      const snapshot = await take(() => client.snapshots.create(volume.name, own));
      return await run({ snapshot, root: await rootAt(client, present, own) });
    } catch (error) {
      await client.snapshots.remove(volume.name, own).catch(() => {});
      throw error;
    }
  } finally {
    for (const start of locked) {
      await setLock(fileSystem, present, { start, type: 'unlock' }).catch(() => {});
    }
  }
}

/** The byte that stands for a snapshot which is to stay. */
function holdOf({ name, generation }: Snapshot): number {
  return KEPT_NAME.test(name) ? byteOf(name) : SNAPSHOT_HOLDS_AT + generation;
}
