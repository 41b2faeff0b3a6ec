/** What a stream says of itself, in its first frame. */
import { HoldfastError } from '@holdfast/protocol';
import { damaged } from './fields.ts';

/** A snapshot by what it shows: of the same id are those that were received, and the one they were made of. */
export interface SnapshotIdentity {
  /** At the sender. */
  readonly name: string;
  /** Cluster, volume and generation of where it was taken first: {@link snapshotId}. */
  readonly id: string;
}

/** How far a full stream was carried out: everything before it is stored. */
export interface StreamPosition {
  /** Inodes that were finished, in the order of the stream. */
  readonly inodes: number;
  /** Bytes of the next one, a file, that are there. */
  readonly offset: number;
}

/** The first frame. */
export interface StreamHeader {
  /** Of the volume at the sender. */
  readonly volume: string;
  readonly snapshot: SnapshotIdentity;
  /** What the snapshot holds, about: for progress. */
  readonly usedBytes: number;
  readonly usedInodes: number;
  /** Of an incremental stream: what the receiver must have. */
  readonly base?: SnapshotIdentity;
  /** Of a full stream that goes on: bytes of files before this position are left out. */
  readonly resume?: StreamPosition;
  /** The volume's policy as JSON that the receiver judges. */
  readonly policy: Readonly<Record<string, unknown>>;
}

const ID_FORM = /^[0-9a-zA-Z-]{1,64}\/[1-9]\d{0,15}\/[1-9]\d{0,15}$/;
const NAME_FORM = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;

/** The id of a snapshot that was taken here, for the time of the cluster and beyond. */
export function snapshotId(of: {
  readonly clusterId: string;
  readonly volume: number;
  readonly generation: number;
}): string {
  return `${of.clusterId}/${of.volume}/${of.generation}`;
}

/** The header as the bytes of a frame. */
export function encodeHeader(header: StreamHeader): Buffer {
  return Buffer.from(JSON.stringify(header));
}

/** The reverse. CORRUPT; fields of later versions of the same format are passed over. */
export function decodeHeader(bytes: Buffer): StreamHeader {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new HoldfastError('CORRUPT', 'the stream is damaged: its first frame is no JSON', {
      cause,
    });
  }
  const fields = recordIn(document, 'first frame');
  const { base, policy, resume } = fields;
  if (base !== undefined && resume !== undefined) throw damaged('a change does not go on');
  return {
    volume: nameIn(fields['volume']),
    snapshot: identityIn(fields['snapshot']),
    usedBytes: countIn(fields['usedBytes']),
    usedInodes: countIn(fields['usedInodes']),
    ...(base === undefined ? {} : { base: identityIn(base) }),
    ...(resume === undefined ? {} : { resume: positionIn(resume) }),
    policy: policy === undefined ? {} : recordIn(policy, 'policy'),
  };
}

function recordIn(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw damaged(`its ${what} is no object`);
}

function identityIn(value: unknown): SnapshotIdentity {
  const { name, id } = recordIn(value, 'snapshot');
  if (typeof id !== 'string' || !ID_FORM.test(id)) throw damaged('a snapshot has no id');
  return { name: nameIn(name), id };
}

function nameIn(value: unknown): string {
  if (typeof value === 'string' && NAME_FORM.test(value)) return value;
  throw damaged('a name of a volume or snapshot is none');
}

function countIn(value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw damaged('a size is none');
}

function positionIn(value: unknown): StreamPosition {
  const { inodes, offset } = recordIn(value, 'position');
  return { inodes: countIn(inodes), offset: countIn(offset) };
}

/** Names a position of a stream of one snapshot, for `holdfast volume send --resume`. */
export function resumeToken(id: string, { inodes, offset }: StreamPosition): string {
  return `${id}:${inodes}:${offset}`;
}

/** The reverse of {@link resumeToken}. BAD_REQUEST. */
export function parseResumeToken(text: string): { readonly id: string } & StreamPosition {
  const [, id = '', inodes, offset] = /^([^:]+):(\d{1,16}):(\d{1,16})$/.exec(text) ?? [];
  const position = { inodes: Number(inodes), offset: Number(offset) };
  if (ID_FORM.test(id) && Object.values(position).every(Number.isSafeInteger))
    return { id, ...position };
  throw new HoldfastError(
    'BAD_REQUEST',
    `'${text.slice(0, 80)}' is no token: 'holdfast volume receive NAME --resume-token' prints it`,
  );
}
