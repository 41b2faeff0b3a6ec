import type { ChunkId, InodeNumber, VolumeNumber } from '@holdfast/protocol';
import {
  headOfDeath,
  headOfVersions,
  KIND,
  type ParsedKey,
  parseKey,
  SHARD_KIND,
  snapshotIn,
} from '../keys.ts';
import type { RecordType } from '../record-type.ts';
import {
  BLOB,
  type BlobRecord,
  CHUNK,
  type ChunkRecord,
  DEAD_CONTENT,
  DEATH,
  DENTRY,
  type DentryRecord,
  FREED_CHUNK,
  type FreedChunkRecord,
  type HeadRecord,
  HISTORY,
  type HistoryRecord,
  INODE,
  type InodeRecord,
  LENT,
  LISTING,
  type ListingRecord,
  PINS,
  REGION,
  type RegionRecord,
  SNAPSHOT,
  SNAPSHOT_NAME,
  type SnapshotRecord,
  UNPINNED,
  VERSIONS,
  VOLUME,
  type VolumeRecord,
  WHITEOUT,
  XATTRS,
  type XattrsRecord,
} from '../records.ts';
import {
  ANSWER,
  CLOSED_TREE,
  DEAD_VOLUME,
  type DeadVolumeRecord,
  LIVE_SESSIONS,
  type LiveSessionsRecord,
  LOCKS,
  type LocksRecord,
  MARK,
  ORPHAN,
  type OrphanRecord,
  SESSION,
  SESSION_ID,
  type SessionRecord,
  SHADOW,
  type ShadowRecord,
  TREES,
  type TreesRecord,
} from '../shard-records.ts';

/** A record with its key taken apart. */
export interface Counted<T> {
  readonly key: Uint8Array;
  readonly at: ParsedKey;
  readonly record: T;
}

/** Everything below one volume. */
export class VolumeCensus {
  readonly number: VolumeNumber;
  volume: VolumeRecord | undefined;
  readonly inodes = new Map<InodeNumber, InodeRecord>();
  readonly dentries: (Counted<DentryRecord> & { readonly name: string })[] = [];
  /** By parent and cookie. */
  readonly listings = new Map<string, ListingRecord>();
  readonly xattrs = new Map<InodeNumber, XattrsRecord>();
  readonly regions: Counted<RegionRecord>[] = [];
  readonly blobs: Counted<BlobRecord>[] = [];
  readonly chunks = new Map<ChunkId, ChunkRecord>();
  /** Of a shadow: lengths of the chunks that it shows. */
  readonly lent = new Map<ChunkId, number>();
  readonly history: Counted<HistoryRecord>[] = [];
  /** Lists of versions and the table of deaths: "head death", and the birth. */
  readonly versions = new Map<string, number>();
  readonly deaths = new Map<string, number>();
  pins: readonly number[] = [];
  /** Names by generation, and generations by name. */
  readonly snapshots = new Map<number, string>();
  /** Of these, what only clones hold has no name. */
  readonly removedSnapshots = new Set<number>();
  readonly snapshotNames = new Map<string, number>();
  keyCount = 0;

  constructor(number: VolumeNumber) {
    this.number = number;
  }
}

/** All records of a shard's state, sorted by what they are. For checks: needs memory for all of it. */
export class Census {
  readonly problems: string[] = [];
  readonly volumes = new Map<VolumeNumber, VolumeCensus>();
  liveSessions: LiveSessionsRecord = { ordinals: [] };
  /** By session id. */
  readonly sessions = new Map<string, SessionRecord>();
  /** Session id and sequence as text. */
  readonly answers = new Set<string>();
  /** Session id by ordinal. */
  readonly ordinals = new Map<number, string>();
  readonly endedSessions = new Set<number>();
  readonly locks: Counted<LocksRecord>[] = [];
  /** By volume and inode as text, as are the marks. */
  readonly orphans = new Map<string, OrphanRecord>();
  readonly inlineFiles = new Set<string>();
  readonly deadContents = new Set<string>();
  /** By volume, inode and epoch. */
  readonly contentCuts = new Set<string>();
  /** What snapshots say: their clones, with what they were made of. */
  readonly clones = new Map<
    VolumeNumber,
    { readonly volume: number; readonly generation: number }
  >();
  readonly unpinned: { readonly volume: VolumeNumber; readonly generation: number }[] = [];
  /** By volume. */
  readonly trees = new Map<VolumeNumber, TreesRecord>();
  /** Those with a mark. */
  readonly closedTrees = new Set<VolumeNumber>();
  /** By tree. */
  readonly shadows = new Map<VolumeNumber, ShadowRecord>();
  readonly deadVolumes = new Map<VolumeNumber, DeadVolumeRecord>();
  readonly freedChunks: Counted<FreedChunkRecord>[] = [];

  /** Takes in one entry of the state; what cannot be decoded is a problem. */
  add(key: Uint8Array, bytes: Uint8Array): void {
    const at = parseKey(key);
    try {
      if (at.volume === 0) this.#addOfShard({ key, at, bytes });
      else this.#addOfVolume(this.volumeOf(at.volume), { key, at, bytes });
    } catch (error) {
      this.problems.push(`${textOf(key)}: ${String(error)}`);
    }
  }

  /** What lies below a volume, nothing at first. */
  volumeOf(number: VolumeNumber): VolumeCensus {
    let volume = this.volumes.get(number);
    if (volume === undefined) {
      volume = new VolumeCensus(number);
      this.volumes.set(number, volume);
    }
    return volume;
  }

  // A table of all kinds below a volume.
  #addOfVolume(volume: VolumeCensus, entry: Entry): void {
    const { key, at, bytes } = entry;
    volume.keyCount++;
    switch (at.kind) {
      case KIND.volume:
        volume.volume = VOLUME.decode(bytes);
        return;
      case KIND.inode:
        volume.inodes.set(at.ino, INODE.decode(bytes));
        return;
      case KIND.dentry: {
        const name = Buffer.from(key.subarray(VOLUME_KIND_INO_BYTES)).toString('latin1');
        volume.dentries.push({ ...counted(DENTRY, entry), name });
        return;
      }
      case KIND.listing:
        volume.listings.set(`${at.ino} ${at.number}`, LISTING.decode(bytes));
        return;
      case KIND.xattrs:
        volume.xattrs.set(at.ino, XATTRS.decode(bytes));
        return;
      case KIND.region:
        volume.regions.push(counted(REGION, entry));
        return;
      case KIND.blob:
        volume.blobs.push(counted(BLOB, entry));
        return;
      case KIND.chunk:
        volume.chunks.set(chunkIn(key), CHUNK.decode(bytes));
        return;
      case KIND.lent:
        volume.lent.set(chunkIn(key), LENT.decode(bytes).length);
        return;
      case KIND.history:
        volume.history.push(counted(HISTORY, entry));
        return;
      default:
        this.#addOfSnapshots(volume, entry);
    }
  }

  #addSnapshot(volume: VolumeCensus, generation: number, record: SnapshotRecord): void {
    volume.snapshots.set(generation, record.name);
    if (record.removed) volume.removedSnapshots.add(generation);
    for (const clone of record.clones) {
      this.clones.set(clone, { volume: volume.number, generation });
    }
  }

  #addOfSnapshots(volume: VolumeCensus, { key, at, bytes }: Entry): void {
    switch (at.kind) {
      case KIND.versions:
        for (const [birth, death] of VERSIONS.decode(bytes).lives) {
          volume.versions.set(versionName(headOfVersions(key), death), birth);
        }
        return;
      case KIND.death: {
        const { head, death } = headOfDeath(key);
        volume.deaths.set(versionName(head, death), DEATH.decode(bytes).birth);
        return;
      }
      case KIND.whiteout:
        WHITEOUT.decode(bytes);
        return;
      case KIND.pins:
        volume.pins = PINS.decode(bytes).generations;
        return;
      case KIND.snapshot:
        this.#addSnapshot(volume, snapshotIn(key), SNAPSHOT.decode(bytes));
        return;
      case KIND.snapshotName:
        volume.snapshotNames.set(nameIn(key), SNAPSHOT_NAME.decode(bytes).generation);
        return;
      default:
        this.problems.push(`${textOf(key)}: a key of no known kind`);
    }
  }

  // A table of all kinds of the shard.
  #addOfShard(entry: Entry): void {
    const { key, at, bytes } = entry;
    const inode = `${at.subject} ${at.ino}`;
    switch (at.kind) {
      case SHARD_KIND.counters:
      case SHARD_KIND.endedRing:
        return;
      case SHARD_KIND.liveSessions:
        this.liveSessions = LIVE_SESSIONS.decode(bytes);
        return;
      case SHARD_KIND.session:
        this.sessions.set(sessionIn(key), SESSION.decode(bytes));
        return;
      case SHARD_KIND.answer:
        ANSWER.decode(bytes);
        this.answers.add(`${sessionIn(key)} ${sequenceIn(key)}`);
        return;
      case SHARD_KIND.ordinal:
        this.ordinals.set(at.number, SESSION_ID.decode(bytes).session);
        return;
      case SHARD_KIND.endedSession:
        this.endedSessions.add(at.number);
        return;
      case SHARD_KIND.locks:
        this.locks.push(counted(LOCKS, entry));
        return;
      case SHARD_KIND.orphan:
        this.orphans.set(inode, ORPHAN.decode(bytes));
        return;
      case SHARD_KIND.inlineFile:
        this.inlineFiles.add(inode);
        MARK.decode(bytes);
        return;
      case SHARD_KIND.unpinned:
        UNPINNED.decode(bytes);
        this.unpinned.push({ volume: at.subject, generation: at.ino });
        return;
      case SHARD_KIND.trees:
        this.trees.set(at.subject, TREES.decode(bytes));
        return;
      case SHARD_KIND.closedTree:
        CLOSED_TREE.decode(bytes);
        this.closedTrees.add(at.subject);
        return;
      case SHARD_KIND.shadow:
        this.shadows.set(at.subject, SHADOW.decode(bytes));
        return;
      case SHARD_KIND.deadContent:
        DEAD_CONTENT.decode(bytes);
        this.deadContents.add(inode);
        return;
      case SHARD_KIND.contentCut:
        this.contentCuts.add(`${inode} ${at.number}`);
        return;
      case SHARD_KIND.deadVolume:
        this.deadVolumes.set(at.subject, DEAD_VOLUME.decode(bytes));
        return;
      case SHARD_KIND.freedChunk:
        this.freedChunks.push(counted(FREED_CHUNK, entry));
        return;
      default:
        this.problems.push(`${textOf(key)}: a key of no known kind`);
    }
  }
}

interface Entry {
  readonly key: Uint8Array;
  readonly at: ParsedKey;
  readonly bytes: Uint8Array;
}

const VOLUME_KIND_BYTES = 4;
const VOLUME_KIND_INO_BYTES = 9;
const SESSION_ID_BYTES = 8;

function counted<T>(type: RecordType<T>, { key, at, bytes }: Entry): Counted<T> {
  return { key, at, record: type.decode(bytes) };
}

/** A version's name: its head's key and its death. */
export function versionName(head: Uint8Array, death: number): string {
  return `${Buffer.from(head).toString('hex')} ${death}`;
}

function nameIn(key: Uint8Array): string {
  return Buffer.from(key.subarray(VOLUME_KIND_BYTES)).toString('latin1');
}

function textOf(key: Uint8Array): string {
  return `key ${Buffer.from(key).toString('hex')}`;
}

function chunkIn(key: Uint8Array): ChunkId {
  return Buffer.from(key.subarray(VOLUME_KIND_BYTES)).toString('hex') as ChunkId;
}

function sessionIn(key: Uint8Array): string {
  const id = key.subarray(VOLUME_KIND_BYTES, VOLUME_KIND_BYTES + SESSION_ID_BYTES);
  return Buffer.from(id).toString('hex');
}

function sequenceIn(key: Uint8Array): number {
  const bytes = key.subarray(VOLUME_KIND_BYTES + SESSION_ID_BYTES);
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

/** Whether a record was born in a generation that the volume has had. */
export function isBorn({ birth }: HeadRecord, { generation }: VolumeRecord): boolean {
  return birth >= 1 && birth <= generation;
}
