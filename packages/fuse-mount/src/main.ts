/**
 * The mount daemon: serves /dev/fuse, which the keeper passes as a descriptor, with the cluster's
 * namespace. Exit status: 0 after an unmount, 75 to be started again, 78 when that is useless.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterClient } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import pino, { type Logger } from 'pino';
import { type DaemonOptions, parseDaemonOptions } from './daemon-options.ts';
import { setIoFlusher } from './device/native.ts';
import type { MountObserver } from './dispatcher.ts';
import { MountMetrics } from './metrics.ts';
import { MountServer } from './mount-server.ts';
import { renewBy } from './renewal.ts';
import { clearState, loadInit, STATE_FILE } from './restart.ts';

const EXIT_RESTART = 75;
const EXIT_USELESS = 78;
/** Milliseconds that the session gets to end in order after an unmount. */
const CLOSE_MS_MAX = 5_000;
/** Milliseconds in which failed requests are logged once, with their number. */
const FAILURES_EVERY_MS = 10_000;

const log = pino({ name: 'holdfast-mount' }, pino.destination({ dest: 2, sync: true }));

/** Failures of single requests are for metrics; the log tells of the first of a while and of how many. */
class LoggingObserver implements MountObserver {
  readonly #metrics: MountMetrics;
  readonly #log: Logger;
  #failures = 0;
  #quietUntilMs = 0;

  constructor(metrics: MountMetrics, logger: Logger) {
    this.#metrics = metrics;
    this.#log = logger;
  }

  onRequest(op: string, seconds: number): void {
    this.#metrics.onRequest(op, seconds);
  }

  onProblem(event: string, fields: Readonly<Record<string, unknown>>): void {
    this.#metrics.onProblem(event, fields);
    if (event !== 'request.failed') {
      this.#log.warn({ event, ...describe(fields) });
      return;
    }
    this.#failures += 1;
    if (performance.now() < this.#quietUntilMs) return;
    this.#log.warn({ event, ...describe(fields), failures: this.#failures });
    this.#failures = 0;
    this.#quietUntilMs = performance.now() + FAILURES_EVERY_MS;
  }
}

function describe(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { error, ...others } = fields;
  if (!(error instanceof Error)) return others;
  if (!(error instanceof HoldfastError)) return { ...others, error: error.stack };
  return { ...others, code: error.code, error: error.message };
}

async function run(options: DaemonOptions): Promise<number> {
  const { stateDirectory } = options;
  mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
  if (loadInit(stateDirectory) === undefined) clearState(stateDirectory);
  const journalDirectory = join(stateDirectory, STATE_FILE.session);
  mkdirSync(journalDirectory, { recursive: true, mode: 0o700 });
  setIoFlusher();
  const client = await ClusterClient.create({
    dataDirectory: options.dataDirectory,
    addresses: options.addresses,
    journalDirectory,
    ...(options.operationWaitMs !== undefined && { operationWaitMs: options.operationWaitMs }),
    onExpired: () => log.error({ event: 'session.expired' }),
  });
  watchCertificate(client, options);
  const metrics = new MountMetrics(() => server.openFiles);
  const server = MountServer.start({
    descriptor: options.descriptor,
    fileSystem: client.fileSystem(),
    stateDirectory,
    wishes: { clusterLocks: true },
    observer: new LoggingObserver(metrics, log),
  });
  // Programs use the mount: it does not end for want of a port that somebody took while it restarted.
  if (options.metrics !== undefined)
    await metrics
      .serve(options.metrics)
      .catch((error: Error) => log.error({ event: 'metrics.failed', error: error.message }));
  log.info({ event: 'mount.served', mountpoint: options.mountpoint, openFiles: server.openFiles });
  const handover = new Promise<'handover'>((resolve) => {
    process.once('SIGTERM', () => resolve('handover'));
  });
  const outcome = await Promise.race([server.ended.then(() => 'unmounted' as const), handover]);
  log.info({ event: `mount.${outcome}` });
  if (outcome === 'handover') {
    await server.stop();
    await client.abandon();
    return EXIT_RESTART;
  }
  await Promise.race([client.close(), new Promise((done) => setTimeout(done, CLOSE_MS_MAX))]);
  return 0;
}

function watchCertificate(client: ClusterClient, options: DaemonOptions): void {
  client.watchCertificate({
    renew: async () => {
      const { renewBy: program, dataDirectory } = options;
      if (program === undefined) throw new HoldfastError('BAD_CONFIG', 'no --renew-by was given');
      await renewBy(program, dataDirectory);
    },
    report: (event, fields) => log.warn({ event, ...describe(fields) }),
  });
}

/** Whether starting again cannot help: wrong arguments, no identity, an old kernel. */
function isUseless(error: unknown): boolean {
  return error instanceof HoldfastError && error.kind === 'refusal';
}

try {
  // Lock waits of a daemon that hands over, or timers of a lost cluster, must not hold the process.
  process.exit(await run(parseDaemonOptions(process.argv.slice(2))));
} catch (error) {
  log.fatal({ event: 'mount.failed', ...describe({ error }) });
  process.exit(isUseless(error) ? EXIT_USELESS : EXIT_RESTART);
}
