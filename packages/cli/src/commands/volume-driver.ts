import { join } from 'node:path';
import { ClusterClient } from '@holdfast/client';
import type { Command } from 'commander';
import { ClusterBackend } from '../cluster-backend.ts';
import { contextOf } from '../context.ts';
import { FillProcesses } from '../fill-processes.ts';
import { endSoon, stopSignal } from '../stop-signal.ts';

interface DriverOptions {
  readonly mountPath: string;
  readonly socket: string;
  readonly engine: string;
}

/** `holdfast volume-driver` */
export function addVolumeDriver(program: Command): void {
  program
    .command('volume-driver')
    .description("serve Docker's volume plugin protocol in the foreground")
    .option('--mount-path <path>', 'where the namespace is shown', '/mnt/cluster')
    .option(
      '--socket <path>',
      "the plugin's socket; its base name is the driver's name",
      '/run/docker/plugins/holdfast.sock',
    )
    .option('--engine <path>', "the engine's socket, '' for none", '/run/docker.sock')
    .action(async (options: DriverOptions, command: Command) => {
      const { dataDirectory } = contextOf(command);
      const { createLog, renewClient, startVolumeDriver } = await import('@holdfast/node');
      const log = createLog('info').child({ part: 'volume-driver' });
      const client = await ClusterClient.create({ dataDirectory });
      client.watchCertificate({
        renew: async (addresses) => {
          await renewClient(dataDirectory, addresses, Date.now());
        },
        report: (event, fields) => log.warn({ event, ...fields }),
      });
      const fills = new FillProcesses(dataDirectory);
      const driver = await startVolumeDriver({
        backend: new ClusterBackend(client, fills),
        host: client.cluster.identity.name,
        stateDirectory: join(dataDirectory, 'volume-driver'),
        log,
        mountRoot: options.mountPath,
        socketPath: options.socket,
        engineSocket: options.engine,
      });
      await stopSignal();
      await driver.close();
      await fills.close();
      await client.close();
      endSoon();
    });
}
