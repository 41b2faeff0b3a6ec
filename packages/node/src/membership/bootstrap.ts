/** `holdfast init`: a cluster begins with its authority, its id and the first peer's data directory. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { checkNodeName, REGISTRY_LIMITS } from '@holdfast/placement';
import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import {
  checkOwnAddress,
  checkPortsFree,
  DEFAULT_PORT,
  firstAddress,
  joinAddress,
  portsFrom,
} from './addresses.ts';
import {
  certificateDigest,
  createAuthority,
  createRequest,
  issue,
  newSerial,
} from './certificates.ts';
import {
  checkSocketPath,
  DATA_NAMES,
  type DirectoryLock,
  ensureDirectory,
  inspectDirectory,
  lockDirectory,
  markDirectory,
} from './data-directory.ts';
import { type PeerSettings, readIdentity, writeIdentity } from './identity.ts';
import { createToken } from './tokens.ts';

/** What a new peer is told about itself; everything has a default. */
export interface PeerOptions {
  readonly dataDirectory: string;
  /** Default: this host's name. */
  readonly name?: string;
  /** Host name or IP address that other hosts reach it by. Default: the first of this host. */
  readonly address?: string;
  /** First of its five ports. Default: 7400. */
  readonly port?: number;
  /** Failure domain. Default: its name. */
  readonly zone?: string;
  /** Relative share of data. Default: 1. */
  readonly weight?: number;
}

/** Options of {@link initCluster}. */
export interface InitOptions extends PeerOptions {
  /** For people. Default: 'holdfast'. */
  readonly clusterName?: string;
  /** Raft groups among which volumes are spread. Default: 2. */
  readonly volumeShards?: number;
}

/** What {@link initCluster} made. The tokens' secrets are shown here and never again. */
export interface InitResult {
  readonly clusterId: string;
  readonly name: string;
  readonly node: NodeNumber;
  readonly grpcAddress: string;
  readonly tokens: { readonly node: string; readonly client: string };
}

/**
 * Makes a cluster whose first peer has this data directory; the peer is not started. Throws
 * CONFLICT when the directory is not empty, DIRECTORY_IN_USE, PORT_IN_USE, BAD_CONFIG; then
 * everything is as it was.
 */
export async function initCluster(options: InitOptions): Promise<InitResult> {
  const { dataDirectory } = options;
  const { name, settings } = peerSettings(options);
  const volumeShards = options.volumeShards ?? 2;
  if (
    !(
      Number.isInteger(volumeShards) &&
      volumeShards >= 1 &&
      volumeShards <= REGISTRY_LIMITS.volumeShardsMax
    )
  ) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `a cluster has 1 to ${REGISTRY_LIMITS.volumeShardsMax} volume shards, not ${volumeShards}`,
    );
  }
  checkSocketPath(join(dataDirectory, DATA_NAMES.adminSocket));
  await refuseMember(dataDirectory);
  await checkPortsFree(settings.address, Object.values(portsFrom(settings.port)));
  return withClaimed(dataDirectory, async () => {
    const now = Date.now();
    const clusterId = randomBytes(16).toString('hex');
    const clusterName = options.clusterName ?? 'holdfast';
    const authority = await createAuthority(clusterId, now);
    const { request, key } = await createRequest();
    const node = 1 as NodeNumber;
    const subject = {
      clusterId,
      role: 'node',
      node,
      name,
      hosts: [name, settings.address],
    } as const;
    const cert = await issue(authority, request, subject, { serial: newSerial(), now });
    const digest = certificateDigest(authority.cert);
    const [nodeToken, clientToken] = [
      createToken(digest, 'node', ''),
      createToken(digest, 'client', ''),
    ];
    const ports = portsFrom(settings.port);
    await writeIdentity(dataDirectory, {
      clusterId,
      clusterName,
      name,
      role: 'node',
      node,
      incarnation: randomBytes(16).toString('hex'),
      addresses: [joinAddress(settings.address, ports.wire)],
      settings,
      tls: { ca: authority.cert, cert, key },
      authority,
      founding: { volumeShards, tokens: [nodeToken.record, clientToken.record] },
    });
    const tokens = { node: nodeToken.text, client: clientToken.text };
    return {
      clusterId,
      name,
      node,
      grpcAddress: joinAddress(settings.address, ports.grpc),
      tokens,
    };
  });
}

async function refuseMember(dataDirectory: string): Promise<void> {
  if ((await inspectDirectory(dataDirectory)) !== 'ours') return;
  const identity = await readIdentity(dataDirectory);
  if (identity === undefined) return;
  throw new HoldfastError(
    'CONFLICT',
    `${dataDirectory} belongs to cluster ${identity.clusterId} already; start its peer with 'holdfast run', or name another with --data`,
    { detail: { clusterId: identity.clusterId } },
  );
}

/** Name and settings of a new peer, complete. Throws BAD_CONFIG. */
export function peerSettings(options: Omit<PeerOptions, 'dataDirectory'>): {
  name: string;
  settings: PeerSettings;
} {
  const name = options.name ?? hostname();
  const zone = options.zone ?? name;
  const port = options.port ?? DEFAULT_PORT;
  const address = options.address ?? firstAddress();
  const weight = options.weight ?? 1;
  const wrongName = checkNodeName(name) ?? checkNodeName(zone);
  if (wrongName !== undefined) throw new HoldfastError('BAD_CONFIG', wrongName);
  if (!Number.isInteger(port) || port < 1 || port > 65_531) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `--port is the first of five ports, from 1 to 65531, not ${port}`,
    );
  }
  if (!(weight > 0 && weight <= REGISTRY_LIMITS.weightMax)) {
    throw new HoldfastError('BAD_CONFIG', `--weight is a number above 0, not ${weight}`);
  }
  checkOwnAddress(address);
  return { name, settings: { address, port, zone, weight } };
}

/**
 * Runs `work` with the directory claimed and locked. When it fails, what was not there before is
 * removed again.
 */
export async function withClaimed<T>(dataDirectory: string, work: () => Promise<T>): Promise<T> {
  const wasThere = existsSync(dataDirectory);
  const before = new Set(wasThere ? await readdir(dataDirectory) : []);
  let lock: DirectoryLock | undefined;
  try {
    await ensureDirectory(dataDirectory);
    lock = await lockDirectory(dataDirectory);
    await markDirectory(dataDirectory);
    const result = await work();
    await lock.release();
    return result;
  } catch (error) {
    await lock?.release();
    // Whoever holds the lock owns what is in there.
    if (!isHeldByOthers(error)) await restore(dataDirectory, wasThere, before);
    throw error;
  }
}

function isHeldByOthers(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'DIRECTORY_IN_USE';
}

async function restore(
  dataDirectory: string,
  wasThere: boolean,
  before: ReadonlySet<string>,
): Promise<void> {
  // What a join needs to be repeated stays until it succeeds.
  const halfJoined = existsSync(join(dataDirectory, DATA_NAMES.joining));
  if (halfJoined) return;
  const added = [DATA_NAMES.version, DATA_NAMES.lock, `${DATA_NAMES.identity}.new`].filter(
    (name) => !before.has(name),
  );
  for (const name of added) await rm(join(dataDirectory, name), { recursive: true, force: true });
  if (!wasThere && existsSync(dataDirectory) && (await readdir(dataDirectory)).length === 0) {
    await rm(dataDirectory, { recursive: true });
  }
}
