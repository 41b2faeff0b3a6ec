/** The identity directory: who this host is in its cluster, and the keys that prove it. */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, type NodeNumber, type TokenRole } from '@holdfast/protocol';
import { checkTlsMaterial, type TlsMaterial } from '@holdfast/wire';
import { z } from 'zod';
import { describeCertificate, type KeyPair } from './certificates.ts';
import { DATA_NAMES } from './data-directory.ts';
import { readIfPresent, syncDirectory, writeDurably } from './durable-files.ts';

const SETTINGS = z.strictObject({
  address: z.string(),
  port: z.int(),
  zone: z.string(),
  weight: z.number(),
});

const IDENTITY = z.object({
  clusterId: z.string().regex(/^[0-9a-f]{32}$/),
  clusterName: z.string(),
  name: z.string(),
  role: z.enum(['node', 'client', 'admin']),
  node: z.int().min(1).optional(),
  incarnation: z.string().optional(),
  addresses: z.array(z.string()),
  settings: SETTINGS.optional(),
});

const FOUNDING = z.object({
  volumeShards: z.int(),
  tokens: z.array(
    z.object({
      id: z.string(),
      role: z.enum(['node', 'client', 'admin']),
      secretDigest: z.string(),
      expiresAt: z.string(),
    }),
  ),
});

/** What was said at init or join, and holds until flags, environment or file say otherwise. */
export type PeerSettings = z.infer<typeof SETTINGS>;

/** What the first peer still has to tell its new system shard. Gone once it has. */
export type Founding = z.infer<typeof FOUNDING>;

/** This host's place in its cluster. */
export interface Identity {
  readonly clusterId: string;
  readonly clusterName: string;
  readonly name: string;
  readonly role: TokenRole;
  /** Of role node. */
  readonly node?: NodeNumber;
  readonly incarnation?: string;
  /** host:port of the framed protocol of peers, as known when this was written. */
  readonly addresses: readonly string[];
  readonly settings?: PeerSettings;
  readonly tls: TlsMaterial;
  /** The cluster's authority: peers only. */
  readonly authority?: KeyPair;
  /** Only before the first start of the first peer. */
  readonly founding?: Founding;
}

/** Names in the identity directory. */
const FILES = {
  identity: 'identity.json',
  ca: 'ca.pem',
  cert: 'cert.pem',
  key: 'key.pem',
  caKey: 'ca-key.pem',
  founding: 'founding.json',
  started: 'started',
} as const;

/**
 * Reads it; undefined when this host is in no cluster. Throws CORRUPT when a file is missing or malformed,
 * when the files do not belong together, or when there is a peer's data without any of them.
 */
export async function readIdentity(dataDirectory: string): Promise<Identity | undefined> {
  const directory = join(dataDirectory, DATA_NAMES.identity);
  if (!existsSync(directory)) {
    refuseOrphans(dataDirectory);
    return undefined;
  }
  const file = (name: string): Promise<string> => readRequired(join(directory, name));
  const [json, ca, cert, key] = await Promise.all([
    file(FILES.identity),
    file(FILES.ca),
    file(FILES.cert),
    file(FILES.key),
  ]);
  const { node, incarnation, settings, ...rest } = parse(
    IDENTITY,
    json,
    join(directory, FILES.identity),
  );
  checkTlsMaterial({ ca, cert, key }, directory);
  checkOwner({ ...rest, node }, cert, directory);
  const caKey = await readIfPresent(join(directory, FILES.caKey));
  const founding = await readIfPresent(join(directory, FILES.founding));
  return {
    ...rest,
    ...(node === undefined ? {} : { node: node as NodeNumber }),
    ...(incarnation === undefined ? {} : { incarnation }),
    ...(settings === undefined ? {} : { settings }),
    tls: { ca, cert, key },
    ...(caKey === undefined ? {} : { authority: { cert: ca, key: caKey } }),
    ...(founding === undefined
      ? {}
      : { founding: parse(FOUNDING, founding, join(directory, FILES.founding)) }),
  };
}

/** A peer's log belongs to its cluster: it must not be found under a new identity. */
function refuseOrphans(dataDirectory: string): void {
  const name = [DATA_NAMES.log, DATA_NAMES.state, DATA_NAMES.chunks].find((known) =>
    existsSync(join(dataDirectory, known)),
  );
  if (name === undefined) return;
  throw new HoldfastError(
    'CORRUPT',
    `${dataDirectory} holds a peer's data (${name}), but ${join(dataDirectory, DATA_NAMES.identity)} is missing; restore it, or name an empty directory with --data`,
  );
}

/** Throws CORRUPT unless the certificate is for whom identity.json names. */
function checkOwner(
  owner: { clusterId: string; role: TokenRole; node: number | undefined },
  cert: string,
  directory: string,
): void {
  const { clusterId, role, node } = describeCertificate(cert).identity;
  if (clusterId === owner.clusterId && role === owner.role && node === owner.node) return;
  const who = `${role}${node === undefined ? '' : ` ${node}`} of cluster ${clusterId}`;
  throw new HoldfastError(
    'CORRUPT',
    `${join(directory, FILES.cert)} is for ${who}, which ${FILES.identity} beside it is not; restore the files of one host together`,
  );
}

async function readRequired(path: string): Promise<string> {
  const text = await readIfPresent(path);
  if (text !== undefined) return text;
  throw new HoldfastError(
    'CORRUPT',
    `${path} is missing; restore it, or empty the data directory and join the cluster again`,
  );
}

function parse<T>(schema: z.ZodType<T>, text: string, path: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HoldfastError(
      'CORRUPT',
      `${path} is damaged; restore it, or empty the data directory and join the cluster again`,
      { cause },
    );
  }
}

/** Writes a new identity: all of it or, after a crash, none. */
export async function writeIdentity(dataDirectory: string, identity: Identity): Promise<void> {
  const { tls, authority, founding, ...rest } = identity;
  const staged = join(dataDirectory, `${DATA_NAMES.identity}.new`);
  await rm(staged, { recursive: true, force: true });
  await mkdir(staged, { mode: 0o700 });
  await writeDurably(join(staged, FILES.identity), json(rest));
  await writeDurably(join(staged, FILES.ca), tls.ca);
  await writeDurably(join(staged, FILES.cert), tls.cert);
  await writeDurably(join(staged, FILES.key), tls.key, 0o600);
  if (authority !== undefined) await writeDurably(join(staged, FILES.caKey), authority.key, 0o600);
  if (founding !== undefined) await writeDurably(join(staged, FILES.founding), json(founding));
  await rename(staged, join(dataDirectory, DATA_NAMES.identity));
  await syncDirectory(dataDirectory);
}

/** Puts a renewed certificate in place; the key stays. */
export async function replaceCertificate(dataDirectory: string, cert: string): Promise<void> {
  await writeDurably(join(dataDirectory, DATA_NAMES.identity, FILES.cert), cert);
}

/** The first peer has told its system shard everything. */
export async function forgetFounding(dataDirectory: string): Promise<void> {
  const directory = join(dataDirectory, DATA_NAMES.identity);
  await rm(join(directory, FILES.founding), { force: true });
  await syncDirectory(directory);
}

/** Notes that this peer has taken part in its shards: from now on it must never lose its log. */
export async function markStarted(dataDirectory: string): Promise<void> {
  const path = join(dataDirectory, DATA_NAMES.identity, FILES.started);
  if (!existsSync(path)) await writeDurably(path, '1\n');
}

/** Whether {@link markStarted} was called on this directory. */
export function hasStarted(dataDirectory: string): boolean {
  return existsSync(join(dataDirectory, DATA_NAMES.identity, FILES.started));
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
