import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';

/** What /proc/mounts shows for a mount of ours. */
const FILE_SYSTEM_TYPE = 'fuse.holdfast';

/** One mounted file system, as /proc/mounts tells it (proc(5)). */
export interface Mounted {
  readonly path: string;
  readonly type: string;
}

/** All that is mounted in this mount namespace, the latest last; touches none of it. */
export function mountedHere(table = readFileSync('/proc/self/mounts', 'utf8')): Mounted[] {
  return table.split('\n').flatMap((line) => {
    const [, path, type] = line.split(' ');
    return path === undefined || type === undefined ? [] : [{ path: unescaped(path), type }];
  });
}

/** The kernel writes blank, tab, newline and backslash in paths as octal numbers. */
function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** Whether a FUSE file system of ours is mounted at the path (never touches it: it may be dead). */
export function isMounted(path: string, mounted = mountedHere()): boolean {
  return mounted.some((entry) => entry.path === path && entry.type === FILE_SYSTEM_TYPE);
}

/**
 * The absolute path with its symbolic links followed, as far as it exists. A mount of ours on the way
 * is not entered, since a dead one would hold up whoever looks. Throws BAD_REQUEST for an empty path.
 */
export function canonicalPath(path: string, mounted = mountedHere()): string {
  if (path === '')
    throw new HoldfastError('BAD_REQUEST', 'the path is empty; name a directory, or leave it out');
  const absolute = resolve(path);
  if (mountAround(absolute, mounted) !== undefined) return absolute;
  try {
    return realpathSync(absolute);
  } catch {
    const parent = dirname(absolute);
    return parent === absolute
      ? absolute
      : join(canonicalPath(parent, mounted), basename(absolute));
  }
}

/** The mount of ours in which, or at which, a path lies. */
function mountAround(path: string, mounted: readonly Mounted[]): string | undefined {
  return mounted.find((entry) => entry.type === FILE_SYSTEM_TYPE && isWithin(path, entry.path))
    ?.path;
}

/**
 * Throws one clear sentence when the namespace should not be shown at a (canonical) path: BAD_REQUEST
 * for the root, within another mount of ours, or where the data directory lies; ENOTDIR for a file,
 * ENOTEMPTY for a directory whose entries would be hidden. Makes the directory when it is missing.
 * What an earlier keeper left mounted there is not looked into.
 */
export function prepareMountTarget(
  path: string,
  dataDirectory: string,
  mounted = mountedHere(),
): void {
  const around = mountAround(path, mounted);
  if (around === path) return;
  if (around !== undefined)
    throw bad(`${path} lies within the mount at ${around}; name a directory outside of it`);
  if (path === '/') throw bad("'/' cannot be mounted on; name an empty directory");
  const data = canonicalPath(dataDirectory, mounted);
  if (isWithin(data, path))
    throw bad(
      `the data directory ${data} lies at or below ${path}, and the mount would hide it; name another directory`,
    );
  if (isWithin(path, data))
    throw bad(`${path} lies in the data directory ${data}; name a directory outside of it`);
  makeDirectory(path);
  if (!statSync(path).isDirectory())
    throw new HoldfastError('ENOTDIR', `${path} is not a directory; name an empty one to mount on`);
  const [entry] = readdirSync(path);
  if (entry !== undefined)
    throw new HoldfastError(
      'ENOTEMPTY',
      `${path} is not empty (it has '${entry}'), and the mount would hide what it has; name an empty directory`,
    );
}

function makeDirectory(path: string): void {
  try {
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) return;
    // Level by level: Node's own recursion never ends where a parent exists and the answer is ENOENT (/proc).
    const parent = dirname(path);
    if (!existsSync(parent)) makeDirectory(parent);
    mkdirSync(path);
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const text = `${path} cannot be made (${reason}); name another, or run it as root`;
    throw new HoldfastError('BAD_REQUEST', text, {
      cause,
    });
  }
}

function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way !== '..' && !way.startsWith('../') && !isAbsolute(way);
}

function bad(message: string): HoldfastError {
  return new HoldfastError('BAD_REQUEST', message);
}
