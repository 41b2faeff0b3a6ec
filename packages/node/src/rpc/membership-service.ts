/** The control calls of membership, as a peer answers them. */
import type { RegistryCommand } from '@holdfast/placement';
import { HoldfastError, type NodeNumber, type TokenRole } from '@holdfast/protocol';
import type { PeerIdentity } from '@holdfast/wire';
import { splitAddress } from '../membership/addresses.ts';
import { certificateDigest, issue, type KeyPair, newSerial } from '../membership/certificates.ts';
import type { Liveness } from '../membership/liveness.ts';
import type { MapCache } from '../membership/map-cache.ts';
import type { Registry } from '../membership/registry.ts';
import { checkToken, parseToken } from '../membership/tokens.ts';
import {
  type ExecuteRequest,
  type HeartbeatAnswer,
  type HeartbeatRequest,
  JOIN_REQUEST,
  type JoinAnswer,
  type JoinRequest,
  type MapAnswer,
  type MapRequest,
  type RegistryView,
  type RenewAnswer,
  type RenewRequest,
  RPC,
} from './messages.ts';
import type { RpcServer } from './server.ts';

/** What the calls work on. */
export interface MembershipServiceOptions {
  readonly clusterId: string;
  readonly clusterName: string;
  readonly authority: KeyPair;
  readonly registry: Registry;
  readonly map: MapCache;
  readonly liveness: Liveness;
}

/** What holders of a token's role may become. */
const ADMITS: Readonly<Record<TokenRole, readonly TokenRole[]>> = {
  node: ['node', 'client'],
  client: ['client'],
  admin: ['admin', 'client'],
};

/** Hosts that join at the same time by way of this peer. */
const JOINS_MAX = 16;

/** Adds the calls to the server. */
export function serveMembership(server: RpcServer, options: MembershipServiceOptions): void {
  const service = new MembershipService(options);
  server.handle(RPC.join, 'anyone', ({ request }) => service.join(request));
  server.handle(RPC.renew, ['node', 'client', 'admin'], ({ request, peer }) =>
    service.renew(request as RenewRequest, known(peer)),
  );
  server.handle(RPC.heartbeat, ['node'], ({ request, peer }) =>
    service.heartbeat(request as HeartbeatRequest, known(peer)),
  );
  server.handle(RPC.map, ['node', 'client', 'admin'], ({ request }) =>
    service.map(request as MapRequest),
  );
  server.handle(RPC.view, ['node'], ({ request }) =>
    options.registry.viewHere(request as RegistryView),
  );
  server.handle(RPC.execute, ['node'], ({ request }) =>
    options.registry.executeHere((request as ExecuteRequest).command satisfies RegistryCommand),
  );
}

function known(peer: PeerIdentity | undefined): PeerIdentity {
  if (peer === undefined) throw new HoldfastError('FORBIDDEN');
  return peer;
}

class MembershipService {
  readonly #options: MembershipServiceOptions;
  #joining = 0;

  constructor(options: MembershipServiceOptions) {
    this.#options = options;
  }

  async join(request: unknown): Promise<JoinAnswer> {
    // The one call that anyone may make: whoever floods it must not hold up the registry.
    if (this.#joining >= JOINS_MAX)
      throw new HoldfastError('OVERLOADED', 'too many hosts join at once; try again in a moment');
    this.#joining += 1;
    try {
      return await this.#join(request);
    } finally {
      this.#joining -= 1;
    }
  }

  async #join(request: unknown): Promise<JoinAnswer> {
    const parsed = JOIN_REQUEST.safeParse(request);
    if (!parsed.success)
      throw new HoldfastError(
        'BAD_REQUEST',
        'the request to join is malformed; upgrade the older of the two hosts',
      );
    const message = parsed.data;
    await this.#admit(message);
    const { clusterId, clusterName, authority, registry } = this.#options;
    const serial = newSerial();
    const { role, name, facts } = message;
    let node: NodeNumber | undefined;
    if (role === 'node') {
      if (facts === undefined || facts.name !== name)
        throw new HoldfastError('BAD_REQUEST', 'a joining peer must describe itself');
      const answer = await registry.execute({ op: 'register-node', node: facts, serial });
      node = answer.node?.number;
    }
    const hosts = facts === undefined ? [] : [name, splitAddress(facts.grpcAddress).host];
    const subject = { clusterId, role, name, hosts, ...(node === undefined ? {} : { node }) };
    const cert = await issue(authority, message.request, subject, { serial, now: Date.now() });
    return {
      clusterId,
      clusterName,
      ca: authority.cert,
      cert,
      ...(role === 'node' ? { caKey: authority.key } : {}),
      ...(node === undefined ? {} : { node }),
      map: this.#presentMap(),
    };
  }

  async #admit(message: JoinRequest): Promise<void> {
    const presented = parseToken(message.token);
    const { token: record } = await this.#options.registry.view({
      view: 'token',
      id: presented.id,
    });
    const digest = certificateDigest(this.#options.authority.cert);
    const role = checkToken(presented, record, digest, Date.now());
    if (ADMITS[role].includes(message.role)) return;
    throw new HoldfastError(
      'FORBIDDEN',
      `the token admits ${ADMITS[role].join(' or ')}, not ${message.role}; choose with --role, or ask for another token`,
    );
  }

  async renew(request: RenewRequest, peer: PeerIdentity): Promise<RenewAnswer> {
    const { clusterId, authority, registry, map } = this.#options;
    const serial = newSerial();
    const record = peer.node === undefined ? undefined : map.node(peer.node);
    if (peer.role === 'node') {
      if (peer.node === undefined || record === undefined)
        throw new HoldfastError('FORBIDDEN', `peer '${peer.name}' is no member any more`);
      await registry.execute({ op: 'note-certificate', node: peer.node, serial });
    }
    const hosts = record === undefined ? [] : [record.name, splitAddress(record.grpcAddress).host];
    const node = peer.node === undefined ? {} : { node: peer.node };
    const subject = { clusterId, role: peer.role, name: peer.name, hosts, ...node };
    return { cert: await issue(authority, request.request, subject, { serial, now: Date.now() }) };
  }

  async heartbeat(request: HeartbeatRequest, peer: PeerIdentity): Promise<HeartbeatAnswer> {
    const { registry, liveness } = this.#options;
    registry.assertLeader();
    if (peer.node === undefined) throw new HoldfastError('FORBIDDEN');
    await liveness.heard(peer.node, request);
    return { epoch: this.#presentMap().epoch };
  }

  async map(request: MapRequest): Promise<MapAnswer> {
    const map = this.#options.map.current;
    return map !== undefined && map.epoch > request.sinceEpoch ? { map } : {};
  }

  #presentMap(): NonNullable<MapCache['current']> {
    const map = this.#options.map.current;
    if (map === undefined)
      throw new HoldfastError(
        'NO_QUORUM',
        'this peer has no map of the cluster yet; try again in a moment',
      );
    return map;
  }
}
