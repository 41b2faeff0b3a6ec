import { spawn } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { checkListen, parseListen } from '../listen-address.ts';
import {
  checkCanMount,
  keeperArguments,
  keeperPid,
  type MountPoint,
  mountPoint,
} from '../mount-point.ts';
import { isMounted } from '../mount-target.ts';
import { parseCount } from '../sizes.ts';

/** Milliseconds for a mount to appear or to go. */
const CHANGE_MS_MAX = 30_000;
const POLL_MS = 50;

interface MountOptions {
  readonly foreground?: boolean;
  readonly wait?: number;
  readonly metrics?: string;
}

/** `holdfast mount` and `holdfast umount` */
export function addMount(program: Command): void {
  program
    .command('mount [path]')
    .description('show the namespace at a path (default /mnt/cluster)')
    .option('--foreground', 'stay, and unmount at SIGTERM')
    .option(
      '--wait <ms>',
      'how long operations wait for a quorum, 0 for ever (default 30000)',
      parseCount('--wait', 0, 86_400_000),
    )
    .option('--metrics <host:port>', "serve the mount's own metrics there", parseListen)
    .action(async (path: string | undefined, options: MountOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const mount = mountPoint(path ?? '/mnt/cluster');
      await checkCanMount(mount, dataDirectory);
      if (options.metrics !== undefined) await checkListen('--metrics', options.metrics);
      const args = keeperArguments(mount, {
        dataDirectory,
        ...(options.wait === undefined ? {} : { waitMs: options.wait }),
        ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
      });
      mkdirSync(mount.stateDirectory, { recursive: true, mode: 0o700 });
      if (options.foreground === true) becomeKeeper(args);
      await startKeeper(mount, args);
      output.result({ mounted: mount.path }, () => [`mounted at ${mount.path}`]);
    });
  program
    .command('umount [path]')
    .description('unmount and end the daemons of a mount')
    .action(async (path: string | undefined, _options: unknown, command: Command) => {
      const { output } = contextOf(command);
      const mount = mountPoint(path ?? '/mnt/cluster');
      const pid = keeperPid(mount);
      if (pid === undefined)
        throw new HoldfastError('NOT_FOUND', `nothing of Holdfast is mounted at ${mount.path}`);
      process.kill(pid, 'SIGTERM');
      await until(
        () => keeperPid(mount) === undefined,
        `${mount.path} is not yet unmounted, since something uses it or its cluster does not answer; it goes on by itself`,
      );
      output.result({ unmounted: mount.path }, () => [`unmounted ${mount.path}`]);
    });
}

/** Replaces this process by the keeper, so that whoever supervises us supervises it. */
function becomeKeeper(args: readonly string[]): never {
  const environment = Object.entries(process.env).filter(([, value]) => value !== undefined);
  process.execve?.(
    '/bin/sh',
    ['sh', ...args],
    Object.fromEntries(environment) as Record<string, string>,
  );
  throw new HoldfastError(
    'INTERNAL',
    'this Node.js cannot replace a process; run without --foreground',
  );
}

async function startKeeper(mount: MountPoint, args: readonly string[]): Promise<void> {
  const log = openSync(join(mount.stateDirectory, 'log'), 'a');
  const keeper = spawn('/bin/sh', args, { detached: true, stdio: ['ignore', log, log] });
  let status: number | null = null;
  keeper.on('exit', (code) => {
    status = code ?? 1;
  });
  await until(() => status !== null || isMounted(mount.path), `${mount.path} does not appear`);
  if (status !== null) {
    throw new HoldfastError(
      'CONFLICT',
      `mounting at ${mount.path} failed; see ${join(mount.stateDirectory, 'log')}`,
    );
  }
  keeper.unref();
}

async function until(holds: () => boolean, otherwise: string): Promise<void> {
  const deadline = performance.now() + CHANGE_MS_MAX;
  while (!holds()) {
    if (performance.now() > deadline)
      throw new HoldfastError('DEADLINE', `after ${CHANGE_MS_MAX / 1000} s, ${otherwise}`);
    await sleep(POLL_MS);
  }
}
