/**
 * The one table of errors. Every error that crosses a room's border has a code from here; the code
 * decides errno, HTTP and gRPC status and whether a retry can help. Text is never matched.
 */

/**
 * - refusal: a final answer of the state machine or of input checking, equal on every replica
 * - outage: something cannot be reached now; retried within the caller's bounded wait
 * - damage: bytes or state are wrong or lost; reported, taken out of service, repaired
 * - bug: an assertion failed; the process stops before it writes
 */
export type ErrorKind = 'refusal' | 'outage' | 'damage' | 'bug';

/** never: the answer will not change; same: ask the same peer again; elsewhere: another peer may know. */
export type RetryAdvice = 'never' | 'same' | 'elsewhere';

interface ErrorRow {
  readonly kind: ErrorKind;
  readonly errno: string;
  readonly http: number;
  /** Numeric status of https://grpc.io/docs/guides/status-codes/ */
  readonly grpc: number;
  readonly retry: RetryAdvice;
  readonly meaning: string;
}

function row(
  kind: ErrorKind,
  errno: string,
  http: number,
  grpc: number,
  retry: RetryAdvice,
  meaning: string,
): ErrorRow {
  return { kind, errno, http, grpc, retry, meaning };
}

export const ERROR_TABLE = {
  // Refusals with the meaning that POSIX gives their errno.
  ENOENT: row('refusal', 'ENOENT', 404, 5, 'never', 'no such file, directory or volume'),
  EEXIST: row('refusal', 'EEXIST', 409, 6, 'never', 'the name exists already'),
  ENOTDIR: row('refusal', 'ENOTDIR', 400, 9, 'never', 'not a directory'),
  EISDIR: row('refusal', 'EISDIR', 400, 9, 'never', 'is a directory'),
  ENOTEMPTY: row('refusal', 'ENOTEMPTY', 409, 9, 'never', 'the directory is not empty'),
  EXDEV: row('refusal', 'EXDEV', 400, 9, 'never', 'the two names are in different volumes'),
  EACCES: row('refusal', 'EACCES', 403, 7, 'never', 'permission denied'),
  EPERM: row('refusal', 'EPERM', 403, 7, 'never', 'operation not permitted'),
  EROFS: row('refusal', 'EROFS', 403, 7, 'never', 'the volume or snapshot is read-only'),
  ENAMETOOLONG: row('refusal', 'ENAMETOOLONG', 400, 3, 'never', 'a name has at most 255 bytes'),
  EINVAL: row('refusal', 'EINVAL', 400, 3, 'never', 'invalid argument'),
  EFBIG: row('refusal', 'EFBIG', 400, 11, 'never', 'the file would be larger than allowed'),
  EMLINK: row('refusal', 'EMLINK', 400, 9, 'never', 'too many hard links to one inode'),
  ELOOP: row('refusal', 'ELOOP', 400, 9, 'never', 'too many symbolic links'),
  EBUSY: row('refusal', 'EBUSY', 409, 9, 'never', 'in use'),
  EBADF: row('refusal', 'EBADF', 400, 3, 'never', 'not an open file'),
  EDQUOT: row('refusal', 'EDQUOT', 507, 8, 'never', 'the volume has reached its quota'),
  ENOSPC: row('refusal', 'ENOSPC', 507, 8, 'never', 'no storage peer has room left'),
  EDEADLK: row('refusal', 'EDEADLK', 409, 9, 'never', 'waiting for this lock would never end'),
  EAGAIN: row('refusal', 'EAGAIN', 409, 9, 'never', 'the lock is held by someone else'),
  ENOLCK: row('refusal', 'ENOLCK', 507, 8, 'never', 'too many locks on one file'),
  ENODATA: row('refusal', 'ENODATA', 404, 5, 'never', 'no such extended attribute'),
  ERANGE: row(
    'refusal',
    'ERANGE',
    400,
    11,
    'never',
    'the buffer is too small or a value too large',
  ),
  E2BIG: row(
    'refusal',
    'E2BIG',
    400,
    8,
    'never',
    'the extended attributes are larger than allowed',
  ),
  ENXIO: row('refusal', 'ENXIO', 400, 9, 'never', 'the offset lies beyond the last data or hole'),
  ENOTSUP: row('refusal', 'EOPNOTSUPP', 400, 12, 'never', 'not supported'),
  ENOSYS: row('refusal', 'ENOSYS', 501, 12, 'never', 'the operation does not exist here'),
  ESTALE: row('refusal', 'ESTALE', 410, 5, 'never', 'the inode or handle no longer exists'),
  EINTR: row('refusal', 'EINTR', 499, 1, 'never', 'interrupted by a signal'),
  // Refusals of the control plane.
  BAD_REQUEST: row('refusal', 'EINVAL', 400, 3, 'never', 'the request is malformed'),
  METHOD_NOT_ALLOWED: row(
    'refusal',
    'EINVAL',
    405,
    12,
    'never',
    'the path exists, but not with this method',
  ),
  TOO_LARGE: row('refusal', 'E2BIG', 413, 8, 'never', 'the request is larger than allowed'),
  BAD_CONFIG: row('refusal', 'EINVAL', 400, 3, 'never', 'the configuration is wrong'),
  BAD_TOKEN: row(
    'refusal',
    'EACCES',
    401,
    16,
    'never',
    'the token is malformed, expired, revoked or not of this cluster',
  ),
  FORBIDDEN: row(
    'refusal',
    'EPERM',
    403,
    7,
    'never',
    'the role of this certificate or token does not allow it',
  ),
  CONFLICT: row('refusal', 'EBUSY', 409, 9, 'never', 'the present state does not allow it'),
  NOT_FOUND: row('refusal', 'ENOENT', 404, 5, 'never', 'no such object'),
  CHUNK_FREED: row(
    'refusal',
    'EIO',
    410,
    9,
    'never',
    'the chunk is up for collection; write the bytes into a new one',
  ),
  ROLLED_BACK: row(
    'refusal',
    'ESTALE',
    409,
    9,
    'never',
    'the volume was rolled back since; what was open before has to be opened again',
  ),
  SESSION_EXPIRED: row(
    'refusal',
    'EIO',
    410,
    9,
    'never',
    'the session lost its lease and was fenced',
  ),
  WRONG_CLUSTER: row(
    'refusal',
    'EPERM',
    403,
    7,
    'never',
    'the data or peer belongs to another cluster',
  ),
  NEWER_FORMAT: row('refusal', 'EPERM', 409, 9, 'never', 'the data was written by a newer version'),
  DIRECTORY_IN_USE: row(
    'refusal',
    'EBUSY',
    409,
    9,
    'never',
    'another process uses the data directory',
  ),
  PORT_IN_USE: row('refusal', 'EADDRINUSE', 409, 9, 'never', 'the port is taken'),
  // Outages.
  NOT_LEADER: row('outage', 'EIO', 503, 14, 'elsewhere', 'this peer does not lead the shard'),
  NO_QUORUM: row('outage', 'ETIMEDOUT', 503, 14, 'same', 'no majority of the shard can be reached'),
  NO_REPLICA: row(
    'outage',
    'ETIMEDOUT',
    503,
    14,
    'same',
    'too few replicas of the chunk can be reached',
  ),
  UNREACHABLE: row('outage', 'ETIMEDOUT', 503, 14, 'elsewhere', 'the peer cannot be reached'),
  DEADLINE: row('outage', 'ETIMEDOUT', 504, 4, 'same', 'no answer within the bounded wait'),
  OVERLOADED: row('outage', 'EBUSY', 429, 8, 'same', 'a queue is full; slow down'),
  SHUTTING_DOWN: row('outage', 'EIO', 503, 14, 'elsewhere', 'the process is stopping'),
  DELEGATED: row(
    'outage',
    'EIO',
    409,
    14,
    'same',
    'other sessions hold delegations of the volume and must give them back first',
  ),
  BASE_MISSING: row(
    'outage',
    'EIO',
    503,
    14,
    'same',
    'a clone has not yet copied from its snapshot, in another shard, what this needs',
  ),
  STALE_MAP: row('outage', 'EIO', 409, 9, 'same', 'the cluster map has changed; fetch it again'),
  // Damage.
  CORRUPT: row('damage', 'EIO', 500, 15, 'elsewhere', 'bytes do not match their checksum'),
  CHUNK_MISSING: row('damage', 'EIO', 404, 5, 'elsewhere', 'the replica does not hold the chunk'),
  DISK_FAILED: row('damage', 'EIO', 500, 13, 'elsewhere', 'a data directory failed'),
  UNKNOWN_OUTCOME: row(
    'damage',
    'EIO',
    500,
    2,
    'never',
    'it is not known whether the operation took effect',
  ),
  // Bugs.
  INTERNAL: row('bug', 'EIO', 500, 13, 'never', 'an assertion of the program failed'),
} as const satisfies Record<string, ErrorRow>;

/** A code of the table; part of the API: codes are added, never renamed. */
export type ErrorCode = keyof typeof ERROR_TABLE;

/** Options of {@link HoldfastError}. */
export interface HoldfastErrorOptions {
  readonly cause?: unknown;
  /** Facts for logs and for the caller's program (a leader hint, an allowed range); no sentences. */
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** The only error class that crosses a room's border. */
export class HoldfastError extends Error {
  override readonly name = 'HoldfastError';
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>>;

  /** `message` says what was wrong, what is allowed and what to do next; default: the table's meaning. */
  constructor(code: ErrorCode, message?: string, options: HoldfastErrorOptions = {}) {
    super(
      message ?? ERROR_TABLE[code].meaning,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.detail = options.detail ?? {};
  }

  get kind(): ErrorKind {
    return ERROR_TABLE[this.code].kind;
  }
}

/** Linux errno numbers of the names in the table (asm-generic/errno*.h). */
export const ERRNO: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EDQUOT: 122,
};

/** The errno number (positive) that the kernel is to see for an error; EIO for foreign errors. */
export function errnoOf(error: unknown): number {
  const name = error instanceof HoldfastError ? ERROR_TABLE[error.code].errno : 'EIO';
  return ERRNO[name] ?? 5;
}

/** What travels between processes in place of an Error. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** Error to wire; a foreign error becomes INTERNAL and keeps its text for the log only. */
export function toWireError(error: unknown): WireError {
  if (error instanceof HoldfastError) {
    return { code: error.code, message: error.message, detail: error.detail };
  }
  const text = error instanceof Error ? error.message : String(error);
  return { code: 'INTERNAL', message: text };
}

/** Wire to error; a code of a newer version becomes INTERNAL with the code in its detail. */
export function fromWireError(wire: WireError): HoldfastError {
  if (Object.hasOwn(ERROR_TABLE, wire.code)) {
    return new HoldfastError(wire.code as ErrorCode, wire.message, { detail: wire.detail ?? {} });
  }
  return new HoldfastError('INTERNAL', wire.message, {
    detail: { ...wire.detail, code: wire.code },
  });
}

/** Whether an error says that a volume is half filled: it passes by itself, or with what its message names. */
export function isFillingError(error: unknown): boolean {
  return error instanceof HoldfastError && error.detail['filling'] === true;
}
