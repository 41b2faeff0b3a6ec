import type { VolumeRecord } from '@holdfast/protocol';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';

/** `holdfast volume release` */
export function addVolumeRelease(volume: Command): void {
  volume
    .command('release <name>')
    .description('forget that a host uses a volume, when that host is gone for good')
    // Not --host: on every command that names the peer to ask.
    .requiredOption('--from <host>', 'name of the host, as volume ls shows it under USED ON')
    .option('--force', 'even when that host is up, or is no peer, so that nobody knows')
    .action(async (name: string, options: { from: string; force?: boolean }, command: Command) => {
      const { admin, output } = contextOf(command);
      const host = encodeURIComponent(options.from);
      const query = options.force === true ? '?force=true' : '';
      const path = `/v1/volumes/${encodeURIComponent(name)}/attachments/${host}${query}`;
      const { volume: released } = await admin<{ volume: VolumeRecord }>('DELETE', path);
      const users = released.attachedTo.join(', ') || 'no host';
      output.result(released, () => [
        `volume ${name} is released from ${options.from}; used on: ${users}`,
      ]);
    });
}
