/**
 * The shape of commands and views. They come from other processes: whatever they hold, every replica
 * answers the same refusal and none stops. Only shape is judged here (types, ranges that the code
 * behind relies on); meaning is judged by the operations. Offsets and sizes may be any whole numbers:
 * beyond LIMITS.fileBytesMax the answer is EFBIG, not BAD_REQUEST.
 */
import {
  CHUNK_NUMBERS_MAX,
  type Command,
  HoldfastError,
  isChunkId,
  isSessionId,
  LIMITS,
  type Operation,
  type View,
} from '@holdfast/protocol';

/** Tells what is wrong with a value, or undefined. */
type Check = (value: unknown) => string | undefined;
type Shape = Readonly<Record<string, Check>>;

const MODE_MAX = 0o7777;
const UINT32_MAX = 2 ** 32 - 1;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const KEY_BYTES_MAX = 512;
const KEYS_MAX = 65_536;
const SHARDS_MAX = 65_534;
/** Volumes, and above them the trees of rollbacks, that keys have room for. */
const TREES_MAX = 2 ** 24 - 1;

const whole =
  (max: number, min = 0): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `must be a whole number from ${min} to ${max}`;

const offset: Check = (value) =>
  Number.isInteger(value) && (value as number) >= 0
    ? undefined
    : 'must be a whole number, 0 or more';

const flag: Check = (value) => (typeof value === 'boolean' ? undefined : 'must be true or false');

/** Text of one byte a character. */
const latin1 =
  (lengthMax: number): Check =>
  (value) =>
    typeof value === 'string' && value.length <= lengthMax && /^[\0-\xff]*$/.test(value)
      ? undefined
      : `must be latin1 text of at most ${lengthMax} bytes`;

const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string) ? undefined : `must be one of ${values.join(', ')}`;

const bytes =
  (lengthMax: number): Check =>
  (value) =>
    value instanceof Uint8Array && value.length <= lengthMax
      ? undefined
      : `must be at most ${lengthMax} bytes`;

const time: Check = (value) =>
  typeof value === 'bigint' && value >= INT64_MIN && value <= INT64_MAX
    ? undefined
    : 'must be nanoseconds as a 64-bit number';

const timeOrNow: Check = (value) => (value === 'now' ? undefined : time(value));

const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? undefined : check(value);

const list =
  (check: Check, countMax: number): Check =>
  (value) => {
    if (!Array.isArray(value) || value.length > countMax) {
      return `must be a list of at most ${countMax}`;
    }
    for (const item of value) {
      const wrong = check(item);
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  };

/** What is wrong with the fields of an object; fields that no shape names are passed over. */
function wrongField(value: unknown, shape: Shape): string | undefined {
  if (typeof value !== 'object' || value === null) return 'must be an object';
  for (const [field, check] of Object.entries(shape)) {
    const wrong = check((value as Record<string, unknown>)[field]);
    if (wrong !== undefined) return `'${field}' ${wrong}`;
  }
  return undefined;
}

const object =
  (shape: Shape): Check =>
  (value) =>
    wrongField(value, shape);

const session: Check = (value) =>
  typeof value === 'string' && isSessionId(value) ? undefined : 'must be 16 hex digits';

const ino = whole(LIMITS.inodesMax, 1);
// Longer ones than are allowed, so that they get the errno of their own.
const name = latin1(65_536);
const uint32 = whole(UINT32_MAX);
const quota = whole(Number.MAX_SAFE_INTEGER);
const lockFamily = oneOf('posix', 'flock');
const lockOwner = latin1(64);

const lock = object({
  family: lockFamily,
  type: oneOf('read', 'write', 'unlock'),
  start: whole(Number.MAX_SAFE_INTEGER),
  end: whole(Number.MAX_SAFE_INTEGER),
  owner: lockOwner,
  pid: whole(UINT32_MAX, -UINT32_MAX),
});

const chunk: Check = (value) =>
  typeof value === 'string' && isChunkId(value) ? undefined : 'must be a chunk id';

const chunkSource = object({
  chunk,
  chunkOffset: whole(LIMITS.chunkBytesMax),
  chunkLength: whole(LIMITS.chunkBytesMax, 1),
});

function wrongSource(source: Record<string, unknown>, length: number): string | undefined {
  switch (source['kind']) {
    case 'inline':
      return (
        bytes(LIMITS.inlineBytesMax)(source['bytes']) ??
        ((source['bytes'] as Uint8Array).length === length ? undefined : 'must fit its length')
      );
    case 'chunk': {
      const wrong = chunkSource(source);
      if (wrong !== undefined) return wrong;
      const end = (source['chunkOffset'] as number) + length;
      return end <= (source['chunkLength'] as number) ? undefined : 'must lie inside its chunk';
    }
    case 'zero':
      return flag(source['allocated']);
    default:
      return "has a kind of 'inline', 'chunk' or 'zero'";
  }
}

const extent: Check = (value) => {
  const shape = { offset, length: whole(LIMITS.allocateBytesMax, 1), source: object({}) };
  const wrong = wrongField(value, shape);
  if (wrong !== undefined) return `extent: ${wrong}`;
  const { length, source } = value as { length: number; source: Record<string, unknown> };
  const wrongly = wrongSource(source, length);
  return wrongly === undefined ? undefined : `source of an extent: ${wrongly}`;
};

const extents = list(extent, LIMITS.writeExtentsMax);
const place = { parent: ino, name };
const quotas = { quotaBytes: quota, quotaInodes: quota };
const owner = { mode: whole(MODE_MAX), uid: uint32, gid: uint32 };

const generation = whole(Number.MAX_SAFE_INTEGER, 1);

/** A list of one check for each place. */
const tuple =
  (...checks: readonly Check[]): Check =>
  (value) => {
    if (!Array.isArray(value) || value.length !== checks.length) {
      return `must be a list of ${checks.length}`;
    }
    return checks.map((check, index) => check(value[index])).find((wrong) => wrong !== undefined);
  };

const nullOr =
  (check: Check): Check =>
  (value) =>
    value === null ? undefined : check(value);

const baseEntry = tuple(bytes(KEY_BYTES_MAX), nullOr(bytes(LIMITS.entryBytesMax)));
const lentChunk = tuple(chunk, whole(LIMITS.chunkBytesMax, 1));

const OPERATIONS: { readonly [Name in Operation['op']]: Shape } = {
  'init-volume': { name: latin1(LIMITS.volumeNameBytesMax), ...owner, ...quotas },
  'set-quota': quotas,
  'destroy-volume': { force: flag },
  'create-snapshot': { name, origin: optional(latin1(128)) },
  'remove-snapshot': { name, generation: optional(generation) },
  'clone-volume': {
    name: latin1(LIMITS.volumeNameBytesMax),
    from: whole(LIMITS.volumesMax, 1),
    snapshot: name,
    generation: optional(generation),
    ...quotas,
  },
  'hold-snapshot': { snapshot: name, generation, by: whole(LIMITS.volumesMax, 1) },
  'let-go': { generation: whole(Number.MAX_SAFE_INTEGER), by: whole(LIMITS.volumesMax, 1) },
  'clone-from-afar': {
    name: latin1(LIMITS.volumeNameBytesMax),
    shard: whole(SHARDS_MAX, 1),
    from: whole(LIMITS.volumesMax, 1),
    generation,
    held: object({
      usedBytes: quota,
      usedInodes: quota,
      nextInode: whole(Number.MAX_SAFE_INTEGER, 1),
      depth: whole(LIMITS.cloneDepthMax),
    }),
    ...quotas,
  },
  'adopt-base-records': {
    shadow: whole(TREES_MAX, 1),
    records: list(baseEntry, KEYS_MAX),
    chunks: list(lentChunk, KEYS_MAX),
    copied: optional(object({ from: bytes(KEY_BYTES_MAX), to: bytes(KEY_BYTES_MAX) })),
  },
  'rollback-volume': { snapshot: name, generation: optional(generation), keep: name },
  'acknowledge-rollback': {},
  create: {
    ...place,
    ...owner,
    unmaskedMode: optional(whole(MODE_MAX)),
    kind: oneOf('file', 'directory', 'symlink', 'fifo', 'socket', 'char', 'block'),
    rdev: uint32,
    target: name,
    exclusive: flag,
  },
  link: { ino, ...place },
  unlink: place,
  rmdir: place,
  rename: {
    ...place,
    newParent: ino,
    newName: name,
    flag: oneOf('replace', 'noreplace', 'exchange'),
  },
  'set-attributes': {
    ino,
    mode: optional(whole(MODE_MAX)),
    uid: optional(uint32),
    gid: optional(uint32),
    size: optional(offset),
    atime: optional(timeOrNow),
    mtime: optional(timeOrNow),
    killPrivileges: optional(flag),
  },
  'write-extents': { ino, extents, append: flag, killPrivileges: flag },
  fallocate: {
    ino,
    mode: oneOf('allocate', 'punch', 'zero'),
    keepSize: flag,
    offset,
    length: offset,
  },
  'move-inline': {
    ino,
    contentVersion: whole(Number.MAX_SAFE_INTEGER),
    extents,
    seen: optional(extents),
  },
  'set-xattr': {
    ino,
    name,
    value: bytes(2 ** 20),
    mode: oneOf('set', 'create', 'replace'),
    killSetGroup: optional(flag),
  },
  'remove-xattr': { ino, name },
  'set-lock': { ino, lock },
  'release-locks': { ino, family: lockFamily, owner: lockOwner },
  'release-orphans': { inos: list(ino, KEYS_MAX) },
  'open-session': { host: latin1(255), origin: optional(session) },
  'close-session': {},
  'expire-session': { expired: session },
  'acquire-delegation': {},
  'return-delegation': {},
  reclaim: { keys: list(bytes(KEY_BYTES_MAX), KEYS_MAX) },
  'chunks-collected': { places: list(whole(Number.MAX_SAFE_INTEGER), KEYS_MAX) },
  'bar-chunks': { before: whole(CHUNK_NUMBERS_MAX) },
};

const count = whole(Number.MAX_SAFE_INTEGER, 1);
const range = { offset, length: whole(LIMITS.extentsViewBytesMax) };

const VIEWS: { readonly [Name in View['view']]: Shape } = {
  lookup: place,
  attributes: { ino },
  'read-directory': {
    ino,
    after: whole(Number.MAX_SAFE_INTEGER),
    count: whole(Number.MAX_SAFE_INTEGER, 1),
  },
  'read-link': { ino },
  xattr: { ino, name },
  'xattr-names': { ino },
  extents: { ino, ...range },
  seek: { ino, offset, whence: oneOf('data', 'hole') },
  'test-lock': { ino, lock },
  space: {},
  parent: { ino },
  'snapshot-space': { at: generation },
  difference: { from: generation, after: latin1(KEY_BYTES_MAX * 2), count },
  'changed-ranges': { ino, from: generation, offset: whole(Number.MAX_SAFE_INTEGER), count },
  'known-chunks': { chunks: list(chunk, LIMITS.knownChunksMax) },
  'base-records': {
    at: generation,
    by: whole(LIMITS.volumesMax, 1),
    keys: list(bytes(KEY_BYTES_MAX), KEYS_MAX),
  },
  'base-range': {
    at: generation,
    by: whole(LIMITS.volumesMax, 1),
    from: bytes(KEY_BYTES_MAX),
    to: bytes(KEY_BYTES_MAX),
    count,
  },
  snapshots: { after: whole(Number.MAX_SAFE_INTEGER), count: whole(Number.MAX_SAFE_INTEGER, 1) },
};

const AT: Shape = { at: optional(generation) };

const COMMAND: Shape = {
  session,
  sequence: whole(Number.MAX_SAFE_INTEGER, 1),
  answeredBelow: whole(Number.MAX_SAFE_INTEGER),
  timeNs: time,
  volume: whole(TREES_MAX),
  operation: object({}),
};

function refuse(what: string, wrong: string | undefined): void {
  if (wrong !== undefined) throw new HoldfastError('BAD_REQUEST', `${what}: ${wrong}`);
}

/** Checks the envelope of a command. BAD_REQUEST; NEWER_FORMAT for another version. */
export function checkCommand(command: Command): void {
  refuse('command', wrongField(command, COMMAND));
  if (command.v !== 1) throw new HoldfastError('NEWER_FORMAT', 'a command of another version');
  if (command.answeredBelow > command.sequence) {
    throw new HoldfastError('BAD_REQUEST', 'command: its own answer cannot have been received');
  }
}

/** The shape of a name in a table; undefined for whatever else a foreign value is. */
function shapeOf(table: Readonly<Record<string, Shape>>, name: unknown): Shape | undefined {
  return typeof name === 'string' && Object.hasOwn(table, name) ? table[name] : undefined;
}

/** Checks the fields of an operation. BAD_REQUEST. */
export function checkOperation(operation: Operation): void {
  const shape = shapeOf(OPERATIONS, operation.op);
  if (shape === undefined) {
    throw new HoldfastError('BAD_REQUEST', 'there is no such operation');
  }
  refuse(operation.op, wrongField(operation, shape));
}

/** Checks the fields of a view. BAD_REQUEST. */
export function checkView(view: View): void {
  refuse('view', object({})(view));
  const shape = shapeOf(VIEWS, view.view);
  if (shape === undefined) throw new HoldfastError('BAD_REQUEST', 'there is no such view');
  refuse(view.view, wrongField(view, shape) ?? wrongField(view, AT));
}
