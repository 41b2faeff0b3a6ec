/**
 * Identifiers that cross process borders. Each is a distinct type, so that the compiler refuses a
 * node where a shard is meant; all numbers are safe integers (below 2^53).
 */

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A peer's number in its cluster: 1, 2, 3 …; given by the system shard at join, never used again. */
export type NodeNumber = Brand<number, 'NodeNumber'>;
/** A Raft group. 0 is the system shard; 1 … are volume shards. */
export type ShardId = Brand<number, 'ShardId'>;
/**
 * A volume's number, 1 … 2^22-1, never used again; 0 stands for the list of volumes itself. In a
 * {@link NodeReference} also the number of a snapshot, see {@link SNAPSHOT_NUMBERS_FROM}.
 */
export type VolumeNumber = Brand<number, 'VolumeNumber'>;
/** An inode within its volume, 1 … 2^40-2, never used again; 1 is the volume's root directory. */
export type InodeNumber = Brand<number, 'InodeNumber'>;
/** One mount's or program's lease with the shards: 16 lower-case hexadecimal digits, chosen at random. */
export type SessionId = Brand<string, 'SessionId'>;
/** A chunk: 32 lower-case hexadecimal digits, see {@link makeChunkId}. */
export type ChunkId = Brand<string, 'ChunkId'>;
/** A placement unit, 0 … 16383. */
export type PartitionId = Brand<number, 'PartitionId'>;
/** Version of the cluster map; grows by one with each change. */
export type Epoch = Brand<number, 'Epoch'>;

/**
 * The session of commands that a shard's leader makes by itself (expire-session, reclaim,
 * chunks-collected, init-volume ...): always open, no answers are kept. Never accepted from the wire.
 */
export const INTERNAL_SESSION = '0000000000000000' as SessionId;

export const SYSTEM_SHARD = 0 as ShardId;
export const ROOT_INODE = 1 as InodeNumber;
/** The pseudo volume whose root lists the volumes. */
export const ROOT_VOLUME = 0 as VolumeNumber;
/**
 * Numbers from here up to 2^23-1 stand for snapshots in the nodes of a mount, which gives them: no
 * volume has one. None above is used: `st_ino` would be negative for programs that take it as signed.
 */
export const SNAPSHOT_NUMBERS_FROM = 2 ** 22;
/** How many there are. */
export const SNAPSHOT_NUMBERS = 2 ** 22;
/** The directory `.snapshots` of a volume, in the nodes of a mount: no inode of a volume has it. */
export const SNAPSHOTS_INODE = (2 ** 40 - 1) as InodeNumber;
/**
 * Who reads a snapshot and wants no schedule to remove it holds a read lock on the volume's root, of
 * the byte at this place plus the snapshot's generation: beyond what any program locks.
 */
export const SNAPSHOT_HOLDS_AT = 2 ** 51;
/** Locks on a volume's root from this byte on stand for snapshots, not for bytes. */
export const HOLDS_FROM = 2 ** 50;
/** The byte that stands for a receive into the volume: its lock lasts as long as who receives. */
export const RECEIVES_AT = HOLDS_FROM + 2 ** 45;
/** The byte that stands for a restore into the volume as it is, likewise. */
export const RESTORES_AT = RECEIVES_AT + 2;
export const PARTITION_COUNT = 16_384;

const CHUNK_ID_PATTERN = /^[0-3][0-9a-f]{31}$/;
const SESSION_ID_PATTERN = /^[0-9a-f]{16}$/;

/** Largest {@link madeAtOf} and counter of a chunk's id: 8 hexadecimal digits each. */
export const CHUNK_NUMBERS_MAX = 2 ** 32 - 1;

/**
 * Builds a chunk's id: 4 hexadecimal digits of its partition, 12 of the writer (48 random bits, new for
 * each client process), 8 of `madeAt`, 8 of the writer's counter (both 0 … {@link CHUNK_NUMBERS_MAX}; no
 * writer uses the same two twice). Throws RangeError outside these ranges.
 */
export function makeChunkId(
  partition: PartitionId,
  writer: string,
  counter: number,
  madeAt = 0,
): ChunkId {
  if (!Number.isInteger(partition) || partition < 0 || partition >= PARTITION_COUNT) {
    throw new RangeError(`partition ${partition} is outside 0 … ${PARTITION_COUNT - 1}`);
  }
  if (!/^[0-9a-f]{12}$/.test(writer)) throw new RangeError('a chunk writer has 12 hex digits');
  for (const number of [counter, madeAt]) {
    if (!Number.isInteger(number) || number < 0 || number > CHUNK_NUMBERS_MAX)
      throw new RangeError(`chunk number ${number} is outside 0 … ${CHUNK_NUMBERS_MAX}`);
  }
  const high = partition.toString(16).padStart(4, '0');
  const low = [madeAt, counter].map((number) => number.toString(16).padStart(8, '0'));
  return `${high}${writer}${low.join('')}` as ChunkId;
}

/**
 * The second since the epoch in which a chunk was made, as its id says: by the clock of its writer, or
 * later where that was barred. Throws RangeError when the id is malformed.
 */
export function madeAtOf(chunk: ChunkId): number {
  if (!isChunkId(chunk)) throw new RangeError(`malformed chunk id '${chunk}'`);
  return Number.parseInt(chunk.slice(16, 24), 16);
}

/** Of a refusal with CHUNK_FREED: the second before which chunks are barred; 0 when that is not why. */
export function barOf(detail: Readonly<Record<string, unknown>> | undefined): number {
  const before = detail?.['barredBefore'];
  return typeof before === 'number' && before > 0 ? before : 0;
}

/** The partition that a chunk's id carries. Throws RangeError when the id is malformed. */
export function partitionOf(chunk: ChunkId): PartitionId {
  if (!isChunkId(chunk)) throw new RangeError(`malformed chunk id '${chunk}'`);
  return Number.parseInt(chunk.slice(0, 4), 16) as PartitionId;
}

/** Whether a foreign value has the form of a chunk id. */
export function isChunkId(text: unknown): text is ChunkId {
  // A pattern alone would take a list of one id for it.
  return typeof text === 'string' && CHUNK_ID_PATTERN.test(text);
}

/** Whether a foreign value has the form of a session id. */
export function isSessionId(text: unknown): text is SessionId {
  return typeof text === 'string' && SESSION_ID_PATTERN.test(text);
}
