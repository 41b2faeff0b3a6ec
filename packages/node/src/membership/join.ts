/** `holdfast join`: this host becomes a peer or a client of a cluster that gave it a token. */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { NodeFacts } from '@holdfast/placement';
import {
  type ClusterMap,
  HoldfastError,
  type NodeNumber,
  type TokenRole,
} from '@holdfast/protocol';
import { z } from 'zod';
import { RpcClient } from '../rpc/client.ts';
import { type JoinAnswer, type JoinRequest, RPC } from '../rpc/messages.ts';
import { checkPortsFree, DEFAULT_PORT, joinAddress, portsFrom, splitAddress } from './addresses.ts';
import { type PeerOptions, peerSettings, withClaimed } from './bootstrap.ts';
import {
  certificateDigest,
  createRequest,
  describeCertificate,
  renewalRequest,
} from './certificates.ts';
import { checkSocketPath, DATA_NAMES, inspectDirectory } from './data-directory.ts';
import { readIfPresent, writeDurably } from './durable-files.ts';
import { type Identity, type PeerSettings, readIdentity, writeIdentity } from './identity.ts';
import { saveMap } from './map-cache.ts';
import { parseToken, type Token } from './tokens.ts';

/** Milliseconds for reaching a peer, for its answer, and for all tries together. */
const CONNECT_MS_MAX = 5_000;
const ANSWER_MS_MAX = 20_000;
const TRIES_MS_MAX = 30_000;
const PAUSE_MS = 500;

/** Options of {@link joinCluster}. */
export interface JoinOptions extends PeerOptions {
  readonly token: string;
  /** host:port of the gRPC of any peer, or of several of which one must answer. */
  readonly peer: string | readonly string[];
  readonly role?: TokenRole;
  /** Milliseconds after which it gives up when no peer answers. Default: 30,000. */
  readonly waitMs?: number;
}

/** What {@link joinCluster} made. */
export interface JoinResult {
  readonly clusterId: string;
  readonly name: string;
  readonly role: TokenRole;
  readonly node?: NodeNumber;
  /** The host was a member already: nothing was changed. */
  readonly already: boolean;
}

/** What must not change when a join is repeated. */
const JOINING = z.strictObject({ incarnation: z.string(), key: z.string() });

/**
 * Joins; a peer is not started. May be repeated after a failure: a number given the first time is
 * kept. Throws BAD_TOKEN, WRONG_CLUSTER, CONFLICT, PORT_IN_USE, UNREACHABLE and others; then the
 * directory is as it was, but for what a repetition needs when the outcome is unknown.
 */
export async function joinCluster(options: JoinOptions): Promise<JoinResult> {
  const { dataDirectory } = options;
  const token = parseToken(options.token);
  const role = options.role ?? 'node';
  const peers = [options.peer].flat().map((peer) => splitAddress(peer, DEFAULT_PORT));
  if (peers.length === 0)
    throw new HoldfastError('BAD_REQUEST', 'name at least one peer with --peer HOST:PORT');
  const { name, settings } = peerSettings(options);
  const member = await presentMember(dataDirectory, token, role);
  if (member !== undefined) return member;
  if (role === 'node') {
    checkSocketPath(join(dataDirectory, DATA_NAMES.adminSocket));
    await checkPortsFree(settings.address, Object.values(portsFrom(settings.port)));
  }
  const found = await firstAnswering(peers, token, options.waitMs ?? TRIES_MS_MAX);
  return withClaimed(dataDirectory, () =>
    joinThrough(found, { dataDirectory, token, role, name, settings, text: options.token }),
  );
}

/** The present membership when it is the one asked for. Throws WRONG_CLUSTER or CONFLICT when it is another. */
async function presentMember(
  dataDirectory: string,
  token: Token,
  role: TokenRole,
): Promise<JoinResult | undefined> {
  if ((await inspectDirectory(dataDirectory)) !== 'ours') return undefined;
  const identity = await readIdentity(dataDirectory);
  if (identity === undefined) return undefined;
  const { clusterId, name, node } = identity;
  if (certificateDigest(identity.tls.ca) !== token.caDigest) {
    throw new HoldfastError(
      'WRONG_CLUSTER',
      `${dataDirectory} belongs to cluster ${clusterId}, the token to another; name another directory with --data`,
      { detail: { clusterId } },
    );
  }
  if (identity.role !== role) {
    throw new HoldfastError(
      'CONFLICT',
      `${dataDirectory} is a ${identity.role} of this cluster already; name another directory with --data`,
    );
  }
  return { clusterId, name, role, ...(node === undefined ? {} : { node }), already: true };
}

interface Found {
  readonly address: string;
  readonly ca: string;
  readonly clusterId: string;
}

/** Asks the peers in turn, again and again within the wait, for one that shows the token's cluster. */
async function firstAnswering(
  peers: readonly { host: string; port: number }[],
  token: Token,
  waitMs: number,
): Promise<Found> {
  const deadline = performance.now() + waitMs;
  for (let attempt = 0; ; attempt++) {
    const peer = peers[attempt % peers.length] as { host: string; port: number };
    try {
      return await pinnedAuthority(peer, token);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.kind !== 'outage') throw error;
      if (performance.now() + PAUSE_MS > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/**
 * The authority's certificate as the peer shows it, if its digest is the token's. Nothing has been
 * sent by then, so that an impostor learns nothing; what follows is checked against it by TLS.
 */
async function pinnedAuthority(peer: { host: string; port: number }, token: Token): Promise<Found> {
  const address = joinAddress(peer.host, peer.port);
  const shown = await shownAuthority(peer, address);
  const ca = `-----BEGIN CERTIFICATE-----\n${(shown.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;
  if (certificateDigest(ca) !== token.caDigest) {
    throw new HoldfastError(
      'BAD_TOKEN',
      `${address} belongs to another cluster than the token; correct --peer or the token`,
    );
  }
  return { address, ca, clusterId: authorityCluster(shown) };
}

function authorityCluster(der: Buffer): string {
  const text = der.toString('latin1');
  return /holdfast:\/\/([0-9a-f]{32})/.exec(text)?.[1] ?? '';
}

function shownAuthority(peer: { host: string; port: number }, address: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // Not trusted for anything: only what it shows is looked at.
    const servername = isIP(peer.host) === 0 ? peer.host : '';
    const socket = connect({
      servername,
      ...peer,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      timeout: CONNECT_MS_MAX,
    });
    const fail = (cause?: Error): void => {
      socket.destroy();
      reject(
        new HoldfastError(
          'UNREACHABLE',
          `no peer answers at ${address}; correct --peer, or start that peer`,
          { cause },
        ),
      );
    };
    socket.once('error', fail);
    socket.once('timeout', () => fail());
    socket.once('secureConnect', () => {
      const { issuerCertificate } = socket.getPeerCertificate(true);
      const speaksGrpc = socket.alpnProtocol === 'h2';
      socket.destroy();
      if (issuerCertificate !== undefined && !speaksGrpc) {
        reject(
          new HoldfastError(
            'BAD_REQUEST',
            `${address} is not the port for joining; name the first of that peer's ports with --peer (${DEFAULT_PORT} by default)`,
          ),
        );
      } else if (issuerCertificate === undefined) {
        reject(
          new HoldfastError(
            'BAD_REQUEST',
            `${address} is no peer of a Holdfast cluster; correct --peer`,
          ),
        );
      } else resolve(issuerCertificate.raw);
    });
  });
}

interface Joining {
  readonly dataDirectory: string;
  readonly token: Token;
  readonly text: string;
  readonly role: TokenRole;
  readonly name: string;
  readonly settings: PeerSettings;
}

async function joinThrough(found: Found, joining: Joining): Promise<JoinResult> {
  const { dataDirectory, role, name, settings } = joining;
  const path = join(dataDirectory, DATA_NAMES.joining);
  const { incarnation, key } = await remembered(path);
  const request = await renewalRequest(key);
  const facts = factsOf(name, settings, incarnation);
  const message: JoinRequest = {
    token: joining.text.trim(),
    request,
    role,
    name,
    ...(role === 'node' ? { facts } : {}),
  };
  const answer = await ask(found, message, path);
  checkAnswer(answer, found);
  await saveMap(dataDirectory, answer.map);
  const identity: Identity = {
    clusterId: answer.clusterId,
    clusterName: answer.clusterName,
    name,
    role,
    addresses: addressesOf(answer.map),
    ...(role === 'node' && answer.node !== undefined
      ? { node: answer.node, incarnation, settings }
      : {}),
    tls: { ca: answer.ca, cert: answer.cert, key },
    ...(answer.caKey === undefined ? {} : { authority: { cert: answer.ca, key: answer.caKey } }),
  };
  await writeIdentity(dataDirectory, identity);
  await rm(path, { force: true });
  const { clusterId, node } = identity;
  return { clusterId, name, role, ...(node === undefined ? {} : { node }), already: false };
}

/** Key and incarnation of an earlier try, or new ones, kept before anyone hears of them. */
async function remembered(path: string): Promise<{ incarnation: string; key: string }> {
  const text = await readIfPresent(path);
  const parsed = text === undefined ? undefined : JOINING.safeParse(safeJson(text));
  if (parsed?.success === true) return parsed.data;
  const made = { incarnation: randomBytes(16).toString('hex'), key: (await createRequest()).key };
  await writeDurably(path, `${JSON.stringify(made)}\n`, 0o600);
  return made;
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function ask(found: Found, message: JoinRequest, joiningPath: string): Promise<JoinAnswer> {
  const client = new RpcClient({
    address: found.address,
    clusterId: found.clusterId,
    tls: { ca: found.ca },
  });
  try {
    return await client.call<JoinAnswer>(RPC.join, message, { deadlineMs: ANSWER_MS_MAX });
  } catch (error) {
    // A refusal is final: nothing was registered, nothing needs to be repeated.
    if (error instanceof HoldfastError && error.kind === 'refusal')
      await rm(joiningPath, { force: true });
    throw error;
  } finally {
    client.close();
  }
}

function checkAnswer(answer: JoinAnswer, found: Found): void {
  const certificate = describeCertificate(answer.cert).identity;
  if (
    certificate.clusterId !== found.clusterId ||
    certificateDigest(answer.ca) !== certificateDigest(found.ca)
  ) {
    throw new HoldfastError('WRONG_CLUSTER', 'the answer to the join is of another cluster');
  }
}

/** What a peer says of itself, from its settings. */
export function factsOf(name: string, settings: PeerSettings, incarnation: string): NodeFacts {
  const ports = portsFrom(settings.port);
  const { address, zone, weight } = settings;
  return {
    name,
    zone,
    weight,
    incarnation,
    grpcAddress: joinAddress(address, ports.grpc),
    wireAddress: joinAddress(address, ports.wire),
    adminAddress: joinAddress(address, ports.admin),
    discoveryAddress: '',
  };
}

function addressesOf(map: ClusterMap): readonly string[] {
  return map.nodes.map((node) => node.wireAddress);
}
