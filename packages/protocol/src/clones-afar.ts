/** Clones of snapshots that lie in another shard: packages/metadata/SNAPSHOTS.md, Clones across shards. */
import type { ChunkId, ShardId, VolumeNumber } from './ids.ts';

/** A record of a snapshot as a clone takes it over, null when there is none; the key is without its volume. */
export type BaseEntry = readonly [key: Uint8Array, record: Uint8Array | null];

/** What a clone in another shard begins with. */
export interface HeldSnapshot {
  readonly usedBytes: number;
  readonly usedInodes: number;
  /** What has this number, or a higher one, the snapshot does not show. */
  readonly nextInode: number;
  /** Clones, and trees of rollbacks, that the snapshot's records rest on. */
  readonly depth: number;
}

/** Operations of the cluster itself on clones across shards. */
export type AfarOperation =
  /**
   * By the cluster itself: a clone in another shard, `by`, shows a snapshot of this volume; it keeps the
   * snapshot as a clone here does, until it lets go. Again: the same answer (`held`). ENOENT, ENOSPC and
   * EINVAL as with clone-volume; CONFLICT once `by` has let go.
   */
  | {
      readonly op: 'hold-snapshot';
      readonly snapshot: string;
      readonly generation: number;
      readonly by: VolumeNumber;
    }
  /**
   * By the cluster itself: `by`, a clone elsewhere, is gone and never comes again; what it held of a
   * generation of this volume (0: nothing) is let go. Also where the volume is not. Again: success. EBUSY
   * while `by` lives in this shard.
   */
  | { readonly op: 'let-go'; readonly generation: number; readonly by: VolumeNumber }
  /**
   * By the cluster itself: makes the volume of the command as a clone of a snapshot that it holds in
   * another shard, in constant time. Records of the snapshot are copied when they are needed, see
   * BASE_MISSING. Again with the same number: success, no change. EINVAL too deep.
   */
  | {
      readonly op: 'clone-from-afar';
      readonly name: string;
      /** Where the snapshot is: shard, volume, generation. */
      readonly shard: ShardId;
      readonly from: VolumeNumber;
      readonly generation: number;
      readonly held: HeldSnapshot;
      readonly quotaBytes: number;
      readonly quotaInodes: number;
    }
  /**
   * By the leader: records of a snapshot in another shard, or null for those that it does not have, for
   * the tree in which clones of it read. What is there already stays. Keys are without their volume;
   * `chunks` are those that the records show, with their lengths. `copied`: besides, `records` are all
   * of [from, to), keys likewise; without effect unless `from` is how far the copying had come.
   */
  | {
      readonly op: 'adopt-base-records';
      readonly shadow: VolumeNumber;
      readonly records: readonly BaseEntry[];
      readonly chunks: readonly (readonly [ChunkId, number])[];
      readonly copied?: { readonly from: Uint8Array; readonly to: Uint8Array };
    };

/**
 * By the leader of another shard, in which `by` lies, a clone that holds the snapshot `at`: records as it
 * takes them over. Keys are without their volume. ESTALE when it does not hold it.
 */
export type BaseView =
  /** Those of the keys, and what is likely to be asked for next. */
  | {
      readonly view: 'base-records';
      readonly by: VolumeNumber;
      readonly keys: readonly Uint8Array[];
    }
  /** Those of [from, to), at most `count`. */
  | {
      readonly view: 'base-range';
      readonly by: VolumeNumber;
      readonly from: Uint8Array;
      readonly to: Uint8Array;
      readonly count: number;
    };

/** Records of a snapshot for a clone in another shard. */
export interface BaseRecords {
  readonly records: readonly BaseEntry[];
  /** base-range: records outside of it that go with them. */
  readonly beside: readonly BaseEntry[];
  /** The chunks that they show, and their lengths. */
  readonly chunks: readonly (readonly [ChunkId, number])[];
  /** base-range: where it goes on; absent at the end. */
  readonly next?: Uint8Array;
}
