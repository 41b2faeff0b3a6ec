import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClusterMap } from '@holdfast/protocol';
import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { checkTlsMaterial, type TlsMaterial } from '@holdfast/wire';

/** Who we are in a cluster, and where peers were last seen. */
export interface ClientIdentity {
  readonly clusterId: string;
  readonly name: string;
  readonly role: 'node' | 'client' | 'admin';
  /** Number of the peer on this host, if there is one: its replicas are the nearest. */
  readonly node?: NodeNumber;
  readonly tls: TlsMaterial;
  /** host:port of the framed protocol, of peers that were members when last heard of. */
  readonly addresses: readonly string[];
}

interface IdentityFile {
  readonly clusterId: string;
  readonly name: string;
  readonly role: 'node' | 'client' | 'admin';
  readonly node?: number;
  readonly addresses?: readonly string[];
}

/**
 * Reads a data directory written by `holdfast init` or `holdfast join`: identity/ and, when there,
 * map.json. Throws HoldfastError NOT_FOUND when the host is in no cluster, CORRUPT when files are
 * malformed or do not belong together, EACCES when they may not be read.
 */
export async function loadIdentity(dataDirectory: string): Promise<ClientIdentity> {
  const directory = join(dataDirectory, 'identity');
  const [file, ca, cert, key] = await Promise.all([
    readText(join(directory, 'identity.json')),
    readText(join(directory, 'ca.pem')),
    readText(join(directory, 'cert.pem')),
    readText(join(directory, 'key.pem')),
  ]);
  const identity = parseJson<IdentityFile>(file, join(directory, 'identity.json'));
  checkTlsMaterial({ ca, cert, key }, directory);
  const addresses = new Set(identity.addresses ?? []);
  for (const node of (await lastKnownMap(dataDirectory))?.nodes ?? []) {
    if (node.state !== 'out') addresses.add(node.wireAddress);
  }
  return {
    clusterId: identity.clusterId,
    name: identity.name,
    role: identity.role,
    ...(identity.node === undefined ? {} : { node: identity.node as NodeNumber }),
    tls: { ca, cert, key },
    addresses: [...addresses],
  };
}

async function lastKnownMap(dataDirectory: string): Promise<ClusterMap | undefined> {
  const path = join(dataDirectory, 'map.json');
  try {
    return parseJson<ClusterMap>(await readFile(path, 'utf8'), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') {
      const message = `${path} does not exist: this host is in no cluster yet; run 'holdfast init' or 'holdfast join TOKEN'`;
      throw new HoldfastError('NOT_FOUND', message, { cause });
    }
    throw new HoldfastError('EACCES', `cannot read ${path} (${code}); run as root`, { cause });
  }
}

function parseJson<T>(text: string, path: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new HoldfastError(
      'CORRUPT',
      `${path} is not JSON; restore it or join the cluster again`,
      { cause },
    );
  }
}
