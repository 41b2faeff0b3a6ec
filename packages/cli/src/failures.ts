import { ERROR_TABLE, type ErrorCode, HoldfastError } from '@holdfast/protocol';

/** Exit statuses of the command; part of its interface. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  conflict: 5,
} as const;

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  BAD_REQUEST: EXIT.usage,
  BAD_CONFIG: EXIT.usage,
  BAD_TOKEN: EXIT.usage,
  TOO_LARGE: EXIT.usage,
  EINVAL: EXIT.usage,
  ENAMETOOLONG: EXIT.usage,
  ENOTDIR: EXIT.usage,
  EISDIR: EXIT.usage,
  UNREACHABLE: EXIT.unreachable,
  NO_QUORUM: EXIT.unreachable,
  NOT_LEADER: EXIT.unreachable,
  DEADLINE: EXIT.unreachable,
  SHUTTING_DOWN: EXIT.unreachable,
  ENOENT: EXIT.notFound,
  NOT_FOUND: EXIT.notFound,
  EEXIST: EXIT.conflict,
  CONFLICT: EXIT.conflict,
  EBUSY: EXIT.conflict,
  ENOTEMPTY: EXIT.conflict,
  DIRECTORY_IN_USE: EXIT.conflict,
  PORT_IN_USE: EXIT.conflict,
};

/** What to do about an error of the operating system that nobody on the way had a better word for. */
const WAYS_OUT = {
  ENOSPC: 'make room on that disk',
  EDQUOT: 'make room, or raise the quota',
  EROFS: 'that file system is mounted read-only: make it writable',
  EACCES: 'run it as root (sudo)',
  EPERM: 'run it as root (sudo)',
} as const;

/** An error of the operating system under its own code, with the way out; others as they are. */
export function asKnown(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof HoldfastError) return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  const [known] = Object.entries(WAYS_OUT).filter(([name]) => name === code);
  if (known === undefined) return error;
  const [name, way] = known as [keyof typeof WAYS_OUT, string];
  return new HoldfastError(name, `${error.message}; ${way}`, { cause: error });
}

/** The exit status for an error. */
export function exitStatusOf(error: unknown): number {
  if (error instanceof HoldfastError) return BY_CODE[error.code] ?? EXIT.failure;
  return EXIT.failure;
}

/** One sentence for people; a foreign error shows its text, never its stack. */
export function describeFailure(error: unknown): string {
  // A shard refuses with the code alone; nobody need know errno by heart.
  if (error instanceof HoldfastError && error.message === error.code)
    return `${ERROR_TABLE[error.code].meaning} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}

/** What scripts get on standard error with --json. */
export function failureAsJson(error: unknown): string {
  const known =
    error instanceof HoldfastError ? error : new HoldfastError('INTERNAL', describeFailure(error));
  return JSON.stringify({
    error: { code: known.code, message: known.message, detail: known.detail },
  });
}
