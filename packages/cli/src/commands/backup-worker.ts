import { setPriority } from 'node:os';
import { ClusterClient } from '@holdfast/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseCount } from '../sizes.ts';
import { endSoon, stopReason } from '../stop-signal.ts';

/** How far programs of the host go before this one (nice(1)). */
const NICE = 10;
const JOBS_MAX = 8;

/** `holdfast backup worker` */
export function addWorker(backup: Command): void {
  backup
    .command('worker')
    .description(
      "do what the backup schedules of the cluster have for this host, in the foreground; part of 'holdfast run'",
    )
    .option('--jobs <count>', 'runs at once', parseCount('--jobs', 1, JOBS_MAX), 1)
    .action(async ({ jobs: jobsMax }: { jobs: number }, command: Command) => {
      const { dataDirectory } = contextOf(command);
      const signal = stopReason((name) => `stopped by ${name}`);
      const [{ createLog, renewClient }, { BackupWorker }] = await Promise.all([
        import('@holdfast/node'),
        import('../backup-worker.ts'),
      ]);
      const log = createLog('info').child({ part: 'backup-worker' });
      setPriority(NICE);
      const client = await ClusterClient.create({ dataDirectory });
      client.watchCertificate({
        renew: async (addresses) => {
          await renewClient(dataDirectory, addresses, Date.now());
        },
        report: (event, fields) => log.warn({ event, ...fields }),
      });
      const report = (event: string, fields: Readonly<Record<string, unknown>>): void =>
        log.info({ event, ...fields });
      try {
        await new BackupWorker({ client, dataDirectory, jobsMax, report, signal }).run();
      } finally {
        await client.close();
      }
      endSoon();
    });
}
