import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unmount } from '@holdfast/fuse-mount';
import { vi } from 'vitest';
import { serveFileSystem } from './file-system-socket.ts';
import { MemoryFileSystem } from './memory-file-system.ts';

const KEEPER = fileURLToPath(import.meta.resolve('@holdfast/fuse-mount/keeper'));
const DAEMON = fileURLToPath(new URL('../daemon/main.ts', import.meta.url));

/** How a test wants its keeper. */
export interface KeptOptions {
  readonly mode?: 'plain' | 'without-resend' | 'useless';
  /** Program and first arguments of the shell; default /bin/sh. */
  readonly shell?: readonly string[];
  /** First in PATH. */
  readonly tools?: string;
}

/** A mount by the keeper script and daemons of its own; the file system is in this process. */
export class Kept {
  readonly root: string;
  readonly mountpoint: string;
  readonly state: string;
  readonly fileSystem = new MemoryFileSystem();
  readonly keeper: ChildProcess;
  log = '';
  readonly #server: Server;

  private constructor(
    root: string,
    server: Server,
    fileSystem: MemoryFileSystem,
    options: KeptOptions,
  ) {
    this.root = root;
    this.mountpoint = join(root, 'mnt');
    this.state = join(root, 'state');
    this.fileSystem = fileSystem;
    this.#server = server;
    const { mountpoint, state } = this;
    const [shell = '/bin/sh', ...shellArgs] = options.shell ?? [];
    const daemon = [process.execPath, DAEMON, options.mode ?? 'plain', state, join(root, 'socket')];
    this.keeper = spawn(shell, [...shellArgs, KEEPER, mountpoint, state, ...daemon], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PATH: `${options.tools ?? ''}:${process.env['PATH']}` },
    });
    const collect = (text: Buffer) => {
      this.log += text.toString();
    };
    this.keeper.stdout?.on('data', collect);
    this.keeper.stderr?.on('data', collect);
  }

  /** Starts a keeper; does not wait for it. */
  static async start(options: KeptOptions = {}): Promise<Kept> {
    const root = mkdtempSync(join(tmpdir(), 'holdfast-kept-'));
    await mkdir(join(root, 'mnt'));
    const fileSystem = new MemoryFileSystem();
    const server = await serveFileSystem(fileSystem, join(root, 'socket'));
    return new Kept(root, server, fileSystem, options);
  }

  /** Resolves when a daemon serves. */
  async ready(): Promise<void> {
    await until(() => this.keeper.exitCode !== null || existsSync(join(this.state, 'init.json')));
    if (this.keeper.exitCode !== null) throw new Error(`the keeper ended:\n${this.log}`);
  }

  /** Process id of the present daemon. */
  get daemonPid(): number {
    return Number(readFileSync(join(this.state, 'daemon.pid'), 'utf8'));
  }

  /** Sends the daemon a signal; resolves when the keeper has started another. */
  async replaceDaemon(signal: 'SIGKILL' | 'SIGHUP'): Promise<void> {
    const old = this.daemonPid;
    if (signal === 'SIGKILL') process.kill(old, signal);
    else this.keeper.kill(signal);
    await until(() => this.daemonPid !== old);
  }

  get isMounted(): boolean {
    return readFileSync('/proc/mounts', 'utf8').includes(` ${this.mountpoint} fuse.holdfast `);
  }

  /** Ends the keeper as a supervisor does; resolves with its exit status. */
  async stop(): Promise<number | null> {
    if (this.keeper.exitCode !== null || this.keeper.signalCode !== null)
      return this.keeper.exitCode;
    const exit = once(this.keeper, 'exit');
    this.keeper.kill('SIGTERM');
    await exit;
    return this.keeper.exitCode;
  }

  /** Ends and removes everything. */
  async close(): Promise<void> {
    await this.stop();
    if (this.isMounted) unmount(this.mountpoint, { detach: true });
    this.#server.close();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Resolves when a condition holds; a busy machine takes a while to start a process. */
async function until(holds: () => boolean): Promise<void> {
  await vi.waitUntil(holds, { timeout: 20_000 });
}
