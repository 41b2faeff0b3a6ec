import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HoldfastError } from '@holdfast/protocol';
import { LAUNCHER } from './context.ts';

/** The keeper and the daemon that it keeps, of packages/fuse-mount. */
const KEEPER = fileURLToPath(import.meta.resolve('@holdfast/fuse-mount/keeper'));
const DAEMON = fileURLToPath(import.meta.resolve('@holdfast/fuse-mount/daemon'));

/** One mount of the namespace on this host. */
export interface MountPoint {
  readonly path: string;
  /** Where keeper and daemon leave what their successors need. */
  readonly stateDirectory: string;
}

/** The mount at a path; its state lives in memory, like the mount itself. */
export function mountPoint(path: string): MountPoint {
  const absolute = resolve(path);
  const name = absolute.slice(1).replaceAll(/[^A-Za-z0-9.-]/g, '_') || 'root';
  const runtime = process.env['HOLDFAST_RUNTIME'] ?? '/run/holdfast';
  return { path: absolute, stateDirectory: join(runtime, 'mounts', name) };
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

/** Throws one clear sentence when this process cannot mount there. */
export function checkCanMount(mount: MountPoint, dataDirectory: string): void {
  if (process.getuid?.() !== 0)
    throw new HoldfastError('EPERM', 'mounting needs root; run it with sudo');
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (cause) {
    const message =
      "/dev/fuse is missing or closed; run 'modprobe fuse', or give the container --device /dev/fuse --cap-add SYS_ADMIN";
    throw new HoldfastError('ENOTSUP', message, { cause });
  }
  if (!existsSync(join(dataDirectory, 'identity', 'identity.json'))) {
    throw new HoldfastError(
      'NOT_FOUND',
      `no cluster in ${dataDirectory}; run 'holdfast init' or 'holdfast join TOKEN' first`,
    );
  }
  if (keeperPid(mount) !== undefined && isMounted(mount.path)) {
    throw new HoldfastError(
      'CONFLICT',
      `${mount.path} is mounted already; 'holdfast umount ${mount.path}' ends it`,
    );
  }
  if (!existsSync(mount.path)) mkdirSync(mount.path, { recursive: true });
  else if (!isMounted(mount.path) && !statSync(mount.path).isDirectory()) {
    throw new HoldfastError('ENOTDIR', `${mount.path} is not a directory; name one to mount on`);
  }
}

/** Whether a FUSE file system of ours is mounted at the path (never touches it: it may be dead). */
export function isMounted(path: string): boolean {
  const escaped = path.replaceAll('\\', '\\134').replaceAll(' ', '\\040');
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === escaped && line.split(' ')[2] === 'fuse.holdfast');
}

/** The process that keeps the mount, if it lives. */
export function keeperPid(mount: MountPoint): number | undefined {
  const path = join(mount.stateDirectory, 'keeper.pid');
  if (!existsSync(path)) return undefined;
  const pid = Number(readFileSync(path, 'utf8').trim());
  return Number.isInteger(pid) && pid > 0 && existsSync(`/proc/${pid}`) ? pid : undefined;
}
