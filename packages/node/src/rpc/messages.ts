/** The control calls between hosts: their names and what they carry (MessagePack over gRPC). */
import type { RegistryChange, RegistryCommand } from '@holdfast/placement';
import type {
  ClusterMap,
  Epoch,
  NodeNumber,
  RepositoryRecord,
  TokenRecord,
  VolumeRecord,
} from '@holdfast/protocol';
import { z } from 'zod';

/** gRPC paths. */
export const RPC = {
  join: '/holdfast.v1.Membership/Join',
  renew: '/holdfast.v1.Membership/Renew',
  heartbeat: '/holdfast.v1.Membership/Heartbeat',
  map: '/holdfast.v1.Membership/Map',
  view: '/holdfast.v1.Membership/View',
  execute: '/holdfast.v1.Membership/Execute',
  run: '/holdfast.v1.Shards/Run',
  look: '/holdfast.v1.Shards/Look',
  shards: '/holdfast.v1.Shards/Status',
} as const;

const FACTS = z.strictObject({
  name: z.string().max(253),
  grpcAddress: z.string().max(300),
  wireAddress: z.string().max(300),
  adminAddress: z.string().max(300),
  discoveryAddress: z.string().max(300),
  zone: z.string().max(253),
  weight: z.number(),
  incarnation: z.string().max(32),
});

/** What a host without a certificate sends; the only foreign bytes that come from anyone. */
export const JOIN_REQUEST = z.strictObject({
  token: z.string().max(256),
  /** PEM. */
  request: z.string().max(8_192),
  role: z.enum(['node', 'client', 'admin']),
  name: z.string().min(1).max(253),
  /** Of role node. */
  facts: FACTS.optional(),
});

/** See {@link JOIN_REQUEST}. */
export type JoinRequest = z.infer<typeof JOIN_REQUEST>;

/** What makes a host a member. */
export interface JoinAnswer {
  readonly clusterId: string;
  readonly clusterName: string;
  readonly ca: string;
  readonly cert: string;
  /** The authority's key, PEM: peers only, so that any of them can admit the next. */
  readonly caKey?: string;
  readonly node?: NodeNumber;
  readonly map: ClusterMap;
}

/** A certificate for the caller's present key and identity. */
export interface RenewRequest {
  /** PEM. */
  readonly request: string;
}

/** See {@link RenewRequest}. */
export interface RenewAnswer {
  readonly cert: string;
}

/** A sign of life. */
export interface HeartbeatRequest {
  readonly incarnation: string;
  readonly grpcAddress: string;
  readonly wireAddress: string;
  readonly adminAddress: string;
  readonly discoveryAddress: string;
  readonly zone: string;
  readonly weight: number;
}

/** See {@link HeartbeatRequest}. */
export interface HeartbeatAnswer {
  readonly epoch: Epoch;
}

/** Asks any peer for the map it has. */
export interface MapRequest {
  readonly sinceEpoch: number;
}

/** `map` is absent when the peer has none that is newer. */
export interface MapAnswer {
  readonly map?: ClusterMap;
}

/** A linearizable look at the registry, by the leader of the system shard. */
export type RegistryView =
  | { readonly view: 'token'; readonly id: string }
  | { readonly view: 'tokens' }
  | { readonly view: 'volume'; readonly name: string }
  | { readonly view: 'volumes' }
  | { readonly view: 'repositories' };

/** Answers of {@link RegistryView}, by name. */
export interface RegistryViewAnswers {
  token: { readonly token?: TokenRecord };
  tokens: { readonly tokens: readonly TokenRecord[] };
  volume: { readonly volume?: VolumeRecord };
  volumes: { readonly volumes: readonly VolumeRecord[] };
  repositories: { readonly repositories: readonly RepositoryRecord[] };
}

/** A change to be made by the leader of the system shard; answered by a RegistryAnswer, refusals travel as errors. */
export interface ExecuteRequest {
  readonly command: RegistryCommand;
}

/** A change with a new id and the caller's time around it. */
export function commandOf(change: RegistryChange, id: string, now: number): RegistryCommand {
  return { v: 1, id, time: new Date(now).toISOString(), change };
}
