/**
 * What a shard tells others of a snapshot that clones there hold: its records, as clones take them over.
 * They never change while the snapshot is held, but for those that nothing shows any more (of dropped
 * contents, and the like), which may be gone the next time.
 */
import {
  type BaseEntry,
  type BaseRecords,
  type BaseView,
  type ChunkId,
  HoldfastError,
  type InodeNumber,
  type VolumeNumber,
} from '@holdfast/protocol';
import { shownChunk } from './content/chunks.ts';
import { tallyOf } from './content/pieces.ts';
import type { Context } from './context.ts';
import { headType } from './head-types.ts';
import {
  bareKey,
  blobKey,
  inodeKey,
  isHeadKey,
  KIND,
  keyIn,
  listingKey,
  parseKey,
  rangeOf,
  regionKey,
  snapshotKey,
  xattrsKey,
} from './keys.ts';
import { recordsAt } from './past-scan.ts';
import type { RecordType } from './record-type.ts';
import {
  DENTRY,
  type HeadRecord,
  INODE,
  LISTING,
  type ListingRecord,
  REGION,
  type RegionRecord,
  SNAPSHOT,
} from './records.ts';
import type { StateSource } from './state.ts';
import type { Transaction } from './transaction.ts';
import { asLent, lentRecord } from './versions.ts';

type Of<Name extends BaseView['view']> = Extract<BaseView, { view: Name }>;

/** Records of one answer, what goes with those that were asked for included; and their bytes. */
const RECORDS_MAX = 1024;
const BYTES_MAX = 256 * 1024;
/** Regions that go with an inode. */
const REGIONS_BESIDE = 8;

/** That a clone of another shard holds a generation of a tree. ESTALE. */
export function checkHolder(
  transaction: Transaction,
  {
    volume,
    at,
    by,
  }: { readonly volume: VolumeNumber; readonly at: number; readonly by: VolumeNumber },
): void {
  const record = transaction.read(SNAPSHOT, snapshotKey(volume, at));
  if (record?.clones.includes(by) === true) return;
  throw new HoldfastError('ESTALE', 'the snapshot is not held', { detail: { volume, at, by } });
}

/** Gathers records of one generation, each once. */
class Gathering {
  readonly #state: StateSource;
  readonly #context: Context;
  readonly #at: number;
  readonly #seen = new Set<string>();
  readonly entries: BaseEntry[] = [];
  readonly chunks = new Map<ChunkId, number>();
  bytes = 0;

  constructor(state: StateSource, context: Context, at: number) {
    this.#state = state;
    this.#context = context;
    this.#at = at;
  }

  get isFull(): boolean {
    return this.entries.length >= RECORDS_MAX || this.bytes >= BYTES_MAX;
  }

  /** Reads a record, and adds it, or that there is none. */
  read<T extends HeadRecord>(type: RecordType<T>, key: Uint8Array): T | undefined {
    const record = lentRecord(this.#state, type, key, this.#at);
    this.add(type, key, record);
    return record;
  }

  add<T extends HeadRecord>(type: RecordType<T>, key: Uint8Array, record: T | undefined): void {
    const name = Buffer.from(key).toString('latin1');
    if (this.#seen.has(name)) return;
    this.#seen.add(name);
    // Encoders give slices of larger buffers.
    const bytes = record === undefined ? null : Uint8Array.from(type.encode(record));
    this.entries.push([Uint8Array.from(bareKey(key)), bytes]);
    this.bytes += key.length + (bytes?.length ?? 0);
    if ((type as unknown) === REGION && record !== undefined) {
      this.#addChunks(record as unknown as RegionRecord);
    }
  }

  #addChunks({ pieces }: RegionRecord): void {
    const { transaction, volume } = this.#context;
    for (const chunk of tallyOf(pieces).chunks.keys()) {
      if (this.chunks.has(chunk)) continue;
      const known = shownChunk(transaction, { volume, chunk });
      if (known === undefined) throw new HoldfastError('CORRUPT', 'an extent of an unknown chunk');
      this.chunks.set(chunk, known.length);
      this.bytes += CHUNK_BYTES;
    }
  }
}

/** About what a chunk's id and length take. */
const CHUNK_BYTES = 40;

/** Records by their keys, with what is likely to be asked for next. BAD_REQUEST for what is no key of a record. */
export function baseRecords(
  state: StateSource,
  context: Context,
  { at, keys }: Of<'base-records'> & { readonly at?: number },
): BaseRecords {
  const gathering = new Gathering(state, context, at ?? 0);
  const wanted = keys.map((bare) => keyIn(context.volume, bare));
  for (const key of wanted) {
    if (!isHeadKey(key)) throw new HoldfastError('BAD_REQUEST', 'not the key of a record');
    gathering.read(headType(parseKey(key).kind), key);
  }
  for (const key of wanted) if (!gathering.isFull) addNext(gathering, context, key);
  const { entries: records, chunks } = gathering;
  return { records, beside: [], chunks: [...chunks] };
}

/** What whoever reads a record is about to read. */
function addNext(gathering: Gathering, { volume }: Context, key: Uint8Array): void {
  const { kind, ino, number } = parseKey(key);
  if (kind === KIND.dentry) {
    const entry = gathering.read(DENTRY, key);
    if (entry === undefined) return;
    gathering.read(LISTING, listingKey(volume, ino, entry.cookie));
    addInode(gathering, volume, entry.ino);
  }
  if (kind === KIND.inode) addInode(gathering, volume, ino);
  if (kind === KIND.region) addBlobs(gathering, volume, { content: ino, index: number });
}

function addInode(gathering: Gathering, volume: VolumeNumber, ino: InodeNumber): void {
  const inode = gathering.read(INODE, inodeKey(volume, ino));
  if (inode === undefined) return;
  gathering.read(headType(KIND.xattrs), xattrsKey(volume, ino));
  if (inode.kind !== 'file') return;
  const { content, regionEnd } = inode;
  for (let index = 0; index < Math.min(regionEnd, REGIONS_BESIDE); index++) {
    if (gathering.isFull) return;
    addBlobs(gathering, volume, { content, index });
  }
}

/** A region, and the inline bytes that it shows. */
function addBlobs(
  gathering: Gathering,
  volume: VolumeNumber,
  { content, index }: { readonly content: number; readonly index: number },
): void {
  const region = gathering.read(REGION, regionKey(volume, content, index));
  if (region === undefined) return;
  for (const blob of tallyOf(region.pieces).blobs) {
    if (gathering.isFull) return;
    gathering.read(headType(KIND.blob), blobKey(volume, content, index, blob));
  }
}

/** All records of a range, in the order of their keys, as far as one answer goes; with the inodes of listed names. */
export async function baseRange(
  state: StateSource,
  context: Context,
  { at = 0, from, to, count }: Of<'base-range'> & { readonly at?: number },
): Promise<BaseRecords> {
  const { volume } = context;
  const found = new Gathering(state, context, at);
  const beside = new Gathering(state, context, at);
  const wanted = Math.min(count, RECORDS_MAX);
  const done = (next?: Uint8Array): BaseRecords => ({
    records: found.entries,
    beside: beside.entries,
    chunks: [...found.chunks],
    ...(next !== undefined && { next: Uint8Array.from(bareKey(next)) }),
  });
  const [first, end] = [keyIn(volume, from), keyIn(volume, to)];
  for (let kind: number = KIND.inode; kind <= KIND.blob; kind++) {
    const range = rangeOf(keyIn(volume, Uint8Array.of(kind)));
    const part = { from: later(range.from, first), to: earlier(range.to, end) };
    if (Buffer.compare(part.from, part.to) >= 0) continue;
    const type = headType(kind);
    for await (const [key, record] of recordsAt(state, type, part, at)) {
      if (found.entries.length >= wanted || found.bytes + beside.bytes >= BYTES_MAX) {
        return done(key);
      }
      // A region that nothing shows may have been deleted since the page was read, and its chunks with it.
      const lent = kind === KIND.region ? lentRecord(state, type, key, at) : asLent(type, record);
      if (lent === undefined) continue;
      found.add(type, key, lent);
      if (kind === KIND.listing) {
        beside.read(INODE, inodeKey(volume, (lent as unknown as ListingRecord).ino));
      }
    }
  }
  return done();
}

function later(a: Uint8Array, b: Uint8Array): Uint8Array {
  return Buffer.compare(a, b) < 0 ? b : a;
}

function earlier(a: Uint8Array, b: Uint8Array): Uint8Array {
  return Buffer.compare(a, b) < 0 ? a : b;
}
