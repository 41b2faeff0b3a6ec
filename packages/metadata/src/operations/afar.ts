/**
 * Clones of snapshots that lie in another shard. There the snapshot is held as by a clone of its own
 * shard; here the clone rests on a shadow (shadows.ts), of which nothing is there at first. Order across
 * the shards: held, cloned; destroyed, let go. Who lets go never comes again, so that commands which are
 * late, or come twice, do no harm.
 */
import {
  type HeldSnapshot,
  HoldfastError,
  type Operation,
  type OperationAnswer,
  type VolumeNumber,
} from '@holdfast/protocol';
import { tallyOf } from '../content/pieces.ts';
import { type Context, volumeOf } from '../context.ts';
import { headType } from '../head-types.ts';
import {
  deadVolumeKey,
  isHeadKey,
  KIND,
  keyIn,
  lentKey,
  parseKey,
  pinsKey,
  shadowKey,
  snapshotKey,
  volumeKey,
  whiteoutKey,
} from '../keys.ts';
import type { RecordType } from '../record-type.ts';
import {
  type HeadRecord,
  LENT,
  PINS,
  REGION,
  SNAPSHOT,
  type SnapshotRecord,
  VOLUME,
  type VolumeRecord,
  WHITEOUT,
} from '../records.ts';
import { SHADOW_GENERATION } from '../shadows.ts';
import { DEAD_VOLUME, SHADOW } from '../shard-records.ts';
import type { Transaction } from '../transaction.ts';
import { treeAt } from '../trees.ts';
import { holdSnapshot } from './clones.ts';
import { letGoOf } from './letting-go.ts';
import { numberOfTree } from './rollback.ts';
import { generationOf } from './snapshots.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** Holds a snapshot for a clone of another shard; see the operation. */
export function holdForAfar(context: Context, operation: Of<'hold-snapshot'>): OperationAnswer {
  const { transaction, home } = context;
  const { by, generation } = operation;
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(by)) !== undefined) {
    throw new HoldfastError('CONFLICT', 'the clone was given up');
  }
  const base = treeAt(transaction, home, generation);
  const present = transaction.read(SNAPSHOT, snapshotKey(base, generation));
  if (present?.clones.includes(by) === true) {
    return { held: heldOf(present, volumeOf({ ...context, volume: base })) };
  }
  generationOf(context, { name: operation.snapshot, generation });
  const held = holdSnapshot(context, { base, generation, by });
  return { held: heldOf(held, held) };
}

function heldOf(
  { usedBytes, usedInodes, nextInode }: SnapshotRecord,
  { depth }: Pick<VolumeRecord, 'depth'>,
): HeldSnapshot {
  return { usedBytes, usedInodes, nextInode, depth };
}

/** What a clone elsewhere held here it lets go, for ever; see the operation. */
export function letGoForAfar(context: Context, { by, generation }: Of<'let-go'>): OperationAnswer {
  const { transaction, home } = context;
  if (transaction.read(VOLUME, volumeKey(by)) !== undefined) {
    throw new HoldfastError('EBUSY', 'the clone is still there');
  }
  const base = treeAt(transaction, home, generation);
  const held = transaction.read(SNAPSHOT, snapshotKey(base, generation));
  if (held?.clones.includes(by) === true) {
    letGoOf(context, { base, baseGeneration: generation, by });
  }
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(by)) === undefined) {
    transaction.write(DEAD_VOLUME, deadVolumeKey(by), { empty: true });
  }
  return {};
}

/** Makes a clone and the shadow that it rests on, whatever the snapshot's size; see the operation. */
export function cloneFromAfar(context: Context, operation: Of<'clone-from-afar'>): OperationAnswer {
  const { transaction, volume, nowNs } = context;
  const { name, shard, from, generation, held, quotaBytes, quotaInodes } = operation;
  if (transaction.read(DEAD_VOLUME, deadVolumeKey(volume)) !== undefined) {
    throw new HoldfastError('CONFLICT', 'a volume of this number was destroyed');
  }
  if (transaction.read(VOLUME, volumeKey(volume)) !== undefined) return { created: false };
  // The shadow stands for the volume of the snapshot.
  const { usedBytes, usedInodes, nextInode, depth } = held;
  const shadow = numberOfTree(context);
  const fresh: VolumeRecord = {
    name,
    generation: 1,
    newestPin: 0,
    nextInode,
    usedBytes,
    usedInodes,
    orphanBytes: 0,
    orphanInodes: 0,
    quotaBytes: 0,
    quotaInodes: 0,
    holders: [],
    baseVolume: 0 as VolumeNumber,
    baseGeneration: 0,
    depth,
    cloneCount: 0,
    home: 0 as VolumeNumber,
    isClosed: false,
    isShadow: false,
  };
  const newestPin = SHADOW_GENERATION;
  const closed = { generation: newestPin + 1, newestPin, isClosed: true, isShadow: true };
  transaction.write(VOLUME, volumeKey(shadow), { ...fresh, ...closed, cloneCount: 1 });
  transaction.write(PINS, pinsKey(shadow), { generations: [newestPin] });
  transaction.write(SNAPSHOT, snapshotKey(shadow, newestPin), {
    name: '',
    timeNs: nowNs,
    usedBytes,
    usedInodes,
    nextInode,
    clones: [volume],
    origin: '',
    removed: true, // nobody names it: it goes with the clone
  });
  transaction.write(SHADOW, shadowKey(shadow), {
    shard,
    volume: from,
    generation,
    holder: volume,
    nextInode,
    copied: new Uint8Array(),
    isWhole: false,
  });
  transaction.write(VOLUME, volumeKey(volume), {
    ...fresh,
    quotaBytes,
    quotaInodes,
    baseVolume: shadow,
    baseGeneration: newestPin,
    depth: depth + 1,
  });
  return { created: true };
}

/** Puts records into a shadow that it does not have yet; see the operation. Without effect on one that is gone or whole. */
export function adoptBaseRecords(
  { transaction }: Context,
  { shadow, records, chunks, copied }: Of<'adopt-base-records'>,
): OperationAnswer {
  const origin = transaction.read(SHADOW, shadowKey(shadow));
  if (origin === undefined || origin.isWhole) return {};
  for (const [chunk, length] of chunks) {
    transaction.write(LENT, lentKey(shadow, chunk), { length });
  }
  for (const [bare, bytes] of records) {
    adoptOne(transaction, keyIn(shadow, bare), bytes);
  }
  const isNext = copied !== undefined && Buffer.compare(copied.from, origin.copied) === 0;
  if (isNext && Buffer.compare(copied.to, origin.copied) > 0) {
    const isWhole = Buffer.compare(copied.to, COPY_END) >= 0;
    const reached = Uint8Array.from(copied.to);
    transaction.write(SHADOW, shadowKey(shadow), { ...origin, copied: reached, isWhole });
  }
  return {};
}

function adoptOne(transaction: Transaction, key: Uint8Array, bytes: Uint8Array | null): void {
  if (!isHeadKey(key)) throw new HoldfastError('BAD_REQUEST', 'not the key of a record');
  const { volume, kind } = parseKey(key);
  const type = headType(kind);
  const mark = whiteoutKey(key);
  const isHere = transaction.read(type, key) !== undefined;
  if (isHere || transaction.read(WHITEOUT, mark) !== undefined) return;
  if (bytes === null) {
    transaction.write(WHITEOUT, mark, { birth: SHADOW_GENERATION });
    return;
  }
  const record = decoded(type, bytes);
  if (record.birth !== SHADOW_GENERATION) {
    throw new HoldfastError('BAD_REQUEST', 'a record of another generation');
  }
  const pieces = kind === KIND.region ? REGION.decode(bytes).pieces : [];
  for (const chunk of tallyOf(pieces).chunks.keys()) {
    if (transaction.read(LENT, lentKey(volume, chunk)) === undefined) {
      throw new HoldfastError('BAD_REQUEST', 'a record without the chunks that it shows');
    }
  }
  transaction.write(type, key, record);
}

function decoded(type: RecordType<HeadRecord>, bytes: Uint8Array): HeadRecord {
  try {
    return type.decode(bytes);
  } catch (cause) {
    if (cause instanceof HoldfastError && cause.code === 'NEWER_FORMAT') throw cause;
    throw new HoldfastError('BAD_REQUEST', 'a record that cannot be decoded', { cause });
  }
}

/** Behind all keys of records. */
export const COPY_END = Uint8Array.of(KIND.blob + 1);
