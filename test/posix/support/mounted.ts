import { execFile } from 'node:child_process';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MountServer, type MountServerOptions, mountDevice, unmount } from '@holdfast/fuse-mount';
import { MemoryFileSystem } from './memory-file-system.ts';

/** An answered request, as the observer told of it. */
export interface Answered {
  readonly op: string;
  readonly errno: number;
}

/** A mount of a {@link MemoryFileSystem}, served by this process: only child processes may use it synchronously. */
export class Mounted {
  readonly root: string;
  readonly fileSystem: MemoryFileSystem;
  readonly server: MountServer;
  readonly answered: Answered[];
  readonly problems: { event: string; fields: unknown }[];
  readonly #descriptor: number;

  private constructor(root: string, options: Partial<MountServerOptions>) {
    this.root = root;
    this.fileSystem = new MemoryFileSystem();
    this.answered = [];
    this.problems = [];
    this.#descriptor = mountDevice(root);
    this.server = MountServer.start({
      descriptor: this.#descriptor,
      fileSystem: this.fileSystem,
      wishes: { clusterLocks: true },
      observer: {
        onRequest: (op, _seconds, errno) => this.answered.push({ op, errno }),
        onProblem: (event, fields) => this.problems.push({ event, fields }),
      },
      ...options,
    });
  }

  /** Mounts in a temporary place; resolves when the kernel has agreed. */
  static async start(options: Partial<MountServerOptions> = {}): Promise<Mounted> {
    const mounted = new Mounted(mkdtempSync(join(tmpdir(), 'holdfast-mount-')), options);
    await stat(mounted.path());
    return mounted;
  }

  /** A path in the volume. */
  path(...names: readonly string[]): string {
    return join(this.root, 'v', ...names);
  }

  /** How many requests of an operation have been answered. */
  count(op: string): number {
    return this.answered.filter((request) => request.op === op).length;
  }

  /** Unmounts and cuts off whoever still uses it. */
  async close(): Promise<void> {
    await endMount(this.root);
    await this.server.ended;
    closeSync(this.#descriptor);
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Unmounts, in another process, because a server in this one must go on answering. */
async function endMount(mountpoint: string): Promise<void> {
  const device = await deviceOf(mountpoint);
  try {
    await promisify(execFile)('umount', [mountpoint]);
  } catch {
    if (device !== undefined) await abort(device);
    unmount(mountpoint, { detach: true });
  }
}

/** Ends a connection whatever waits on it; the last means against processes that cannot be killed. */
async function abort(device: number): Promise<void> {
  await writeFile(`/sys/fs/fuse/connections/${device}/abort`, '1').catch(() => {});
}

async function deviceOf(mountpoint: string): Promise<number | undefined> {
  return stat(mountpoint).then(
    ({ dev }) => dev,
    () => undefined,
  );
}
