/** The data directory as a whole: whose it is, of which version, and who uses it now. */
import { existsSync } from 'node:fs';
import { access, constants, readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, LIMITS } from '@holdfast/protocol';
import { isUnfinishedLevel, openDurableLevel } from '../durable-level.ts';
import { makeDirectory, readIfPresent, writeDurably } from './durable-files.ts';

/** Version of the layout of a data directory; a newer one is not touched. */
const DATA_FORMAT = 1;

/** Names of what lies in a data directory. */
export const DATA_NAMES = {
  version: 'VERSION',
  lock: 'LOCK',
  identity: 'identity',
  joining: 'joining.json',
  map: 'map.json',
  log: 'raft',
  state: 'state',
  chunks: 'chunks',
  discovery: 'discovery',
  adminSocket: 'admin.sock',
} as const;

/** Throws BAD_CONFIG when the admin socket in a data directory would have too long a path. */
export function checkSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= LIMITS.socketPathBytesMax) return;
  throw new HoldfastError(
    'BAD_CONFIG',
    `the path ${path} has more than ${LIMITS.socketPathBytesMax} bytes, too long for a socket; name a shorter one with --data`,
  );
}

/**
 * Whether the directory is there and of this or an older format. Throws NEWER_FORMAT, CONFLICT when
 * it holds something else, EACCES when it cannot be read. Changes nothing.
 */
export async function inspectDirectory(path: string): Promise<'absent' | 'empty' | 'ours'> {
  const names = await namesIn(path);
  if (names === undefined) return 'absent';
  const version = await readIfPresent(join(path, DATA_NAMES.version));
  if (version === undefined) {
    // A file system's own directory does not make a fresh disk foreign.
    const foreign = names.filter((name) => name !== 'lost+found' && !isOfLock(name));
    if (foreign.length === 0) return 'empty';
    throw new HoldfastError(
      'CONFLICT',
      `${path} holds files that are not Holdfast's (such as '${foreign[0]}'); name an empty directory with --data`,
    );
  }
  const format = Number(version.trim());
  if (!Number.isInteger(format) || format < 1) {
    throw new HoldfastError(
      'CORRUPT',
      `${join(path, DATA_NAMES.version)} is damaged: it should hold a number`,
    );
  }
  if (format > DATA_FORMAT) {
    throw new HoldfastError(
      'NEWER_FORMAT',
      `${path} was written by a newer version of Holdfast (format ${format}, this one knows ${DATA_FORMAT}); upgrade this host`,
    );
  }
  return 'ours';
}

function isOfLock(name: string): boolean {
  return name === DATA_NAMES.lock || isUnfinishedLevel(name, DATA_NAMES.lock);
}

async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    if (!(await stat(path)).isDirectory()) {
      throw new HoldfastError('BAD_CONFIG', `${path} is not a directory; name one with --data`);
    }
    return await readdir(path);
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return undefined;
    throw new HoldfastError(
      'EACCES',
      `cannot read ${path} (${code}); run as root or name another with --data`,
      { cause },
    );
  }
}

/** Makes the directory when it is absent. Throws EACCES, ENOSPC. */
export async function ensureDirectory(path: string): Promise<void> {
  await writing(path, async () => {
    if (!existsSync(path)) await makeDirectory(path, 0o700);
  });
}

/** Marks a directory, locked by the caller, with our format. Throws EACCES, ENOSPC. */
export async function markDirectory(path: string): Promise<void> {
  await writing(path, async () => {
    const version = join(path, DATA_NAMES.version);
    if (!existsSync(version)) await writeDurably(version, `${DATA_FORMAT}\n`);
  });
}

async function writing(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw new HoldfastError(
      code === 'ENOSPC' ? 'ENOSPC' : 'EACCES',
      `cannot write ${path} (${code}); make room, run as root, or name another with --data`,
      { cause },
    );
  }
}

/** A data directory that nobody else uses until it is released; the kernel releases it when the process dies. */
export interface DirectoryLock {
  release(): Promise<void>;
}

/**
 * Takes the directory for this process. Throws DIRECTORY_IN_USE. The lock is that of an otherwise
 * empty LevelDB: Node has no call for fcntl(2) locks, and files with process numbers in them lie
 * after a crash and between containers.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const lock = join(path, DATA_NAMES.lock);
  try {
    const database = await openDurableLevel(lock);
    return { release: () => database.close() };
  } catch (cause) {
    const reason = ((cause as Error).cause ?? cause) as { code?: string };
    if (reason.code === 'LEVEL_LOCKED') {
      throw new HoldfastError(
        'DIRECTORY_IN_USE',
        `another process uses ${path}; stop it ('holdfast status' tells whether a peer runs) or name another with --data`,
        { cause },
      );
    }
    throw await lockFailure(path, reason.code ?? 'unknown', cause);
  }
}

/** LevelDB tells of a failure of the disk in words only: what is the matter is looked for. */
async function lockFailure(path: string, code: string, cause: unknown): Promise<HoldfastError> {
  const refused = await access(path, constants.W_OK).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
  if (refused === 'EROFS') {
    const text = `${path} is mounted read-only; make it writable, or name another with --data`;
    return new HoldfastError('EROFS', text, { cause });
  }
  const room = await statfs(path).catch(() => undefined);
  if (refused === undefined && room !== undefined && room.blocks > 0 && room.bavail === 0) {
    const text = `no room on the disk of ${path}; make some, or name another with --data`;
    return new HoldfastError('ENOSPC', text, { cause });
  }
  const text = `cannot lock ${path} (${refused ?? code}); run as root or name another with --data`;
  return new HoldfastError('EACCES', text, { cause });
}
