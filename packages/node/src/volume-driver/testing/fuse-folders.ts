import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A live FUSE mount that holds empty folders. */
export interface FuseFolders {
  readonly path: string;
  /** Kills the server: the mount stays and answers nothing, as after a crash. */
  kill(): Promise<void>;
  /** Unmounts and removes the mount point. */
  close(): Promise<void>;
}

/** Why a FUSE mount cannot be made here; undefined when it can. For `context.skip`. */
export function fuseObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting a FUSE file system for the test needs root';
  return undefined;
}

/** Mounts a file system with these folders in a new temporary folder. Needs root, perl, /dev/fuse. */
export async function mountFolders(...folders: readonly string[]): Promise<FuseFolders> {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-fuse-'));
  const script = join(import.meta.dirname, 'fuse-folders.pl');
  const server = spawn('perl', [script, path, ...folders], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  await Promise.race([
    once(server.stdout, 'data'),
    ended.then(() => Promise.reject(new Error(`no FUSE mount at ${path}: is there a /dev/fuse?`))),
  ]);
  const kill = async (): Promise<void> => {
    server.kill('SIGKILL');
    await ended;
  };
  const close = async (): Promise<void> => {
    spawnSync('umount', ['-l', path]);
    await kill();
    rmdirSync(path);
  };
  return { path, kill, close };
}
