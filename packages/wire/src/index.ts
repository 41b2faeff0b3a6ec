export { type CallOptions, WireClient, type WireClientOptions } from './client.ts';
export type { WireAnswer, WireConnection, WireRequest } from './connection.ts';
export type { PeerIdentity, PeerRole, TlsMaterial } from './identity.ts';
export { WIRE_LIMITS } from './limits.ts';
export { type WireHandler, WireServer, type WireServerOptions } from './server.ts';
export { checkTlsMaterial } from './tls-material.ts';
