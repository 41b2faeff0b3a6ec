import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadIdentity } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import { isMember, LAUNCHER } from './context.ts';
import { canonicalPath, isMounted, prepareMountTarget } from './mount-target.ts';

/** The keeper and the daemon that it keeps, of packages/fuse-mount. */
const KEEPER = fileURLToPath(import.meta.resolve('@holdfast/fuse-mount/keeper'));
const DAEMON = fileURLToPath(import.meta.resolve('@holdfast/fuse-mount/daemon'));

/** One mount of the namespace on this host. */
export interface MountPoint {
  readonly path: string;
  /** Where keeper and daemon leave what their successors need. */
  readonly stateDirectory: string;
}

/** Longest readable name of a state directory, in characters; NAME_MAX is 255. */
const READABLE_NAME_MAX = 200;

/**
 * The mount at a path, with the links to it followed; its state lives in memory, like the mount itself.
 * Throws BAD_REQUEST for an empty path.
 */
export function mountPoint(path: string): MountPoint {
  const canonical = canonicalPath(path);
  const runtime = process.env['HOLDFAST_RUNTIME'] ?? '/run/holdfast';
  return { path: canonical, stateDirectory: join(runtime, 'mounts', stateName(canonical)) };
}

/** A file name for a path: no two paths share one. */
export function stateName(path: string): string {
  const name = path
    .slice(1)
    .replaceAll(/[^A-Za-z0-9./-]/gu, (character) =>
      Buffer.from(character)
        .toString('hex')
        .toUpperCase()
        .replaceAll(/../g, (byte) => `%${byte}`),
    )
    .replaceAll('/', '_');
  if (name.length <= READABLE_NAME_MAX) return name;
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 32);
  return `${name.slice(0, READABLE_NAME_MAX - digest.length)}~${digest}`;
}

/** The keeper's command line. */
export function keeperArguments(
  mount: MountPoint,
  options: { dataDirectory: string; waitMs?: number; metrics?: string },
): string[] {
  const { waitMs, metrics } = options;
  return [
    KEEPER,
    mount.path,
    mount.stateDirectory,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    DAEMON,
    '--mountpoint',
    mount.path,
    '--state',
    mount.stateDirectory,
    '--data',
    resolve(options.dataDirectory),
    '--renew-by',
    LAUNCHER,
    ...(waitMs === undefined ? [] : ['--wait', String(waitMs)]),
    ...(metrics === undefined ? [] : ['--metrics', metrics]),
  ];
}

/** Throws one clear sentence when this process cannot mount there, or could not show anything. */
export async function checkCanMount(mount: MountPoint, dataDirectory: string): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new HoldfastError('EPERM', 'mounting needs root; run it with sudo');
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (cause) {
    const message =
      "/dev/fuse is missing or closed; run 'modprobe fuse', or give the container --device /dev/fuse --cap-add SYS_ADMIN";
    throw new HoldfastError('ENOTSUP', message, { cause });
  }
  if (!isMember(dataDirectory)) {
    throw new HoldfastError(
      'NOT_FOUND',
      `no cluster in ${dataDirectory}; run 'holdfast init' or 'holdfast join TOKEN' first`,
    );
  }
  await loadIdentity(dataDirectory);
  if (keeperPid(mount) !== undefined && isMounted(mount.path)) {
    throw new HoldfastError(
      'CONFLICT',
      `${mount.path} is mounted already; 'holdfast umount ${mount.path}' ends it`,
    );
  }
  prepareMountTarget(mount.path, dataDirectory);
}

/** The process that keeps the mount, if it lives. */
export function keeperPid(mount: MountPoint): number | undefined {
  const path = join(mount.stateDirectory, 'keeper.pid');
  if (!existsSync(path)) return undefined;
  const pid = Number(readFileSync(path, 'utf8').trim());
  return Number.isInteger(pid) && pid > 0 && existsSync(`/proc/${pid}`) ? pid : undefined;
}
