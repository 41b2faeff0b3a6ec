import { exitStatusOf } from '../../packages/cli/src/failures.ts';
import { ERROR_TABLE, type ErrorCode, HoldfastError } from '../../packages/protocol/src/index.ts';
import { GENERATED, markdownTable } from './markdown.ts';

const RETRY = 'wait and try again; `holdfast status` names what is missing';
const REPORT =
  'read the log of the peer (standard error of `holdfast run`, or the log of its container)';

/** What a user does about each. The compiler asks for a line when a code is added. */
const REMEDIES: Readonly<Record<ErrorCode, string>> = {
  ENOENT: 'check the name',
  EEXIST: 'choose another name, or use what is there',
  ENOTDIR: 'check the path',
  EISDIR: 'name a file',
  ENOTEMPTY: 'empty the directory first; `volume rm --force` removes a volume with its content',
  EXDEV: 'copy, then remove: hard links and renames stay within a volume',
  EACCES: 'check owner and mode',
  EPERM: 'call it as the owner or as root',
  EROFS: 'write to the volume itself',
  ENAMETOOLONG: 'shorten the name',
  EINVAL: 'the message names the argument',
  EFBIG: 'keep it in several files',
  EMLINK: 'make a copy instead of another link',
  ELOOP: 'look for a symbolic link that leads to itself',
  EBUSY: 'end what uses it',
  EBADF: 'open the file again',
  EDQUOT: "remove files, or raise the volume's quota with `PATCH /v1/volumes/{name}`",
  ENOSPC: 'remove files, add a peer, or give a peer a larger disk',
  EDEADLK: 'release the locks that are held and take them in one order',
  EAGAIN: 'wait for the lock, or ask for it with a blocking call',
  ENOLCK: 'lock fewer ranges of the file',
  ENODATA: 'list the attributes first',
  ERANGE: 'give a larger buffer or a smaller value',
  E2BIG: 'keep fewer or smaller attributes',
  ENXIO: 'the end of the file was reached',
  ENOTSUP: 'see [limits.md](limits.md)',
  ENOSYS: 'see [limits.md](limits.md)',
  ESTALE: 'open the path again',
  EINTR: 'call again if the signal was not meant to end it',
  BAD_REQUEST: 'the message names the field; the API describes itself in `/v1/openapi.json`',
  METHOD_NOT_ALLOWED: 'use a method that the header `allow` of the answer names',
  TOO_LARGE: 'send less: a body has at most 64 KiB',
  BAD_CONFIG: 'correct the setting that the message names',
  BAD_TOKEN: 'make another with `holdfast token create`',
  FORBIDDEN: 'call it on a peer as root, or with a certificate of the role that the message names',
  CONFLICT: 'the message says what is in the way',
  NOT_FOUND: 'list what there is (`volume ls`, `node ls`, `token ls`)',
  CHUNK_FREED: 'nothing: the client writes the bytes into a new chunk',
  ROLLED_BACK:
    'open the files again; what the volume was before is in its snapshot `before-rollback-…`',
  SESSION_EXPIRED:
    'open files again; what was written and not yet synced is lost, as after a crash of the host',
  WRONG_CLUSTER: 'name the data directory or peer of this cluster',
  NEWER_FORMAT: 'run the version that wrote the data, or a newer one',
  DIRECTORY_IN_USE: 'stop the other process, or name another directory with `--data`',
  PORT_IN_USE: 'stop what listens there, or choose other ports with `--port`',
  NOT_LEADER: 'nothing: callers go on to the leader; when it stays, see NO_QUORUM',
  NO_QUORUM: 'start the members that are down: more than half must run',
  NO_REPLICA: 'start the peers that are down',
  UNREACHABLE: "start it with 'holdfast run'; check address, ports and firewall",
  DEADLINE: RETRY,
  OVERLOADED: 'slow down; when it stays, the disk or the network is the limit',
  SHUTTING_DOWN: 'nothing: callers go on to another peer',
  DELEGATED: 'nothing: the other session is asked to give it back',
  BASE_MISSING:
    'nothing: the leader of the shard fetches it; when the shard of the snapshot has no quorum, callers get NO_QUORUM',
  STALE_MAP: 'nothing: callers fetch the newer map',
  CORRUPT: `nothing for one block: another replica serves it, repair replaces it; when it goes on, replace the disk. ${REPORT}`,
  CHUNK_MISSING: 'nothing: another replica serves it and repair brings it back',
  DISK_FAILED: 'replace the disk and join the host again; the others hold its data',
  UNKNOWN_OUTCOME: 'look at the state before trying again',
  INTERNAL: `${REPORT} and report it with what it says`,
};

/** docs/errors.md */
export function errorsPage(): string {
  const rows = (Object.keys(ERROR_TABLE) as ErrorCode[]).map((code) => {
    const { kind, errno, http, meaning } = ERROR_TABLE[code];
    const exit = exitStatusOf(new HoldfastError(code));
    return [`\`${code}\``, meaning, kind, errno, String(http), String(exit), REMEDIES[code]];
  });
  return `${GENERATED}# Errors

Every error has a code. It is the \`code\` of the admin API's body \`{code, message, detail}\` and of
\`{"error": {...}}\` on standard error with \`--json\`. Codes are added, never renamed; texts may change.

- **refusal**: a final answer; the same call gets it again until something else changes.
- **outage**: something cannot be reached now. The mount retries within its bounded wait
  (30 s; \`mount --wait\`), then gives the errno below.
- **damage**: bytes or state are wrong or lost. Other replicas serve, repair replaces.
- **bug**: an assertion failed; the process stops before it writes.

"errno" is what a program on the mount sees, "HTTP" the status of the admin API, "exit" that of
\`holdfast\`.

${markdownTable(['code', 'meaning', 'kind', 'errno', 'HTTP', 'exit', 'what to do'], rows)}`;
}
