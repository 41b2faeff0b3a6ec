import { loadIdentity } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { contextOf, isMember, LAUNCHER } from '../context.ts';
import { canonicalPath, prepareMountTarget } from '../mount-target.ts';
import { stopSignal } from '../stop-signal.ts';
import { Supervisor } from '../supervisor.ts';
import { initHere } from './init.ts';
import { joinHere } from './join.ts';

interface RunOptions {
  readonly mount: boolean;
  readonly driver: boolean;
  readonly backups: boolean;
  readonly mountPath: string;
}

/** `holdfast run`: everything that a host needs, in one command; for a container or a systemd unit. */
export function addRun(program: Command): void {
  program
    .command('run')
    .description(
      'run this host: the peer, the mount, the Docker volume driver, and what backup schedules have for it',
    )
    .option('--no-mount', 'without the mount')
    .option('--no-driver', 'without the Docker volume driver')
    .option('--no-backups', 'without the runs of backup schedules: other hosts do them')
    .option('--mount-path <path>', 'where the namespace is shown', '/mnt/cluster')
    .addHelpText(
      'after',
      '\nA host without data joins the cluster named by HOLDFAST_JOIN_TOKEN and HOLDFAST_JOIN_PEER\n(host:port), or begins a new cluster when these are empty.',
    )
    .action(async (options: RunOptions, command: Command) => {
      const context = contextOf(command);
      // Before anything is begun or joined: a part that cannot start would be tried again for ever.
      if (options.mount) {
        if (process.getuid?.() !== 0)
          throw new HoldfastError('EPERM', 'mounting needs root; run it with sudo, or --no-mount');
        prepareMountTarget(canonicalPath(options.mountPath), context.dataDirectory);
      }
      await becomeMember(context.dataDirectory, command);
      await loadIdentity(context.dataDirectory);
      const supervisor = new Supervisor((event, fields) =>
        console.error(JSON.stringify({ event, ...fields })),
      );
      const part = (name: string, args: readonly string[]): void =>
        supervisor.start({
          name,
          command: LAUNCHER,
          args: ['--data', context.dataDirectory, ...args],
        });
      part('node', ['node']);
      if (options.mount) part('mount', ['mount', options.mountPath, '--foreground']);
      if (options.driver)
        part('volume-driver', ['volume-driver', '--mount-path', options.mountPath]);
      if (options.backups) part('backup-worker', ['backup', 'worker']);
      await stopSignal();
      await supervisor.stop();
    });
}

/** Joins or begins a cluster when the data directory belongs to none yet. */
async function becomeMember(dataDirectory: string, command: Command): Promise<void> {
  if (isMember(dataDirectory)) return;
  const token = process.env['HOLDFAST_JOIN_TOKEN'] ?? '';
  if (token === '') await initHere(command, {});
  else await joinHere(command, token, { peer: process.env['HOLDFAST_JOIN_PEER'] ?? '' });
}
