import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HoldfastError } from '@holdfast/protocol';
import { STATE_FILE } from '../restart.ts';

const KEEPER = fileURLToPath(new URL('./keeper.sh', import.meta.url));
const DAEMON = fileURLToPath(new URL('../main.ts', import.meta.url));
/** Milliseconds between looks whether the mount is there. */
const READY_POLL_MS = 50;

/** What to mount, and as whom. */
export interface KeeperOptions {
  /** An existing directory. */
  readonly mountpoint: string;
  /** Directory of the host's identity, as `holdfast init` or `join` wrote it. */
  readonly dataDirectory: string;
  /** Where keeper and daemon keep their state; {@link stateDirectoryOf} by default. Gone after a reboot at best. */
  readonly stateDirectory?: string;
  /** Addresses of peers (host:port) to try first. */
  readonly addresses?: readonly string[];
  /** Milliseconds that an operation waits for a quorum; 0: for ever. */
  readonly operationWaitMs?: number;
  /** host:port where the daemon answers /metrics; nowhere by default. */
  readonly metricsAddress?: string;
}

/** The state directory of a mountpoint: one for each, in the runtime directory. */
export function stateDirectoryOf(mountpoint: string, runtimeDirectory = '/run/holdfast'): string {
  return join(runtimeDirectory, 'mounts', encodeURIComponent(resolve(mountpoint)));
}

/**
 * The command that mounts and keeps the mount until SIGTERM: program and arguments, to be run in the
 * foreground by a supervisor. It needs root. Exit status 78: it can never work like this.
 */
export function keeperCommand(options: KeeperOptions): { file: string; args: readonly string[] } {
  const mountpoint = resolve(options.mountpoint);
  const state = options.stateDirectory ?? stateDirectoryOf(mountpoint);
  const daemon = [
    process.execPath,
    DAEMON,
    '--mountpoint',
    mountpoint,
    '--state',
    state,
    '--data',
    resolve(options.dataDirectory),
    ...(options.addresses ?? []).flatMap((address) => ['--address', address]),
    ...(options.operationWaitMs === undefined ? [] : ['--wait', `${options.operationWaitMs}`]),
    ...(options.metricsAddress === undefined ? [] : ['--metrics', options.metricsAddress]),
  ];
  return { file: '/bin/sh', args: [KEEPER, mountpoint, state, ...daemon] };
}

/**
 * Mounts in the background: starts the keeper as a process of its own and resolves with its id when
 * the file system answers. Its log goes to `logPath`. Throws CONFLICT when it ended instead,
 * DEADLINE after `readyMsMax`; then nothing is left mounted.
 */
export async function startKeeper(
  options: KeeperOptions,
  { logPath, readyMsMax }: { readonly logPath: string; readonly readyMsMax: number },
): Promise<number> {
  const state = options.stateDirectory ?? stateDirectoryOf(options.mountpoint);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const { file, args } = keeperCommand(options);
  const log = openSync(logPath, 'a', 0o600);
  const keeper = spawn(file, args, { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  keeper.unref();
  await untilReady(keeper, { state, readyMsMax, logPath });
  return keeper.pid ?? 0;
}

/** Process id of the keeper that a state directory belongs to; undefined when none is recorded. */
export function keeperPid(stateDirectory: string): number | undefined {
  try {
    return Number(readFileSync(join(stateDirectory, 'keeper.pid'), 'latin1')) || undefined;
  } catch {
    return undefined;
  }
}

async function untilReady(
  keeper: ChildProcess,
  options: { state: string; readyMsMax: number; logPath: string },
): Promise<void> {
  const { state, readyMsMax, logPath } = options;
  const deadline = performance.now() + readyMsMax;
  while (!existsSync(join(state, STATE_FILE.init))) {
    if (keeper.exitCode !== null || keeper.signalCode !== null) {
      throw new HoldfastError('CONFLICT', `mounting failed; the reason is the end of ${logPath}`);
    }
    if (performance.now() > deadline) {
      keeper.kill('SIGTERM');
      throw new HoldfastError('DEADLINE', `no mount after ${readyMsMax} ms; see ${logPath}`);
    }
    await new Promise((done) => setTimeout(done, READY_POLL_MS));
  }
}
