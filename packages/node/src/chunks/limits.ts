/** Limits of a chunk store, with the reason of each. */
export const CHUNK_STORE_LIMITS = {
  /** Bytes of a segment file: small enough that compaction moves little, large enough that there are few. */
  segmentBytes: 256 * 2 ** 20,
  /** On small disks a part of the disk, so that not much of it waits in the segment that grows. */
  segmentBytesMin: 16 * 2 ** 20,
  segmentDiskFraction: 1 / 64,
  /** Bytes of one group commit: what a slow disk flushes in a fraction of a second. */
  batchBytesMax: 16 * 2 ** 20,
  /** Records of one group commit: each is three parts of one gathered write. */
  batchRecordsMax: 1024,
  /** Bytes of writes that wait or are being written; more are refused OVERLOADED. */
  pendingBytesMax: 128 * 2 ** 20,
  /** Bytes read and not yet sent, of one connection and in all; more reads wait. */
  readerBytesMax: 32 * 2 ** 20,
  totalBytesMax: 256 * 2 ** 20,
  /** Segment files open at a time. */
  openFilesMax: 64,
  /** Bytes of the disk that stay free, for the log and the metadata of the same disk. */
  reserveBytes: 64 * 2 ** 20,
  /** Part of the reserve below which nothing is written at all: index and tombstones need some of it. */
  floorFraction: 0.25,
  /** Bytes free on the disk before an index that it was too full for is opened again. */
  indexRoomBytes: 8 * 2 ** 20,
  /** Milliseconds for which a look at the free space is good enough. */
  spaceValidMs: 500,
  /** Fraction of a segment that must be dead before it is compacted. */
  deadFraction: 0.4,
  /** Bytes and records that compaction moves in one flush. */
  moveBytes: 8 * 2 ** 20,
  moveRecords: 64,
  /** Milliseconds until compaction tries again when writers or a full disk were in its way. */
  compactionRetryMs: 4000,
  /** Bytes per second that compaction moves, so that others get the disk too. */
  moveBytesPerSecond: 32 * 2 ** 20,
  /** Chunks remembered as damaged; more are found again when they are read. */
  damagedMax: 10_000,
  /** Bytes written after which the index notes how far it knows the segments. */
  checkpointBytes: 64 * 2 ** 20,
} as const;
