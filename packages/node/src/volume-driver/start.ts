import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { withDeadline } from '../waiting.ts';
import type { VolumeBackend } from './backend.ts';
import { Catalogue } from './catalogue.ts';
import { VolumeDriver } from './driver.ts';
import { EngineClient, introduceToEngines } from './engine.ts';
import { KeyedQueue } from './keyed-queue.ts';
import type { DriverLog } from './log.ts';
import { DriverMetrics } from './metrics.ts';
import { MountRoot } from './mount-root.ts';
import { Mounts } from './mounts.ts';
import { pluginServer } from './protocol.ts';
import { Reconciliation } from './reconcile.ts';

/** Options of {@link startVolumeDriver}. */
export interface VolumeDriverOptions {
  readonly backend: VolumeBackend;
  /** This host's name in the cluster's records of use; unique in the cluster. */
  readonly host: string;
  /** Folder for counts and last known volumes, on a disk that survives a restart of the host. */
  readonly stateDirectory: string;
  readonly log: DriverLog;
  /** Default /mnt/cluster. */
  readonly mountRoot?: string;
  /** Default /run/docker/plugins/holdfast.sock; its base name is the driver's name in Docker. */
  readonly socketPath?: string;
  /** The engine's API socket, default /run/docker.sock; '' when there is none to talk to. */
  readonly engineSocket?: string;
}

/** A running volume driver. */
export interface RunningVolumeDriver {
  readonly socketPath: string;
  /** Stops listening, lets calls under way end, removes the socket. Counts stay on disk. */
  close(): Promise<void>;
}

/** Milliseconds for calls under way when the driver is told to stop. */
const CLOSE_MS = 15_000;

/**
 * Serves Docker's volume plugin protocol on a unix socket and keeps the local engine aware of it.
 * Throws PORT_IN_USE when another process serves the socket, NEWER_FORMAT when a newer version wrote
 * the state, BAD_CONFIG when the socket's path cannot be used.
 */
export async function startVolumeDriver(
  options: VolumeDriverOptions,
): Promise<RunningVolumeDriver> {
  const { socketPath = '/run/docker/plugins/holdfast.sock', engineSocket = '/run/docker.sock' } =
    options;
  await claimSocket(socketPath);
  const name = basename(socketPath, '.sock');
  const engine = engineSocket === '' ? undefined : new EngineClient(engineSocket, name);
  const { server, reconciliation } = assemble(options, engine);
  await listen(server, socketPath);
  const stop = new AbortController();
  reconciliation.request();
  const introduction =
    engine === undefined ? undefined : introduceToEngines(engine, options.log, stop.signal);
  options.log.info({ event: 'driver.listening', socketPath, host: options.host });
  const { ino } = statSync(socketPath);
  const close = async (): Promise<void> => {
    stop.abort();
    // A stale socket file makes `docker volume ls` hang; but it may be a successor's by now.
    if (existsSync(socketPath) && statSync(socketPath).ino === ino) rmSync(socketPath);
    await withDeadline('calls under way', CLOSE_MS, async () => {
      await Promise.all([server.close(), reconciliation.close(), introduction]);
    });
  };
  return { socketPath, close };
}

function assemble(
  options: VolumeDriverOptions,
  engine: EngineClient | undefined,
): { server: ReturnType<typeof pluginServer>; reconciliation: Reconciliation } {
  const { backend, host, stateDirectory, log } = options;
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const mounts = new Mounts(join(stateDirectory, 'mounts.json'), bootId, log);
  const catalogue = new Catalogue(backend, join(stateDirectory, 'volumes.json'), log);
  const mountRoot = new MountRoot(options.mountRoot ?? '/mnt/cluster');
  const queue = new KeyedQueue();
  const reconciliation = new Reconciliation({
    mounts,
    backend,
    engine,
    mountRoot,
    host,
    queue,
    log,
  });
  const onUnsettled = (): void => reconciliation.request();
  const parts = { backend, catalogue, mounts, mountRoot, host, queue, log, onUnsettled };
  const driver = new VolumeDriver(parts);
  const total = (): number => {
    return mounts.volumes.reduce((sum, volume) => sum + mounts.count(volume), 0);
  };
  const onActivate = (): void => {
    log.info({ event: 'engine.activated' });
    mounts.engineChanged();
    reconciliation.request();
  };
  const server = pluginServer({ driver, metrics: new DriverMetrics(total), log, onActivate });
  return { server, reconciliation };
}

/** Makes way for the socket: a file that nobody serves is the rest of a driver that was killed. */
async function claimSocket(socketPath: string): Promise<void> {
  // sun_path of unix(7) has 108 bytes with the final zero; node cuts longer ones off in silence.
  if (Buffer.byteLength(socketPath) > 107) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `the socket's path has more than 107 bytes: ${socketPath}`,
    );
  }
  mkdirSync(dirname(socketPath), { recursive: true });
  if (!existsSync(socketPath)) return;
  if (!statSync(socketPath).isSocket()) {
    throw new HoldfastError('BAD_CONFIG', `${socketPath} is there and is not a socket: remove it`);
  }
  const isServed = await new Promise<boolean>((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (isServed) {
    throw new HoldfastError(
      'PORT_IN_USE',
      `another volume driver serves ${socketPath}: stop it first`,
    );
  }
  rmSync(socketPath);
}

async function listen(server: ReturnType<typeof pluginServer>, path: string): Promise<void> {
  try {
    await server.listen({ path });
  } catch (cause) {
    throw new HoldfastError('BAD_CONFIG', `cannot listen on ${path}: ${String(cause)}`, { cause });
  }
  chmodSync(path, 0o600); // whoever may talk to it may remove volumes
}
