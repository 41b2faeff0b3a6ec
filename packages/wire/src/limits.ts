/** Limits of one connection, with the reason of each. */
export const WIRE_LIMITS = {
  /** Bytes of a message's structured header: a listing of 1,000 names with attributes fits. */
  headerBytesMax: 4 * 2 ** 20,
  /** Bytes of a message's body: a chunk. */
  bodyBytesMax: 4 * 2 ** 20,
  /** Bytes of one segment of a body; each has a checksum, and other messages pass between two. */
  segmentBytes: 64 * 1024,
  /** Requests that a server works on for one connection; more are answered OVERLOADED. */
  requestsMax: 1024,
  /** Body bytes that a server holds for one connection; beyond it stops reading. */
  heldBytesMax: 64 * 2 ** 20,
  /** Body bytes held for one connection, many bodies arriving at once, above which requests are refused OVERLOADED. */
  refusedBytesMax: 128 * 2 ** 20,
  /** Connections of one server: every mount and every peer has two. */
  connectionsMax: 16_384,
  /** Bytes handed to the socket and not yet sent; beyond it segments wait. */
  unsentBytesMax: 2 * 2 ** 20,
  /** Milliseconds of silence after which a sign of life is asked for, and after which the peer is dead. */
  pingAfterMs: 1_500,
  deadAfterMs: 4_200,
  /** Milliseconds for requests under way when an end closes. */
  drainMs: 5_000,
} as const;
