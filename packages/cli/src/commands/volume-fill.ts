import type { Command } from 'commander';
import { connectToCluster, contextOf } from '../context.ts';
import { endSoon, stopReason } from '../stop-signal.ts';

/** `holdfast volume fill`: what the volume driver runs for `-o from-backup`. */
export function addVolumeFill(volume: Command): void {
  volume
    .command('fill <name>')
    .description(
      "go on filling a volume that was made with 'docker volume create -o from-backup'; the volume driver does it by itself",
    )
    .action(async (name: string, _options: unknown, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { restoreClaimed } = await import('../volume-restorer.ts');
      const client = await connectToCluster(dataDirectory);
      try {
        const outcome = await restoreClaimed(client, name, {
          report: (event, fields) => console.error(JSON.stringify({ event, ...fields })),
          signal: stopReason((signal) => `stopped by ${signal}`),
        });
        output.result({ volume: name, outcome }, () => [`volume ${name}: ${outcome}`]);
        if (outcome === 'failed') process.exitCode = 1;
      } finally {
        await client.close();
        endSoon();
      }
    });
}
